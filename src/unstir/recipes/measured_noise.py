"""The noise of a user's measurements: as it was given, or estimated from them."""

from __future__ import annotations

from collections.abc import Sequence

from unstir.guidance.noise_level import estimate_noise
from unstir.model import Condition, Model
from unstir.recipes.measured import Measured, check_condition, check_noise, internal
from unstir.recipes.restore import DEFAULT, find_method

ESTIMATED, ESTIMATE_SAMPLES, ESTIMATE_ROUNDS = 16, 8, 12
"""Measurements, samples of each and rounds of an estimate of the noise."""


def noise_of(
    text: str, parts: Sequence[Measured], model: Model, *, condition: Condition | None = None, seed: int = 0
) -> tuple[float, str]:
    """The noise level in data units that ``--noise`` stands for, and a sentence about it.

    Args:
        text: a number, a share of the range of data that have bounds, in the data's units for others; or
            "auto", which estimates it.
        parts: the measurements.
        model: of the data.
        condition: one for all, as in `Model.solve`.
        seed: of the estimate's samples.

    Raises:
        ValueError: unless it is a number above 0 or "auto", or as in `check_condition`.
    """
    check_condition(model, condition)
    bounds = model.config.bounds
    if text == "auto":
        value, error = estimated_noise(parts, model, condition=condition, seed=seed)
        share = "" if bounds is None else f", {value / (bounds[1] - bounds[0]):.3g} of the range"
        return value, f"noise estimated to be {value:.3g} ± {error:.1g} in the data's units{share}"
    try:
        given = float(text)
    except ValueError:
        raise ValueError(f"--noise is a number above 0, such as 0.02, or 'auto', got {text!r}") from None
    check_noise(given)
    if bounds is None:
        return given, f"noise {given:g} in the data's units"
    value = given * (bounds[1] - bounds[0])
    return value, f"noise {given:g} of the range {bounds[0]:g} to {bounds[1]:g}: {value:g}"


def estimated_noise(
    parts: Sequence[Measured], model: Model, *, condition: Condition | None = None, seed: int = 0
) -> tuple[float, float]:
    """The noise deviation of the largest likelihood and its Monte Carlo error, in data units.

    Up to 16 measurements are used; those of different operators are estimated apart, and their variances
    averaged by their numbers of entries. See `guidance.noise_level.estimate_noise`.
    """
    method, left = find_method(DEFAULT), ESTIMATED
    total, variance, uncertain = 0, 0.0, 0.0
    for part in parts:
        if left == 0:
            break
        y, operator, unit = internal(model, part.y[:left], part.operator, 1.0)
        left -= len(y)
        found = estimate_noise(
            model.denoiser,
            y.to(model.device),
            operator,
            samples=ESTIMATE_SAMPLES,
            rounds=ESTIMATE_ROUNDS,
            tolerance=0.02,
            seed=seed,
            condition=model.condition(len(y), condition or {}),
            solver=method.sampler or model.config.sampling.solver,
            steps=method.steps or model.config.sampling.steps,
        )
        value, error = found.noise / unit, found.error / unit
        total += y.numel()
        variance += y.numel() * value**2
        uncertain += (y.numel() * 2.0 * value * error) ** 2
    value = (variance / total) ** 0.5
    return value, uncertain**0.5 / total / (2.0 * value)
