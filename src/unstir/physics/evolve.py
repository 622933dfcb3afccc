"""Spreading with reactions: du/dt = A u + source + r(u), from u_0 to any later times.

Without a reaction the answer is exact. With one, a method is chosen, its steps follow a tolerance, and the
result says what was done, why, and how far off it may be.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unstir.generators import Generator
from unstir.physics.etdrk import HasModes, etdrk4, has_functions
from unstir.physics.explicit import Explicit
from unstir.physics.imex import imex
from unstir.physics.splitting import Reaction, exact_flow, strang
from unstir.physics.stepping import Progress, Step, Tally, adaptive_steps, equal_steps, segments
from unstir.physics.transport import Transport

METHODS = ("auto", "exact", "strang", "etdrk4", "imex", "explicit")
_PARTS = 1000
_SHARE = 0.8
"""Of the longest stable Euler step; the reaction's own decay needs some room."""
_ORDERS = {"strang": 2, "etdrk4": 4, "imex": 2}


@dataclass(frozen=True)
class Evolution:
    """A state that was carried forward.

    Attributes:
        u: (..., *shape), or (T, ..., *shape) for several times; with species the first axis (after T).
        t: the time or times, float64.
        method: exact, strang, etdrk4, imex or explicit.
        error: estimate of the accumulated error, the sum of the steps' local errors relative to the largest
            |u| of each species; how the equation amplifies or damps them is not in it.
        steps: number of time steps; 0 for exact.
        why: one sentence on the choice of the method.
    """

    u: Tensor
    t: Tensor
    method: str
    error: float
    steps: int
    why: str


def evolve(
    u_0: Tensor,
    t: Tensor | float | Sequence[float],
    generator: Generator | Sequence[Generator],
    reaction: Reaction | None = None,
    *,
    tolerance: float = 1e-6,
    method: str = "auto",
    steps: int | None = None,
    progress: Progress | None = None,
) -> Evolution:
    r"""Solve :math:`\partial_t u = A u + b + r(u)` with A and b from a generator.

    Methods: ``exact`` is the exponential of the generator, without reaction. ``strang`` splits into exact
    spreading and reaction, order 2; it keeps densities positive, tails included. ``etdrk4`` treats the
    spreading exactly and the reaction by Runge-Kutta, order 4, for smooth states. ``imex`` needs only linear
    solves, order 2. ``explicit`` takes Euler steps, order 1, limited to D dt sum(1/dx^2) <= 1/2.

    With ``steps`` the result for a sample does not depend on the others of its batch; adaptive steps are
    shared by the whole batch. Differentiable in u_0 and, except for ``explicit``, in what the generator was
    built from.

    Args:
        u_0: (..., *shape); with several species (species, ..., *shape). Its type and device are kept.
        t: a time of at least 0, or increasing times (T,).
        generator: one for all of u, or a tuple with one for each species.
        reaction: u -> du/dt of the same shape; one that also has ``flow(u, dt)``, the exact solution of
            du/dt = r(u), is split exactly.
        tolerance: accepted ``error`` at the end, relative; above 0. Ignored with ``steps``.
        method: one of the above, or auto, which chooses and says why.
        steps: equal steps over the whole time instead of adaptive ones.
        progress: is told (done, total), in steps or in thousandths of the time.

    Raises:
        ValueError: for shapes, times, tolerances or methods that cannot be; for unstable explicit steps,
            with the largest stable one.
        FloatingPointError: if the state stops being finite, with the step and the time.
    """
    transport = Transport(generator)
    u = transport.checked(u_0)
    times = _times(t)
    if not 0.0 < tolerance < math.inf:
        raise ValueError(f"a tolerance is a number above 0, got {tolerance}")
    if steps is not None and (steps < 1 or int(steps) != steps):
        raise ValueError(f"steps is a whole number of at least 1, got {steps}")
    if reaction is None:
        return _exact(transport, u, times, method, tolerance, progress)
    if reaction(u.detach()).shape != u.shape:
        raise ValueError(
            f"a reaction returns du/dt of u's shape {tuple(u.shape)}, got {tuple(reaction(u.detach()).shape)}"
        )
    method, why = choose(transport, u, float(times.max()), reaction, tolerance, method, steps)
    tally = Tally()
    states = (
        _explicit(transport, u, times, reaction, steps, tally, progress)
        if method == "explicit"
        else _implicit(transport, u, times, reaction, method, tolerance, steps, tally, progress)
    )
    result = torch.stack(states) if times.ndim else states[0]
    if method == "explicit":
        why = f"{why}; steps of {tally.dt:.4g} with {tally.how}"
    return Evolution(result, times, method, tally.error, tally.steps, why)


def choose(
    transport: Transport,
    u: Tensor,
    t: float,
    reaction: Reaction,
    tolerance: float,
    method: str = "auto",
    steps: int | None = None,
) -> tuple[str, str]:
    """The method for a problem and one sentence on why; what was asked for is checked.

    Raises:
        ValueError: for an unknown method, or one that the generator does not allow.
    """
    if method not in METHODS:
        raise ValueError(f"a method is one of {', '.join(METHODS)}, got {method!r}")
    if method == "exact":
        raise ValueError("with a reaction nothing is exact in general; leave the method to auto")
    functions = all(has_functions(g) for g in transport.generators)
    if method == "etdrk4" and not functions:
        raise ValueError(
            "etdrk4 needs functions of the generator, but this one has a circulation (complex eigenvalues); "
            "use strang or imex"
        )
    if method != "auto":
        return method, "as asked"
    if exact_flow(reaction) is not None:
        return "strang", "the reaction has an exact flow, and splitting keeps tails positive"
    if steps is None and _euler_is_enough(transport, u, t, reaction, tolerance):
        return "explicit", "the longest stable Euler step is already within the tolerance"
    if functions and all(isinstance(g, HasModes) for g in transport.generators):
        return "etdrk4", "the generator has an eigenbasis, in which spreading is exact and order 4 is cheap"
    return "strang", "the generator has no eigenbasis at hand, and splitting needs only its exponential"


def _euler_is_enough(transport: Transport, u: Tensor, t: float, reaction: Reaction, tolerance: float) -> bool:
    """Whether Euler's error from the start's curvature stays within the tolerance at the stability limit."""
    if any(getattr(g, "spectral", False) for g in transport.generators) or transport.rate == 0.0:
        return False
    pilot = Explicit(transport, reaction, u.detach(), 1)
    dt = min(_SHARE / transport.rate, t)
    return dt > 0 and pilot.local_error(u, dt) * t / dt <= tolerance


def _times(t: Tensor | float | Sequence[float]) -> Tensor:
    times = torch.as_tensor(t, dtype=torch.float64).detach().cpu()
    if times.ndim > 1 or times.numel() == 0 or not bool((torch.isfinite(times) & (times >= 0)).all()):
        raise ValueError("evolve takes a finite time of at least 0, or increasing times (T,)")
    if times.ndim and bool((times.diff() < 0).any()):
        raise ValueError("the times of evolve are increasing")
    return times


def _exact(
    transport: Transport, u: Tensor, times: Tensor, method: str, tolerance: float, progress: Progress | None
) -> Evolution:
    if method not in ("auto", "exact"):
        if method not in METHODS:
            raise ValueError(f"a method is one of {', '.join(METHODS)}, got {method!r}")
        raise ValueError(f"without a reaction the answer is exact; {method} is for reactions")
    accuracy = min(tolerance, 1e-12)
    states = [transport.exp(float(one), u, tolerance=accuracy) for one in times.reshape(-1)]
    if progress is not None:
        progress(1, 1)
    plans = [g.plan(float(times.max()), tolerance=accuracy) for g in transport.generators]
    why = f"without a reaction the exponential is the answer ({plans[0].engine})"
    result = torch.stack(states) if times.ndim else states[0]
    return Evolution(result, times, "exact", max(plan.error for plan in plans), 0, why)


def _implicit(
    transport: Transport,
    u: Tensor,
    times: Tensor,
    reaction: Reaction,
    method: str,
    tolerance: float,
    steps: int | None,
    tally: Tally,
    progress: Progress | None,
) -> list[Tensor]:
    """The states at the times, by any method that has no stability limit of the generator's."""
    made = _stepper(transport, u, reaction, method, tolerance)
    order, dims = _ORDERS[method], len(transport.shape)
    end = float(times.max())

    def tell_steps() -> None:
        if progress is not None:
            progress(tally.steps, max(steps or 0, tally.steps))

    def tell_time(now: float) -> None:
        if progress is not None:
            progress(round(_PARTS * now / end), _PARTS)

    states = []
    for start, stop, count in segments(times.reshape(-1).tolist(), steps):
        if stop > start and steps is not None:
            u = equal_steps(made, order, u, start, stop, count, tally, dims, tell_steps)
        elif stop > start:
            u = adaptive_steps(made, order, u, start, stop, tolerance / end, tally, dims, tell_time)
        states.append(u)
    return states


def _stepper(transport: Transport, u: Tensor, reaction: Reaction, method: str, tolerance: float) -> Step:
    accuracy = max(1e-3 * tolerance, 1e-14)
    if method == "imex":
        return imex(transport, reaction)
    if method == "etdrk4":
        return etdrk4(transport, reaction, accuracy)
    spectral = any(getattr(g, "spectral", False) for g in transport.generators)
    positive = not spectral and bool((u.detach() >= 0).all())
    return strang(transport, reaction, accuracy, positive)


def _explicit(
    transport: Transport,
    u: Tensor,
    times: Tensor,
    reaction: Reaction,
    steps: int | None,
    tally: Tally,
    progress: Progress | None,
) -> list[Tensor]:
    end = float(times.max())
    total = steps if steps is not None else max(1, math.ceil(end * transport.rate / _SHARE))
    euler = Explicit(transport, reaction, u, total)
    euler.check(end, end / total)

    def tell(count: int) -> None:
        if progress is not None:
            progress(tally.steps, max(total, tally.steps))

    states = []
    for start, stop, count in segments(times.reshape(-1).tolist(), total):
        if stop > start:
            if steps is None:
                count = max(count, math.ceil((stop - start) * transport.rate / _SHARE))
            u = euler.run(u, start, stop, count, tally, tell)
            tally.dt = (stop - start) / count
        states.append(u)
    tally.how = euler.how
    return states
