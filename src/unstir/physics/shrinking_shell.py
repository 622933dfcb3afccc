"""A grain that reacts through its product, with the boundary that moves and the profile that is not steady.

What diffuses in enters at the outer surface b(t) at a fixed concentration, is used up at the core a(t), and
the product pushes outward if it takes more room than the reactant. Solved on a mesh that moves with the two
radii (Landau 1950), conservatively, so that what came in is what was used plus what is on its way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.physics.constants import check_positive, float64
from unstir.physics.formulas import front_constant

_START = 1e-4
_END = 1e-3
Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Shell:
    """A reacting grain over time.

    Attributes:
        t: (T,) in units of R^2 / D.
        conversion: (T,).
        core: (T,) radius of what is left, in R.
        outer: (T,) radius of the grain, in R.
        profile: (T, cells) concentration in the shell, from the core outward, relative to the surface's.
        imbalance: largest share of what came in that is neither used nor on its way.
    """

    t: Tensor
    conversion: Tensor
    core: Tensor
    outer: Tensor
    profile: Tensor
    imbalance: float


class _Motion:
    """Right-hand side for (amounts per cell / 4 pi, core, what has come in / 4 pi), with R = D = c_s = 1."""

    def __init__(self, supply: float, volume_ratio: float, cells: int) -> None:
        self.supply, self.z = supply, volume_ratio
        self.share = np.linspace(0.0, 1.0, cells + 1)

    def outer(self, a: float) -> float:
        return float((self.z + (1.0 - self.z) * a**3) ** (1.0 / 3.0))

    def radii(self, a: float) -> Array:
        return a + (self.outer(a) - a) * self.share

    def volumes(self, a: float) -> Array:
        return np.diff(self.radii(a) ** 3) / 3.0

    def early(self, t: float) -> Array:
        """Neumann's planar solution, for a shell that is thin against the grain."""
        front = front_constant(self.supply * self.z)
        a = 1.0 - 2.0 * front * math.sqrt(t) / self.z
        depth = 1.0 - 0.5 * (self.share[1:] + self.share[:-1])
        profile = 1.0 - np.array([math.erf(front * d) for d in depth]) / math.erf(front)
        amount = self.volumes(a) * profile
        return np.concatenate([amount, [a, (1.0 - a**3) / (3.0 * self.supply) + amount.sum()]])

    def begin(self) -> float:
        """When the shell is 1e-4 R thick."""
        return (_START * self.z / (2.0 * front_constant(self.supply * self.z))) ** 2

    def __call__(self, _: float, state: Array) -> Array:
        a = max(float(state[-2]), 0.1 * _END)
        b, r = self.outer(a), self.radii(a)
        c = state[:-2] / self.volumes(a)
        h = (b - a) / (len(r) - 1)
        slope = np.empty(len(r))
        slope[1:-1] = np.diff(c) / h
        # The ends by parabolas through the face and two cells, second order like the inside.
        slope[0] = (9.0 * c[0] - c[1]) / (3.0 * h)
        slope[-1] = (8.0 - 9.0 * c[-1] + c[-2]) / (3.0 * h)
        fall = -self.supply * slope[0]
        swell = (1.0 - self.z) * a**2 / b**2 * fall
        relative = swell * b**2 - (fall + (swell - fall) * self.share) * r**2
        face = np.concatenate([[0.0], 0.5 * (c[1:] + c[:-1]), [1.0]])
        flux = relative * face - r**2 * slope
        return np.concatenate([flux[:-1] - flux[1:], [fall, -flux[-1]]])


def react(
    t: Tensor, supply: float, *, volume_ratio: float = 1.0, cells: int = 40, tolerance: float = 1e-8
) -> Shell:
    r"""Conversion of a grain by diffusion through its growing product.

    .. math::
        \partial_t c + v\, \partial_r c = D \nabla^2 c, \quad c(a) = 0,\ c(b) = c_s, \quad
        \frac{da}{dt} = -\frac{D V}{\nu} \partial_r c|_a, \quad b^3 = z R^3 + (1 - z) a^3,
        \quad v = \dot b\, b^2 / r^2

    In the limit of a small supply it is the law of Carter and Valensi with k t = 2 S D t / R^2. It starts
    from Neumann's planar solution, and the grain counts as gone when its core is 0.001 R. Source: Crank 1984,
    "Free and Moving Boundary Problems", section 5.2, for the mesh.

    Args:
        t: (T,) increasing times in units of R^2 / D, at least 0.
        supply: S = c_s V / nu, the concentration at the surface over what a unit of volume of the grain uses.
        volume_ratio: z, volume of the product over that of the reactant.
        cells: in the shell, at least 2.
        tolerance: relative, of the time integration.

    Raises:
        ValueError: for a supply or ratio that is not above 0, fewer than 2 cells, or times that do not
            increase.
        FloatingPointError: if the integration fails.
    """
    from scipy.integrate import solve_ivp

    check_positive(supply=supply, volume_ratio=volume_ratio, tolerance=tolerance)
    times = float64(t).detach().cpu().numpy()
    if times.ndim != 1 or len(times) == 0 or not (np.diff(times) > 0).all() or not times[0] >= 0:
        raise ValueError("times are a list of increasing numbers of at least 0")
    if cells < 2:
        raise ValueError(f"the shell needs at least 2 cells, got {cells}")
    motion = _Motion(supply, volume_ratio, cells)
    begin = motion.begin()
    states = [motion.early(float(time)) for time in times[times <= begin]]
    later = times[times > begin]
    if len(later):
        done = solve_ivp(
            motion,
            (begin, float(later[-1])),
            motion.early(begin),
            method="BDF",
            t_eval=later,
            events=_gone,
            rtol=tolerance,
            atol=tolerance * 1e-4,
        )
        if not done.success:
            raise FloatingPointError(f"the shell's integration stopped at {done.t[-1]:g}: {done.message}")
        states += list(done.y.T)
        if done.status == 1:
            states += [done.y_events[0][0]] * (len(times) - len(states))
    return _shell(times, np.array(states), motion)


def _gone(_: float, state: Array) -> float:
    return float(state[-2]) - _END


_gone.terminal = True  # type: ignore[attr-defined]


def _shell(times: Array, states: Array, motion: _Motion) -> Shell:
    core = np.where(states[:, -2] <= _END * (1.0 + 1e-6), 0.0, states[:, -2])
    volumes = np.array([motion.volumes(a) for a in states[:, -2]])
    held = np.divide(states[:, :-2], volumes, out=np.zeros_like(volumes), where=volumes > 0)
    used = (1.0 - states[:, -2] ** 3) / (3.0 * motion.supply)
    came = states[:, -1]
    lost = np.abs(came - used - states[:, :-2].sum(1)) / np.maximum(came, 1e-300)
    return Shell(
        t=torch.from_numpy(times),
        conversion=torch.from_numpy(1.0 - core**3),
        core=torch.from_numpy(core),
        outer=torch.from_numpy(np.array([motion.outer(a) for a in core])),
        profile=torch.from_numpy(held),
        imbalance=float(lost.max()),
    )
