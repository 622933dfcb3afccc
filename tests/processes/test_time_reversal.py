"""Diffusion run backward with the exact score brings noise back to the data."""

import math

import pytest
import torch

from tests.two_sample import kernel_test
from unstir import noise
from unstir.processes import SDE, cox_ingersoll_ross, ornstein_uhlenbeck

MEANS, WEIGHTS, STD = torch.tensor([-1.5, 0.5, 2.0]).double(), torch.tensor([0.3, 0.5, 0.2]).double(), 0.15
SPRING = ornstein_uhlenbeck(1.0, 0.0, math.sqrt(2.0))
END = 4.0


def draws(n, seed):
    """From a mixture of three narrow bells, (n, 1)."""
    index = torch.arange(n)
    u = noise.uniform((1,), seed=seed, index=index, stream=noise.Stream.DATA)
    z = noise.normal((1,), seed=seed, index=index, stream=noise.Stream.DATA, step=1, dtype=torch.float64)
    return MEANS[torch.bucketize(u[:, 0], WEIGHTS.cumsum(0)).clamp(max=2)][:, None] + STD * z


def score(x, t):
    """Of the mixture after time t of the spring, in closed form."""
    decay = (-t).exp()
    variance = STD**2 * decay**2 + 1.0 - decay**2
    pull = (MEANS * decay - x) / variance
    share = torch.softmax(WEIGHTS.log() - 0.5 * variance * pull**2, dim=1)
    return (share * pull).sum(1, keepdim=True)


def falling(steps, low=1e-3):
    return torch.linspace(math.log(END), math.log(low), steps + 1, dtype=torch.float64).exp()


@pytest.mark.parametrize("change", ["reverse", "probability_flow"])
def test_the_reversed_spring_returns_the_data_from_noise(change):
    data = draws(1000, seed=0)
    start = SPRING.simulate(draws(1000, seed=1), torch.tensor([0.0, END]), method="exact", seed=1)
    assert kernel_test(start, data) < 0.01
    back = getattr(SPRING, change)(score).simulate(start, falling(300), seed=2)
    assert kernel_test(back, data) > 0.01


def test_without_the_score_the_reversed_drift_does_not_return_the_data():
    start = SPRING.simulate(draws(500, seed=1), torch.tensor([0.0, END]), method="exact", seed=1)
    back = SPRING.reverse(lambda x, t: 0.0 * x).simulate(start, falling(300), seed=2)
    assert kernel_test(back, draws(500, seed=0)) < 0.01


@pytest.mark.parametrize("change", ["reverse", "probability_flow"])
def test_with_noise_that_depends_on_the_state_the_reversal_keeps_the_stationary_law(change):
    # The gamma law of shape 8 and rate 8 is stationary for this process, so its reversal keeps it too; that
    # needs the divergence of g g^T.
    square_root = cox_ingersoll_ross(1.0, 1.0, 0.5)

    def gamma(x, t):
        return 7.0 / x - 8.0

    grid = torch.linspace(1.0, 0.0, 201, dtype=torch.float64)
    start = square_root.simulate(torch.ones(1000, 1).double(), torch.tensor([0.0, 20.0]), method="exact")
    back = getattr(square_root, change)(gamma).simulate(start, grid, seed=3)
    other = square_root.simulate(
        torch.ones(1000, 1).double(), torch.tensor([0.0, 20.0]), method="exact", seed=4
    )
    assert kernel_test(back, other) > 0.01
    plain = SDE(
        lambda x, t: square_root.drift(x, t) - square_root.diffusion(x, t) ** 2 * gamma(x, t),
        square_root.diffusion,
    )
    wrong = plain.simulate(start, grid, seed=3)
    assert kernel_test(wrong, other) < 0.01
