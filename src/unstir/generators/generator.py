"""The contract of every generator: du/dt = A u + source, solved exactly, and its algebra."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from unstir.generators.faces import Parts

if TYPE_CHECKING:
    from unstir.generators.sparse import Sparse

Function = Callable[[Tensor], Tensor]
"""A function of eigenvalues, tensor -> tensor of the same shape."""


class Plan(NamedTuple):
    """How an exponential will be computed.

    Attributes:
        engine: what does it, in words.
        terms: products with the operator (0 where there is no series).
        error: a bound or estimate of the error, relative to the largest value of u.
    """

    engine: str
    terms: int
    error: float


class Generator(ABC):
    r"""A linear operator A on densities u of shape (..., *shape), with an inhomogeneous ``source`` or None.

    Attributes:
        space: the grid or graph, or None for a bare matrix of rates.
        shape: of one state.
        volumes: of the cells, of ``shape``, float64; the mass of u is the sum of volumes * u.
        source: of ``shape``, or None; what boundary values and fluxes bring in.
        engine: how functions of A are computed.
    """

    space: Any
    shape: tuple[int, ...]
    volumes: Tensor
    source: Tensor | None
    engine: str

    @abstractmethod
    def __call__(self, u: Tensor) -> Tensor:
        """A u + source, (..., *shape)."""

    @abstractmethod
    def _exp(self, times: Tensor, u: Tensor, tolerance: float, positive: bool) -> Tensor:
        """exp(t A) u without source: (T,) and (B, *shape) to (T, B, *shape)."""

    @abstractmethod
    def _function(self, f: Function, u: Tensor, tolerance: float) -> Tensor:
        """f(A) u of (B, *shape)."""

    @abstractmethod
    def parts(self) -> Parts:
        """The same operator as rates between cells."""

    @abstractmethod
    def _scaled(self, factor: Tensor) -> Generator:
        """The generator of the same spreading ``factor`` times as fast."""

    @abstractmethod
    def plan(self, t: float, *, tolerance: float = 1e-12, positive: bool = False) -> Plan:
        """Which engine `exp` uses, how many terms it takes, and the error to expect."""

    def exp(
        self, t: Tensor | float, u: Tensor, *, tolerance: float = 1e-12, positive: bool = False
    ) -> Tensor:
        r"""The state after time t, with no error of time steps.

        .. math:: u(t) = e^{tA} u + \int_0^t e^{(t-s)A} b\, ds

        Differentiable in ``u``, ``t`` and the coefficients that the generator was built from.

        Args:
            t: at least 0, scalar or (T,).
            u: (..., *shape), float32 or float64; on any device.
            tolerance: of series, relative to the largest value of u.
            positive: use the engine whose small entries are right too (densities far in their tails, fronts,
                scores): only sums and products of numbers that are at least 0. Slower.

        Returns:
            (..., *shape) for a scalar t, (T, ..., *shape) for several times.

        Raises:
            ValueError: for a negative or infinite time, or a state of another shape.
        """
        u = self._checked(u)
        times = torch.as_tensor(t, dtype=torch.float64)
        if times.ndim > 1 or not bool((torch.isfinite(times) & (times >= 0)).all()):
            raise ValueError(
                "exp takes finite times of at least 0 (a scalar or (T,)): backward in time small scales grow "
                "without bound; unstir.physics.heat has the regularised inverse"
            )
        batch = u.shape[: u.ndim - len(self.shape)]
        flat = u.reshape(-1, *self.shape)
        many = times.reshape(-1).to(u.device)
        if positive and self.source is not None:
            result = self.sparse()._with_source(many, flat, tolerance)
        else:
            result = self._exp(many, flat, tolerance, positive)
            if self.source is not None:
                result = result + self._from_source(many, tolerance).to(u)[:, None]
        result = result.reshape(len(many), *batch, *self.shape)
        return result if times.ndim else result[0]

    def _from_source(self, times: Tensor, tolerance: float) -> Tensor:
        """t phi_1(tA) source for each time, (T, *shape)."""
        source = self._source()
        return torch.stack(
            [
                t * self._function(partial(_scaled_phi, t.cpu()), source[None], tolerance)[0].to(t)
                for t in times
            ]
        )

    def _source(self) -> Tensor:
        if self.source is None:
            return torch.zeros(self.shape, dtype=torch.float64)
        return self.source

    def function(self, f: Function, u: Tensor, *, tolerance: float = 1e-12) -> Tensor:
        """f(A) u for a generator that is reversible (its eigenvalues are real); the source plays no part.

        Args:
            f: of eigenvalues (real, at most 0 up to round-off), tensor -> tensor, elementwise.
            u: (..., *shape).
            tolerance: of Lanczos and Chebyshev series.

        Raises:
            ValueError: for a generator with circulation, whose eigenvalues are complex.
        """
        u = self._checked(u)
        return self._function(f, u.reshape(-1, *self.shape), tolerance).reshape(u.shape)

    def solve(self, shift: float, u: Tensor) -> Tensor:
        """(shift - A)^-1 (u + source): the steady state under supply u and loss rate ``shift``.

        With shift 0 and a conservative generator, u must integrate to 0 and the answer is the one that does.

        Args:
            shift: at least 0, 1 / time.
            u: (..., *shape).

        Raises:
            ValueError: for a negative shift, or a supply that no steady state can balance.
        """
        u = self._checked(u)
        if not (math.isfinite(shift) and shift >= 0):
            raise ValueError(f"solve takes a shift of at least 0 (the resolvent of a generator), got {shift}")
        flat = u.reshape(-1, *self.shape)
        if self.source is not None:
            flat = flat + self.source.to(u)
        mask = getattr(self.space, "mask", None)
        if mask is not None:  # what is supplied to cells that do not exist is not there
            flat = torch.where(mask.to(u.device), flat, 0.0)
        if shift == 0.0 and self.conservative:
            total = (flat * self.volumes.to(flat)).flatten(1)
            if bool((total.sum(1).abs() > 1e-9 * total.abs().sum(1) + 1e-300).any()):
                raise ValueError(
                    "no steady state: nothing leaves this space, so the supply must integrate to 0 (subtract "
                    "its mean, or give a shift above 0)"
                )
        return self._solve(shift, flat).reshape(u.shape)

    def _solve(self, shift: float, u: Tensor) -> Tensor:
        return self.sparse()._solve(shift, u)

    def power(self, exponent: float) -> Generator:
        r"""Fractional diffusion: :math:`-(-A)^{a}`, 0 < a <= 1, of A = Laplacian the spectral one.

        Source: Bochner subordination, Kwasnicki 2017, definition 2.1 and section 2.3.

        Raises:
            ValueError: for an exponent outside (0, 1], or a generator that is not reversible or has a source.
        """
        from unstir.generators.fractional import Fractional

        return Fractional(self, exponent)

    def stationary(self) -> Tensor:
        """The density that does not change, of ``shape``, with integral 1 where nothing comes in.

        With an inhomogeneous boundary it is the steady state, whatever its integral. Where several densities
        are stationary (a disconnected space), it is the one with the Boltzmann weights of all parts.

        Raises:
            ValueError: if everything leaks away.
        """
        return self.sparse().stationary()

    def reverse(self, p: Tensor) -> Generator:
        r"""The generator of the same process seen backward in time, at the moment when its density is p.

        .. math:: \tilde q(x \to y) = q(y \to x)\, \frac{m_y}{m_x}

        with masses m = volume * p. Source: Kelly 1979, theorem 1.12; Anderson 1982 is its limit on a grid.

        Args:
            p: of ``shape``, above 0.

        Raises:
            ValueError: if p is not positive everywhere, or the generator has a source.
        """
        return self.sparse().reverse(p)

    @property
    def T(self) -> Generator:  # noqa: N802 - the transpose, as everywhere
        """The adjoint with respect to the volumes: the backward Kolmogorov operator on observables."""
        return self.sparse().T

    @property
    def conservative(self) -> bool:
        """Whether the mass of u is kept: no sink, no open boundary."""
        return not self.parts().leaks and self.source is None

    @property
    def reversible(self) -> bool:
        """Whether detailed balance holds, so that the eigenvalues are real."""
        return self.parts().log_scale is not None

    @property
    def rate(self) -> float:
        """The largest exit rate of a cell, 1 / time; explicit steps are stable up to 1 / rate."""
        return float(-self.parts().diagonal.detach().min())

    def matrix(self) -> Tensor:
        """(N, N) sparse COO, float64, acting on flattened densities; the source is separate."""
        p = self.parts()
        n = len(p.diagonal)
        cells = torch.arange(n)
        index = torch.stack([torch.cat([p.rows, cells]), torch.cat([p.cols, cells])])
        values = torch.cat([p.rates, p.diagonal])
        return torch.sparse_coo_tensor(index, values, (n, n), check_invariants=False).coalesce()

    def sparse(self) -> Sparse:
        """The same generator with the engine for any structure."""
        from unstir.generators.sparse import Sparse

        return Sparse(self.parts(), self.shape, self.space)

    def __add__(self, other: Generator) -> Generator:
        from unstir.generators.sparse import added

        return added(self, other)

    def __mul__(self, factor: Tensor | float) -> Generator:
        value = torch.as_tensor(factor, dtype=torch.float64)
        if value.ndim or not bool(torch.isfinite(value)) or float(value.detach()) < 0:
            raise ValueError(f"a generator is scaled by a number of at least 0, got {factor}")
        return self._scaled(value)

    __rmul__ = __mul__

    def _checked(self, u: Tensor) -> Tensor:
        u = torch.as_tensor(u)
        if tuple(u.shape[max(u.ndim - len(self.shape), 0) :]) != self.shape:
            raise ValueError(
                f"a state of this generator ends in the shape {self.shape}, got {tuple(u.shape)}"
            )
        return u if u.is_floating_point() else u.double()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.engine}; {' x '.join(map(str, self.shape))} cells)"


def _scaled_phi(t: Tensor, z: Tensor) -> Tensor:
    return phi_1(t * z)


def scaled_exp(t: Tensor, z: Tensor) -> Tensor:
    """exp(t z) of eigenvalues z."""
    return torch.exp(t.to(z.device) * z)


def phi_1(z: Tensor) -> Tensor:
    """(exp(z) - 1) / z, 1 at z = 0 (Cox & Matthews 2002, eq. 8)."""
    tiny = z.abs() < 1e-8
    safe = torch.where(tiny, torch.ones_like(z), z)
    return torch.where(tiny, 1.0 + 0.5 * z, torch.expm1(safe) / safe)
