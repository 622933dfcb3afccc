"""What a fit of recovery curves says: parameters with intervals, the choice of the model, and doubts."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from unstir.physics.frap_data import Curve
from unstir.physics.frap_models import MODELS
from unstir.physics.least_squares import Values
from unstir.settings import nearest

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Estimate:
    """A fitted number.

    Attributes:
        name: of the parameter.
        unit: or ''.
        value: the best.
        covariance: interval of the linearised problem.
        profile: interval of the profile likelihood; None at an end that the data leave open.
    """

    name: str
    unit: str
    value: float
    covariance: tuple[float, float]
    profile: tuple[float | None, float | None]

    def line(self, percent: str) -> str:
        """The number and its intervals; only the limit where one end is open."""
        low, high = self.profile
        if low is None and high is None:
            return f"{self.name}: not identifiable from these data"
        if low is None or high is None:
            side = f"below {high:.3g}" if low is None else f"above {low:.3g}"
            return (
                f"{self.name} is {side}{_unit(self.unit)} ({percent} profile likelihood), the other end open"
            )
        return (
            f"{self.name} = {self.value:.3g}{_unit(self.unit)}, {percent} interval {low:.3g} to {high:.3g} "
            f"(profile), {_plain(self.covariance[0])} to {_plain(self.covariance[1])} (covariance)"
        )

    @property
    def warning(self) -> str | None:
        """One sentence if the data do not bound it on both sides."""
        low, high = self.profile
        if low is None and high is None:
            return f"{self.name} is not identifiable: the data bound it on neither side"
        if high is None:
            return f"{self.name} has no upper limit: values far above {low:.3g}{_unit(self.unit)} fit as well"
        if low is None:
            return (
                f"{self.name} has no lower limit: values far below {high:.3g}{_unit(self.unit)} fit as well"
            )
        return None


@dataclass(frozen=True)
class Spread:
    """A parameter fitted to each curve alone, and its mean over the curves.

    Attributes:
        name: of the parameter.
        unit: or ''.
        values: of each curve.
        mean: geometric for a positive parameter, arithmetic for the mobile fraction.
        interval: Student's t over the curves.
    """

    name: str
    unit: str
    values: tuple[float, ...]
    mean: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class FrapFit:
    """A model fitted to one or more recovery curves.

    Attributes:
        model: its name.
        curves: what was fitted.
        spot_radius: um.
        cell_radius: um, or None.
        level: of the intervals.
        estimates: the parameters that the curves share.
        levels: of each curve, (level before the bleach relative to the mean then, bleach depth).
        half_time: s until half of what recovers has.
        criteria: AICc of every model tried, by name; of several curves, with one set of parameters or with
            a set for each curve, whichever is lower.
        autocorrelation: lag-1 correlation of the residuals.
        autocorrelation_p: Ljung-Box p-value that there is none.
        spreads: parameters that the data bound, fitted to each curve alone; empty for one curve.
        spread_p: p-value of the F test that the curves share their parameters; 1 for one curve.
        fitted: intensity of each curve by the model, (n,), relative.
        residuals: measured - fitted, of each curve, relative.
    """

    model: str
    curves: tuple[Curve, ...]
    spot_radius: float
    cell_radius: float | None
    level: float
    estimates: tuple[Estimate, ...]
    levels: tuple[tuple[float, float], ...]
    half_time: float
    criteria: dict[str, float]
    autocorrelation: float
    autocorrelation_p: float
    spreads: tuple[Spread, ...]
    spread_p: float
    fitted: tuple[Values, ...] = field(repr=False)
    residuals: tuple[Values, ...] = field(repr=False)

    def __getitem__(self, name: str) -> Estimate:
        """The estimate of a parameter.

        Raises:
            KeyError: naming those that there are.
        """
        found = {estimate.name: estimate for estimate in self.estimates}
        if name not in found:
            raise KeyError(f"no parameter {name!r}; {nearest(name, list(found))}")
        return found[name]

    def warnings(self) -> list[str]:
        """What a reader must know before using the numbers, one sentence each."""
        found = [estimate.warning for estimate in self.estimates]
        binding = [e for e in self.estimates if e.name in ("D", "k_on")]
        if len(binding) == 2 and all(e.profile[1] is None for e in binding):
            found.append("D and k_on can rise together: these data decide at most a ratio of the two")
        mobile = self["mobile"]
        if mobile.profile[0] is not None and mobile.profile[0] > 1.0:
            found.append(
                "the mobile fraction is above 1: the intensity ends higher than before the bleach, so there "
                "is drift or focus change; a reference column would correct it"
            )
        if self.autocorrelation_p < 0.01:
            r = self.autocorrelation
            factor = math.sqrt((1 + r) / (1 - r)) if 0 < r < 1 else 1.0
            tail = f"; intervals are too narrow, by about {factor:.1f} times" if factor > 1.05 else ""
            found.append(
                f"the residuals are not independent (lag-1 correlation {r:.2f}, Ljung-Box p = "
                f"{self.autocorrelation_p:.2g}): the model or the baseline misses something{tail}"
            )
        if self.spread_p < 0.05:
            found.append(
                f"the curves differ by more than their noise (F test p = {self.spread_p:.2g}): use the means "
                "over curves, not the joint intervals"
            )
        for curve, (_, depth) in zip(self.curves, self.levels, strict=True):
            if not 0.05 < depth <= 1.0:
                found.append(f"{curve.name}: the fitted bleach depth is {depth:.2f}; check the bleach frame")
        return [sentence for sentence in found if sentence]

    def lines(self) -> list[str]:
        """The report, a line each."""
        percent = f"{100 * self.level:g} %"
        count = f"{len(self.curves)} curves" if len(self.curves) > 1 else self.curves[0].name
        found = [f"{count}: {MODELS[self.model].words}"]
        found += [e.line(percent) for e in self.estimates]
        found.append(f"half of the recovery after {self.half_time:.3g} s")
        if len(self.curves) == 1:
            found.append(f"bleach depth {self.levels[0][1]:.3g}")
        found += [
            f"{s.name}, curve by curve: mean {s.mean:.3g}{_unit(s.unit)}, {percent} interval "
            f"{s.interval[0]:.3g} to {s.interval[1]:.3g} over {len(s.values)} curves"
            for s in self.spreads
        ]
        if len(self.criteria) > 1:
            best = min(self.criteria.values())
            text = ", ".join(f"{name} +{value - best:.1f}" for name, value in self.criteria.items())
            found.append(f"chosen by AICc (difference from the best): {text}")
        return found + [f"note: {sentence}" for sentence in self.warnings()]

    def to_dict(self) -> dict[str, Any]:
        """Everything but the curves as plain data; an open end of an interval is None."""
        return {
            "model": self.model,
            "spot_radius_um": self.spot_radius,
            "cell_radius_um": self.cell_radius,
            "level": self.level,
            "parameters": {
                e.name: {
                    "value": e.value,
                    "unit": e.unit,
                    "profile": list(e.profile),
                    "covariance": [x if math.isfinite(x) else None for x in e.covariance],
                }
                for e in self.estimates
            },
            "half_time_s": self.half_time,
            "curves": [
                {"name": c.name, "before": level * c.scale, "bleach_depth": depth, "bleach_frame": c.bleach}
                for c, (level, depth) in zip(self.curves, self.levels, strict=True)
            ],
            "aicc": dict(self.criteria),
            "residuals": {"lag_1": self.autocorrelation, "ljung_box_p": self.autocorrelation_p},
            "between_curves": {
                "p": self.spread_p,
                "parameters": {
                    s.name: {"values": list(s.values), "mean": s.mean, "interval": list(s.interval)}
                    for s in self.spreads
                },
            },
            "warnings": self.warnings(),
        }

    def draw(self, figure: Figure) -> None:
        """Data with the fit, residuals, and the intervals of the parameters, into an empty figure."""
        from unstir.physics.frap_picture import draw_fit

        draw_fit(self, figure)


def _plain(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) and value > 1e-9 else "open"


def _unit(unit: str) -> str:
    return f" {unit}" if unit else ""
