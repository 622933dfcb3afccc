"""How structure dissolves: schedules (alpha, sigma), prediction targets and Ito SDEs."""

from unstir.processes.schedule import (
    VE,
    VP,
    Cosine,
    Flow,
    Schedule,
    SubVP,
    VariancePreserving,
    ZeroTerminal,
)
from unstir.processes.sde import SDE
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
    "Cosine",
    "Flow",
    "Schedule",
    "SubVP",
    "Table",
    "Target",
    "VariancePreserving",
    "ZeroTerminal",
    "as_float64",
    "convert",
    "cosine_betas",
    "expand",
    "from_betas",
    "linear_betas",
    "schedule_from_dict",
    "schedule_to_dict",
    "zero_terminal_betas",
]
