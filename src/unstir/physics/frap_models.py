"""The models that a recovery curve can be fitted with, each as columns that enter the intensity linearly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unstir.physics import frap
from unstir.physics.frap_data import Curve
from unstir.physics.laplace import InverseLaplace
from unstir.physics.least_squares import Parameter, Separable, Values

Recovery = Callable[[dict[str, float], "Moments"], Tensor]


class Moments:
    """The times of all curves after the bleach, and what is computed once for them.

    Args:
        curves: the curves.
        radius: of the spot, um.
        cell_radius: of the cell, um, or None for one without end.
    """

    def __init__(self, curves: Sequence[Curve], radius: float, cell_radius: float | None) -> None:
        after = [curve.time[curve.bleach :] for curve in curves]
        times, places = np.unique(np.concatenate(after).round(12), return_inverse=True)
        self.t = torch.from_numpy(times)
        self.where: list[NDArray[np.intp]] = np.split(places, np.cumsum([len(t) for t in after])[:-1])
        self.inverse = InverseLaplace(self.t[1:])
        self.radius = radius
        self.cell_radius = cell_radius

    def spread(self, D: float, k_on: Sequence[float] = (), k_off: Sequence[float] = ()) -> Tensor:
        """Recovery by diffusion with or without binding, in a cell with or without an end."""
        if self.cell_radius is not None:
            return frap.finite_cell(self.t, D, self.radius, self.cell_radius, k_on, k_off)
        if not k_on:
            return frap.uniform_spot(self.t, D, self.radius)
        return frap.reaction_diffusion(self.t, D, self.radius, k_on, k_off, inverse=self.inverse)


@dataclass(frozen=True)
class FrapModel:
    """A model of the recovery.

    Attributes:
        name: as users give it.
        words: what it says, for reports.
        kinds: the kind of each parameter: 'D', 'rate', 'binding' or 'ratio', by name.
        recovery: values by name to the recovery of a mobile molecule.
        gaussian: whether the bleach is that of a Gaussian beam, whose depth shapes the recovery.
    """

    name: str
    words: str
    kinds: dict[str, str]
    recovery: Recovery
    gaussian: bool = False

    def parameters(self, curves: Sequence[Curve], radius: float) -> list[Parameter]:
        """Its parameters with bounds far beyond what these images can tell apart."""
        last = max(float(curve.time[-1]) for curve in curves)
        step = min(float(np.diff(curve.time[curve.bleach :]).min()) for curve in curves)
        slow, fast = radius**2 / last, radius**2 / step
        known = {
            "D": ("um^2/s", 1e-3 * slow, 1e3 * fast, True, (0.1 * slow, 10.0 * fast)),
            "rate": ("1/s", 1e-3 / last, 1e2 / step, True, (0.3 / last, 30.0 / step)),
            "binding": ("1/s", 1e-3 / last, 1e6 / step, True, (0.3 / last, 30.0 / step)),
            "ratio": ("", 1e-4, 1.0, True, (1e-3, 0.5)),
        }
        starts = {1: 10, 3: 5}.get(len(self.kinds), 3)
        found = [Parameter(name, *known[kind], starts=starts) for name, kind in self.kinds.items()]
        found.append(Parameter("mobile", "", 0.01, 2.0, log=False, likely=(0.4, 1.2), starts=4))
        if self.gaussian:
            found += [Parameter(f"K {i}", "", 1e-3, 50.0, True, (0.3, 5.0), 1) for i in range(len(curves))]
        return found

    def problem(self, curves: Sequence[Curve], radius: float, cell_radius: float | None) -> Separable:
        """The least-squares problem of these curves: shared parameters, each curve with its own levels."""
        moments = Moments(curves, radius, cell_radius)

        def columns(values: dict[str, float]) -> list[Values]:
            if self.gaussian:
                return [self._beam(values, i, curve, moments) for i, curve in enumerate(curves)]
            share = values["mobile"] * self.recovery(values, moments).numpy()
            return [_steps(c, share[where]) for c, where in zip(curves, moments.where, strict=True)]

        return Separable(
            self.parameters(curves, radius),
            columns,
            [curve.intensity for curve in curves],
            [curve.noise for curve in curves],
        )

    def _beam(self, values: dict[str, float], i: int, curve: Curve, moments: Moments) -> Values:
        K, where = values[f"K {i}"], moments.where[i]
        share = values["mobile"] * self.recovery({**values, "K": K}, moments).numpy()[where]
        # The loss is depth * before, so the level before is the one thing that enters linearly.
        single: Values = _steps(curve, share) @ np.array([[1.0], [float(frap.gaussian_depth(K))]])
        return single

    def level(self, values: dict[str, float], i: int, coefficients: Values) -> tuple[float, float]:
        """Curve i's level before the bleach (relative to the mean of those images), and its bleach depth."""
        if self.gaussian:
            return float(coefficients[0]), float(frap.gaussian_depth(values[f"K {i}"]))
        return float(coefficients[0]), float(coefficients[1] / coefficients[0])


def _steps(curve: Curve, share: Values) -> Values:
    """Columns of (before, lost): the intensity is before, and then before - lost * (1 - share)."""
    missing = np.zeros(len(curve.time))
    missing[curve.bleach :] = 1.0 - share
    return np.stack([np.ones_like(missing), -missing], axis=1)


MODELS: dict[str, FrapModel] = {
    model.name: model
    for model in (
        FrapModel(
            "diffusion",
            "diffusion into a uniformly bleached spot (Soumpasis 1983)",
            {"D": "D"},
            lambda v, m: m.spread(v["D"]),
        ),
        FrapModel(
            "reaction",
            "unbinding, with diffusion too fast to be seen (Sprague et al. 2004)",
            {"k_off": "rate"},
            lambda v, m: frap.reaction_dominant(m.t, v["k_off"]),
        ),
        FrapModel(
            "reaction-diffusion",
            "diffusion and binding to one kind of site (Sprague et al. 2004)",
            {"D": "D", "k_on": "binding", "k_off": "rate"},
            lambda v, m: m.spread(v["D"], (v["k_on"],), (v["k_off"],)),
        ),
        FrapModel(
            "two-state",
            "diffusion and binding to two kinds of site (Sprague et al. 2004)",
            {"D": "D", "k_on": "binding", "k_off": "rate", "k_on2": "binding", "k_off2/k_off": "ratio"},
            lambda v, m: m.spread(
                v["D"], (v["k_on"], v["k_on2"]), (v["k_off"], v["k_off"] * v["k_off2/k_off"])
            ),
        ),
        FrapModel(
            "gaussian",
            "diffusion into a spot bleached by a Gaussian beam (Axelrod et al. 1976)",
            {"D": "D"},
            lambda v, m: frap.gaussian_spot(m.t, v["D"], m.radius, v["K"]),
            gaussian=True,
        ),
    )
}
"""By name. The shape of the bleach is a fact of the microscope, so 'gaussian' is never chosen by the data."""

AUTOMATIC = ("diffusion", "reaction", "reaction-diffusion")
"""Among these the data choose."""
