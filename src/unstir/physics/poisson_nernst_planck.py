"""Ions that move in the field that they make: Poisson, Nernst & Planck on one axis, in time and at rest.

Finite volumes with Scharfetter-Gummel fluxes and implicit Euler steps, all equations solved together by
Newton's method. Whatever the step, concentrations stay positive, mass changes only by what passes the ends,
and the charge of the walls balances that of the ions. Order 2 in the cells, order 1 in the steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unstir.physics.constants import check_positive
from unstir.physics.electrolyte import Array, Electrolyte, Ends, System
from unstir.spaces import Axis

__all__ = ["Electrolyte", "Ends", "Ions", "simulate", "steady"]


@dataclass(frozen=True)
class Ions:
    """Ions and their field over time.

    Attributes:
        t: (T,) s.
        potential: (T, n) at the cells' centres, V.
        concentration: (T, ions, n) mol/m^3.
        wall_charge: (T, 2) charge of the lower and upper wall, C/m^2.
        steps: implicit steps taken.
        iterations: Newton iterations taken.
    """

    t: Tensor
    potential: Tensor
    concentration: Tensor
    wall_charge: Tensor
    steps: int
    iterations: int


def simulate(
    axis: Axis,
    electrolyte: Electrolyte,
    start: Tensor,
    t: Tensor | Sequence[float],
    ends: Ends,
    *,
    fixed_charge: Tensor | float = 0.0,
    tolerance: float = 1e-3,
    steps: int | None = None,
) -> Ions:
    r"""Concentrations and potential at times t.

    .. math::
        \partial_t c_i = \nabla \cdot D_i \left(\nabla c_i + z_i c_i \nabla \phi F / R T\right), \quad
        -\nabla \cdot \epsilon \nabla \phi = F \sum_i z_i c_i + \rho

    Source of the scheme: Scharfetter & Gummel 1969; its positivity, conservation and energy decay for
    implicit steps: Flavell, Machen, Eisenberg, Kabre, Liu & Li 2014.

    Args:
        axis: of any metric; its own boundary conditions are not used.
        electrolyte: the ions.
        start: (ions, n) concentrations at t = 0, at least 0, mol/m^3.
        t: (T,) increasing, at least 0, s.
        ends: potentials and reservoirs, switched on at t = 0.
        fixed_charge: charge density that does not move, (n,) or a number, C/m^3.
        tolerance: local error of a step, relative to the largest change since t = 0; steps adapt to it.
        steps: equal steps between two output times, instead of adapting.

    Raises:
        ValueError: for values out of range or of another shape.
        FloatingPointError: if Newton's method fails even for very small steps.
    """
    times = torch.as_tensor(t, dtype=torch.float64).detach().cpu().numpy().reshape(-1)
    if len(times) == 0 or not times[0] >= 0 or not (np.diff(times) > 0).all():
        raise ValueError("times are a list of increasing numbers of at least 0")
    check_positive(tolerance=tolerance)
    system = System(axis, electrolyte, start, ends, fixed_charge)
    first = system.begin()
    state, rows, now, dt = first, [], 0.0, system.relaxation
    previous: tuple[Array, float] | None = None
    for end in times.tolist():
        equal = (end - now) / steps if steps else math.inf
        while now < end * (1.0 - 1e-14):
            rest = end - now
            step = equal if steps else dt
            if rest < 1.5 * step:
                step = rest
            elif not steps and rest < 2.0 * step:
                step = 0.5 * rest
            new = system.advance(state, step)
            error = 0.0 if steps or previous is None else _error(new, state, first, previous, step)
            dt = step * min(4.0, max(0.2, 0.9 * math.sqrt(tolerance / max(error, 1e-12))))
            if error > 4.0 * tolerance:
                continue
            previous = (new - state, step)
            state, now = new, now + step
        rows.append(state)
    return _result(system, times, rows)


def _error(new: Array, state: Array, first: Array, previous: tuple[Array, float], step: float) -> float:
    """Local error of an implicit Euler step, from what the step before would have predicted."""
    change, before = previous
    miss = float(np.abs(new - state - change * (step / before)).max()) * step / (step + before)
    return miss / max(float(np.abs(new - first).max()), 1e-9)


def steady(
    axis: Axis,
    electrolyte: Electrolyte,
    start: Tensor,
    ends: Ends,
    *,
    fixed_charge: Tensor | float = 0.0,
) -> Ions:
    """The state that no longer changes, reached from ``start`` by ever longer implicit steps.

    With walls that block, the amounts of ``start`` are kept. Arguments and errors as in `simulate`; the
    result has T = 1 and t = infinity.
    """
    system = System(axis, electrolyte, start, ends, fixed_charge)
    state, step = system.begin(), system.relaxation
    while step < 1e6 * system.slowest:
        state = system.advance(state, step)
        step *= 8.0
    if all(held is not None for held in ends.reservoirs):
        state = system.advance(state, math.inf)
    return _result(system, np.array([math.inf]), [state])


def _result(system: System, times: Array, rows: list[Array]) -> Ions:
    states = np.stack(rows)
    return Ions(
        t=torch.from_numpy(np.array(times)),
        potential=torch.from_numpy(system.V * states[:, :, 0]),
        concentration=torch.from_numpy(system.scale * states[:, :, 1:].transpose(0, 2, 1).copy()),
        wall_charge=torch.tensor([system.wall_charge(row) for row in rows], dtype=torch.float64),
        steps=system.steps,
        iterations=system.iterations,
    )
