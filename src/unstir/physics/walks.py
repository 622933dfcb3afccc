"""Random walks on a lattice, the explicit scheme whose steps they are, and diffusivities from tracks.

A walker who steps left or right with probability r each and else stays has exactly the distribution that
forward time, centred space (FTCS) computes with D dt / dx^2 = r: the scheme is the walk.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unstir import noise
from unstir.physics.binomial import binomial
from unstir.spaces import Absorb, Grid, Reflect
from unstir.spaces.axis import Axis

_BLOCK = 64


def lattice_walk(
    walkers: int,
    steps: int,
    *,
    dimensions: int = 1,
    stay: float = 0.0,
    path: bool = False,
    seed: int = 0,
    first_index: int = 0,
) -> Tensor:
    """Walkers on the lattice of whole numbers who step to a neighbour or stay.

    Source: Pearson 1905; Berg 1993, "Random walks in biology", chapter 1.

    Args:
        walkers: how many.
        steps: how often.
        dimensions: d >= 1; one coordinate changes in a step, by one up or down, each with probability
            (1 - stay) / 2d.
        stay: probability of not moving, 0 to 1.
        path: return the positions after every step.
        seed: walker i of a seed walks the same way in any company.
        first_index: number of the first walker within the seed.

    Returns:
        (walkers, d) int64, the place after ``steps`` from the origin; with ``path`` (steps + 1, walkers, d).

    Raises:
        ValueError: for a number out of range.
    """
    if walkers < 0 or steps < 0 or dimensions < 1 or not 0.0 <= stay <= 1.0:
        raise ValueError(
            "a lattice walk has walkers and steps of at least 0, at least 1 dimension and a probability of "
            f"staying from 0 to 1, got {walkers}, {steps}, {dimensions} and {stay}"
        )
    index = torch.arange(first_index, first_index + walkers)
    place = torch.zeros(walkers, dimensions, dtype=torch.int64)
    places = [place[None]]
    for block in range(-(-steps // _BLOCK)):
        u = noise.uniform((_BLOCK,), seed=seed, index=index, stream=noise.Stream.WALK, step=block)
        u = u[:, : min(_BLOCK, steps - block * _BLOCK)]
        moves = u < 1.0 - stay
        choice = (u / max(1.0 - stay, 1e-300) * 2 * dimensions).long().clamp(max=2 * dimensions - 1)
        change = torch.where(moves, 1 - 2 * (choice % 2), 0)
        jumps = change.T[..., None] * torch.nn.functional.one_hot((choice // 2).T, dimensions)
        places.append(places[-1][-1] + jumps.cumsum(0))
        if not path:
            del places[0]
    return torch.cat(places) if path else places[-1][-1]


def walk_distribution(steps: int, *, stay: float = 0.0) -> Tensor:
    r"""Where a walker in one dimension is after n steps, in closed form.

    .. math:: P(x) = \sum_m \binom{n}{m} q^{n-m} (1-q)^m \binom{m}{(m+x)/2} 2^{-m}

    over the numbers m of moves of the parity of x; q is the probability of staying.

    Source: Feller 1968, "An introduction to probability theory", volume 1, eq. III.2.2, mixed over m.

    Args:
        steps: n >= 0.
        stay: q, 0 to 1.

    Returns:
        (2 n + 1,) float64 probabilities of the sites -n to n.

    Raises:
        ValueError: for a number out of range.
    """
    if steps < 0 or not 0.0 <= stay <= 1.0:
        raise ValueError(
            f"a walk has at least 0 steps and stays with probability 0 to 1, got {steps} and {stay}"
        )
    moves = torch.arange(steps + 1, dtype=torch.float64)[:, None]
    up = 0.5 * (moves + torch.arange(-steps, steps + 1))
    placed = torch.where(up == up.floor(), binomial(up, moves, 0.5), 0.0)
    return (binomial(moves, moves[-1:], 1.0 - stay) * placed).sum(0)


def stability_number(space: Grid, D: float, dt: float) -> float:
    r"""D dt sum_k 1 / dx_k^2, which must be at most 1/2 for explicit steps.

    Source: Courant, Friedrichs & Lewy 1928; Morton & Mayers 2005, "Numerical solution of partial
    differential equations", chapter 2 and section 3.1.

    Args:
        space: a grid with uniform axes, widths dx_k.
        D: diffusivity, length^2 / time, at least 0.
        dt: time of one step, at least 0.

    Raises:
        ValueError: for axes that are not uniform, a mask or walls, or a negative number.
    """
    if not all(axis.uniform for axis in space.axes) or space.mask is not None or space.walls:
        raise ValueError("FTCS needs uniform cartesian axes without a mask or walls; evolve takes any grid")
    if not (D >= 0 and dt >= 0):
        raise ValueError(f"diffusivity and time step are at least 0, got {D} and {dt}")
    return D * dt * sum(1.0 / float(axis.widths[0]) ** 2 for axis in space.axes)


def ftcs(
    u: Tensor,
    space: Grid,
    D: float,
    dt: float,
    steps: int = 1,
    *,
    unsafe: bool = False,
    path: bool = False,
) -> Tensor:
    r"""Forward time, centred space: the explicit scheme for du/dt = D lap u, second order in dx, first in dt.

    .. math:: u_i^{n+1} = u_i^n + r (u_{i-1}^n - 2 u_i^n + u_{i+1}^n), \quad r = D\,\Delta t / \Delta x^2

    along each axis. At r = 1/6 in one dimension the leading errors of space and time cancel (order four).

    Source: Richtmyer & Morton 1967, "Difference methods for initial-value problems", chapter 8.

    Args:
        u: (..., *space.shape).
        space: a grid of uniform axes that are periodic, reflecting, or absorbing (u = 0 at the edge).
        D: diffusivity, length^2 / time.
        dt: time of one step.
        steps: how many.
        unsafe: step even if it is unstable, to see how it fails.
        path: return all states.

    Returns:
        u after the steps; with ``path`` (steps + 1, ..., *space.shape).

    Raises:
        ValueError: for an unstable step (naming the largest stable one), a state of another shape, or a grid
            that the scheme does not take.
    """
    number = stability_number(space, D, dt)
    if number > 0.5 * (1.0 + 1e-12) and not unsafe:
        raise ValueError(
            f"this step is unstable: D dt sum(1/dx^2) = {number:.4g} exceeds 1/2; take dt of at most "
            f"{0.5 * dt / number:.6g}, or evolve, which has no such limit"
        )
    d = len(space.shape)
    if tuple(u.shape[u.ndim - d :]) != space.shape:
        raise ValueError(f"a state of this grid ends in the shape {space.shape}, got {tuple(u.shape)}")
    states = [u]
    for _ in range(steps):
        change = torch.zeros_like(u)
        for k, axis in enumerate(space.axes):
            r = D * dt / float(axis.widths[0]) ** 2
            change = change + r * _second_difference(u, axis, k - d)
        u = u + change
        if path:
            states.append(u)
    return torch.stack(states) if path else u


def _second_difference(u: Tensor, axis: Axis, dim: int) -> Tensor:
    first, last = u.narrow(dim, 0, 1), u.narrow(dim, axis.cells - 1, 1)
    if axis.periodic:
        before, after = last, first
    else:
        before, after = (_ghost(end, edge) for end, edge in ((axis.lower, first), (axis.upper, last)))
    wide = torch.cat([before, u, after], dim)
    return wide.narrow(dim, 0, axis.cells) - 2.0 * u + wide.narrow(dim, 2, axis.cells)


def _ghost(boundary: object, edge: Tensor) -> Tensor:
    """The cell beyond an end."""
    if isinstance(boundary, Reflect):
        return edge
    if isinstance(boundary, Absorb):
        return -edge
    raise ValueError(
        f"FTCS takes ends that are periodic, 'reflect' or 'absorb', got {boundary}; evolve takes all"
    )


@dataclass(frozen=True)
class Diffusivity:
    """An estimate from tracks.

    Attributes:
        value: length^2 / time.
        error: its standard error.
        steps: how many displacements went in.
    """

    value: float
    error: float
    steps: int


def diffusivity_from_tracks(path: Tensor, dt: float) -> Diffusivity:
    r"""The diffusivity of free Brownian motion by maximum likelihood.

    .. math:: \hat D = \overline{|\Delta x|^2} / (2 d\, \Delta t), \quad
              \mathrm{error} = \hat D \sqrt{2 / (d\, n)}

    All information is in single steps (longer lags overlap and only add noise), if places are measured
    without error.

    Source: Berglund 2010, "Statistics of camera-based single-particle tracking", without
    localisation noise.

    Args:
        path: (times, tracks, d) places, equally spaced in time.
        dt: time between two places, above 0.

    Raises:
        ValueError: for fewer than two times, or a dt that is not above 0.
    """
    if path.ndim != 3 or len(path) < 2 or not dt > 0:
        raise ValueError(
            f"tracks are (times, tracks, d) with at least two times a dt above 0 apart, got shape "
            f"{tuple(path.shape)} and dt = {dt}"
        )
    jumps = path.double().diff(dim=0)
    d = path.shape[2]
    n = jumps.numel() // d
    value = float(jumps.square().mean()) / (2.0 * dt)
    return Diffusivity(value, value * (2.0 / (d * n)) ** 0.5, n)
