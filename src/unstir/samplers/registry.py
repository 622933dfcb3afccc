"""Solvers and grids by name: strings exist at the edge only, and become objects here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any, TypeVar

from unstir.samplers.adaptive import Adaptive
from unstir.samplers.adaptive_sde import AdaptiveSDE
from unstir.samplers.ancestral import Ancestral
from unstir.samplers.consistency import Consistency
from unstir.samplers.grids import GRIDS, GridFunction
from unstir.samplers.langevin import AnnealedLangevin, PredictorCorrector
from unstir.samplers.presets import PRESETS
from unstir.samplers.singlestep import Heun, RungeKutta, SingleStep
from unstir.samplers.solve import Solver
from unstir.samplers.stochastic import EulerMaruyama, StochasticHeun
from unstir.settings import nearest

T = TypeVar("T")

SOLVERS: dict[str, Callable[..., Solver]] = {
    **{name: preset.make for name, preset in PRESETS.items()},
    "ddpm": Ancestral,
    "ddpm-beta": lambda: Ancestral("beta"),
    "ddpm-learned": lambda: Ancestral("learned"),
    "euler": lambda: RungeKutta(1),
    "heun": Heun,
    "rk4": lambda: RungeKutta(4),
    "dpm-solver-2s": lambda: SingleStep(2),
    "dpm-solver-3s": lambda: SingleStep(3),
    "adaptive": Adaptive,
    # Karras et al. 2022, table 5, for ImageNet-64: S_churn, S_tmin, S_tmax, S_noise.
    "edm": lambda: Heun(churn=40.0, window=(0.05, 50.0), inflation=1.003),
    "euler-maruyama": EulerMaruyama,
    "stochastic-heun": StochasticHeun,
    "predictor-corrector": PredictorCorrector,
    "annealed-langevin": AnnealedLangevin,
    "adaptive-sde": AdaptiveSDE,
    "consistency": Consistency,
}
"""The solvers by the names used in files and on the command line."""


def find_solver(name: str, **options: Any) -> Solver:
    """The solver of that name, with its default settings but for the options.

    Raises:
        ValueError: for an unknown name, with the nearest one; for an option that it does not have.
    """
    make = _find("solver", name, SOLVERS)
    known = list(signature(make).parameters)
    for option in options:
        if option not in known:
            takes = f"it takes {', '.join(known)}" if known else "it takes none"
            raise ValueError(f"the solver {name!r} has no option {option!r}; {takes}")
    try:
        return make(**options)
    except TypeError:
        raise ValueError(f"an option of the solver {name!r} is of the wrong kind, got {options}") from None


def find_grid(name: str) -> GridFunction:
    """The grid function of that name.

    Raises:
        ValueError: for an unknown name, with the nearest one.
    """
    return _find("grid", name, GRIDS)


def _find(kind: str, name: str, table: Mapping[str, T]) -> T:
    if name in table:
        return table[name]
    raise ValueError(f"unknown {kind} {name!r}; {nearest(name, list(table))}")
