"""An electrolyte on an axis as discrete equations: ions, what holds at the ends, and one implicit step.

Used by `unstir.physics.poisson_nernst_planck`, which runs it in time and to rest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.physics.constants import (
    FARADAY,
    ROOM,
    check_not_negative,
    check_positive,
    check_valence,
    float64,
    thermal_voltage,
)
from unstir.physics.double_layer import WATER
from unstir.physics.newton import Banded, sharp_bernoulli
from unstir.spaces import Axis, Flux, Value
from unstir.spaces.boundary import Boundary

Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Electrolyte:
    """The ions and what they swim in.

    Attributes:
        valences: charge numbers, one for each ion, not 0.
        D: diffusivities, one for each ion, above 0, m^2/s.
        permittivity: F/m.
        temperature: K.

    Raises:
        ValueError: for a value out of range, or lists of different lengths.
    """

    valences: tuple[int, ...]
    D: tuple[float, ...]
    permittivity: float = WATER
    temperature: float = ROOM

    def __post_init__(self) -> None:
        if not self.valences or len(self.valences) != len(self.D):
            raise ValueError(
                f"each ion has a valence and a diffusivity, got {len(self.valences)} valences and "
                f"{len(self.D)} of D"
            )
        for z in self.valences:
            check_valence(z)
        check_positive(D=torch.tensor(self.D), permittivity=self.permittivity)
        thermal_voltage(self.temperature)


@dataclass(frozen=True)
class Ends:
    """What holds at the two ends of the axis.

    Attributes:
        potential: (lower, upper), each `Value` in V or `Flux` for a wall's charge in C/m^2; one is a `Value`.
        reservoirs: (lower, upper), each None for a wall that blocks the ions, or the concentrations kept
            there, one for each ion, mol/m^3.

    Raises:
        ValueError: for two walls of given charge (the potential would be free), or other boundaries.
    """

    potential: tuple[Boundary, Boundary]
    reservoirs: tuple[tuple[float, ...] | None, tuple[float, ...] | None] = (None, None)

    def __post_init__(self) -> None:
        if not all(isinstance(end, Value | Flux) for end in self.potential):
            raise ValueError("the potential at an end is Value(volts) or Flux(charge of the wall in C/m^2)")
        if not any(isinstance(end, Value) for end in self.potential):
            raise ValueError("the potential needs a reference: give Value(volts) at one of the ends")


class System:
    """The discrete equations. A state is (n, 1 + ions): the potential in R T / F, then c over a scale."""

    def __init__(
        self, axis: Axis, electrolyte: Electrolyte, start: Tensor, ends: Ends, fixed_charge: Tensor | float
    ) -> None:
        n, S = axis.cells, len(electrolyte.valences)
        start = float64(start).detach().cpu()
        if tuple(start.shape) != (S, n):
            raise ValueError(
                f"the start has shape ({S}, {n}), one row for each ion, got {tuple(start.shape)}"
            )
        check_not_negative(start=start)
        if axis.periodic:
            raise ValueError("the axis of an electrolyte has two ends; it cannot be periodic")
        held = [c for end in ends.reservoirs if end is not None for c in end]
        for end in ends.reservoirs:
            if end is not None:
                if len(end) != S:
                    raise ValueError(
                        f"a reservoir has one concentration for each of {S} ions, got {len(end)}"
                    )
                check_not_negative(reservoir=torch.tensor(end))
        self.scale = max([float(start.max()), *held])
        check_positive(largest_concentration=self.scale)
        self.start = start.numpy().T / self.scale
        self.z = np.array(electrolyte.valences, dtype=np.float64)
        self.D = np.array(electrolyte.D)
        self.V = thermal_voltage(electrolyte.temperature)
        self.ends = ends
        self.volumes, self.areas = axis.volumes.numpy(), axis.areas.numpy()
        widths = axis.widths.numpy()
        self.gap = np.concatenate([[widths[0] / 2], (widths[1:] + widths[:-1]) / 2, [widths[-1] / 2]])
        self.g = self.areas / self.gap
        square = electrolyte.permittivity * self.V / (FARADAY * self.scale)
        self.square, self.permittivity = square, electrolyte.permittivity
        self.fixed = np.broadcast_to(float64(fixed_charge).numpy() / (FARADAY * self.scale), (n,))
        self.relaxation = 0.1 * min(square, float(widths.min()) ** 2) / float(self.D.max())
        self.slowest = axis.length**2 / float(self.D.min())
        self.banded = Banded(n, S + 1)
        self.steps = self.iterations = 0

    def begin(self) -> Array:
        """The start with the potential that belongs to it."""
        state = np.concatenate([np.zeros((len(self.start), 1)), self.start], 1)
        return self._newton(state, state, 0.0)

    def advance(self, state: Array, step: float, depth: int = 0) -> Array:
        """One implicit step, or two of half the length where Newton's method fails."""
        try:
            new = self._newton(state, state, step)
        except FloatingPointError:
            if depth >= 20 or not math.isfinite(step):
                raise
            half = self.advance(state, 0.5 * step, depth + 1)
            return self.advance(half, 0.5 * step, depth + 1)
        self.steps += 1
        return new

    def _newton(self, old: Array, guess: Array, step: float) -> Array:
        state = guess
        for _ in range(60):
            self.iterations += 1
            residual, lower, middle, upper = self._equations(state, old, step)
            change = self.banded.solve(lower, middle, upper, -residual)
            if not np.isfinite(change).all():
                break
            # The field enters exponentially: more than a few R T / F at once overshoot.
            size = float(np.abs(change[:, 0]).max())
            share = min(1.0, 3.0 / max(size, 1e-300)) if step else 1.0
            new = state + share * change
            if (
                share == 1.0
                and float(np.abs(change).max()) < 1e-9 * max(1.0, float(np.abs(new).max()))
                and (new[:, 1:] >= 0).all()
            ):
                return new
            new[:, 1:] = np.maximum(new[:, 1:], 0.01 * state[:, 1:])
            state = new
        raise FloatingPointError(
            "Newton's method found no solution for the ions and their field; start nearer to it or refine "
            "the axis"
        )

    def _equations(self, state: Array, old: Array, step: float) -> tuple[Array, Array, Array, Array]:
        """Residuals (n, m), and derivatives (n, m, m) by the cell before, the cell itself and the next."""
        n, m = state.shape
        psi, c = state[:, 0], state[:, 1:]
        r = np.zeros((n, m))
        lower, middle, upper = np.zeros((n, m, m)), np.zeros((n, m, m)), np.zeros((n, m, m))
        # Poisson: displacement in minus out plus charge.
        k = self.square * self.g[1:-1]
        out = k * np.diff(psi)
        r[:-1, 0] += out
        r[1:, 0] -= out
        r[:, 0] += self.volumes * (c @ self.z + self.fixed)
        middle[:-1, 0, 0] -= k
        middle[1:, 0, 0] -= k
        upper[:-1, 0, 0] += k
        lower[1:, 0, 0] += k
        middle[:, 0, 1:] += self.volumes[:, None] * self.z
        if step == 0.0:
            r[:, 1:], rate = c - old[:, 1:], 1.0
            middle[:, 1:, 1:] += np.eye(m - 1)
        else:
            rate = 1.0 / step
            r[:, 1:] = self.volumes[:, None] * (c - old[:, 1:]) * rate
            middle[:, 1:, 1:] += (self.volumes * rate)[:, None, None] * np.eye(m - 1)
        for s in range(m - 1) if step else ():
            z, i = self.z[s], s + 1
            g = self.D[s] * self.g[1:-1]
            q = z * (psi[:-1] - psi[1:])
            (up, d_up), (down, d_down) = sharp_bernoulli(-q), sharp_bernoulli(q)
            flux = g * (up * c[:-1, s] - down * c[1:, s])
            slope = z * g * (-d_up * c[:-1, s] - d_down * c[1:, s])
            r[:-1, i] += flux
            r[1:, i] -= flux
            middle[:-1, i, i] += g * up
            middle[1:, i, i] += g * down
            upper[:-1, i, i] -= g * down
            lower[1:, i, i] -= g * up
            middle[:-1, i, 0] += slope
            middle[1:, i, 0] += slope
            upper[:-1, i, 0] -= slope
            lower[1:, i, 0] -= slope
        self._at_ends(state, step, r, middle)
        return r, lower, middle, upper

    def _at_ends(self, state: Array, step: float, r: Array, middle: Array) -> None:
        for side, cell in ((0, 0), (1, -1)):
            psi, face = state[cell, 0], -side
            end, k = self.ends.potential[side], self.square * self.g[face]
            if isinstance(end, Value):
                drop = end.value / self.V - psi
                r[cell, 0] += k * drop
                middle[cell, 0, 0] -= k
            else:
                assert isinstance(end, Flux)
                drop = end.flux * self.gap[face] / (self.permittivity * self.V)
                r[cell, 0] += k * drop
            held = self.ends.reservoirs[side]
            if held is None or step == 0.0:
                continue
            for s, z in enumerate(self.z):
                g, q = self.D[s] * self.g[face], np.array([z * drop])
                (up, d_up), (down, d_down) = sharp_bernoulli(-q), sharp_bernoulli(q)
                outside, inside = held[s] / self.scale, state[cell, s + 1]
                r[cell, s + 1] -= g * (up[0] * outside - down[0] * inside)
                middle[cell, s + 1, s + 1] += g * down[0]
                if isinstance(end, Value):
                    middle[cell, s + 1, 0] += z * g * (-d_up[0] * outside - d_down[0] * inside)

    def wall_charge(self, state: Array) -> list[float]:
        charges = []
        for side, cell in ((0, 0), (1, -1)):
            end = self.ends.potential[side]
            if isinstance(end, Value):
                field = (end.value - self.V * state[cell, 0]) / self.gap[-side]
                charges.append(float(self.permittivity * field))
            else:
                assert isinstance(end, Flux)
                charges.append(end.flux)
        return charges
