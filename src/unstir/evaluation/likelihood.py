"""The log-density that a denoiser gives to data, by the change of variables along its probability flow."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unstir.denoisers import Denoiser
from unstir.evaluation.divergence import Divergence, Product, Trace, find_divergence, linearise
from unstir.processes import Schedule, expand
from unstir.samplers.runge_kutta import integrate

_FIRST_LEVEL = {torch.float64: 1e-4}
_TOLERANCE = {torch.float64: 1e-7}


@dataclass(frozen=True, eq=False)
class LogDensity:
    """The log-density of a batch.

    Attributes:
        nats: log p(x_0) of each sample in nats, (batch,) float64.
        error: its standard error from the random probes, (batch,); 0 for the exact divergence, and NaN for
            a single probe, which says nothing of its spread.
        z: the noise x_1 from which the probability flow leads to x_0, (batch, *event).
        nfe: network evaluations that every sample took; an evaluation also passes backwards once for each
            product with the Jacobian.
    """

    nats: Tensor
    error: Tensor
    z: Tensor
    nfe: int


def log_density(
    denoiser: Denoiser,
    x_0: Tensor,
    *,
    divergence: str | Divergence = "exact",
    probes: int = 8,
    seed: int = 0,
    first_index: int = 0,
    tolerance: float | None = None,
    level: float | None = None,
    prior: Callable[[Tensor], Tensor] | None = None,
    condition: Mapping[str, Tensor] | None = None,
) -> LogDensity:
    r"""log p(x_0) by the instantaneous change of variables along the probability flow.

    In the angle phi = arctan(sigma / alpha) and y = x / n, n = sqrt(alpha^2 + sigma^2), the flow

    .. math:: \frac{dy}{d\phi} = f(y, \phi) = \frac{y \cos\phi - E[x_0 | x_t]}{\sin\phi}

    is regular for every schedule from data (phi = 0, where y is x_0) to noise, and (for one that blurs in its
    modes, see `Modes.at_angle`)

    .. math:: \log p(x_0) = \log p_1(x_1) + d \log n_1 + \int_0^{\phi_1} \mathrm{div} f \, d\phi,\quad
              \mathrm{div} f = \frac{d \cos\phi - n \, \mathrm{tr} \, \partial E[x_0 | x_t] / \partial x_t}
              {\sin\phi}

    f is odd in phi, so below the angle of ``level`` it is the slope there times the share of the angle,
    with an error of order (level / s)^4 for structure of size s.

    Source: Chen et al. 2018, theorem 1; Song et al. 2021, eq. 39 and 40, in the variables of Salimans & Ho
    2022, appendix D; Grathwohl et al. 2019, eq. 8, for the random divergence.

    Args:
        denoiser: differentiable; it is evaluated in evaluation mode, in the type of ``x_0``. The integration
            is float64.
        x_0: (batch, *event) real numbers in the denoiser's units.
        divergence: "exact" (d products with the Jacobian at each evaluation), "hutchinson" or "hutch++", or a
            `Divergence`.
        probes: random vectors for each sample, at least 1.
        seed: sample i of a seed has the same probes whatever the batch.
        first_index: number of the first sample within the seed.
        tolerance: of a step of the integration, relative and absolute; 1e-7 for float64, else 1e-5.
        level: sigma / alpha, above 0, from which the denoiser is asked; 1e-4 of ``denoiser.sigma_data`` for
            float64, else 1e-2 of it, because round-off divided by the level is an error of the slope.
        prior: x_1 (batch, *event) -> log-density (batch,) at t = 1; by default that of N(0, sigma(1)^2),
            from which samplers start.
        condition: (batch, ...) tensors that the denoiser takes by name.

    Returns:
        A `LogDensity`.

    Raises:
        ValueError: for integers or a value that is not finite, an unknown divergence, fewer than 1 probe, a
            level or tolerance out of range, a condition of another length, or a denoiser that cannot be
            differentiated.
        FloatingPointError: if a posterior mean or a trace is not finite, with the time and the log-SNR.
        RuntimeError: if the tolerance is not reached within 10,000 evaluations.
    """
    if tolerance is None:
        tolerance = _TOLERANCE.get(x_0.dtype, 1e-5)
    _check(x_0, level, tolerance, condition or {})
    way = find_divergence(divergence, probes) if isinstance(divergence, str) else divergence
    if level is None:
        level = _FIRST_LEVEL.get(x_0.dtype, 1e-2) * denoiser.sigma_data
    index = torch.arange(first_index, first_index + len(x_0), device=x_0.device)
    size = math.prod(x_0.shape[1:])
    schedule = denoiser.schedule
    process = schedule.modes(x_0.shape[1:])
    alpha, sigma = float(schedule.alpha(1.0)), float(schedule.sigma(1.0))
    norm = torch.hypot(process.alpha(1.0), process.sigma(1.0)).to(x_0.device)
    flow = _Flow(denoiser, x_0, way.trace(size, seed=seed, index=index), math.atan(level), condition or {})
    with torch.no_grad(), evaluation_mode(denoiser):
        start = schedule.to_modes(x_0.double()).reshape(len(x_0), size)
        end, _ = integrate(
            flow,
            torch.cat([start, start.new_zeros(len(start), way.estimates)], dim=1),
            0.0,
            math.atan2(sigma, alpha),
            rtol=tolerance,
            atol=tolerance,
            first_step=0.01 * min(1.0, denoiser.sigma_data),
        )
        z = schedule.from_modes(end[:, :size].reshape(x_0.shape) * norm)
        last = _normal_log_density(z, sigma) if prior is None else prior(z).double()
    each = end[:, size:] + (last + norm.log().expand(1, *x_0.shape[1:]).sum())[:, None]
    return LogDensity(each.mean(1), _standard_error(each, way), z.to(x_0.dtype), flow.nfe)


class _Flow:
    """The slope of (y, estimates of the log-determinant) in the angle phi, for `integrate`."""

    def __init__(
        self, denoiser: Denoiser, x_0: Tensor, trace: Trace, first: float, condition: Mapping[str, Tensor]
    ) -> None:
        self.denoiser, self.x_0, self.trace = denoiser, x_0, trace
        self.first, self.condition = first, condition
        self.nfe = 0

    def __call__(self, state: Tensor, phi: Tensor) -> Tensor:
        size = math.prod(self.x_0.shape[1:])
        y = state[:, :size]
        asked = phi.clamp(min=self.first)
        schedule: Schedule = self.denoiser.schedule
        angle = schedule.modes(self.x_0.shape[1:]).at_angle(asked)
        t, batch = angle.t, len(y)
        norm, cosine, divisor = (
            c.reshape(batch, -1) for c in (angle.norm, angle.cosine, angle.divisor)
        )  # (batch, 1), or (batch, size) of modes
        x_t = schedule.from_modes((y * norm).reshape(self.x_0.shape)).to(self.x_0.dtype)
        mean, product = linearise(self.denoiser, x_t, t, self.condition)
        self.nfe += self.denoiser.cost(float(t.max()))
        _check_finite("posterior mean", mean, schedule, t)
        scale = norm / divisor
        trace = self.trace(product if scale.shape[1] == 1 else self._scaled(product, scale))
        _check_finite("Jacobian", trace, schedule, t)
        flow = (y * cosine - schedule.to_modes(mean.double()).reshape(y.shape)) / divisor
        if scale.shape[1] == 1:
            divergence = (size * cosine - norm * trace) / divisor
        else:
            divergence = (cosine / divisor).sum(1, keepdim=True) - trace
        return torch.cat([flow, divergence], dim=1) * expand(phi / asked, state)

    def _scaled(self, product: Product, scale: Tensor) -> Product:
        """Products with the transpose of S U^T J U, the Jacobian in modes with each row scaled."""
        schedule, event = self.denoiser.schedule, self.x_0.shape[1:]

        def scaled(v: Tensor) -> Tensor:
            entries = schedule.from_modes((v * scale).reshape(-1, *event))
            pushed = product(entries.reshape(v.shape))
            return schedule.to_modes(pushed.reshape(-1, *event)).reshape(v.shape)

        return scaled


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Put a module and all its parts into evaluation mode, and back each as it was."""
    before = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in before:
            part.training = training


def _normal_log_density(x: Tensor, sigma: float) -> Tensor:
    """log N(x; 0, sigma^2), (batch,) float64."""
    x = x.double().reshape(len(x), -1)
    return -0.5 * ((x / sigma) ** 2).sum(1) - x.shape[1] * (math.log(sigma) + 0.5 * math.log(2.0 * math.pi))


def _standard_error(each: Tensor, divergence: Divergence) -> Tensor:
    if not divergence.random:
        return torch.zeros_like(each[:, 0])
    if divergence.estimates == 1:
        return torch.full_like(each[:, 0], math.nan)
    return each.std(1) / math.sqrt(divergence.estimates)


def _check_finite(what: str, value: Tensor, schedule: Schedule, t: Tensor) -> None:
    broken = ~torch.isfinite(value).reshape(len(value), -1).all(dim=1)
    if bool(broken.any()):
        where = t[broken][0]
        raise FloatingPointError(
            f"the denoiser's {what} is not finite at t = {float(where):.6g} "
            f"(log-SNR {float(schedule.log_snr(where)):.4g}); check the denoiser there, or take "
            "a larger level"
        )


def _check(x_0: Tensor, level: float | None, tolerance: float, condition: Mapping[str, Tensor]) -> None:
    if x_0.ndim < 2 or not x_0.is_floating_point():
        raise ValueError(
            f"a log-density is of real numbers (batch, *event), got {x_0.dtype} of shape "
            f"{tuple(x_0.shape)}; for integers use bits_per_dimension"
        )
    if not bool(torch.isfinite(x_0).all()):
        raise ValueError("x_0 holds a value that is not finite; remove or fill such values first")
    if level is not None and not 0 < level < math.inf:
        raise ValueError(f"the level sigma/alpha from which to ask the denoiser is above 0, got {level}")
    if not 0 < tolerance < 1:
        raise ValueError(f"the tolerance lies between 0 and 1, got {tolerance}")
    for name, value in condition.items():
        if len(value) != len(x_0):
            raise ValueError(f"condition {name!r} has {len(value)} entries for {len(x_0)} samples")
