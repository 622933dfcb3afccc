"""Fits of recovery curves: diffusion, binding and mobile fraction, with intervals and warnings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from unstir.physics.frap_data import Curve, read_curve
from unstir.physics.frap_models import AUTOMATIC, MODELS, FrapModel
from unstir.physics.frap_result import Estimate, FrapFit, Spread
from unstir.physics.least_squares import Values, aicc, ljung_box
from unstir.settings import nearest


def fit_frap(
    paths: Sequence[Path],
    *,
    spot_radius: float,
    interval: float | None = None,
    model: str = "auto",
    bleach: int | None = None,
    level: float = 0.95,
    cell_radius: float | None = None,
) -> FrapFit:
    """Fit recovery curves in files, jointly: each has its own levels, all share the physics.

    Args:
        paths: one or more files, see `read_curve`.
        spot_radius: radius of the bleached spot, um.
        interval: s between frames, where the first column counts frames.
        model: 'diffusion', 'reaction', 'reaction-diffusion' (the best of these by AICc for 'auto'),
            'two-state', or 'gaussian' for a Gaussian beam of 1/e^2 radius ``spot_radius``.
        bleach: index (from 0) of the first image after the bleach; by default after the largest drop.
        level: of the intervals.
        cell_radius: radius of a round cell with the spot at its centre, um; without it the cell has no
            end. Leave it out if a whole-cell reference has corrected the loss already.

    Raises:
        ValueError: in one sentence for data or settings that cannot be used.
        OSError: if a file cannot be read.
    """
    if not len(paths):
        raise ValueError("there is no recovery curve to fit; give one or more files")
    curves = [read_curve(Path(path), interval=interval, bleach=bleach) for path in paths]
    return fit_curves(curves, spot_radius=spot_radius, model=model, level=level, cell_radius=cell_radius)


def fit_curves(
    curves: Sequence[Curve],
    *,
    spot_radius: float,
    model: str = "auto",
    level: float = 0.95,
    cell_radius: float | None = None,
) -> FrapFit:
    """`fit_frap` for curves that are already read."""
    _check(spot_radius, level, cell_radius)
    if model != "auto" and model not in MODELS:
        raise ValueError(f"unknown model {model!r}; {nearest(model, ['auto', *MODELS])}")
    if cell_radius is not None and model == "gaussian":
        raise ValueError(
            "the Gaussian beam's closed form is for a cell without end; leave out the cell radius"
        )
    names = AUTOMATIC if model == "auto" else (model,)
    tried = [_Candidate(MODELS[name], curves, spot_radius, cell_radius) for name in names]
    best = min(tried, key=lambda candidate: candidate.criterion)
    criteria = {candidate.model.name: candidate.criterion for candidate in tried}
    return _result(best, spot_radius, cell_radius, level, criteria)


class _Candidate:
    """A model fitted to all curves together and, if there are several, to each alone."""

    def __init__(
        self, model: FrapModel, curves: Sequence[Curve], radius: float, cell_radius: float | None
    ) -> None:
        self.model = model
        self.curves = curves
        self.problem = model.problem(curves, radius, cell_radius)
        self.fit = self.problem.fit()
        several = curves if len(curves) > 1 else ()
        self.alone = [model.problem([curve], radius, cell_radius) for curve in several]
        self.fits = [one.fit() for one in self.alone]

    @property
    def shared(self) -> int:
        """Number of physical parameters, the mobile fraction included."""
        return len(self.model.kinds) + 1

    @property
    def criterion(self) -> float:
        n = self.problem.n
        found = aicc(self.fit.rss, n, self.problem.p)
        if self.fits:
            own = aicc(sum(fit.rss for fit in self.fits), n, sum(one.p for one in self.alone))
            found = min(found, own)
        return found

    def difference(self) -> float:
        """p-value of the F test that the curves share their parameters; 1 for one curve."""
        from scipy.stats import f

        if not self.fits:
            return 1.0
        unknowns = sum(one.p for one in self.alone)
        rss, free, more = (
            sum(fit.rss for fit in self.fits),
            self.problem.n - unknowns,
            unknowns - self.problem.p,
        )
        ratio = max(self.fit.rss - rss, 0.0) / more / (rss / free)
        return float(f.sf(ratio, more, free))

    def spread(self, which: int, level: float) -> Spread:
        """A parameter over the curves, with Student's interval of its mean (on its own scale)."""
        from scipy.stats import t

        parameter = self.problem.parameters[which]
        theta = np.array([fit.theta[which] for fit in self.fits])
        reach = float(t.ppf(0.5 + level / 2, len(theta) - 1) * theta.std(ddof=1)) / math.sqrt(len(theta))
        low, middle, high = (parameter.value(float(theta.mean()) + x) for x in (-reach, 0.0, reach))
        values = tuple(parameter.value(float(x)) for x in theta)
        return Spread(parameter.name, parameter.unit, values, middle, (low, high))


def _check(spot_radius: float, level: float, cell_radius: float | None) -> None:
    if not (spot_radius > 0 and math.isfinite(spot_radius)):
        raise ValueError(f"the spot radius is above 0 um, got {spot_radius}")
    if not 0.0 < level < 1.0:
        raise ValueError(f"the level of an interval is between 0 and 1 (0.95), got {level}")
    if cell_radius is not None and not cell_radius > spot_radius:
        raise ValueError(
            f"the cell (radius {cell_radius} um) must be larger than the spot (radius {spot_radius} um)"
        )


def _result(
    best: _Candidate,
    spot_radius: float,
    cell_radius: float | None,
    level: float,
    criteria: dict[str, float],
) -> FrapFit:
    problem, curves = best.problem, best.curves
    fit, profiles = problem.intervals(best.fit, level, best.shared)
    best.fit = fit
    values = problem.values(fit.theta)
    estimates = tuple(
        Estimate(p.name, p.unit, values[p.name], problem.covariance_interval(fit, i, level), profiles[i])
        for i, p in enumerate(problem.parameters[: best.shared])
    )
    residuals = tuple(r * curve.noise for r, curve in zip(fit.residuals, curves, strict=True))
    fitted = tuple(curve.intensity - r for curve, r in zip(curves, residuals, strict=True))
    lag, p_value = ljung_box([r[c.bleach :] for r, c in zip(fit.residuals, curves, strict=True)])
    bounded = [i for i, ends in enumerate(profiles) if None not in ends]
    return FrapFit(
        model=best.model.name,
        curves=tuple(curves),
        spot_radius=spot_radius,
        cell_radius=cell_radius,
        level=level,
        estimates=estimates,
        levels=tuple(best.model.level(values, i, a) for i, a in enumerate(fit.coefficients)),
        half_time=max(_half_time(c, f) for c, f in zip(curves, fitted, strict=True)),
        criteria=criteria,
        autocorrelation=lag,
        autocorrelation_p=p_value,
        spreads=tuple(best.spread(i, level) for i in bounded) if best.fits else (),
        spread_p=best.difference(),
        fitted=fitted,
        residuals=residuals,
    )


def _half_time(curve: Curve, fitted: Values) -> float:
    """When the fitted curve has made half of its way to its last value, by interpolation."""
    y = fitted[curve.bleach :]
    return float(np.interp(0.5 * (y[0] + y[-1]), y, curve.time[curve.bleach :]))
