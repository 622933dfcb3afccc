"""The simulated bleach follows its closed form, and the fit to its images finds what was put in."""

from __future__ import annotations

import pytest
import torch
from matplotlib.figure import Figure

from unstir.simulations import find_system


@pytest.fixture(scope="module")
def bleached():
    return find_system("frap").simulate(model="diffusion", k_on=1e-3, cells=200, images=40, frames=3)


def test_the_recovery_is_the_closed_form_and_the_images_scatter_around_the_fit(bleached):
    a = bleached.arrays
    assert float((a["recovery"] - a["recovery_exact"]).abs().max()) < 3e-4
    scatter = (a["image_intensity"] - a["fitted"]).std()
    assert float(scatter) == pytest.approx(0.01, rel=0.3)
    assert "fitted D" in bleached.facts


def test_every_frame_is_drawn_with_units(bleached):
    for frame in range(bleached.frames):
        figure = Figure(figsize=bleached.size)
        bleached.draw(figure, frame)
        assert {"x (µm)", "time after the bleach (s)"} <= {axes.get_xlabel() for axes in figure.axes}


def test_the_seed_decides_the_noise_alone():
    one, other = (
        find_system("frap").simulate(model="diffusion", seed=s, cells=60, images=30, frames=2) for s in (0, 1)
    )
    assert torch.equal(one.arrays["recovery"], other.arrays["recovery"])
    assert not torch.equal(one.arrays["image_intensity"], other.arrays["image_intensity"])


def test_a_spot_as_large_as_the_cell_is_one_sentence():
    with pytest.raises(ValueError, match="well inside the cell"):
        find_system("frap").simulate(spot_radius=8.0)
