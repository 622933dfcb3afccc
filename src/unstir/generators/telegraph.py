"""Heat at finite speed: Cattaneo's equation tau u_tt + u_t = A u, solved exactly."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from unstir.generators.generator import Generator


class Telegraph:
    r"""tau u_tt + u_t = A u for a reversible generator A without source: waves at first, diffusion at last.

    For the eigenvalue l of A, with s^2 = 1/4 + tau l (times 1/tau^2),

    .. math:: u(t) = e^{-t/2\tau} \left[u_0 \left(\cosh st + \frac{\sinh st}{2 \tau s}\right)
              + v_0 \frac{\sinh st}{s}\right],\quad s^2 = \frac{1}{4\tau^2} + \frac{l}{\tau}

    Fronts move at sqrt(D / tau). Source: Cattaneo 1958; Joseph & Preziosi 1989, eq. 1.3 and section 4.

    Args:
        generator: reversible, homogeneous boundaries.
        tau: relaxation time, above 0.

    Raises:
        ValueError: for a tau that is not positive, or a generator with a circulation or a source.
    """

    def __init__(self, generator: Generator, tau: float) -> None:
        if not tau > 0:
            raise ValueError(f"a relaxation time is above 0 (0 is the heat equation itself), got {tau}")
        if generator.source is not None or not generator.reversible:
            raise ValueError(
                "the telegraph equation needs a reversible generator with homogeneous boundaries"
            )
        self.generator, self.tau = generator, tau

    def exp(self, t: Tensor | float, u: Tensor, velocity: Tensor | None = None) -> Tensor:
        """The state after time t from u with du/dt = ``velocity`` (0 by default).

        Args:
            t: at least 0, scalar or (T,).
            u: (..., *shape).
            velocity: of u's shape.

        Returns:
            (..., *shape), or (T, ..., *shape).
        """
        times = torch.as_tensor(t, dtype=torch.float64)
        if bool((times < 0).any()):
            raise ValueError("the telegraph equation is solved for times of at least 0")
        states = []
        for one in times.reshape(-1):
            state = self.generator.function(partial(self._position, one), u)
            if velocity is not None:
                state = state + self.generator.function(partial(self._impulse, one), velocity)
            states.append(state)
        result = torch.stack(states)
        return result if times.ndim else result[0]

    def _position(self, t: Tensor, values: Tensor) -> Tensor:
        even, odd = self._pair(values, t)
        return even + odd / (2.0 * self.tau)

    def _impulse(self, t: Tensor, values: Tensor) -> Tensor:
        return self._pair(values, t)[1]

    def _pair(self, values: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """exp(-t / 2 tau) times (cosh st, sinh(st) / s), for s real or imaginary, without overflow."""
        square = 0.25 / self.tau**2 + values / self.tau
        s = square.abs().sqrt()
        slow = square > 0
        safe = torch.where(s > 1e-12 / self.tau, s, 1e-12 / self.tau)
        rising = torch.exp(t * (torch.where(slow, s, 0.0) - 0.5 / self.tau))
        falling = torch.exp(-t * (torch.where(slow, s, 0.0) + 0.5 / self.tau))
        decay = torch.exp(-0.5 * t / self.tau)
        even = torch.where(slow, 0.5 * (rising + falling), decay * torch.cos(safe * t))
        odd = torch.where(
            slow, -0.5 * rising * torch.expm1(-2.0 * t * safe) / safe, decay * torch.sin(safe * t) / safe
        )
        return even, odd


def telegraph(generator: Generator, tau: float) -> Telegraph:
    """Cattaneo's equation for a generator; see `Telegraph`."""
    return Telegraph(generator, tau)
