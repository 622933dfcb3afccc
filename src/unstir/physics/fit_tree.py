"""Fitting a tree of dated samples: how fast lineages spread, where they were, how they moved."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unstir.physics.phylo_region_rates import (
    RateModel,
    all_rates,
    equal_rates,
    fit_regions,
    profile_interval,
    symmetric_rates,
)
from unstir.physics.phylo_regions import ancestral_regions
from unstir.physics.phylo_sphere import SphereFit, fit_sphere
from unstir.physics.phylo_statistics import Dispersal, dispersal
from unstir.physics.tree_tables import annotated_places, annotated_regions, table_places, table_regions
from unstir.settings import nearest
from unstir.spaces import Tree

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MODELS = {
    "equal": lambda names: equal_rates(len(names)),
    "symmetric": lambda names: symmetric_rates(len(names), names),
    "all": lambda names: all_rates(len(names), names),
}
"""Models of the rates between regions, by name."""
DAYS = {"year": 365.25, "month": 30.4375, "week": 7.0, "day": 1.0}
"""Units of a tree's time, in days."""
_PROFILED = 6


@dataclass(frozen=True)
class LocationFit:
    """Lineages that wander over the globe.

    Attributes:
        motion: D in km^2 per unit of time with its interval, and every node's place with its deviation in km.
        statistics: of the reconstructed edges.
    """

    motion: SphereFit
    statistics: Dispersal


@dataclass(frozen=True)
class Rate:
    """One rate of a fitted model, per unit of time, with its interval (0 or inf where it has no end)."""

    name: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class RegionTreeFit:
    """Lineages that jump between regions.

    Attributes:
        names: of the regions.
        model: its name.
        rates: the fitted ones.
        matrix: (k, k) rates from i to j.
        log_likelihood: at the maximum.
        marginals: (n, k) probability of each region at each node.
        profiled: whether intervals are of the profile likelihood; else from the standard errors.
    """

    names: list[str]
    model: str
    rates: list[Rate]
    matrix: Tensor
    log_likelihood: float
    marginals: Tensor
    profiled: bool


@dataclass(frozen=True)
class TreeFit:
    """What was fitted to a tree; either part may be missing.

    Attributes:
        tree: as read.
        unit: of its time.
        level: of the intervals.
        locations: from places.
        regions: from regions.
    """

    tree: Tree
    unit: str
    level: float
    locations: LocationFit | None
    regions: RegionTreeFit | None

    def lines(self) -> list[str]:
        """The result in sentences."""
        span = float(self.tree.depth.max())
        result = [
            f"{len(self.tree.tips)} tips, {len(self.tree)} nodes, {span:.4g} {self.unit}s from the root to "
            "the last tip"
        ]
        if self.locations is not None:
            result += self._location_lines(self.locations)
        if self.regions is not None:
            result += self._region_lines(self.regions)
        return result

    def _location_lines(self, fit: LocationFit) -> list[str]:
        motion, root = fit.motion, self.tree.root
        D, low, high = (float(value) for value in (motion.D, *motion.interval))
        days = DAYS[self.unit]
        latitude, longitude = motion.places[root].tolist()
        share = f"{100 * self.level:g} % interval"
        lines = [
            f"diffusion coefficient {number(D)} km^2/{self.unit} ({share} {number(low)} to {number(high)})"
        ]
        if self.unit != "day":
            lines.append(f"that is {D / days:.4g} km^2/day ({low / days:.4g} to {high / days:.4g})")
        deviation = float(motion.deviations[root])
        return [
            *lines,
            f"root at latitude {latitude:.2f}, longitude {longitude:.2f}, "
            f"standard deviation {deviation:.3g} km",
            f"reconstructed edges: weighted diffusion coefficient {number(fit.statistics.diffusion)} "
            f"km^2/{self.unit}, weighted branch velocity {fit.statistics.velocity:.4g} km/{self.unit}",
        ]

    def _region_lines(self, fit: RegionTreeFit) -> list[str]:
        share = f"{100 * self.level:g} % interval"
        probable = fit.marginals[self.tree.root]
        order = probable.argsort(descending=True)[:3].tolist()
        at_root = ", ".join(f"{fit.names[i]} {float(probable[i]):.3f}" for i in order)
        lines = [f"{len(fit.names)} regions, {fit.model} rates: log-likelihood {fit.log_likelihood:.3f}"]
        lines += [
            f"rate {rate.name}: {rate.value:.4g} per {self.unit} ({share} {rate.low:.4g} to {rate.high:.4g})"
            for rate in fit.rates
        ]
        return [*lines, f"root: {at_root}"]

    def to_dict(self) -> dict[str, Any]:
        """Every number, as plain data."""
        result: dict[str, Any] = {
            "tips": len(self.tree.tips),
            "nodes": len(self.tree),
            "time_unit": self.unit,
            "span": float(self.tree.depth.max()),
            "level": self.level,
        }
        if self.locations is not None:
            motion, root = self.locations.motion, self.tree.root
            result["locations"] = {
                "D_km2_per_unit": float(motion.D),
                "D_interval": [float(end) for end in motion.interval],
                "D_km2_per_day": float(motion.D) / DAYS[self.unit],
                "root": {
                    "latitude": float(motion.places[root, 0]),
                    "longitude": float(motion.places[root, 1]),
                    "deviation_km": float(motion.deviations[root]),
                },
                "statistics": vars(self.locations.statistics),
                "nodes": self._nodes(
                    latitude=motion.places[:, 0],
                    longitude=motion.places[:, 1],
                    deviation_km=motion.deviations,
                ),
            }
        if self.regions is not None:
            fit = self.regions
            result["regions"] = {
                "model": fit.model,
                "log_likelihood": fit.log_likelihood,
                "names": fit.names,
                "rates": [_finite(vars(rate)) for rate in fit.rates],
                "matrix": fit.matrix.tolist(),
                "nodes": self._nodes(**{name: fit.marginals[:, i] for i, name in enumerate(fit.names)}),
            }
        return result

    def _nodes(self, **columns: Tensor) -> list[dict[str, Any]]:
        assert self.tree.names is not None
        plain = {key: column.tolist() for key, column in columns.items()}
        depth, parent = self.tree.depth.tolist(), self.tree.parent.tolist()
        return [
            {"node": i, "name": name, "parent": parent[i], "time": depth[i]}
            | {key: column[i] for key, column in plain.items()}
            for i, name in enumerate(self.tree.names)
        ]

    def draw(self, figure: Figure) -> None:
        """Draw the map, or the tree in the regions' colours, into an empty figure."""
        from unstir.physics.draw_tree import draw_fit

        draw_fit(figure, self)


def number(value: float) -> str:
    """Four digits, without powers of ten from a thousandth to a billion."""
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.4g}"


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    # JSON has no infinity.
    return {
        k: None if isinstance(v, float) and v in (float("inf"), float("-inf")) else v
        for k, v in values.items()
    }


def fit_tree(
    tree_path: Path,
    locations: Path | None = None,
    regions: Path | None = None,
    *,
    annotation: str | None = None,
    model: str = "symmetric",
    unit: str = "year",
    level: float = 0.95,
) -> TreeFit:
    """Fit a Brownian motion over the globe to the tips' places, or rates to their regions, or both.

    Without tables and ``annotation``, places are taken from the tree file's location1 and location2.

    Args:
        tree_path: Newick or NEXUS, .gz too, lengths in units of time.
        locations: a table with a header: tip, latitude, longitude.
        regions: a table with a header: tip, region.
        annotation: instead of a table of regions, the key of an annotation in the tree file.
        model: of the rates: "equal", "symmetric" or "all".
        unit: of the tree's time: year, month, week or day.
        level: of the intervals, between 0 and 1.

    Raises:
        ValueError: one sentence for what is wrong with the tree, a table, or a choice.
        OSError: if a file cannot be read.
    """
    if model not in MODELS:
        raise ValueError(f"unknown model of rates {model!r}; {nearest(model, sorted(MODELS))}")
    if unit not in DAYS:
        raise ValueError(f"unknown unit of time {unit!r}; {nearest(unit, sorted(DAYS))}")
    if not 0 < level < 1:
        raise ValueError(f"the level of an interval lies between 0 and 1, got {level}")
    if regions is not None and annotation is not None:
        raise ValueError("regions come from a table or from an annotation, not from both")
    tree = Tree.from_file(tree_path)
    if len(tree.tips) < 3:
        raise ValueError(f"{tree_path} has {len(tree.tips)} tips; a fit needs at least 3")
    places = None
    if locations is not None:
        places = table_places(tree, locations)
    elif regions is None and annotation is None:
        places = annotated_places(tree)
    found = None
    if regions is not None:
        found = table_regions(tree, regions)
    elif annotation is not None:
        found = annotated_regions(tree, annotation)
    motion = None
    if places is not None:
        fit = fit_sphere(tree, places, level=level)
        motion = LocationFit(fit, dispersal(tree, fit.places))
    jumps = None if found is None else _fit_rates(tree, *found, model, level)
    return TreeFit(tree, unit, level, motion, jumps)


def _fit_rates(tree: Tree, states: Tensor, names: list[str], model: str, level: float) -> RegionTreeFit:
    if len(names) < 2:
        raise ValueError("all tips are in one region: no rate of leaving it can be estimated")
    made: RateModel = MODELS[model](names)
    fit = fit_regions(tree, states, made)
    profiled = len(made.names) <= _PROFILED
    rates = []
    for m, name in enumerate(made.names):
        effect = fit.effects[m]
        if profiled:
            low, high = profile_interval(tree, states, fit, m, level=level)
        else:
            z = float(torch.special.ndtri(torch.tensor(0.5 + 0.5 * level, dtype=torch.float64)))
            width = z * float(fit.standard_errors[m])
            # Where the likelihood does not fall off, the standard error is NaN and the interval has no end.
            low, high = (
                (float(effect) - width, float(effect) + width) if width == width else (-torch.inf, torch.inf)
            )
        low, high = (float(torch.tensor(end, dtype=torch.float64).exp()) for end in (low, high))
        rates.append(Rate(name, float(effect.exp()), low, high))
    marginals = ancestral_regions(tree, states, fit.rates)
    return RegionTreeFit(names, model, rates, fit.rates, fit.log_likelihood, marginals, profiled)
