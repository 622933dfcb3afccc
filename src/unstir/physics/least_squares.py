"""Nonlinear least squares whose intervals can be trusted: many starts, covariance and profile likelihood.

Coefficients that enter linearly are eliminated exactly (variable projection), so that fits and profiles
walk through the nonlinear parameters only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Columns = Callable[[dict[str, float]], list[Values]]


@dataclass(frozen=True)
class Parameter:
    """A nonlinear parameter, searched between its bounds.

    Attributes:
        name: as in formulas.
        unit: or ''.
        low: lower bound, above 0 if ``log``.
        high: upper bound.
        log: searched on a logarithmic scale.
        likely: range of the starting values, within the bounds.
        starts: number of starting values.
    """

    name: str
    unit: str
    low: float
    high: float
    log: bool = True
    likely: tuple[float, float] | None = None
    starts: int = 6

    def scaled(self, value: float) -> float:
        return math.log(value) if self.log else value

    def value(self, scaled: float) -> float:
        return math.exp(scaled) if self.log else scaled

    def lattice(self) -> Values:
        """Scaled starting values."""
        low, high = self.likely or (self.low, self.high)
        return np.linspace(self.scaled(low), self.scaled(high), self.starts + 2)[1:-1]


@dataclass(frozen=True)
class Fit:
    """A minimum of the sum of squares.

    Attributes:
        theta: (p,) scaled parameters.
        rss: weighted sum of squares.
        coefficients: of each data set, (k,).
        residuals: of each data set, weighted, (n,).
        errors: (p,) standard errors of theta from the covariance; infinite where it is singular.
    """

    theta: Values
    rss: float
    coefficients: list[Values]
    residuals: list[Values]
    errors: Values


class Separable:
    """Data sets y_c = X_c(theta) a_c + noise of standard deviation s_c sigma, a_c >= 0, sigma unknown.

    Source: Golub & Pereyra 1973, "The differentiation of pseudo-inverses and nonlinear least squares
    problems whose variables separate".

    Args:
        parameters: shared by the data sets.
        columns: values of the parameters by name to X_c, (n_c, k), of each data set.
        data: y_c, (n_c,).
        noise: s_c, the relative noise of each data set.

    Raises:
        ValueError: if there are not more numbers than parameters and coefficients.
    """

    def __init__(
        self, parameters: Sequence[Parameter], columns: Columns, data: list[Values], noise: Sequence[float]
    ) -> None:
        self.parameters = tuple(parameters)
        self._columns = columns
        self._data = [y / s for y, s in zip(data, noise, strict=True)]
        self._noise = noise
        self.low = np.array([p.scaled(p.low) for p in self.parameters])
        self.high = np.array([p.scaled(p.high) for p in self.parameters])
        middle = self.values(0.5 * (self.low + self.high))
        self.n = sum(len(y) for y in data)
        self.p = len(self.parameters) + sum(x.shape[1] for x in columns(middle))
        if self.n <= self.p + 1:
            raise ValueError(f"{self.n} measurements cannot decide {self.p} unknowns; measure for longer")

    def values(self, theta: Values) -> dict[str, float]:
        """Parameters in their units, by name."""
        return {p.name: p.value(float(x)) for p, x in zip(self.parameters, theta, strict=True)}

    def solve(self, theta: Values) -> tuple[list[Values], list[Values]]:
        """The best coefficients and the weighted residuals of each data set."""
        coefficients, residuals = [], []
        designs = self._columns(self.values(theta))
        for design, y, s in zip(designs, self._data, self._noise, strict=True):
            x = design / s
            best = _coefficients(x, y)
            coefficients.append(best)
            residuals.append(y - x @ best)
        return coefficients, residuals

    def _residual(self, theta: Values) -> Values:
        return np.concatenate(self.solve(theta)[1])

    def fit(self, keep: int = 8) -> Fit:
        """The best of the minima reached from ``keep`` points of a lattice of starts."""
        starts = self._starts([p.lattice() for p in self.parameters])
        rough = sorted((self._minimise(start, most=25) for start in starts[:keep]), key=_second)
        return self.at(min((self._minimise(theta) for theta, _ in rough[:2]), key=_second)[0])

    def _starts(self, lattices: list[Values]) -> list[Values]:
        """The best lattice point for each value of each parameter, best first: good ones, but not alike."""
        points = np.array(list(product(*lattices)))
        costs = np.array([float((self._residual(point) ** 2).sum()) for point in points])
        best = {
            int(np.flatnonzero(points[:, i] == value)[costs[points[:, i] == value].argmin()])
            for i, lattice in enumerate(lattices)
            for value in lattice
        }
        return [points[k] for k in sorted(best, key=lambda k: float(costs[k]))]

    def at(self, theta: Values) -> Fit:
        """What holds at a point that is a minimum."""
        coefficients, residuals = self.solve(theta)
        rss = float(sum((r**2).sum() for r in residuals))
        return Fit(theta, rss, coefficients, residuals, self._errors(theta, rss))

    def _errors(self, theta: Values, rss: float) -> Values:
        step = 1e-5
        columns = [
            (self._residual(theta + step * unit) - self._residual(theta - step * unit)) / (2 * step)
            for unit in np.eye(len(theta))
        ]
        information = np.array([[a @ b for b in columns] for a in columns]) * (self.n - self.p) / rss
        size = np.sqrt(np.maximum(np.diag(information), 1e-300))
        correlated = information / np.outer(size, size)
        if np.linalg.cond(correlated) > 1e10:
            return np.full(len(theta), math.inf)
        variance: Values = np.sqrt(np.diag(np.linalg.inv(correlated))) / size
        return variance

    def _minimise(self, start: Values, fixed: int | None = None, most: int = 100) -> tuple[Values, float]:
        """The nearest minimum, with one parameter held if ``fixed``, and its sum of squares."""
        from scipy.optimize import least_squares

        free = np.arange(len(start)) != (-1 if fixed is None else fixed)
        theta = start.copy()
        if not free.any():
            return theta, float((self._residual(theta) ** 2).sum())

        def residual(x: Values) -> Values:
            theta[free] = x
            return self._residual(theta)

        low, high = self.low[free], self.high[free]
        inside = np.clip(start[free], low + 1e-6 * (high - low), high - 1e-6 * (high - low))
        found = least_squares(
            residual, inside, bounds=(low, high), xtol=1e-8, ftol=1e-10, gtol=1e-9, max_nfev=200
        )
        theta[free] = found.x
        return theta, 2.0 * float(found.cost)

    def distance(self, fit: Fit, which: int, value: float) -> float:
        """How far a value of a parameter, in its units, is from the best, in standard errors.

        The root of (RSS with it held - RSS) / s^2; a value belongs to the profile-likelihood interval if
        this is at most Student's `quantile`. Source: Bates & Watts 1988, "Nonlinear regression analysis
        and its applications", section 6.1 (profile t).
        """
        return self._profile(fit, which, self.parameters[which].scaled(value), fit.theta)[1]

    def _profile(
        self, fit: Fit, which: int, value: float, start: Values, most: int = 100
    ) -> tuple[Values, float]:
        held = start.copy()
        held[which] = value
        theta, rss = self._minimise(held, fixed=which, most=most)
        excess = (rss - fit.rss) / (fit.rss / (self.n - self.p))
        return theta, math.copysign(math.sqrt(abs(excess)), excess)

    def intervals(
        self, fit: Fit, level: float, count: int | None = None
    ) -> tuple[Fit, list[tuple[float | None, float | None]]]:
        """Profile-likelihood intervals of the first ``count`` parameters, in their units; None where open.

        An end is open if the parameter can go to its bound with the sum of squares still below the limit,
        or if only the bound of another parameter stops it.
        Where a profile finds a lower minimum than the fit, the work begins again from there, so the fit is
        returned, too.
        """
        for _ in range(3):
            try:
                return fit, [self._interval(fit, which, level) for which in range(count or len(fit.theta))]
            except _LowerMinimum as found:
                fit = self.at(self._minimise(found.theta)[0])
        raise ArithmeticError(
            "the sum of squares has many minima of nearly one depth; use a model with fewer parameters"
        )

    def covariance_interval(self, fit: Fit, which: int, level: float) -> tuple[float, float]:
        """The interval of the linearised problem, in the parameter's units; may leave the bounds."""
        p, reach = self.parameters[which], self.quantile(level) * float(fit.errors[which])
        middle = float(fit.theta[which])
        if not math.isfinite(reach) or reach > 300:
            return (0.0, math.inf) if p.log else (-math.inf, math.inf)
        return p.value(middle - reach), p.value(middle + reach)

    def _interval(self, fit: Fit, which: int, level: float) -> tuple[float | None, float | None]:
        ends = [self._end(fit, which, self.quantile(level), sign) for sign in (-1.0, 1.0)]
        low, high = (None if end is None else self.parameters[which].value(end) for end in ends)
        return low, high

    def quantile(self, level: float) -> float:
        """Student's two-sided quantile at the degrees of freedom left."""
        from scipy.stats import t

        return float(t.ppf(0.5 + level / 2.0, self.n - self.p))

    def _end(self, fit: Fit, which: int, limit: float, sign: float) -> float | None:
        bound = float(self.high[which] if sign > 0 else self.low[which])
        room = abs(bound - float(fit.theta[which]))
        step = min(max(float(fit.errors[which]) * limit, 1e-3 * room), 0.25 * room)
        inner, theta, far = float(fit.theta[which]), fit.theta, 0.0
        while True:
            outer = inner + sign * step
            if (bound - outer) * sign < 0:
                outer = bound
            theta, further = self._profile(fit, which, outer, theta)
            if further < -0.05:
                raise _LowerMinimum(theta)
            if further > limit and len(theta) > 2:
                # A valley with a bend ends for one branch only; look whether another goes on.
                theta, further = min((theta, further), self._elsewhere(fit, which, outer, limit), key=_second)
            if further > limit and self._stopped(fit, theta, which, limit):
                return None
            if further > limit:
                return self._root(fit, which, limit, (inner, far), (outer, further), theta)
            if outer == bound:
                return None
            inner, far, step = outer, further, 1.6 * step

    def _stopped(self, fit: Fit, theta: Values, which: int, limit: float) -> bool:
        """Whether only the bound of another parameter keeps the profile above the limit here.

        It is measured with wider bounds, for the profile and for the fit that it is compared with.
        """
        reach = self.high - self.low
        low, high = theta < self.low + 1e-3 * reach, theta > self.high - 1e-3 * reach
        low[which] = high[which] = False
        if not (low | high).any():
            return False
        bounds = self.low, self.high
        self.low, self.high = self.low - 0.5 * reach * low, self.high + 0.5 * reach * high
        best, held = self._minimise(fit.theta)[1], self._minimise(theta, fixed=which)[1]
        self.low, self.high = bounds
        return bool(held - best < limit**2 * fit.rss / (self.n - self.p))

    def _elsewhere(self, fit: Fit, which: int, value: float, limit: float) -> tuple[Values, float]:
        """The profile at a value from points of the lattice instead of the last one."""
        lattices = [p.lattice() for p in self.parameters]
        lattices[which] = np.array([value])
        best = fit.theta, math.inf
        for start in self._starts(lattices)[:5]:
            best = min(best, self._profile(fit, which, value, start, most=25), key=_second)
            if best[1] <= limit:
                break
        return best

    def _root(
        self,
        fit: Fit,
        which: int,
        limit: float,
        inner: tuple[float, float],
        outer: tuple[float, float],
        theta: Values,
    ) -> float:
        """Where the profile crosses the limit, by the Illinois rule (it is nearly straight)."""
        (a, fa), (b, fb) = (inner[0], inner[1] - limit), (outer[0], outer[1] - limit)
        for _ in range(30):
            c = b - fb * (b - a) / (fb - fa)
            theta, far = self._profile(fit, which, c, theta)
            fc = far - limit
            if abs(fc) < 1e-4 * limit:
                return c
            if fc * fb < 0:
                a, fa = b, fb
            else:
                fa *= 0.5
            b, fb = c, fc
        return b


def _second(pair: tuple[Values, float]) -> float:
    return pair[1]


def _coefficients(x: Values, y: Values) -> Values:
    """The least-squares coefficients, none below 0."""
    from scipy.optimize import nnls

    best = np.asarray(np.linalg.lstsq(x, y, rcond=None)[0], dtype=np.float64)
    return best if (best >= 0).all() else np.asarray(nnls(x, y)[0], dtype=np.float64)


class _LowerMinimum(Exception):  # noqa: N818
    def __init__(self, theta: Values) -> None:
        super().__init__()
        self.theta = theta


def aicc(rss: float, n: int, unknowns: int) -> float:
    """Akaike's criterion corrected for small samples: n log(RSS / n) + 2 k + 2 k (k + 1) / (n - k - 1).

    Source: Hurvich & Tsai 1989, "Regression and time series model selection in small samples".

    Args:
        rss: sum of squares.
        n: number of measurements.
        unknowns: fitted numbers, the noise not counted (it is added here).
    """
    k = unknowns + 1
    if n <= k + 1:
        return math.inf
    return n * math.log(rss / n) + 2 * k + 2 * k * (k + 1) / (n - k - 1)


def ljung_box(residuals: Sequence[Values], lags: int = 10) -> tuple[float, float]:
    """Lag-1 autocorrelation of several runs of residuals, and the p-value that they have none.

    Source: Ljung & Box 1978, "On a measure of lack of fit in time series models"; the statistics of the
    runs are added.
    """
    from scipy.stats import chi2

    statistic, degrees, first, weight = 0.0, 0, 0.0, 0
    for run in residuals:
        r = run - run.mean()
        n, top = len(r), min(lags, len(r) // 3)
        power = float(r @ r)
        if top < 1 or power == 0.0:
            continue
        correlations = [float(r[lag:] @ r[:-lag]) / power for lag in range(1, top + 1)]
        statistic += n * (n + 2) * sum(c**2 / (n - lag) for lag, c in enumerate(correlations, 1))
        degrees += top
        first, weight = first + n * correlations[0], weight + n
    if not degrees:
        return 0.0, 1.0
    return first / weight, float(chi2.sf(statistic, degrees))
