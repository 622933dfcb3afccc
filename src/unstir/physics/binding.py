"""Diffusion with binding: free molecules spread, bound ones are held, each change of state at a rate.

With :math:`A` the free molecules' generator, the states obey du/dt = M(A) u, where M(A) is a small matrix
whose first entry is A minus the binding rates; so every answer is a function of A, exact at any time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from unstir.generators import Generator


def bound_shares(k_on: Sequence[float], k_off: Sequence[float]) -> tuple[float, tuple[float, ...]]:
    """Equilibrium shares: of free molecules, and of those bound in each state.

    Free 1 / (1 + sum k*_on / k_off), state i (k*_on,i / k_off,i) times as much (Sprague et
    al. 2004).
    """
    ratios = [on / off for on, off in zip(k_on, k_off, strict=True)]
    free = 1.0 / (1.0 + sum(ratios))
    return free, tuple(free * ratio for ratio in ratios)


def check_rates(k_on: Sequence[float], k_off: Sequence[float]) -> None:
    """Raise ValueError unless there are as many k_off > 0 as k_on >= 0, all finite."""
    if len(k_on) != len(k_off):
        raise ValueError(f"each binding state has a k_on and a k_off, got {len(k_on)} and {len(k_off)}")
    if any(not (rate >= 0 and math.isfinite(rate)) for rate in k_on):
        raise ValueError(f"k_on must be at least 0, got {tuple(k_on)}")
    if any(not (rate > 0 and math.isfinite(rate)) for rate in k_off):
        raise ValueError(f"k_off must be above 0, got {tuple(k_off)}")


def binding_mixture(
    eigenvalue: Tensor, k_on: Sequence[float] = (), k_off: Sequence[float] = ()
) -> tuple[Tensor, Tensor]:
    r"""How a mode of all molecules decays that starts in binding equilibrium: :math:`1^T e^{t M} e_{eq}`.

    It is a mixture of len(k_on) + 1 exponentials with positive weights, since M is symmetric when scaled by
    the equilibrium shares (detailed balance).

    Args:
        eigenvalue: (n,) of the free molecules' generator, at most 0, 1/s.
        k_on: binding rates, 1/s.
        k_off: unbinding rates, 1/s.

    Returns:
        rates (n, states) of at most 0, 1/s, and their weights (n, states), which sum to 1.
    """
    if not len(k_on):
        return eigenvalue[:, None], torch.ones_like(eigenvalue)[:, None]
    roots = _root_shares(k_on, k_off).to(eigenvalue)
    rates, vectors = torch.linalg.eigh(_symmetric(eigenvalue, k_on, k_off))
    return rates, (roots @ vectors) ** 2


def diffuse_and_bind(
    u: Tensor, t: Tensor, generator: Generator, k_on: Sequence[float], k_off: Sequence[float]
) -> Tensor:
    """Densities of free and bound molecules at the times t, exact in time.

    Entry (i, j) of the propagator is a function of the generator, applied to the density of state j.

    Args:
        u: (states, *space) free first, then one density for each binding state.
        t: (T,) times, at least 0, s.
        generator: of the free molecules; symmetrisable (its `function` must exist), without a source.
        k_on: binding rates, above 0, 1/s.
        k_off: as many unbinding rates, 1/s.

    Returns:
        (T, states, *space).

    Raises:
        ValueError: for rates out of range, or densities that are not one for each state.
    """
    check_rates(k_on, k_off)
    states = len(k_on) + 1
    if len(u) != states:
        raise ValueError(f"{states - 1} binding states need {states} densities (free first), got {len(u)}")
    if any(on == 0 for on in k_on):
        raise ValueError("a binding rate of 0 has no equilibrium to scale by; leave that state out")

    modes = _Modes(k_on, k_off)

    def state(time: Tensor, i: int) -> Tensor:
        parts = [generator.function(lambda x: modes.entry(x, time, i, j), u[j]) for j in range(states)]  # noqa: B023
        return torch.stack(parts).sum(0)

    return torch.stack([torch.stack([state(time, i) for i in range(states)]) for time in t])


class _Modes:
    """exp(t M) of each eigenvalue of the free molecules' generator, diagonalised once for all times."""

    def __init__(self, k_on: Sequence[float], k_off: Sequence[float]) -> None:
        self._rates = k_on, k_off
        self._known: tuple[Tensor, Tensor, Tensor] | None = None

    def entry(self, eigenvalue: Tensor, t: Tensor, i: int, j: int) -> Tensor:
        """Entry (i, j), of the eigenvalues' shape."""
        if self._known is None or not torch.equal(self._known[0], eigenvalue):
            self._known = (eigenvalue, *torch.linalg.eigh(_symmetric(eigenvalue, *self._rates)))
        _, rates, vectors = self._known
        roots = _root_shares(*self._rates).to(eigenvalue)
        return (vectors[..., i, :] * vectors[..., j, :] * torch.exp(t * rates)).sum(-1) * (
            roots[i] / roots[j]
        )


def _root_shares(k_on: Sequence[float], k_off: Sequence[float]) -> Tensor:
    free, bound = bound_shares(k_on, k_off)
    return torch.tensor([free, *bound], dtype=torch.float64).sqrt()


def _symmetric(eigenvalue: Tensor, k_on: Sequence[float], k_off: Sequence[float]) -> Tensor:
    states = len(k_on) + 1
    matrix = torch.zeros(
        (*eigenvalue.shape, states, states), dtype=eigenvalue.dtype, device=eigenvalue.device
    )
    matrix[..., 0, 0] = eigenvalue - sum(k_on)
    for i, (on, off) in enumerate(zip(k_on, k_off, strict=True), start=1):
        matrix[..., i, i] = -off
        matrix[..., 0, i] = matrix[..., i, 0] = math.sqrt(on * off)
    return matrix
