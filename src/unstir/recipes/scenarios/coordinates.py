r"""From tracks in metres to what is diffused, and back: every agent's own frame, and smooth modes in time.

The future of an agent is written as its constant-velocity course plus a residual in its own frame (along and
across its heading), and the residual as a sum of modes in time:

.. math:: p_i(k) = p_i(0) + k\,v_i + R_i \sum_m \phi_m(k)\,c_{im}, \qquad k = 1 \dots F

with :math:`R_i` the rotation to the heading of :math:`v_i`. Turning or shifting a scene changes none of the
coefficients :math:`c`, so a network that sees relative places only is equivariant by construction. The map
from coefficients to positions is linear: a guidance cost on positions has its gradient by plain
differentiation through `decode`.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from unstir.networks.poses import own_frame, velocity


def constant_velocity(past: Tensor, future: int) -> Tensor:
    """The course (..., future, 2) if nobody changed speed or direction."""
    steps = torch.arange(1, future + 1, dtype=past.dtype, device=past.device)
    return past[..., -1:, :] + steps[:, None] * velocity(past)[..., None, :]


@lru_cache(maxsize=32)
def modes_of(future: int) -> Tensor:
    r"""The modes :math:`\phi`, (future, future) float64, one a column, smoothest first, orthonormal.

    The principal components of a walk whose accelerations are independent: eigenvectors of
    :math:`G G^\top` with :math:`G_{kj} = k - j + 1` for :math:`j \le k` (twice summed noise). So the first
    few hold nearly all of what people do, and the rest is the jitter of the tracker.

    Source: Karhunen-Loève expansion, Loève 1978, section 37.5.
    """
    k = torch.arange(future, dtype=torch.float64)
    sums = (k[:, None] - k[None, :] + 1.0).clamp(min=0.0)
    _, vectors = torch.linalg.eigh(sums @ sums.T)
    vectors = vectors.flip(1)
    ordered: Tensor = vectors * torch.sign(vectors[-1:])
    return ordered


def encode(past: Tensor, future: Tensor, modes: int) -> Tensor:
    """Coefficients of a future.

    Args:
        past: (n, agents, past, 2) metres, NaN for an absent agent.
        future: (n, agents, future, 2) metres, likewise.
        modes: how many are kept, 1 to future.

    Returns:
        (n, 2 * modes, agents): ahead, then to the left; 0 for an absent agent.
    """
    _, _, rotation = own_frame(past)
    residual = future - constant_velocity(past, future.shape[2])
    own = residual @ rotation  # rows times R is R^T times each
    phi = modes_of(future.shape[2])[:, :modes].to(own)
    coefficients = torch.einsum("nafc,fm->ncma", own, phi).flatten(1, 2)
    return coefficients.nan_to_num(nan=0.0)


def decode(x: Tensor, past: Tensor, future: int) -> Tensor:
    """Positions of coefficients; linear in ``x``, and `encode` undone if all modes are kept.

    Args:
        x: (n, 2 * modes, agents) in metres, as `encode` gives them.
        past: (n, agents, past, 2) metres, NaN for an absent agent.
        future: frames of it.

    Returns:
        (n, agents, future, 2) metres, NaN for an absent agent.
    """
    _, _, rotation = own_frame(past)
    coefficients = x.reshape(len(x), 2, -1, x.shape[2])
    phi = modes_of(future)[:, : coefficients.shape[2]].to(x)
    own = torch.einsum("ncma,fm->nafc", coefficients, phi)
    return constant_velocity(past, future).to(x) + own @ rotation.to(x).transpose(-1, -2)
