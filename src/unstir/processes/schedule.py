r"""Schedules: how fast structure dissolves.

.. math:: x_t = \alpha(t)\,x_0 + \sigma(t)\,\epsilon,\qquad \epsilon \sim N(0, I)

with t from 0 (data) to 1 (noise). Everything else (log-SNR, transitions, posteriors, the Ito SDE) follows
from alpha and sigma. Coefficients are float64.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from unstir.processes.sde import SDE
from unstir.processes.shapes import as_float64, expand, log_expm1


class Angle(NamedTuple):
    r"""The probability flow at the angle phi = arctan(sigma / alpha); see `Schedule.at_angle`.

    Attributes:
        t: the time.
        norm: n = sqrt(alpha^2 + sigma^2), of the shape of a coefficient.
        cosine: alpha / n.
        sine: sigma / n.
        divisor: that of dy / dphi; the sine, for a schedule whose entries share alpha.
        snr: alpha^2 / sigma^2.
    """

    t: Tensor
    norm: Tensor
    cosine: Tensor
    sine: Tensor
    divisor: Tensor
    snr: Tensor


class Schedule(ABC):
    """A Gaussian forward process; subclasses are frozen dataclasses, so hashable and plain data.

    A subclass gives `alpha`, `sigma`, `log_snr`, `time`, `drift` and `diffusion_squared`.
    Times may be floats or tensors of any shape in [0, 1]; results are float64 tensors of that shape.

    Where entries do not share alpha, as in a process that blurs, these are the values of the mode that is
    not blurred, the clock of time grids, noise levels and weightings; `modes` gives those of all modes.
    """

    @abstractmethod
    def alpha(self, t: Tensor | float) -> Tensor:
        """Scale of the data in x_t; 1 at t = 0."""

    @abstractmethod
    def sigma(self, t: Tensor | float) -> Tensor:
        """Standard deviation of the noise in x_t; 0 at t = 0."""

    @abstractmethod
    def log_snr(self, t: Tensor | float) -> Tensor:
        """lambda = log(alpha^2 / sigma^2): strictly decreasing, +inf at t = 0."""

    @abstractmethod
    def time(self, log_snr: Tensor | float) -> Tensor:
        """The exact inverse of `log_snr`; beyond the range of the schedule the nearest time."""

    @abstractmethod
    def drift(self, t: Tensor | float) -> Tensor:
        r"""f(t) = d log alpha / dt of the SDE dx = f x dt + g dw."""

    @abstractmethod
    def diffusion_squared(self, t: Tensor | float) -> Tensor:
        r"""g(t)^2 = d sigma^2/dt - 2 f sigma^2 of the SDE (Lu et al. 2022, DPM-Solver, eq. 2.3)."""

    def modes(self, event: Sequence[int]) -> Schedule:
        """The same process in coordinates in which it acts on each entry alone; itself if it does already.

        Args:
            event: shape of one sample.
        """
        return self

    def to_modes(self, x: Tensor) -> Tensor:
        """States (batch, *event) in the coordinates of `modes`, which are orthonormal."""
        return x

    def from_modes(self, u: Tensor) -> Tensor:
        """The inverse of `to_modes`."""
        return u

    def at_angle(self, phi: Tensor) -> Angle:
        r"""Coefficients of the probability flow in the angle phi = arctan(sigma / alpha), 0 < phi <= pi / 2.

        .. math:: \frac{dy}{d\phi} = \frac{y \cos\phi - E[x_0 | x_t]}{\sin\phi},\qquad y = x_t / n

        Source: Song et al. 2021, eq. 13, in the variables of Salimans & Ho 2022, appendix D.

        Args:
            phi: (batch,) float64.
        """
        t = self.time(-2.0 * phi.tan().log())
        sine, norm = phi.sin(), torch.hypot(self.alpha(t), self.sigma(t))
        return Angle(t, norm, phi.cos(), sine, sine, phi.tan() ** -2)

    def alpha_derivative(self, t: Tensor | float) -> Tensor:
        """d alpha / dt."""
        return self.drift(t) * self.alpha(t)

    def sigma_derivative(self, t: Tensor | float) -> Tensor:
        """d sigma / dt; +inf at t = 0 where sigma grows like a square root."""
        sigma = self.sigma(t)
        return (self.diffusion_squared(t) + 2.0 * self.drift(t) * sigma**2) / (2.0 * sigma)

    def marginal(self, x_0: Tensor, t: Tensor | float) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of q(x_t | x_0) = N(alpha x_0, sigma^2).

        Args:
            x_0: (batch, *event).
            t: scalar or (batch,).

        Returns:
            mean (batch, *event), and std that broadcasts against it.
        """
        return expand(self.alpha(t), x_0) * x_0, expand(self.sigma(t), x_0)

    def transition(self, x_s: Tensor, s: Tensor | float, t: Tensor | float) -> tuple[Tensor, Tensor]:
        r"""Mean and standard deviation of q(x_t | x_s), s < t: one step forward.

        .. math:: N\left(\frac{\alpha_t}{\alpha_s} x_s,\ \sigma_t^2 (1 - e^{\lambda_t - \lambda_s})\right)

        Source: Kingma et al. 2021, eq. 20 to 22. With neighbouring times of `from_betas` this is
        DDPM's sqrt(1 - beta) x and sqrt(beta) (Ho et al. 2020, eq. 2).
        """
        mean = expand(self.alpha(t) / self.alpha(s), x_s) * x_s
        return mean, expand(self.sigma(t) * self._forgotten(s, t).sqrt(), x_s)

    def posterior_coefficients(self, s: Tensor | float, t: Tensor | float) -> tuple[Tensor, Tensor, Tensor]:
        r"""(a, b, std) of q(x_s | x_t, x_0) = N(a x_0 + b x_t, std^2) for s < t.

        .. math:: a = \alpha_s (1 - e^{\lambda_t - \lambda_s}),\quad
                  b = \frac{\sigma_s^2 \alpha_t}{\sigma_t^2 \alpha_s},\quad
                  std^2 = \sigma_s^2 (1 - e^{\lambda_t - \lambda_s})

        Source: Kingma et al. 2021, eq. 25 and 26; DDPM's mu-tilde and beta-tilde (Ho et al. 2020,
        eq. 7). Finite up to s = 0 (where it is x_0 itself) and alpha_t = 0.
        """
        forgotten = self._forgotten(s, t)
        alpha_s, sigma_s = self.alpha(s), self.sigma(s)
        b = (sigma_s / self.sigma(t)) ** 2 * self.alpha(t) / alpha_s
        return alpha_s * forgotten, b, sigma_s * forgotten.sqrt()

    def posterior(
        self, x_0: Tensor, x_t: Tensor, s: Tensor | float, t: Tensor | float
    ) -> tuple[Tensor, Tensor]:
        """Mean (batch, *event) and standard deviation of q(x_s | x_t, x_0), s < t: one step back."""
        a, b, std = self.posterior_coefficients(s, t)
        return expand(a, x_0) * x_0 + expand(b, x_t) * x_t, expand(std, x_t)

    def sde(self) -> SDE:
        """The Ito SDE dx = f(t) x dt + g(t) dw that has these marginals."""
        return SDE(
            drift=lambda x, t: expand(self.drift(t), x) * x,
            diffusion=lambda t: self.diffusion_squared(t).sqrt(),
        )

    def _forgotten(self, s: Tensor | float, t: Tensor | float) -> Tensor:
        """1 - SNR(t) / SNR(s), the share of x_s that a step to t replaces by noise."""
        return -torch.expm1(self.log_snr(t) - self.log_snr(s))


class VariancePreserving(Schedule):
    """Schedules with alpha^2 + sigma^2 = 1; a subclass gives `log_snr`, `time` and `drift`."""

    def alpha(self, t: Tensor | float) -> Tensor:
        return torch.sigmoid(self.log_snr(t)).sqrt()

    def sigma(self, t: Tensor | float) -> Tensor:
        return torch.sigmoid(-self.log_snr(t)).sqrt()

    def diffusion_squared(self, t: Tensor | float) -> Tensor:
        return -2.0 * self.drift(t)


@dataclass(frozen=True)
class VP(VariancePreserving):
    r"""Variance preserving with linear beta(t) = beta_min + t (beta_max - beta_min).

    .. math:: \alpha(t) = e^{-B(t)/2},\quad B(t) = \beta_{min} t + (\beta_{max} - \beta_{min}) t^2 / 2

    Source: Song et al. 2021, eq. 32 and 33; the limit of DDPM's table of 1,000 betas.

    Args:
        beta_min: rate of noising at t = 0, above 0.
        beta_max: rate of noising at t = 1, at least beta_min.

    Raises:
        ValueError: if 0 < beta_min <= beta_max does not hold.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self) -> None:
        if not 0.0 < self.beta_min <= self.beta_max < math.inf:
            raise ValueError(
                f"VP needs 0 < beta_min <= beta_max, got beta_min={self.beta_min} and "
                f"beta_max={self.beta_max}"
            )

    def _integral(self, t: Tensor | float) -> Tensor:
        t = as_float64(t)
        return t * (self.beta_min + 0.5 * (self.beta_max - self.beta_min) * t)

    def alpha(self, t: Tensor | float) -> Tensor:
        return torch.exp(-0.5 * self._integral(t))

    def sigma(self, t: Tensor | float) -> Tensor:
        return (-torch.expm1(-self._integral(t))).sqrt()

    def log_snr(self, t: Tensor | float) -> Tensor:
        return -log_expm1(self._integral(t))

    def time(self, log_snr: Tensor | float) -> Tensor:
        # Bounded, because infinity over infinity is no time.
        integral = F.softplus(-as_float64(log_snr), threshold=700.0).clamp(max=1e300)
        slope = self.beta_max - self.beta_min
        root = (self.beta_min**2 + 2.0 * slope * integral).sqrt()
        return (2.0 * integral / (self.beta_min + root)).clamp(0.0, 1.0)

    def drift(self, t: Tensor | float) -> Tensor:
        return -0.5 * (self.beta_min + as_float64(t) * (self.beta_max - self.beta_min))


@dataclass(frozen=True)
class SubVP(Schedule):
    """Sub-variance-preserving: alpha of `VP`, sigma = 1 - alpha^2, so less noise at every time.

    Source: Song et al. 2021, eq. 29 (the standard deviation is 1 - exp(-B)).

    Args:
        beta_min: as in `VP`.
        beta_max: as in `VP`.

    Raises:
        ValueError: as in `VP`.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self) -> None:
        VP(self.beta_min, self.beta_max)

    @property
    def _vp(self) -> VP:
        return VP(self.beta_min, self.beta_max)

    def alpha(self, t: Tensor | float) -> Tensor:
        return self._vp.alpha(t)

    def sigma(self, t: Tensor | float) -> Tensor:
        return self._vp.sigma(t) ** 2

    def log_snr(self, t: Tensor | float) -> Tensor:
        return 2.0 * (self._vp.alpha(t).log() - self.sigma(t).log())

    def time(self, log_snr: Tensor | float) -> Tensor:
        # alpha / (1 - alpha^2) = r gives alpha^2 / (1 - alpha^2) = 2 r^2 / (1 + sqrt(1 + 4 r^2)).
        log_snr = as_float64(log_snr)
        root = (1.0 + 4.0 * torch.exp(log_snr.clamp(max=700.0))).sqrt()
        # Beyond log-SNR 700 the fraction is r to the last bit.
        vp_log_snr = torch.where(log_snr > 700.0, 0.5 * log_snr, log_snr + math.log(2.0) - torch.log1p(root))
        return self._vp.time(vp_log_snr)

    def drift(self, t: Tensor | float) -> Tensor:
        return self._vp.drift(t)

    def sigma_derivative(self, t: Tensor | float) -> Tensor:
        return -2.0 * self.drift(t) * self.alpha(t) ** 2

    def diffusion_squared(self, t: Tensor | float) -> Tensor:
        vp = self._vp
        return -2.0 * vp.drift(t) * -torch.expm1(4.0 * vp.alpha(t).log())


@dataclass(frozen=True)
class Cosine(VariancePreserving):
    r"""The cosine schedule: alpha falls slowly at both ends and reaches exactly 0 at t = 1.

    .. math:: \alpha(t) = \cos(b) / \cos(a),\quad b = \frac{\pi}{2} \frac{t + s}{1 + s},\ a = b(0)

    Source: Nichol & Dhariwal 2021, eq. 17, without their clipping of beta.

    Args:
        offset: their s, 0 to 1; keeps the noise of the first steps from vanishing.

    Raises:
        ValueError: for an offset outside [0, 1].
    """

    offset: float = 0.008

    def __post_init__(self) -> None:
        if not 0.0 <= self.offset <= 1.0:
            raise ValueError(f"the offset of the cosine schedule lies in [0, 1], got {self.offset}")

    @property
    def _rate(self) -> float:
        return 0.5 * math.pi / (1.0 + self.offset)

    def alpha(self, t: Tensor | float) -> Tensor:
        return torch.sin(self._rate * (1.0 - as_float64(t))) / math.cos(self._rate * self.offset)

    def alpha_derivative(self, t: Tensor | float) -> Tensor:
        angle = self._rate * (as_float64(t) + self.offset)
        return -self._rate * torch.sin(angle) / math.cos(self._rate * self.offset)

    def sigma(self, t: Tensor | float) -> Tensor:
        t, rate = as_float64(t), self._rate
        squared = torch.sin(rate * t) * torch.sin(rate * (t + 2.0 * self.offset))
        return squared.clamp(min=0.0).sqrt() / math.cos(rate * self.offset)

    def log_snr(self, t: Tensor | float) -> Tensor:
        return 2.0 * (self.alpha(t).log() - self.sigma(t).log())

    def time(self, log_snr: Tensor | float) -> Tensor:
        log_snr = as_float64(log_snr)
        a = self._rate * self.offset
        late = 1.0 - torch.asin(math.cos(a) * torch.sigmoid(log_snr).sqrt()) / self._rate
        # Near t = 0 the arcsine loses half its digits; tan((b - a) / 2) keeps them.
        rise = math.cos(a) ** 2 * torch.sigmoid(-log_snr)
        sin_b = (math.sin(a) ** 2 + rise).sqrt()
        cos_b = math.cos(a) * torch.sigmoid(log_snr).sqrt()
        ratio = rise / (sin_b + math.sin(a)).clamp(min=1e-300)
        early = 2.0 * torch.atan(ratio / (cos_b + math.cos(a))) / self._rate
        return torch.where(log_snr > 0.0, early, late).clamp(0.0, 1.0)

    def drift(self, t: Tensor | float) -> Tensor:
        return -self._rate / torch.tan(self._rate * (1.0 - as_float64(t)))

    def sigma_derivative(self, t: Tensor | float) -> Tensor:
        if self.offset == 0.0:  # sigma is a sine, with a finite slope at t = 0
            return self._rate * torch.cos(self._rate * as_float64(t))
        return -self.alpha(t) * self.alpha_derivative(t) / self.sigma(t)


@dataclass(frozen=True)
class VE(Schedule):
    r"""Variance exploding: the data stays, noise is added until it drowns it.

    .. math:: \alpha = 1,\quad \sigma(t)^2 = \sigma_{min}^2 ((\sigma_{max}/\sigma_{min})^{2t} - 1)

    Source: Song et al. 2021, eq. 31; the variance of p(x_t | x_0), so sigma(0) = 0.

    Args:
        sigma_min: the noise level around which sigma begins to grow geometrically, above 0.
        sigma_max: the noise level at t = 1, above sigma_min.

    Raises:
        ValueError: if 0 < sigma_min < sigma_max does not hold.
    """

    sigma_min: float = 0.01
    sigma_max: float = 80.0

    def __post_init__(self) -> None:
        if not 0.0 < self.sigma_min < self.sigma_max < math.inf:
            raise ValueError(
                f"VE needs 0 < sigma_min < sigma_max, got sigma_min={self.sigma_min} and "
                f"sigma_max={self.sigma_max}"
            )

    @property
    def _rate(self) -> float:
        return 2.0 * math.log(self.sigma_max / self.sigma_min)

    def alpha(self, t: Tensor | float) -> Tensor:
        return torch.ones_like(as_float64(t))

    def sigma(self, t: Tensor | float) -> Tensor:
        return self.sigma_min * torch.expm1(self._rate * as_float64(t)).sqrt()

    def log_snr(self, t: Tensor | float) -> Tensor:
        return -2.0 * self.sigma(t).log()

    def time(self, log_snr: Tensor | float) -> Tensor:
        ratio = torch.exp(-as_float64(log_snr)) / self.sigma_min**2
        return (torch.log1p(ratio) / self._rate).clamp(0.0, 1.0)

    def drift(self, t: Tensor | float) -> Tensor:
        return torch.zeros_like(as_float64(t))

    def diffusion_squared(self, t: Tensor | float) -> Tensor:
        return self.sigma_min**2 * self._rate * torch.exp(self._rate * as_float64(t))


@dataclass(frozen=True)
class Flow(Schedule):
    """Rectified flow, the straight line from data to noise: alpha = 1 - t, sigma = t.

    Source: Liu et al. 2022; Lipman et al. 2022. Its SDE has infinite coefficients at t = 1.
    """

    def alpha(self, t: Tensor | float) -> Tensor:
        return 1.0 - as_float64(t)

    def sigma(self, t: Tensor | float) -> Tensor:
        return as_float64(t).clone()

    def alpha_derivative(self, t: Tensor | float) -> Tensor:
        return -torch.ones_like(as_float64(t))

    def sigma_derivative(self, t: Tensor | float) -> Tensor:
        return torch.ones_like(as_float64(t))

    def log_snr(self, t: Tensor | float) -> Tensor:
        t = as_float64(t)
        return 2.0 * (torch.log1p(-t) - t.log())

    def time(self, log_snr: Tensor | float) -> Tensor:
        return torch.sigmoid(-0.5 * as_float64(log_snr))

    def drift(self, t: Tensor | float) -> Tensor:
        return -1.0 / (1.0 - as_float64(t))

    def diffusion_squared(self, t: Tensor | float) -> Tensor:
        t = as_float64(t)
        return 2.0 * t / (1.0 - t)


@dataclass(frozen=True)
class ZeroTerminal(VariancePreserving):
    r"""Another variance-preserving schedule, rescaled so that x_1 is pure noise.

    .. math:: \alpha(t) = \frac{\alpha'(t) - \alpha'(1)}{1 - \alpha'(1)}

    Source: Lin et al. 2024, algorithm 1, in continuous time (`zero_terminal_betas` is the discrete one).

    Args:
        base: the schedule to rescale.

    Raises:
        ValueError: if the base is not variance preserving.
    """

    base: Schedule

    def __post_init__(self) -> None:
        if not isinstance(self.base, VariancePreserving):
            raise ValueError(
                "only a variance-preserving schedule can be rescaled to zero terminal SNR, "
                f"got {type(self.base).__name__}"
            )

    @property
    def _last(self) -> Tensor:
        return self.base.alpha(1.0)

    def alpha(self, t: Tensor | float) -> Tensor:
        return (self.base.alpha(t) - self._last) / (1.0 - self._last)

    def _lost(self, t: Tensor | float) -> Tensor:
        """1 - alpha(t), without cancellation near t = 0."""
        return self.base.sigma(t) ** 2 / (1.0 + self.base.alpha(t)) / (1.0 - self._last)

    def sigma(self, t: Tensor | float) -> Tensor:
        return (self._lost(t) * (1.0 + self.alpha(t))).sqrt()

    def log_snr(self, t: Tensor | float) -> Tensor:
        return 2.0 * (self.alpha(t).log() - self.sigma(t).log())

    def time(self, log_snr: Tensor | float) -> Tensor:
        log_snr = as_float64(log_snr)
        alpha = torch.sigmoid(log_snr).sqrt()
        lost = torch.sigmoid(-log_snr) / (1.0 + alpha) * (1.0 - self._last)
        base_alpha = 1.0 - lost
        return self.base.time(2.0 * base_alpha.log() - (lost * (1.0 + base_alpha)).log())

    def drift(self, t: Tensor | float) -> Tensor:
        return self.alpha_derivative(t) / self.alpha(t)

    def alpha_derivative(self, t: Tensor | float) -> Tensor:
        return self.base.alpha_derivative(t) / (1.0 - self._last)

    def sigma_derivative(self, t: Tensor | float) -> Tensor:
        return -self.alpha(t) * self.alpha_derivative(t) / self.sigma(t)
