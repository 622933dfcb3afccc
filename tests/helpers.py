"""What many tests share: the schedules to test, moments with their standard errors, independent mixtures."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from unstir.model import Model
from unstir.processes import (
    VE,
    VP,
    Cosine,
    Flow,
    Schedule,
    SubVP,
    ZeroTerminal,
    as_float64,
    cosine_betas,
    from_betas,
    linear_betas,
    zero_terminal_betas,
)

EPS = float(np.finfo(np.float64).eps)

SCHEDULES: dict[str, Schedule] = {
    "vp": VP(),
    "vp-constant": VP(3.0, 3.0),
    "vp-steep": VP(0.01, 60.0),
    "sub-vp": SubVP(),
    "sub-vp-steep": SubVP(0.1, 50.0),
    "cosine": Cosine(),
    "cosine-0": Cosine(0.0),
    "cosine-1": Cosine(1.0),
    "ve": VE(),
    "ve-narrow": VE(0.5, 2.0),
    "flow": Flow(),
    "table": from_betas(linear_betas()),
    "table-cosine": from_betas(cosine_betas()),
    "table-one": from_betas([0.3]),
    "table-zero": from_betas(zero_terminal_betas(linear_betas())),
    "zero-vp": ZeroTerminal(VP()),
    "zero-table": ZeroTerminal(from_betas(linear_betas(50, 1e-3, 0.2))),
    "zero-cosine": ZeroTerminal(Cosine()),
}
PURE_NOISE = [name for name, schedule in SCHEDULES.items() if float(schedule.alpha(1.0)) == 0.0]
"""The schedules that end in pure noise."""
ROOT = [name for name in SCHEDULES if name not in ("flow", "sub-vp", "sub-vp-steep", "cosine-0")]
"""The schedules whose sigma grows like the square root of t."""


def close(actual: Tensor | float, expected: Tensor | float, rtol: float = 0.0, atol: float = 0.0) -> None:
    """assert_close for float64 with tolerances that are always stated."""
    torch.testing.assert_close(as_float64(actual), as_float64(expected), rtol=rtol, atol=atol)


def check_moments(x: Tensor, mean: float, variance: float, z: float = 4.5) -> None:
    """Independent Gaussian numbers have this mean and variance, within z standard errors."""
    x = x.double().flatten()
    n = len(x)
    assert abs(float(x.mean()) - mean) < z * math.sqrt(variance / n)
    assert abs(float(x.var()) - variance) < z * variance * math.sqrt(2.0 / (n - 1))


def log_snr_slope(schedule: Schedule, t: Tensor) -> Tensor:
    """d log_snr / dt by automatic differentiation."""
    t = t.detach().clone().requires_grad_()
    (slope,) = torch.autograd.grad(schedule.log_snr(t).sum(), t)
    return slope


def derivative(function, t: Tensor) -> Tensor:
    """d function / dt at every time, by automatic differentiation."""
    t = t.detach().clone().requires_grad_()
    value = function(t)
    if not value.requires_grad:
        return torch.zeros_like(t)
    (slope,) = torch.autograd.grad(value.sum(), t)
    return slope.detach()


def steps_of_solves(monkeypatch: pytest.MonkeyPatch) -> set[int | None]:
    """A set that fills with the ``steps`` of every later `Model.solve`."""
    seen: set[int | None] = set()
    whole = Model.solve

    def solve(self, *args, steps=None, **options):
        seen.add(steps)
        return whole(self, *args, steps=steps, **options)

    monkeypatch.setattr(Model, "solve", solve)
    return seen
