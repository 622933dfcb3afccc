r"""Exponential time differencing of order 4: the linear part exact, the reaction by Runge-Kutta.

With N(u) = reaction + source, c = A dt and the functions phi_k,

.. math::
    a &= e^{c/2} u + \tfrac{dt}{2} \varphi_1(c/2) N(u) \\
    b &= e^{c/2} u + dt (\tfrac12 \varphi_1 - \varphi_2)(c/2) N(u) + dt\, \varphi_2(c/2) N(a) \\
    d &= e^{c} u + dt (\varphi_1 - 2 \varphi_2)(c) N(u) + 2 dt\, \varphi_2(c) N(b) \\
    u^+ &= e^{c} u + dt [(\varphi_1 - 3 \varphi_2 + 4 \varphi_3) N(u)
           + (2 \varphi_2 - 4 \varphi_3)(N(a) + N(b)) + (4 \varphi_3 - \varphi_2) N(d)]

Source: Krogstad 2005, eq. 51 (ETD4RK-B, of higher stiff order than Cox & Matthews 2002). Everything but N
happens in the generator's eigenbasis, where functions of A are products.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from unstir.generators import Generator
from unstir.physics.splitting import Reaction
from unstir.physics.stepping import Step
from unstir.physics.transport import Transport

_TERMS = 20


@runtime_checkable
class HasModes(Protocol):
    """A generator that is diagonal in a basis of its own."""

    def spectrum(self) -> Tensor: ...
    def to_modes(self, u: Tensor) -> Tensor: ...
    def from_modes(self, u: Tensor) -> Tensor: ...


def phi(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    r"""phi_1, phi_2, phi_3 of z: :math:`\varphi_k(z) = \sum_j z^j / (j + k)!`, to round-off everywhere.

    By the series for abs(z) <= 1, by the recursion phi_(k+1) = (phi_k - 1/k!) / z beyond, where it loses
    nothing (Cox & Matthews 2002, section 2.1; Hochbruck & Ostermann 2010, eq. 2.11).

    Args:
        z: real or complex, float64.
    """
    near = z.abs() <= 1.0
    small = torch.where(near, z, torch.zeros_like(z))
    far = torch.where(near, torch.ones_like(z), z)
    series = []
    for k in (1, 2, 3):
        total = torch.zeros_like(small)
        for j in range(_TERMS, -1, -1):
            total = total * small / (j + k + 1) + 1.0
        series.append(total / (1.0, 1.0, 2.0, 6.0)[k])
    one = (torch.exp(far) - 1.0) / far
    two = (one - 1.0) / far
    three = (two - 0.5) / far
    a, b, c = (torch.where(near, s, f) for s, f in zip(series, (one, two, three), strict=True))
    return a, b, c


def weights(z: Tensor) -> dict[str, Tensor]:
    """The method's functions of z = dt * eigenvalue (the factor dt is not in them), by name."""
    half_1, half_2, _ = phi(0.5 * z)
    one, two, three = phi(z)
    return {
        "half": torch.exp(0.5 * z),
        "a_u": 0.5 * half_1,
        "b_u": 0.5 * half_1 - half_2,
        "b_a": half_2,
        "whole": torch.exp(z),
        "d_u": one - 2.0 * two,
        "d_b": 2.0 * two,
        "w_u": one - 3.0 * two + 4.0 * three,
        "w_ab": 2.0 * two - 4.0 * three,
        "w_d": 4.0 * three - two,
    }


class _Basis:
    """One generator's eigenbasis, and the method's functions in it for the last few step lengths."""

    def __init__(self, generator: Generator, tolerance: float) -> None:
        self.generator, self.tolerance = generator, tolerance
        self.modal = isinstance(generator, HasModes)
        self.table = lru_cache(maxsize=4)(self._table)

    def _table(self, dt: float, dtype: torch.dtype, device: torch.device) -> dict[str, Tensor]:
        assert isinstance(self.generator, HasModes)
        made = weights(dt * self.generator.spectrum())
        wide = dtype == torch.float64
        real, complex_ = (torch.float64, torch.complex128) if wide else (torch.float32, torch.complex64)
        return {k: v.to(device, complex_ if v.is_complex() else real) for k, v in made.items()}

    def to(self, u: Tensor) -> Tensor:
        return self.generator.to_modes(u) if isinstance(self.generator, HasModes) else u

    def back(self, c: Tensor, u: Tensor) -> Tensor:
        return self.generator.from_modes(c).to(u.dtype) if isinstance(self.generator, HasModes) else c

    def times(self, name: str, dt: float, c: Tensor, u: Tensor) -> Tensor:
        """The function ``name`` of dt A, applied to coefficients c."""
        if self.modal:
            return self.table(dt, u.dtype, u.device)[name] * c
        return self.generator.function(lambda z: weights(dt * z)[name], c, tolerance=self.tolerance)


class _Bases:
    """The bases of all species; coefficients are a list with one entry for each."""

    def __init__(self, transport: Transport, tolerance: float) -> None:
        self.several = transport.several
        self.bases = [_Basis(g, tolerance) for g in transport.generators]

    def to(self, u: Tensor) -> list[Tensor]:
        return [basis.to(part) for basis, part in zip(self.bases, self._parts(u), strict=True)]

    def back(self, c: list[Tensor], u: Tensor) -> Tensor:
        made = [b.back(x, part) for b, x, part in zip(self.bases, c, self._parts(u), strict=True)]
        return torch.stack(made) if self.several else made[0]

    def sum(self, dt: float, u: Tensor, terms: dict[str, list[Tensor]]) -> list[Tensor]:
        """Sum over the terms of function(dt A) coefficients, each species in its basis."""
        result = []
        for k, (basis, part) in enumerate(zip(self.bases, self._parts(u), strict=True)):
            parts = [basis.times(name, dt, c[k], part) for name, c in terms.items()]
            result.append(sum(parts[1:], start=parts[0]))
        return result

    def _parts(self, u: Tensor) -> tuple[Tensor, ...]:
        return u.unbind(0) if self.several else (u,)


def etdrk4(transport: Transport, reaction: Reaction, tolerance: float) -> Step:
    """The method as a step.

    Args:
        transport: reversible generators, or transforms; see `has_functions`.
        reaction: du/dt.
        tolerance: of functions of generators without an eigenbasis, relative.
    """
    bases = _Bases(transport, tolerance)
    full = _forcing(transport, reaction)

    def step(u: Tensor, dt: float) -> Tensor:
        def force(c: list[Tensor]) -> list[Tensor]:
            return bases.to(dt * full(bases.back(c, u)))

        v = bases.to(u)
        n_u = bases.to(dt * full(u))
        n_a = force(bases.sum(dt, u, {"half": v, "a_u": n_u}))
        n_b = force(bases.sum(dt, u, {"half": v, "b_u": n_u, "b_a": n_a}))
        n_d = force(bases.sum(dt, u, {"whole": v, "d_u": n_u, "d_b": n_b}))
        both = [x + y for x, y in zip(n_a, n_b, strict=True)]
        new = bases.sum(dt, u, {"whole": v, "w_u": n_u, "w_ab": both, "w_d": n_d})
        return bases.back(new, u)

    return step


def _forcing(transport: Transport, reaction: Reaction) -> Callable[[Tensor], Tensor]:
    """Reaction and sources."""
    if all(g.source is None for g in transport.generators):
        return reaction

    def full(u: Tensor) -> Tensor:
        return reaction(u) + transport.each(_source, torch.zeros_like(u))

    return full


def _source(generator: Generator, zero: Tensor) -> Tensor:
    return zero if generator.source is None else zero + generator.source.to(zero)


def has_functions(generator: Generator) -> bool:
    """Whether functions of the generator are defined: its eigenvalues are real, or it is a transform."""
    return (isinstance(generator, HasModes) and _diagonal(generator)) or generator.reversible


def _diagonal(generator: Generator) -> bool:
    factors = getattr(generator, "factors", ())
    return all(factor.log_scale is not None for factor in factors)
