import pytest
import torch

from tests.helpers import close
from unstir.simulations import find_system
from unstir.simulations.render import draw_frame

SMALL = {
    "brownian": {"particles": 50, "steps": 20, "frames": 3},
    "random-walk": {"walkers": 200, "steps": 30, "frames": 3},
    "ftcs": {"cells": 16, "steps": 20, "frames": 4},
    "wright-fisher": {"individuals": 10, "generations": 20, "populations": 100, "frames": 3},
    "facilitated-diffusion": {"length": 500.0, "searchers": 20, "rates": 3},
    "fokker-planck": {"particles": 400, "steps": 60, "time": 0.5, "frames": 3},
}


@pytest.mark.parametrize("name", sorted(SMALL))
def test_a_small_run_is_finite_repeatable_and_can_be_drawn(name):
    system = find_system(name)
    first, second = (system.simulate(**SMALL[name]) for _ in range(2))
    for key, array in first.arrays.items():
        assert torch.equal(array, second.arrays[key]), key
    assert first.facts == second.facts
    assert draw_frame(first, 0).size == draw_frame(first, first.frames - 1).size


def test_the_walkers_of_the_system_sum_to_one_like_the_scheme():
    arrays = find_system("random-walk").simulate(**SMALL["random-walk"]).arrays
    close(arrays["walkers"].sum(1), torch.ones(3), atol=1e-12)
    close(arrays["ftcs"].sum(1), torch.ones(3), atol=1e-12)


def test_the_growth_of_the_unstable_run_is_its_factor():
    facts = find_system("ftcs").simulate(**SMALL["ftcs"]).facts
    measured, expected = facts["growth of the shortest wave in a step"].split(" (")
    assert float(measured) == pytest.approx(float(expected.split("= ")[1].rstrip(")")), rel=1e-4)


def test_the_density_of_the_double_well_keeps_its_mass_and_the_particles_follow_it():
    arrays = find_system("fokker-planck").simulate(particles=4000, steps=300, time=0.5, frames=3).arrays
    width = float(arrays["x"][1] - arrays["x"][0])
    close(arrays["density"].sum(1) * width, torch.ones(4), atol=1e-9)
    on_grid = arrays["density"][-1].reshape(-1, 5).sum(1) * width
    assert float((on_grid - arrays["particles"][-1]).norm()) < 0.04
