"""Averages of the weights against direct sums, and their reconstruction after training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from torch import nn

from unstir.training import PowerEMA, gamma_of_width, reconstruct
from unstir.training.ema import overlap, reconstruction_weights


class Weights(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = nn.Parameter(torch.as_tensor(value, dtype=torch.float64).clone())


def follow(path, batch, widths, snapshots=0, folder=None):
    """An average over a path of parameters, one value a step."""
    module = Weights(path[0])
    ema = PowerEMA(module, widths)
    for step, value in enumerate(path, start=1):
        module.value.data.copy_(value)
        ema.update(module.parameters(), step * batch, batch)
        if snapshots and step % (len(path) // snapshots) == 0:
            ema.snapshot(folder, step * batch)
    return ema


@pytest.mark.parametrize("width", [0.02, 0.05, 0.1, 0.2])
def test_the_exponent_gives_the_profile_its_relative_width(width):
    gamma = gamma_of_width(width)
    mean = quad(lambda s: (gamma + 1) * s ** (gamma + 1), 0, 1)[0]
    second = quad(lambda s: (gamma + 1) * s ** (gamma + 2), 0, 1)[0]
    assert np.sqrt(second - mean**2) == pytest.approx(width, rel=1e-6)


@pytest.mark.parametrize("width", [0.0, -0.1, 0.2887, 1.0, float("nan")])
def test_a_width_that_no_average_has_is_refused(width):
    with pytest.raises(ValueError, match=r"between 0 and 0\.288"):
        gamma_of_width(width)


@pytest.mark.parametrize("width", [0.05, 0.1, 0.25])
def test_the_running_average_is_the_weighted_sum_of_the_path(width):
    batch, steps = 7, 50
    path = torch.from_numpy(np.random.default_rng(0).standard_normal((steps, 5)))
    average = follow(path, batch, [width]).state(0)["value"]
    gamma = gamma_of_width(width)
    edges = (batch * np.arange(steps + 1.0)) ** (gamma + 1)
    weights = torch.from_numpy(np.diff(edges) / edges[-1])
    torch.testing.assert_close(average, weights @ path, rtol=1e-12, atol=1e-12)


def test_the_average_forgets_the_initial_weights_at_the_first_step():
    module = Weights([100.0])
    ema = PowerEMA(module, [0.1])
    module.value.data.fill_(1.0)
    ema.update(module.parameters(), 8, 8)
    assert float(ema.state(0)["value"]) == 1.0


@pytest.mark.parametrize(
    ("a", "gamma_a", "b", "gamma_b"), [(1.0, 16.97, 1.0, 6.94), (0.3, 6.94, 1.0, 16.97), (0.5, 2.0, 0.4, 9.0)]
)
def test_the_overlap_of_two_profiles_is_their_integral(a, gamma_a, b, gamma_b):
    def product(s):
        return (
            (gamma_a + 1) * s**gamma_a / a ** (gamma_a + 1) * (gamma_b + 1) * s**gamma_b / b ** (gamma_b + 1)
        )

    numeric = quad(product, 0, min(a, b), epsabs=1e-13, epsrel=1e-12)[0]
    assert overlap(a, gamma_a, b, gamma_b) == pytest.approx(numeric, rel=1e-8)


def test_a_stored_average_reconstructs_itself():
    stored = [(n, width) for n in (100.0, 200.0, 400.0) for width in (0.05, 0.1)]
    weights = reconstruction_weights(stored, (400.0, 0.1))
    np.testing.assert_allclose(weights, [0, 0, 0, 0, 0, 1], atol=1e-6)


@pytest.mark.parametrize("width", [0.07, 0.13])
def test_reconstruction_gives_another_width_much_better_than_the_nearest_tracked_one(width, tmp_path):
    rng = np.random.default_rng(1)
    steps, batch = 640, 4
    drift = np.linspace(0, 3, steps)[:, None] ** np.linspace(0.3, 2, 12)
    path = torch.from_numpy(drift + 0.02 * rng.standard_normal((steps, 12)).cumsum(0))
    follow(path, batch, (0.05, 0.10), snapshots=16, folder=tmp_path)
    direct = follow(path, batch, (width,)).state(0)["value"]
    made = reconstruct(tmp_path, width)["value"]
    nearest = min(
        float((follow(path, batch, (tracked,)).state(0)["value"] - direct).norm()) for tracked in (0.05, 0.10)
    )
    assert float((made - direct).norm()) < nearest / 20


def test_reconstruction_stops_at_the_samples_asked_for(tmp_path):
    path = torch.linspace(0, 1, 320, dtype=torch.float64)[:, None]
    follow(path, 1, (0.05, 0.10), snapshots=16, folder=tmp_path)
    half = follow(path[:160], 1, (0.07,)).state(0)["value"]
    torch.testing.assert_close(
        reconstruct(tmp_path, 0.07, samples=160)["value"].double(), half, rtol=1e-3, atol=0
    )


def test_reconstruction_without_snapshots_says_how_to_get_them(tmp_path):
    with pytest.raises(ValueError, match=r"training\.snapshots=16"):
        reconstruct(tmp_path, 0.07)
