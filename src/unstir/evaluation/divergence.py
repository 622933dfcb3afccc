"""The trace of a denoiser's Jacobian: exact, or estimated from products with random vectors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from unstir import noise
from unstir.denoisers import Denoiser
from unstir.settings import nearest

Product = Callable[[Tensor], Tensor]
"""v (k, batch, d) -> J^T v of the same shape, J the Jacobian of each sample's flattened event."""

Trace = Callable[[Product], Tensor]
"""Products with a Jacobian -> (batch, estimates) float64: independent estimates of its trace."""


class Divergence(ABC):
    """A way to find the trace of a Jacobian of which only products with vectors are at hand."""

    random: bool = True

    @property
    @abstractmethod
    def estimates(self) -> int:
        """How many estimates it gives."""

    @abstractmethod
    def trace(self, size: int, *, seed: int, index: Tensor) -> Trace:
        """Draw what is random, once for a whole integration, as FFJORD does (Grathwohl et al. 2019, eq. 8).

        Args:
            size: d, entries of an event.
            seed: of the probes.
            index: (batch,) the samples' numbers within the seed.
        """


@dataclass(frozen=True)
class Exact(Divergence):
    """The sum over all unit vectors: d products.

    Attributes:
        chunk: products computed at once, at least 1.
    """

    chunk: int = 64
    random = False

    def __post_init__(self) -> None:
        _at_least_one("chunk of products", self.chunk)

    @property
    def estimates(self) -> int:
        return 1

    def trace(self, size: int, *, seed: int, index: Tensor) -> Trace:
        def trace(product: Product) -> Tensor:
            total = torch.zeros(len(index), dtype=torch.float64, device=index.device)
            for start in range(0, size, self.chunk):
                rows = torch.arange(start, min(start + self.chunk, size), device=index.device)
                unit = torch.zeros(len(rows), len(index), size, dtype=torch.float64, device=index.device)
                unit[torch.arange(len(rows)), :, rows] = 1.0
                total += _quadratic(unit, product).sum(1)
            return total[:, None]

        return trace


@dataclass(frozen=True)
class Hutchinson(Divergence):
    """The mean of v^T J v over random signs v: unbiased, and exact for a diagonal Jacobian.

    Source: Skilling 1989, "The eigenvalues of mega-dimensional matrices"; Hutchinson 1989.

    Attributes:
        probes: number of vectors, each a product, at least 1; two give a standard error.
    """

    probes: int = 8

    def __post_init__(self) -> None:
        _at_least_one("number of probes", self.probes)

    @property
    def estimates(self) -> int:
        return self.probes

    def trace(self, size: int, *, seed: int, index: Tensor) -> Trace:
        signs = _signs(self.probes, size, seed=seed, index=index)
        return lambda product: _quadratic(signs, product)


@dataclass(frozen=True)
class HutchPlusPlus(Divergence):
    r"""Hutch++: the trace on the range of a sketch, exactly, and Hutchinson's estimate on what is left.

    .. math:: tr(Q^T J Q) + (d - k) \, u^T J u,\quad Q = \mathrm{orth}(J^T S),\ u \perp Q

    with random signs S (d, k) and u uniform on the unit sphere of the complement of Q. Exact if the rank of
    J is at most k. Unit vectors in place of signs keep the estimate unbiased and make it exact for a
    complement on which J is a multiple of the identity, which it tends to near data.

    Source: Meyer, Musco, Musco & Woodruff 2021, algorithm 1; for the normalisation Epperly, Tropp & Webber
    2024, "XTrace".

    Attributes:
        probes: vectors u, at least 1; two give a standard error.
        rank: k, as many as probes by default, which is algorithm 1; it costs 2 k + probes products.
    """

    probes: int = 8
    rank: int | None = None

    def __post_init__(self) -> None:
        _at_least_one("number of probes", self.probes)
        if self.rank is not None:
            _at_least_one("rank of the sketch", self.rank)

    @property
    def estimates(self) -> int:
        return self.probes

    def trace(self, size: int, *, seed: int, index: Tensor) -> Trace:
        rank = min(self.rank or self.probes, size)
        sketch = _signs(rank, size, seed=seed, index=index, step=1)
        normal = _normal(self.probes, size, seed=seed, index=index)

        def trace(product: Product) -> Tensor:
            basis = torch.linalg.qr(product(sketch).double().permute(1, 2, 0)).Q  # (batch, d, k)
            inside = _quadratic(basis.permute(2, 0, 1), product).sum(1, keepdim=True)
            if rank == size:
                return inside.expand(-1, self.probes)
            columns = normal.permute(1, 2, 0)
            left = columns - basis @ (basis.mT @ columns)
            unit = left / left.norm(dim=1, keepdim=True)
            return inside + (size - rank) * _quadratic(unit.permute(2, 0, 1), product)

        return trace


DIVERGENCES: dict[str, Callable[[int], Divergence]] = {
    "exact": lambda probes: Exact(),
    "hutchinson": Hutchinson,
    "hutch++": HutchPlusPlus,
}
"""The ways by the names used on the command line; each is given the number of probes."""


def find_divergence(name: str, probes: int) -> Divergence:
    """The divergence of a name.

    Raises:
        ValueError: for an unknown name, with the nearest one, or fewer than 1 probe.
    """
    _at_least_one("number of probes", probes)
    if name not in DIVERGENCES:
        raise ValueError(f"unknown divergence {name!r}; {nearest(name, list(DIVERGENCES))}")
    return DIVERGENCES[name](probes)


def linearise(
    denoiser: Denoiser, x_t: Tensor, t: Tensor, condition: Mapping[str, Tensor]
) -> tuple[Tensor, Product]:
    """The posterior mean at ``x_t``, and products with the transpose of its Jacobian.

    One evaluation serves all products: the products of a chunk pass backwards through it together
    (``torch.func``'s vmap), or one after the other where an operation does not allow that.

    Args:
        denoiser: differentiable, and no sample of a batch may depend on another.
        x_t: (batch, *event).
        t: (batch,).
        condition: (batch, ...) tensors by name.

    Returns:
        E[x_0 | x_t], (batch, *event), detached, and the products.

    Raises:
        ValueError: if the answer has another shape than the state, or cannot be differentiated.
    """
    with torch.enable_grad():
        x_t = x_t.detach().requires_grad_()
        mean: Tensor = denoiser(x_t, t, **condition).mean
    if mean.shape != x_t.shape:
        raise ValueError(
            f"the denoiser answered {tuple(mean.shape)} to a state of {tuple(x_t.shape)}; its posterior "
            "mean must have the state's shape"
        )
    if not mean.requires_grad:
        raise ValueError(
            "the denoiser's answer cannot be differentiated by its state, which a likelihood needs; "
            "remove no_grad or detach from its forward"
        )

    def product(v: Tensor) -> Tensor:
        outputs = v.to(mean.dtype).reshape(len(v), *mean.shape)
        try:
            (rows,) = torch.autograd.grad(mean, x_t, outputs, retain_graph=True, is_grads_batched=True)
        except (RuntimeError, NotImplementedError):
            rows = torch.stack([torch.autograd.grad(mean, x_t, row, retain_graph=True)[0] for row in outputs])
        return rows.reshape(v.shape)

    return mean.detach(), product


def _quadratic(v: Tensor, product: Product) -> Tensor:
    """v^T J v of each vector (k, batch, d), (batch, k) float64."""
    return (v.double() * product(v).double()).sum(2).T


def _signs(count: int, size: int, *, seed: int, index: Tensor, step: int = 0) -> Tensor:
    """Random signs, (count, batch, d) float64."""
    u = noise.uniform((count, size), seed=seed, index=index, stream=noise.Stream.PROBE, step=step)
    return torch.where(u < 0.5, -1.0, 1.0).double().transpose(0, 1)


def _normal(count: int, size: int, *, seed: int, index: Tensor) -> Tensor:
    """Standard normal numbers, (count, batch, d) float64."""
    stream = noise.Stream.PROBE
    z = noise.normal((count, size), seed=seed, index=index, stream=stream, dtype=torch.float64)
    return z.transpose(0, 1)


def _at_least_one(what: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"the {what} is at least 1, got {value}")
