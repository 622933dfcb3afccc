r"""A process that acts on each mode of an orthonormal basis alone, at a rate of its own.

.. math:: u_k(t) = \alpha_k(t)\, u_k(0) + \sigma(t)\, \epsilon_k,\qquad u = U^T x

White noise is white in every orthonormal basis, so noise needs no transform: only alpha differs.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from unstir.processes.schedule import Angle, Schedule
from unstir.processes.sde import SDE
from unstir.processes.shapes import as_float64, expand

_FADED = 300.0
"""A mode that has faded by exp(-300) has faded: squares of smaller numbers are 0."""


class Spectrum(NamedTuple):
    """An orthonormal basis of events that is a product over some of their axes.

    Attributes:
        bases: the axis, counted from the last (-1, -2, ...), and the basis U of each, (n, n) float64 with
            eigenvectors in its columns.
        rates: eigenvalue of every mode, at least 0, of a shape that broadcasts against the event.
    """

    bases: tuple[tuple[int, Tensor], ...]
    rates: Tensor


class Blurring(Schedule):
    r"""A base schedule whose data fade by exp(-lambda_k tau(t)) as well, each mode at its own rate lambda_k.

    .. math:: \alpha_k(t) = a(t)\, d_k(t),\quad d_k = (1 - d_{min})\, e^{-\lambda_k \tau(t)} + d_{min},\quad
              \sigma_k(t) = \sigma(t)

    with a and sigma of the base. Source: Hoogeboom & Salimans 2022, "Blurring diffusion models", eq. 15 and
    section 4; the blur alone is Rissanen et al. 2022, "Generative modelling with inverse heat dissipation".
    As a schedule it has the values of its base, which are those of a mode with lambda = 0. A subclass is a
    frozen dataclass with the fields ``base``, ``blur`` and ``d_min``, and gives `spectrum`.
    """

    base: Schedule
    blur: float
    d_min: float

    @abstractmethod
    def spectrum(self, event: tuple[int, ...]) -> Spectrum:
        """Basis and eigenvalues for events of a shape."""

    def clock(self, t: Tensor | float) -> Tensor:
        r"""tau(t) = blur^2 sin^4(pi t / 2) / 2: a heat kernel of deviation blur sin^2(pi t / 2).

        Source: Hoogeboom & Salimans 2022, section 4.
        """
        return 0.5 * (self.blur * torch.sin(0.5 * torch.pi * as_float64(t)) ** 2) ** 2

    def clock_derivative(self, t: Tensor | float) -> Tensor:
        """d tau / dt."""
        angle = 0.5 * torch.pi * as_float64(t)
        return torch.pi * self.blur**2 * torch.sin(angle) ** 3 * torch.cos(angle)

    def modes(self, event: Sequence[int]) -> Modes:
        """The process in its basis, for events of a shape.

        Raises:
            ValueError: if the basis is not one of such events.
        """
        return _modes(self, tuple(event))

    def to_modes(self, x: Tensor) -> Tensor:
        return self.modes(x.shape[1:]).analyse(x)

    def from_modes(self, u: Tensor) -> Tensor:
        return self.modes(u.shape[1:]).synthesise(u)

    def marginal(self, x_0: Tensor, t: Tensor | float) -> tuple[Tensor, Tensor]:
        mean, _ = self.modes(x_0.shape[1:]).marginal(self.to_modes(x_0), t)
        return self.from_modes(mean), expand(self.sigma(t), x_0)

    def transition(self, x_s: Tensor, s: Tensor | float, t: Tensor | float) -> tuple[Tensor, Tensor]:
        """Not known entry by entry.

        Raises:
            ValueError: always, with the way to go.
        """
        raise ValueError(self._in_modes("transition"))

    def posterior_coefficients(self, s: Tensor | float, t: Tensor | float) -> tuple[Tensor, Tensor, Tensor]:
        """Not known entry by entry.

        Raises:
            ValueError: always, with the way to go.
        """
        raise ValueError(self._in_modes("posterior_coefficients"))

    def sde(self) -> SDE:
        """Not known entry by entry.

        Raises:
            ValueError: always, with the way to go.
        """
        raise ValueError(self._in_modes("sde"))

    def _in_modes(self, name: str) -> str:
        return (
            f"under {type(self).__name__} each mode has a deviation of its own between two times, so {name} "
            f"is known for modes, not for entries: use schedule.modes(event).{name}, on schedule.to_modes(x)"
        )

    def alpha(self, t: Tensor | float) -> Tensor:
        return self.base.alpha(t)

    def sigma(self, t: Tensor | float) -> Tensor:
        return self.base.sigma(t)

    def log_snr(self, t: Tensor | float) -> Tensor:
        return self.base.log_snr(t)

    def time(self, log_snr: Tensor | float) -> Tensor:
        return self.base.time(log_snr)

    def drift(self, t: Tensor | float) -> Tensor:
        return self.base.drift(t)

    def diffusion_squared(self, t: Tensor | float) -> Tensor:
        return self.base.diffusion_squared(t)

    def alpha_derivative(self, t: Tensor | float) -> Tensor:
        return self.base.alpha_derivative(t)

    def sigma_derivative(self, t: Tensor | float) -> Tensor:
        return self.base.sigma_derivative(t)


class Modes(Schedule):
    """A blurring process in its own basis, where it is an ordinary schedule of one alpha a mode.

    Coefficients at a time are (1, *event), at (batch,) times (batch, *event), float64; `expand` takes them as
    they are, so transitions, posteriors, targets and the SDE are those of `Schedule`, on `analyse` of states.
    `time` inverts the log-SNR of the base, so it takes and gives scalars or (batch,). One process and event
    have one such object, which is compared by identity.

    Args:
        schedule: the process.
        event: shape of one sample.
    """

    def __init__(self, schedule: Blurring, event: tuple[int, ...]) -> None:
        self.schedule = schedule
        self.event = event
        spectrum = schedule.spectrum(event)
        self.bases = spectrum.bases
        # Modes of equal rate are one: an image of n x n pixels has n^2 modes of some n^2 / 2 rates.
        rates = spectrum.rates.expand(event[len(event) - spectrum.rates.ndim :])
        self.rates, self._place = torch.unique(rates, return_inverse=True)
        self._kept_bases: dict[tuple[torch.device, torch.dtype], list[tuple[int, Tensor]]] = {}

    def modes(self, event: Sequence[int]) -> Schedule:
        return self

    def analyse(self, x: Tensor) -> Tensor:
        """u = U^T x for states (..., *event), in their type."""
        for axis, basis in self._bases(x):
            x = _along(x, basis, axis)
        return x

    def synthesise(self, u: Tensor) -> Tensor:
        """x = U u, the inverse of `analyse`."""
        for axis, basis in self._bases(u):
            u = _along(u, basis.mT, axis)
        return u

    def synthesise_variance(self, v: Tensor) -> Tensor:
        """Variances of entries, (..., *event), from those of independent modes: diag(U diag(v) U^T)."""
        for axis, basis in self._bases(v):
            v = _along(v, basis.mT**2, axis)
        return v

    def spread(self, values: Tensor) -> Tensor:
        """A number for every distinct rate, (..., len(rates)), to every mode, (1 or batch, *event)."""
        batch, place = values.shape[:-1] or (1,), self._place
        lead = [1] * (len(self.event) - place.ndim)
        # A view along channels, which have the same modes.
        spread = values[..., place.to(values.device)].reshape(*batch, *lead, *place.shape)
        return spread.expand(*batch, *self.event)

    def log_kept(self, t: Tensor | float) -> Tensor:
        """log d_k of every distinct rate, (..., len(rates)) for times (...)."""
        return self._fade(t)[0]

    def kept(self, t: Tensor | float) -> Tensor:
        """d_k, the share of each mode that the blur has kept; 1 at t = 0."""
        return self.spread(self.log_kept(t).exp())

    def alpha(self, t: Tensor | float) -> Tensor:
        return self.spread(self._base(self.schedule.alpha(t)) * self.log_kept(t).exp())

    def sigma(self, t: Tensor | float) -> Tensor:
        sigma = self._base(self.schedule.sigma(t))
        return self.spread(sigma.expand(*sigma.shape[:-1], len(self.rates)))

    def log_snr(self, t: Tensor | float) -> Tensor:
        return self.spread(self._base(self.schedule.log_snr(t)) + 2.0 * self.log_kept(t))

    def time(self, log_snr: Tensor | float) -> Tensor:
        return self.schedule.time(log_snr)

    def drift(self, t: Tensor | float) -> Tensor:
        return self.spread(self._base(self.schedule.drift(t)) + self._fade(t)[1])

    def diffusion_squared(self, t: Tensor | float) -> Tensor:
        squared = self._base(self.schedule.diffusion_squared(t))
        return self.spread(squared - 2.0 * self._fade(t)[1] * self._base(self.schedule.sigma(t)) ** 2)

    def alpha_derivative(self, t: Tensor | float) -> Tensor:
        log_kept, slope = self._fade(t)
        rise = self._base(self.schedule.alpha_derivative(t)) + slope * self._base(self.schedule.alpha(t))
        return self.spread(rise * log_kept.exp())

    def sigma_derivative(self, t: Tensor | float) -> Tensor:
        slope = self._base(self.schedule.sigma_derivative(t))
        return self.spread(slope.expand(*slope.shape[:-1], len(self.rates)))

    def pace(self, t: Tensor | float) -> Tensor:
        r"""d lambda_k / d lambda, how much faster a mode's log-SNR falls than that of the base; at least 1.

        .. math:: 1 + 2\, \frac{d \log d_k / dt}{d\lambda / dt},\qquad
                  \frac{d\lambda}{dt} = -\frac{g^2}{\sigma^2}
        """
        squared, sigma = self.schedule.diffusion_squared(t), self.schedule.sigma(t)
        inverse = torch.where(sigma > 0, sigma**2 / squared, 0.0)
        return self.spread(1.0 - 2.0 * self._fade(t)[1] * self._base(inverse))

    def at_angle(self, phi: Tensor) -> Angle:
        """As in `Schedule`, with the angle of the base; coefficients (batch, *event)."""
        t = self.time(-2.0 * phi.tan().log())
        alpha, sigma = (self._to_event(f(t)) for f in (self.schedule.alpha, self.schedule.sigma))
        kept, sine, tangent = self.kept(t), self._to_event(phi.sin()), self._to_event(phi.tan())
        norm = torch.hypot(alpha * kept, sigma)
        # dy / dphi = (dphi_k / dphi) dy / dphi_k with tan phi_k = tan phi / d_k
        divisor = norm * sine / (self.pace(t) * kept * torch.hypot(alpha, sigma))
        return Angle(t, norm, alpha * kept / norm, sigma / norm, divisor, (kept / tangent) ** 2)

    def _fade(self, t: Tensor | float) -> tuple[Tensor, Tensor]:
        """log d_k and its derivative in t, of every distinct rate, (..., len(rates))."""
        rates, floor = self.rates, self.schedule.d_min
        tau = as_float64(self.schedule.clock(t))[..., None]
        rates = rates.to(tau.device)
        falls = (1.0 - floor) * torch.exp(-(rates * tau).clamp(max=_FADED))
        kept = falls + floor
        slope = -rates * self.schedule.clock_derivative(t)[..., None] * falls / kept
        # A mode that has faded out stays, so it has no slope.
        return kept.log(), torch.where(rates * tau < _FADED, slope, 0.0)

    def _to_event(self, value: Tensor) -> Tensor:
        """(batch,) as (batch, 1, ..., 1)."""
        return value.reshape(-1, *[1] * len(self.event))

    def _base(self, value: Tensor) -> Tensor:
        return value[..., None]

    def _bases(self, x: Tensor) -> list[tuple[int, Tensor]]:
        if x.shape[x.ndim - len(self.event) :] != self.event:
            raise ValueError(
                f"these are the modes of events of shape {self.event}, got states of shape {tuple(x.shape)}"
            )
        key = x.device, x.dtype
        if key not in self._kept_bases:
            self._kept_bases[key] = [(axis, basis.to(x)) for axis, basis in self.bases]
        return self._kept_bases[key]


@lru_cache(maxsize=64)
def _modes(schedule: Blurring, event: tuple[int, ...]) -> Modes:
    return Modes(schedule, event)


def _along(x: Tensor, matrix: Tensor, axis: int) -> Tensor:
    """The product of rows along an axis with a matrix, y_j = sum_i x_i matrix_ij."""
    if axis == -1:
        return x @ matrix
    return (x.movedim(axis, -1) @ matrix).movedim(-1, axis)
