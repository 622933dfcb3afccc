"""How structure dissolves: schedules (alpha, sigma), prediction targets, Ito SDEs, jump processes."""

from unstir.processes.clock import Clock, CosineClock, Geometric, LogLinear, Steady
from unstir.processes.exact_sdes import (
    brownian_motion,
    cox_ingersoll_ross,
    geometric_brownian_motion,
    ornstein_uhlenbeck,
)
from unstir.processes.heat import Heat, HeatOnGraph
from unstir.processes.jump import Jump, RateMatrix, Reset, absorbing, uniform
from unstir.processes.modes import Blurring, Modes
from unstir.processes.paths import Paths, RateTable, gillespie, simulate_jumps, uniformised
from unstir.processes.reversal import Reversal, reverse_master, reversed_rates
from unstir.processes.schedule import (
    VE,
    VP,
    Angle,
    Cosine,
    Flow,
    Schedule,
    SubVP,
    VariancePreserving,
    ZeroTerminal,
)
from unstir.processes.sde import SDE
from unstir.processes.sde_paths import first_passage, mean_squared_displacement, quadratic_variation
from unstir.processes.serial import SCHEDULES, schedule_from_dict, schedule_to_dict
from unstir.processes.shapes import as_float64, expand
from unstir.processes.table import Table, cosine_betas, from_betas, linear_betas, zero_terminal_betas
from unstir.processes.targets import (
    EPSILON,
    SCORE,
    TARGETS,
    V_PREDICTION,
    VELOCITY,
    X0,
    Target,
    convert,
)

__all__ = [
    "EPSILON",
    "SCHEDULES",
    "SCORE",
    "SDE",
    "TARGETS",
    "VE",
    "VELOCITY",
    "VP",
    "V_PREDICTION",
    "X0",
    "Angle",
    "Blurring",
    "Clock",
    "Cosine",
    "CosineClock",
    "Flow",
    "Geometric",
    "Heat",
    "HeatOnGraph",
    "Jump",
    "LogLinear",
    "Modes",
    "Paths",
    "RateMatrix",
    "RateTable",
    "Reset",
    "Reversal",
    "Schedule",
    "Steady",
    "SubVP",
    "Table",
    "Target",
    "VariancePreserving",
    "ZeroTerminal",
    "absorbing",
    "as_float64",
    "brownian_motion",
    "convert",
    "cosine_betas",
    "cox_ingersoll_ross",
    "expand",
    "first_passage",
    "from_betas",
    "geometric_brownian_motion",
    "gillespie",
    "linear_betas",
    "mean_squared_displacement",
    "ornstein_uhlenbeck",
    "quadratic_variation",
    "reverse_master",
    "reversed_rates",
    "schedule_from_dict",
    "schedule_to_dict",
    "simulate_jumps",
    "uniform",
    "uniformised",
    "zero_terminal_betas",
]
