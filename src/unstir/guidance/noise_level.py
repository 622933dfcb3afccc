"""Measurements whose noise nobody knows: its level by expectation maximisation with posterior samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unstir.denoisers import Denoiser
from unstir.guidance.mmps import MMPS
from unstir.guidance.operators import LinearOperator, Map, Operator, as_operator
from unstir.samplers import Solver, sample

Method = Callable[[Denoiser, Tensor, Operator, float], Denoiser]
"""A guidance method: (denoiser, y (batch, *measured), operator, noise) to a guided denoiser."""

_SLOWEST = 0.95
"""The largest share of a step that is taken to remain for the next one, when steps are extrapolated."""
_FARTHEST = math.log(2.0)
"""The largest extrapolation: below the optimum the iteration is slow, so it must not be overshot by far."""


@dataclass(frozen=True)
class NoiseEstimate:
    """What `estimate_noise` found.

    Attributes:
        noise: the standard deviation.
        error: its Monte Carlo standard error, from the scatter of the last round's samples and how slowly the
            rounds converged; NaN for one sample a measurement. How well y determines the noise is not in it.
        path: (rounds + 1,) float64, the estimates from the first (of prior samples) to the last.
        samples: posterior samples of the last round, (n, *event), or (measurements, n, *event) if y was a
            batch; after convergence they are posterior samples at ``noise``.
        converged: whether the last round changed the estimate by less than the tolerance.
    """

    noise: float
    error: float
    path: Tensor = field(repr=False)
    samples: Tensor = field(repr=False)
    converged: bool


def estimate_noise(
    denoiser: Denoiser,
    y: Tensor,
    operator: Operator | Tensor | Map,
    *,
    event: Sequence[int] | None = None,
    method: Method = MMPS,
    samples: int = 32,
    rounds: int = 30,
    tolerance: float = 1e-3,
    seed: int = 0,
    condition: Mapping[str, Tensor] | None = None,
    solver: str | Solver = "multistep",
    steps: int = 20,
) -> NoiseEstimate:
    r"""The noise deviation of the largest likelihood p(y | sigma), by expectation maximisation.

    .. math:: \sigma^2 \leftarrow \frac{1}{m} E\left[\lVert y - A x \rVert^2 \,\middle|\, y, \sigma\right]

    the mean over posterior samples of every measurement, which a guidance method draws. The first round is
    that of infinite noise, whose posterior is the prior. All rounds use the same random numbers, so the
    iteration is a smooth function of sigma and converges; every second round is extrapolated along the
    geometric series that the last two belong to (Aitken), for expectation maximisation is slow where most of
    the misfit is explained by x. The estimate is as good as the method is at sampling the posterior; where
    rounds converge slowly, few samples leave a large Monte Carlo error, which is in the result.

    Source: Dempster, Laird & Rubin 1977, "Maximum likelihood from incomplete data via the EM algorithm",
    section 2; Wei & Tanner 1990 (Monte Carlo E-step); McLachlan & Krishnan 2008, "The EM algorithm and
    extensions", chapter 4 (Aitken's acceleration).

    Args:
        denoiser: of the prior.
        y: (*measured), or (measurements, *measured): many of one noise level give a better estimate.
        operator: a `LinearOperator`, a matrix, or a function that the method takes.
        event: shape of one sample; only needed for a function.
        method: a guidance method such as `MMPS` (exact for Gaussian data), `PiGDM` or `DPS`, or a function of
            the same arguments.
        samples: posterior samples of each measurement, at least 1.
        rounds: at most so many rounds, at least 1; each is one run of the sampler.
        tolerance: relative change of sigma below which the iteration ends, above 0.
        seed: of the samples.
        condition: tensors that the denoiser takes by name, one entry for each measurement.
        solver: as in `samplers.sample`.
        steps: likewise.

    Returns:
        A `NoiseEstimate`.

    Raises:
        ValueError: for a number out of its range, or measurements of another shape than the operator's.
    """
    if samples < 1 or rounds < 1 or not tolerance > 0:
        raise ValueError(
            "a noise estimate takes at least 1 sample, at least 1 round and a tolerance above 0, got "
            f"{samples} samples, {rounds} rounds and a tolerance of {tolerance:g}"
        )
    if not bool(torch.isfinite(y).all()):
        raise ValueError("a measurement holds values that are not finite; leave missing ones to a mask")
    a = as_operator(operator)
    if isinstance(a, LinearOperator):
        event = a.event
    elif event is None:
        raise ValueError("a measurement by a function does not know the shape of the data; give event=(...)")
    event = tuple(event)
    batch, single = _batched(y, tuple(a(torch.zeros(1, *event, device=y.device)).shape[1:]))
    repeated = batch.repeat_interleave(samples, dim=0)
    shape = (len(repeated), *event)
    conditions = {name: v.repeat_interleave(samples, dim=0) for name, v in (condition or {}).items()}

    def draw(guided: Denoiser) -> Tensor:
        return sample(guided, shape, solver=solver, steps=steps, seed=seed, condition=conditions).x

    def squares(x: Tensor) -> Tensor:
        """The mean squared misfit of every sample, (measurements, samples)."""
        return (repeated.to(x) - a(x)).double().square().flatten(1).mean(1).reshape(-1, samples)

    x = draw(denoiser)
    sigma = float(squares(x).mean().sqrt())
    path, rate, last, converged = [sigma], 0.0, 0.0, False
    for _ in range(rounds):
        x = draw(method(denoiser, repeated, a, sigma))
        misfit = squares(x)
        path.append(float(misfit.mean().sqrt()))
        step = math.log(path[-1] / sigma)
        if last:
            rate = min(max(step / last, 0.0), _SLOWEST) if abs(step) < abs(last) else 0.0
        if abs(step) < tolerance * (1.0 - rate):
            converged = True
            break
        rest = step * rate / (1.0 - rate) if last else 0.0
        sigma = path[-1] * math.exp(max(-_FARTHEST, min(_FARTHEST, rest)))
        last = 0.0 if last else step
    each = misfit.mean(0)
    scatter = float(each.std()) / math.sqrt(samples) if samples > 1 else math.nan
    error = 0.5 * path[-1] * scatter / float(each.mean()) / (1.0 - rate)
    kept = x.reshape(samples, *event) if single else x.reshape(len(batch), samples, *event)
    return NoiseEstimate(path[-1], error, torch.tensor(path, dtype=torch.float64), kept, converged)


def _batched(y: Tensor, measured: tuple[int, ...]) -> tuple[Tensor, bool]:
    """Measurements as a batch, and whether it was one alone."""
    shape = tuple(y.shape)
    if shape == measured:
        return y[None], True
    if shape[1:] != measured or not len(y):
        raise ValueError(
            f"the operator gives measurements of shape {measured}, but y has shape {shape}; it must be "
            f"{measured}, or (measurements, *{measured})"
        )
    return y, False
