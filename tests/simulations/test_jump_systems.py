"""The systems that jump: carbon in iron, discrete diffusion, a Markov chain; and what they measure."""

import math

import pytest
import torch

from tests.helpers import close
from unstir.simulations import find_system
from unstir.simulations.render import draw_frame


def test_carbon_recovers_barrier_and_diffusivity():
    simulation = find_system("carbon-in-iron").simulate(walkers=1000, hops=300, temperatures=4, frames=5)
    kelvin, d = simulation.arrays["temperature"], simulation.arrays["diffusivity"]
    expected = 2e-6 * torch.exp(-0.86 / (8.617333262e-5 * kelvin))
    assert bool(((d - expected).abs() < 4.0 * simulation.arrays["diffusivity_error"]).all())
    assert draw_frame(simulation, 2).size[0] > 500


def test_carbon_refuses_a_range_that_is_none():
    with pytest.raises(ValueError, match="must be above the lowest"):
        find_system("carbon-in-iron").simulate(coldest=900.0, hottest=500.0)


def test_images_dissolve_and_come_back_as_images_of_the_data():
    system = find_system("discrete-diffusion")
    simulation = system.simulate(images=20, levels=2, samples=3, moments=4)
    a = simulation.arrays
    data = a["masked_forward"][0]
    assert bool((a["masked_forward"][-1] == 2).all())
    assert int(a["uniform_forward"].max()) <= 1
    for name in ("masked", "uniform"):
        assert torch.equal(a[f"{name}_forward"][0], data)
        assert simulation.facts[f"{name}: images that came back whole"] == "3 of 3"
    # Masks only go on the way back.
    masked = (a["masked_backward"] == 2).double().mean((1, 2, 3))
    assert bool((masked.diff() <= 0.0).all())
    assert float(masked[-1]) == 0.0
    assert draw_frame(simulation, 6).size[0] > 500


def test_a_chain_decays_with_its_second_eigenvalue():
    simulation = find_system("markov-chain").simulate(nodes=9, shortcut=0.0, stay=0.3, steps=200, walkers=100)
    a = simulation.arrays
    second = 0.3 + 0.7 * math.cos(2.0 * math.pi / 9.0)
    close(a["law"].sum(1), torch.ones(201), atol=1e-12)
    close(a["P"].sum(1), torch.ones(9), atol=1e-14)
    ratio = (a["distance"][100] / a["distance"][80]) ** (1.0 / 20.0)
    assert float(ratio) == pytest.approx(second, rel=1e-6)
    assert f"{second:.8f}" in simulation.facts["second eigenvalue"]
    assert draw_frame(simulation, 5).size[0] > 500
