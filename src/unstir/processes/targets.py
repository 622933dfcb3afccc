r"""What a network may predict, and the exact maps between the predictions.

Every target is a combination of data and noise,

.. math:: y = p\,x_0 + q\,\epsilon,\qquad x_t = \alpha x_0 + \sigma \epsilon,

so each follows from any other and x_t by solving a 2 x 2 system, for each mode where the schedule has modes.
All conversions of the library pass here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from unstir.processes.schedule import Schedule
from unstir.processes.shapes import as_float64, expand


class Target(ABC):
    """A prediction target; the five instances at the end of this file are all there are."""

    name: str

    @abstractmethod
    def mixture(self, schedule: Schedule, t: Tensor | float) -> tuple[Tensor, Tensor]:
        """(p, q) with y = p x_0 + q epsilon; float64."""

    @abstractmethod
    def inverse(self, schedule: Schedule, t: Tensor | float) -> tuple[Tensor, Tensor]:
        """(a, b) with x_0 = a x_t + b y; float64, finite wherever x_0 is determined by x_t and y."""

    def of(self, schedule: Schedule, x_0: Tensor, epsilon: Tensor, t: Tensor | float) -> Tensor:
        """The target's value for data and noise of shape (batch, *event)."""
        p, q = self.mixture(schedule.modes(x_0.shape[1:]), t)
        u, e = schedule.to_modes(x_0), schedule.to_modes(epsilon)
        return schedule.from_modes(expand(p, u) * u + expand(q, e) * e)

    def to_x_0(self, schedule: Schedule, x_t: Tensor, y: Tensor, t: Tensor | float) -> Tensor:
        """The data that ``x_t`` and the prediction ``y`` imply."""
        a, b = self.inverse(schedule.modes(x_t.shape[1:]), t)
        u, v = schedule.to_modes(x_t), schedule.to_modes(y)
        return schedule.from_modes(expand(a, u) * u + expand(b, v) * v)

    def from_x_0(self, schedule: Schedule, x_t: Tensor, x_0: Tensor, t: Tensor | float) -> Tensor:
        """The prediction that ``x_t`` and data ``x_0`` imply; needs sigma(t) > 0 (but for x0)."""
        modes = schedule.modes(x_t.shape[1:])
        y = self._from_x_0(modes, schedule.to_modes(x_t), schedule.to_modes(x_0), t)
        return schedule.from_modes(y)

    def _from_x_0(self, schedule: Schedule, x_t: Tensor, x_0: Tensor, t: Tensor | float) -> Tensor:
        a, b = self.inverse(schedule, t)
        return (x_0 - expand(a, x_t) * x_t) / expand(b, x_0)

    def error_scale(self, schedule: Schedule, t: Tensor | float) -> Tensor:
        """|dy / dx_0| at fixed x_t: an error e of the data estimate is an error ``error_scale * e`` of y."""
        _, b = self.inverse(schedule, t)
        return 1.0 / b.abs()


@dataclass(frozen=True)
class Epsilon(Target):
    """The noise (Ho et al. 2020, eq. 15): x_0 = (x_t - sigma y) / alpha."""

    name: str = "epsilon"

    def mixture(self, schedule: Schedule, t: Tensor | float) -> tuple[Tensor, Tensor]:
        t = as_float64(t)
        return torch.zeros_like(t), torch.ones_like(t)

    def inverse(self, schedule: Schedule, t: Tensor | float) -> tuple[Tensor, Tensor]:
        alpha = schedule.alpha(t)
        return 1.0 / alpha, -schedule.sigma(t) / alpha

    def _from_x_0(self, schedule: Schedule, x_t: Tensor, x_0: Tensor, t: Tensor | float) -> Tensor:
        # Also where alpha is 0 and the inverse does not exist.
        return (x_t - expand(schedule.alpha(t), x_0) * x_0) / expand(schedule.sigma(t), x_t)


@dataclass(frozen=True)
class Data(Target):
    """The data itself (Karras et al. 2022 call the estimate the denoiser)."""

    name: str = "x0"

    def mixture(self, schedule: Schedule, t: Tensor | float) -> tuple[Tensor, Tensor]:
        t = as_float64(t)
        return torch.ones_like(t), torch.zeros_like(t)

    def inverse(self, schedule: Schedule, t: Tensor | float) -> tuple[Tensor, Tensor]:
        return self.mixture(schedule, t)[::-1]

    def from_x_0(self, schedule: Schedule, x_t: Tensor, x_0: Tensor, t: Tensor | float) -> Tensor:
        return x_0


@dataclass(frozen=True)
class V(Target):
    r"""v = alpha epsilon - sigma x_0 (Salimans & Ho 2022, appendix D), finite at both ends.

    x_0 = (alpha x_t - sigma v) / (alpha^2 + sigma^2), for schedules that preserve the variance or not.
    """

    name: str = "v"

    def mixture(self, schedule: Schedule, t: Tensor | float) -> tuple[Tensor, Tensor]:
        return -schedule.sigma(t), schedule.alpha(t)

    def inverse(self, schedule: Schedule, t: Tensor | float) -> tuple[Tensor, Tensor]:
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        norm = alpha**2 + sigma**2
        return alpha / norm, -sigma / norm


@dataclass(frozen=True)
class ScoreTarget(Target):
    """The score grad log q(x_t | x_0) = -epsilon / sigma; x_0 = (x_t + sigma^2 y) / alpha (Tweedie)."""

    name: str = "score"

    def mixture(self, schedule: Schedule, t: Tensor | float) -> tuple[Tensor, Tensor]:
        sigma = schedule.sigma(t)
        return torch.zeros_like(sigma), -1.0 / sigma

    def inverse(self, schedule: Schedule, t: Tensor | float) -> tuple[Tensor, Tensor]:
        alpha = schedule.alpha(t)
        return 1.0 / alpha, schedule.sigma(t) ** 2 / alpha

    def _from_x_0(self, schedule: Schedule, x_t: Tensor, x_0: Tensor, t: Tensor | float) -> Tensor:
        return (expand(schedule.alpha(t), x_0) * x_0 - x_t) / expand(schedule.sigma(t) ** 2, x_t)


@dataclass(frozen=True)
class Velocity(Target):
    r"""dx_t/dt at fixed data and noise, alpha' x_0 + sigma' epsilon (Lipman et al. 2022, eq. 15).

    For `Flow` it is epsilon - x_0.
    """

    name: str = "velocity"

    def mixture(self, schedule: Schedule, t: Tensor | float) -> tuple[Tensor, Tensor]:
        return schedule.alpha_derivative(t), schedule.sigma_derivative(t)

    def inverse(self, schedule: Schedule, t: Tensor | float) -> tuple[Tensor, Tensor]:
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        alpha_dot, sigma_dot = self.mixture(schedule, t)
        determinant = alpha * sigma_dot - sigma * alpha_dot
        steep = sigma_dot.isinf()  # sigma grows like sqrt(t): the limit is x_0 = x_t / alpha
        a = torch.where(steep, 1.0 / alpha, sigma_dot / determinant)
        return a, torch.where(steep, 0.0, -sigma / determinant)


EPSILON, X0, V_PREDICTION, SCORE, VELOCITY = Epsilon(), Data(), V(), ScoreTarget(), Velocity()
TARGETS: dict[str, Target] = {y.name: y for y in (EPSILON, X0, V_PREDICTION, SCORE, VELOCITY)}
"""The targets by the names used in files and on the command line."""


def convert(
    y: Tensor, source: Target, target: Target, schedule: Schedule, x_t: Tensor, t: Tensor | float
) -> Tensor:
    """Turn a prediction of one kind into another, exactly.

    Args:
        y: (batch, *event), a prediction of kind ``source`` for ``x_t`` at ``t``.
        source: what ``y`` is.
        target: what it should become.
        schedule: the forward process.
        x_t: (batch, *event).
        t: scalar or (batch,).
    """
    if source == target:
        return y
    if (source, target) == (EPSILON, SCORE):  # without the detour through x_0, which has no way at alpha = 0
        return -y / expand(schedule.sigma(t), y)
    if (source, target) == (SCORE, EPSILON):
        return -y * expand(schedule.sigma(t), y)
    return target.from_x_0(schedule, x_t, source.to_x_0(schedule, x_t, y, t), t)
