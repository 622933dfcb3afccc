"""Schedules that blur while they add noise: heat flow on a grid of cells, and on a graph."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from unstir.processes.modes import Blurring, Spectrum
from unstir.processes.schedule import VP, Schedule

Rows = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Heat(Blurring):
    r"""Blurring diffusion: heat flows between the cells of an array while noise comes in.

    The modes are those of the heat equation between insulated walls, cosines (DCT-II, orthonormal), with
    the eigenvalues of the continuous operator on a domain whose longest side is 1:

    .. math:: \lambda_k = \pi^2 \sum_a (k_a L / n_a)^2,\qquad L = \max_a n_a

    so an array of finer cells blurs alike. Channels do not mix. Source: Hoogeboom & Salimans 2022, eq. 10 and
    15 and appendix A (their blur of 20 pixels of 32 is 0.625).

    Args:
        base: the noise and the fading common to all modes; any schedule that does not blur.
        blur: deviation of the heat kernel at t = 1, in units of the longest side, at least 0.
        d_min: share that no blur takes away, 0 to 1; 1 is the base alone. Above 0, as in the source, high
            modes stay visible to a network at levels of noise that let them through.
        channels: whether the first axis of events of two or more axes counts channels, not cells.

    Raises:
        ValueError: for a parameter out of its range, or a base that blurs itself.
    """

    base: Schedule = field(default_factory=VP)
    blur: float = 0.5
    d_min: float = 0.001
    channels: bool = True

    def __post_init__(self) -> None:
        check_blur(self)

    def spectrum(self, event: tuple[int, ...]) -> Spectrum:
        sizes = event[1:] if self.channels and len(event) > 1 else event
        if not sizes:
            raise ValueError("heat flows between the entries of an event; these events are single numbers")
        rates = torch.zeros((), dtype=torch.float64)
        bases = []
        for number, size in enumerate(reversed(sizes)):
            k = torch.arange(size, dtype=torch.float64) * (max(sizes) / size)
            rates = rates + (math.pi * k.reshape(-1, *[1] * number)) ** 2
            bases.append((-1 - number, cosines(size)))
        return Spectrum(tuple(bases), rates)


@dataclass(frozen=True)
class HeatOnGraph(Blurring):
    r"""Heat flow along the edges of a graph, or in any orthonormal basis with rates of decay.

    The nodes are the last axis of the event; axes before it are channels. `from_laplacian` makes one from a
    matrix.

    Args:
        rates: (n,) eigenvalues of the Laplacian, at least 0, in units of 1 / time.
        basis: (n, n) orthonormal eigenvectors: row i holds the entries of node i in all of them.
        base: the noise and the fading common to all modes; any schedule that does not blur.
        blur: so that heat has flowed for the time blur^2 / 2 at t = 1, at least 0.
        d_min: share that no blur takes away, 0 to 1.

    Raises:
        ValueError: for shapes that do not match, a basis that is not orthonormal (to 1e-8), a negative rate,
            or a parameter as in `Heat`.
    """

    rates: tuple[float, ...]
    basis: Rows
    base: Schedule = field(default_factory=VP)
    blur: float = 2.0
    d_min: float = 0.001

    def __post_init__(self) -> None:
        check_blur(self)
        n = len(self.rates)
        if n == 0 or len(self.basis) != n or any(len(row) != n for row in self.basis):
            raise ValueError(f"a basis for {n} rates has {n} rows of {n} entries, at least one")
        if not all(0 <= rate < math.inf for rate in self.rates):
            raise ValueError("the rates at which modes fade are finite and at least 0")
        u = self._matrix
        if not bool(((u.mT @ u - torch.eye(n, dtype=torch.float64)).abs() < 1e-8).all()):
            raise ValueError("the basis is not orthonormal; take the eigenvectors of a symmetric matrix")

    @classmethod
    def from_laplacian(
        cls, laplacian: Tensor, base: Schedule | None = None, blur: float = 2.0, d_min: float = 0.001
    ) -> HeatOnGraph:
        """The schedule of a graph's Laplacian.

        Args:
            laplacian: (n, n) symmetric and positive semidefinite: degrees less weights, or minus the matrix
                of a symmetric generator.
            base: as in the class, like the rest; by default VP().
            blur: see there.
            d_min: see there.

        Raises:
            ValueError: for a matrix that is not symmetric or has a negative eigenvalue.
        """
        matrix = laplacian.detach().double().cpu()
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise ValueError(f"a Laplacian is a square matrix, got shape {tuple(matrix.shape)}")
        size = float(matrix.abs().max())
        if float((matrix - matrix.mT).abs().max()) > 1e-10 * size:
            raise ValueError("the Laplacian is not symmetric; only undirected graphs have orthonormal modes")
        rates, basis = torch.linalg.eigh(matrix)
        if float(rates.min()) < -1e-10 * size:
            raise ValueError(
                f"the Laplacian has a negative eigenvalue, {float(rates.min()):.3g}; it is degrees less "
                "weights, or minus the matrix of a generator"
            )
        # Round-off would let the constant fade a little.
        rates = torch.where(rates < 1e-10 * size, 0.0, rates)
        rows = tuple(map(tuple, basis.tolist()))
        return cls(tuple(rates.tolist()), rows, VP() if base is None else base, blur, d_min)

    @cached_property
    def _matrix(self) -> Tensor:
        return torch.tensor(self.basis, dtype=torch.float64)

    @cached_property
    def _hash(self) -> int:
        return hash((self.rates, self.basis, self.base, self.blur, self.d_min))

    def __hash__(self) -> int:
        return self._hash

    def spectrum(self, event: tuple[int, ...]) -> Spectrum:
        if not event or event[-1] != len(self.rates):
            raise ValueError(
                f"this schedule is of a graph of {len(self.rates)} nodes, the last axis of an event; got "
                f"events of shape {event}"
            )
        return Spectrum(((-1, self._matrix),), torch.tensor(self.rates, dtype=torch.float64))


def cosines(n: int) -> Tensor:
    r"""The orthonormal DCT-II as a matrix, (n, n) float64: mode k in column k.

    .. math:: U_{jk} = \sqrt{(2 - \delta_{k0}) / n}\, \cos(\pi k (j + 1/2) / n)

    Source: Strang 1999, "The discrete cosine transform", section 2.
    """
    j = torch.arange(n, dtype=torch.float64)
    # The angle modulo its period, so that the cosine of a large one is as exact as that of a small one.
    turns = ((2.0 * j[:, None] + 1.0) * j) % (4 * n)
    matrix = torch.cos(math.pi / (2 * n) * turns) * math.sqrt(2.0 / n)
    matrix[:, 0] = math.sqrt(1.0 / n)
    return matrix


def check_blur(schedule: Blurring) -> None:
    """Check what blurring schedules have in common.

    Raises:
        ValueError: for a base that blurs itself, a negative blur, or a d_min outside [0, 1].
    """
    if not isinstance(schedule.base, Schedule) or isinstance(schedule.base, Blurring):
        raise ValueError(
            "the base of a blurring schedule is a schedule that does not blur, such as vp, got "
            f"{type(schedule.base).__name__}"
        )
    if not 0 <= schedule.blur < math.inf:
        raise ValueError(f"the blur is a finite length of at least 0, got {schedule.blur}")
    if not 0 <= schedule.d_min <= 1:
        raise ValueError(f"d_min, the share that no blur takes away, lies in [0, 1], got {schedule.d_min}")
