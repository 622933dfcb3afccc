"""Back from noise: time grids, solvers, and the one sampling loop."""

from unstir.samplers.adaptive import Adaptive
from unstir.samplers.adaptive_sde import AdaptiveSDE
from unstir.samplers.analytic import AnalyticVariance, analytic_variance
from unstir.samplers.ancestral import DDIM, Ancestral
from unstir.samplers.consistency import Consistency
from unstir.samplers.grids import (
    GRIDS,
    arctan,
    check_grid,
    cosine,
    karras,
    leading,
    log_snr,
    make_grid,
    quadratic,
    trailing,
    uniform,
)
from unstir.samplers.jump import (
    JUMP_SOLVERS,
    Exact,
    JumpAncestral,
    JumpEuler,
    JumpSolution,
    JumpSolver,
    TauLeaping,
    jump_grid,
    sample_jumps,
)
from unstir.samplers.langevin import AnnealedLangevin, PredictorCorrector, ReverseDiffusion
from unstir.samplers.multistep import Multistep
from unstir.samplers.presets import PRESETS, Preset
from unstir.samplers.registry import SOLVERS, find_grid, find_solver
from unstir.samplers.runge_kutta import integrate
from unstir.samplers.singlestep import Heun, RungeKutta, SingleStep
from unstir.samplers.solve import Level, Problem, Progress, Solution, Solver, State, sample
from unstir.samplers.stochastic import EulerMaruyama, StochasticHeun

__all__ = [
    "DDIM",
    "GRIDS",
    "JUMP_SOLVERS",
    "PRESETS",
    "SOLVERS",
    "Adaptive",
    "AdaptiveSDE",
    "AnalyticVariance",
    "Ancestral",
    "AnnealedLangevin",
    "Consistency",
    "EulerMaruyama",
    "Exact",
    "Heun",
    "JumpAncestral",
    "JumpEuler",
    "JumpSolution",
    "JumpSolver",
    "Level",
    "Multistep",
    "PredictorCorrector",
    "Preset",
    "Problem",
    "Progress",
    "ReverseDiffusion",
    "RungeKutta",
    "SingleStep",
    "Solution",
    "Solver",
    "State",
    "StochasticHeun",
    "TauLeaping",
    "analytic_variance",
    "arctan",
    "check_grid",
    "cosine",
    "find_grid",
    "find_solver",
    "integrate",
    "jump_grid",
    "karras",
    "leading",
    "log_snr",
    "make_grid",
    "quadratic",
    "sample",
    "sample_jumps",
    "trailing",
    "uniform",
]
