from __future__ import annotations

import cmath
import math

import pytest
import torch

from unstir.generators import diffusion, telegraph
from unstir.spaces import Axis, Grid, Value

GRID = Grid(Axis(0, 1, 64, boundary="periodic"))
(X,) = GRID.centers


@pytest.mark.parametrize("k", [1, 4])
def test_a_mode_follows_the_damped_oscillator(k):
    D, tau = 0.2, 0.5
    A = diffusion(GRID, D, scheme="spectral")
    wave = 2 * math.pi * k
    s = complex(1 / (4 * tau**2) - D * wave**2 / tau) ** 0.5
    u0 = torch.cos(wave * X)
    for t in (0.0, 0.1, 1.3):
        envelope = math.exp(-t / (2 * tau))
        factor = envelope * (cmath.cosh(s * t) + cmath.sinh(s * t) / (2 * tau * s)).real
        impulse = envelope * (cmath.sinh(s * t) / s).real
        state = telegraph(A, tau).exp(t, u0, velocity=0.5 * u0)
        assert torch.allclose(state, (factor + 0.5 * impulse) * u0, atol=1e-12)


def test_a_short_relaxation_is_the_heat_equation():
    A = diffusion(GRID, 0.01)
    u0 = torch.exp(-100 * (X - 0.5) ** 2)
    errors = [
        float((telegraph(A, tau).exp(0.5, u0, velocity=A(u0)) - A.exp(0.5, u0)).abs().max())
        for tau in (1e-2, 1e-3)
    ]
    assert errors[1] < 0.15 * errors[0]
    assert errors[1] < 1e-3


def test_the_front_moves_with_finite_speed():
    D, tau = 1.0, 4.0
    grid = Grid(Axis(-4, 4, 800, boundary="periodic"))
    (x,) = grid.centers
    u0 = torch.exp(-200 * x**2)
    u = telegraph(diffusion(grid, D, scheme="spectral"), tau).exp(3.0, u0)
    beyond = x.abs() > math.sqrt(D / tau) * 3.0 + 0.45
    assert float(u[beyond].abs().max()) < 1e-9
    assert float(diffusion(grid, D).exp(3.0, u0)[beyond].max()) > 1e-3


def test_mass_stays_and_several_times_come_at_once():
    A = diffusion(GRID, 0.01)
    u0 = torch.exp(-100 * (X - 0.5) ** 2)
    states = telegraph(A, 0.3).exp(torch.tensor([0.0, 0.5, 20.0]), u0)
    assert torch.allclose(GRID.integrate(states), GRID.integrate(u0).expand(3), rtol=1e-12)
    assert torch.allclose(states[0], u0, atol=1e-12)


def test_what_it_cannot_do_is_refused():
    with pytest.raises(ValueError, match="above 0"):
        telegraph(diffusion(GRID), 0.0)
    with pytest.raises(ValueError, match="homogeneous"):
        telegraph(diffusion(Grid(Axis(0, 1, 4, boundary=Value(1.0)))), 1.0)
    with pytest.raises(ValueError, match="at least 0"):
        telegraph(diffusion(GRID), 1.0).exp(-1.0, X)
