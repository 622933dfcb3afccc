"""The inverse Laplace transform against pairs that are known, at all times at once."""

from __future__ import annotations

import math

import pytest
import torch

from tests.helpers import close
from unstir.physics.laplace import InverseLaplace

PAIRS = {
    "step": (lambda s: 1 / s, torch.ones_like),
    "exponential": (lambda s: 1 / (s + 1), lambda t: torch.exp(-t)),
    "branch point": (lambda s: s**-0.5, lambda t: 1 / torch.sqrt(math.pi * t)),
    "diffusion": (lambda s: torch.exp(-torch.sqrt(s)) / s, lambda t: torch.erfc(0.5 / torch.sqrt(t))),
    "pole between": (lambda s: 1 / (s * (s + 0.3)), lambda t: (1 - torch.exp(-0.3 * t)) / 0.3),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_known_pairs_are_found_to_1e_12_over_six_decades(pair):
    transform, exact = PAIRS[pair]
    t = torch.logspace(-3, 3, 97, dtype=torch.float64)
    largest = float((exact(t).abs() * t.clamp(max=1.0)).max())
    close(InverseLaplace(t)(transform) * t.clamp(max=1.0), exact(t) * t.clamp(max=1.0), atol=2e-12 * largest)


def test_the_order_of_the_times_and_the_others_do_not_matter_to_an_answer():
    t = torch.tensor([40.0, 0.01, 3.0], dtype=torch.float64)
    alone = torch.cat([InverseLaplace(one[None])(lambda s: 1 / (s + 1)) for one in t])
    close(InverseLaplace(t)(lambda s: 1 / (s + 1)), alone, atol=3e-12)


@pytest.mark.parametrize("bad", [[0.0, 1.0], [-1.0], [math.inf], [math.nan]])
def test_a_time_that_is_not_above_zero_is_refused(bad):
    with pytest.raises(ValueError, match="finite times above 0"):
        InverseLaplace(torch.tensor(bad))


def test_no_times_give_no_values():
    assert InverseLaplace(torch.zeros(0))(lambda s: 1 / s).shape == (0,)
