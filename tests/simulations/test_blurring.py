"""Blurring diffusion of digits: forward by the heat equation, back to a digit."""

from __future__ import annotations

import pytest
import torch
from matplotlib.figure import Figure

from unstir.simulations import find_system


@pytest.fixture(scope="module", params=[{}, {"base": "cosine", "d_min": 0.0}])
def run(request):
    return find_system("blurring").simulate(**request.param)


def test_the_blur_is_the_heat_equation_and_the_solver_is_at_its_closed_form(run):
    heat, back, solver = (float(fact.split()[0]) for fact in run.facts.values())
    assert heat < 1e-12
    assert back < 1e-3
    assert solver < 1e-3


def test_the_way_back_begins_in_noise_and_ends_as_a_digit(run):
    back = run.arrays["back"]
    assert float(back[0].std()) == pytest.approx(1.0, abs=0.3)
    assert float((back[-1] * 8).sub((back[-1] * 8).round()).abs().max()) < 1e-2  # values of 0 to 16


def test_what_is_left_of_the_digit_grows_ever_smoother(run):
    rough = run.arrays["signals"].diff(dim=-1).square().mean(dim=(1, 2, 3))
    assert (rough[1:] < rough[:-1]).all()


def test_it_draws(run):
    figure = Figure(figsize=run.size)
    run.draw(figure, 0)
    panels = [axes for part in figure.subfigs for axes in part.axes]
    assert "log signal-to-noise ratio" in {axes.get_ylabel() for axes in panels}


def test_without_a_blur_only_the_noise_is_left():
    run = find_system("blurring").simulate(d_min=1.0, steps=20)
    first = run.arrays["signals"][0]
    shares = (run.arrays["signals"] * first).sum((1, 2, 3)) / (first * first).sum()
    torch.testing.assert_close(
        run.arrays["signals"], shares[:, None, None, None] * first, rtol=1e-9, atol=1e-12
    )
