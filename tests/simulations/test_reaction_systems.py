"""Reaction systems run by name: what they measure agrees with the closed forms that they state."""

from __future__ import annotations

import re

import pytest
import torch

from tests.helpers import close
from unstir.simulations import find_system
from unstir.simulations.render import draw_frame

SMALL = {
    "fisher-kpp": {"frames": 9, "cells": 120, "last": 20.0},
    "gray-scott": {"frames": 3, "cells": 32, "last": 60.0, "seeds": 4},
    "brusselator": {"frames": 4, "cells": 32, "last": 4.0, "waves": 3.0},
    "schnakenberg": {"frames": 4, "cells": 32, "last": 4.0, "waves": 3.0},
    "rhoa-band": {"frames": 4, "cells": 240},
}


def numbers(text):
    return [float(word) for word in re.findall(r"[-+]?\d+\.?\d*(?:e[-+]\d+)?", text)]


@pytest.mark.parametrize("name", sorted(SMALL))
def test_a_system_runs_and_draws_its_first_and_last_frame(name):
    simulation = find_system(name).simulate(**SMALL[name])
    assert simulation.facts
    first, last = draw_frame(simulation, 0), draw_frame(simulation, -1)
    assert first.size == last.size
    assert first.tobytes() != last.tobytes()


@pytest.mark.parametrize("name", ["brusselator", "schnakenberg"])
def test_small_waves_grow_as_stated_and_a_stable_state_is_refused(name):
    facts = find_system(name).simulate(**SMALL[name]).facts
    measured, expected = numbers(facts["growth of a small wave"])
    assert measured == pytest.approx(expected, rel=1e-3)
    with pytest.raises(ValueError, match="no pattern grows"):
        find_system(name).simulate(**SMALL[name], **{"D_v": 1.1})


def test_the_band_widens_as_its_closed_form_says():
    simulation = find_system("rhoa-band").simulate(**SMALL["rhoa-band"])
    narrow, wide, *closed = numbers(simulation.facts["full width at half maximum"])[:2] + [
        float(x) for x in simulation.facts["full width at half maximum"].split("= ")[1].split()[0:3:2]
    ]
    assert narrow == pytest.approx(closed[0], rel=2e-3)
    assert wide == pytest.approx(closed[1], rel=2e-3)
    assert wide > narrow
    close(simulation.arrays["active"][-1], simulation.arrays["closed_form"][1], atol=0.04)


def test_a_seed_decides_the_pattern():
    system = find_system("gray-scott")
    one, same, other = (system.simulate(**SMALL["gray-scott"], seed=s).arrays["v"] for s in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
