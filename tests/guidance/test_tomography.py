import math
from itertools import pairwise

import pytest
import torch

from tests.guidance.test_measurements import random
from tests.helpers import close
from unstir.guidance.measurements import radon

ANGLES = torch.linspace(0.0, math.pi, 13, dtype=torch.float64)


def plane(height, width):
    y = torch.arange(height, dtype=torch.float64) - 0.5 * (height - 1)
    x = torch.arange(width, dtype=torch.float64) - 0.5 * (width - 1)
    return y[:, None], x


def gaussian(n, std, middle):
    """A Gaussian blob on n x n cells and its exact projections at ANGLES."""
    y, x = plane(n, n)
    a, b = middle
    blob = torch.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * std**2))
    operator = radon(ANGLES, (1, n, n))
    s = torch.arange(operator.measured[-1], dtype=torch.float64) - 0.5 * (operator.measured[-1] - 1)
    gap = s - a * ANGLES.cos()[:, None] - b * ANGLES.sin()[:, None]
    return operator, blob[None, None], std * math.sqrt(2 * math.pi) * torch.exp(-(gap**2) / (2 * std**2))


def test_projections_of_a_gaussian_converge_to_the_exact_ones_with_order_two():
    # Linear interpolation across the ray: errors fall fourfold when the blob is twice as many cells wide.
    errors = []
    for refine in (1, 2, 4):
        operator, blob, exact = gaussian(24 * refine, 2.0 * refine, (3.0 * refine, -2.0 * refine))
        errors.append(float((operator(blob)[0, 0] - exact).abs().max() / exact.max()))
    assert errors[0] < 0.05
    assert all(3.5 < coarse / fine < 4.6 for coarse, fine in pairwise(errors))


def test_projections_of_a_disc_are_its_chords():
    n, radius = 96, 35.0
    y, x = plane(n, n)
    fine = torch.linspace(-0.45, 0.45, 10, dtype=torch.float64)
    disc = torch.stack(
        [((x + dx) ** 2 + (y + dy) ** 2 <= radius**2).double() for dx in fine for dy in fine]
    ).mean(0)
    operator = radon(ANGLES, (1, n, n))
    s = torch.arange(operator.measured[-1], dtype=torch.float64) - 0.5 * (operator.measured[-1] - 1)
    chords = 2.0 * (radius**2 - s**2).clamp(min=0.0).sqrt()
    error = (operator(disc[None, None])[0, 0] - chords).abs()
    away = (s.abs() - radius).abs() > 3.0  # at the rim the chord has an infinite slope
    assert float(error[:, away].max()) < 0.01 * 2 * radius
    assert float(error.mean()) < 0.003 * 2 * radius


def test_every_angle_sees_the_same_mass():
    x = torch.zeros(2, 3, 15, 15, dtype=torch.float64)
    x[..., 4:11, 4:11] = random(2, 3, 7, 7).abs()
    along_axes = radon([0.0, math.pi / 2, math.pi], (3, 15, 15), bins=15)(x).sum(-1)
    close(along_axes, x.sum((2, 3))[..., None].expand_as(along_axes), rtol=1e-13)


def test_at_right_angles_projections_are_sums_of_columns_and_rows():
    x = random(2, 5, 7)
    operator = radon([0.0], (5, 7), bins=7)
    close(operator(x)[:, 0], x.sum(1), atol=1e-13)
    close(radon([math.pi / 2], (5, 7), bins=5)(x)[:, 0], x.sum(2), atol=1e-13)


def test_an_opposite_angle_reverses_the_rays():
    x = random(2, 1, 8, 6)
    one, other = radon([0.4], (1, 8, 6))(x), radon([0.4 + math.pi], (1, 8, 6))(x)
    close(other, one.flip(-1), atol=1e-12)


def test_the_adjoint_is_the_exact_transpose():
    operator = radon(ANGLES, (5, 6))
    y = random(3, *operator.measured)
    close(operator.adjoint(y).flatten(1), y.flatten(1) @ operator.matrix, atol=1e-13)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: radon([], (4, 4)), "a sequence of finite numbers"),
        (lambda: radon([math.inf], (4, 4)), "a sequence of finite numbers"),
        (lambda: radon([0.0], (4,)), "at least 2 axes"),
        (lambda: radon([0.0], (4, 4), bins=0), "at least 1 bin"),
    ],
)
def test_bad_settings_are_one_clear_sentence(make, message):
    with pytest.raises(ValueError, match=message):
        make()
