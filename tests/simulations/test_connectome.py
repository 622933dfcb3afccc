"""The made-up connectome spreads by its closed forms, and its seed and time are found again."""

from __future__ import annotations

import pytest
import torch
from matplotlib.figure import Figure

from unstir.simulations import find_system


@pytest.fixture(scope="module")
def spread():
    return find_system("connectome").simulate(per_lobe=4, frames=4, noise=0.2)


def test_what_was_put_in_is_found_and_closed_forms_hold(spread):
    assert spread.facts["seed put in, seed found"].startswith("left-temporal-3, left-temporal-3")
    for name in ("spreading against the graph's own generator", "end state against its closed form"):
        assert float(spread.facts[name].split()[-1]) < 1e-10


def test_the_film_begins_at_the_seed_and_every_frame_is_drawn(spread):
    state = spread.arrays["state"]
    assert int(state[0].argmax()) == 14
    assert float(state[0].sum()) == pytest.approx(1.0)
    for frame in range(spread.frames):
        figure = Figure(figsize=spread.size)
        spread.draw(figure, frame)
        assert "rate times time, βt" in {axes.get_xlabel() for axes in figure.axes}


def test_the_seed_decides_the_network(spread):
    other = find_system("connectome").simulate(per_lobe=4, frames=2, noise=0.2, seed=1)
    assert not torch.equal(spread.arrays["adjacency"], other.arrays["adjacency"])


def test_a_region_that_is_not_there_is_one_sentence():
    with pytest.raises(ValueError, match="no region 'left-temporal-9'"):
        find_system("connectome").simulate(start="left-temporal-9")
