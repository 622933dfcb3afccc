"""Back from noise: time grids, solvers, and the one sampling loop."""

from unstir.samplers.ancestral import DDIM, Ancestral
from unstir.samplers.grids import GRIDS, arctan, check_grid, karras, log_snr, trailing, uniform
from unstir.samplers.multistep import Multistep
from unstir.samplers.registry import SOLVERS, find_grid, find_solver
from unstir.samplers.singlestep import Heun
from unstir.samplers.solve import Level, Problem, Progress, Solution, Solver, State, sample
from unstir.samplers.stochastic import EulerMaruyama

__all__ = [
    "DDIM",
    "GRIDS",
    "SOLVERS",
    "Ancestral",
    "EulerMaruyama",
    "Heun",
    "Level",
    "Multistep",
    "Problem",
    "Progress",
    "Solution",
    "Solver",
    "State",
    "arctan",
    "check_grid",
    "find_grid",
    "find_solver",
    "karras",
    "log_snr",
    "sample",
    "trailing",
    "uniform",
]
