"""Transport systems run by name: what they measure agrees with what they state, and frames can be drawn."""

from __future__ import annotations

import pytest
import torch

from tests.helpers import close
from unstir.simulations import find_system
from unstir.simulations.render import draw_frame

SMALL = {
    "solid-kinetics": {"frames": 4, "cells": 12},
    "electrode": {"frames": 4, "cells": 80},
    "goldman": {"frames": 3, "cells": 8},
    "poisson-nernst-planck": {"frames": 4, "cells": 60, "width": 20.0},
    "drug-capsule": {"frames": 4, "cells": 60},
    "porous": {"samples": 2, "cells": 40, "radius": 0.1},
    "krogh": {"frames": 3, "cells": 20},
}


@pytest.mark.parametrize("name", sorted(SMALL))
def test_a_system_runs_and_draws_its_first_and_last_frame(name):
    simulation = find_system(name).simulate(**SMALL[name])
    assert simulation.facts
    first, last = draw_frame(simulation, 0), draw_frame(simulation, -1)
    assert first.size == last.size
    assert first.tobytes() != last.tobytes()


@pytest.mark.parametrize("name", sorted(SMALL))
def test_every_setting_says_its_unit(name):
    for field in find_system(name).settings.model_fields.values():
        assert field.description
        assert "," in field.description


def test_the_grain_s_conversion_lies_near_its_law_for_a_small_supply():
    arrays = find_system("solid-kinetics").simulate(frames=4, supply=1e-3).arrays
    close(arrays["conversion"], arrays["carter"], atol=1e-3)


def test_the_microelectrode_draws_the_closed_form_s_current():
    arrays = find_system("electrode").simulate(frames=5).arrays
    close(arrays["current"], arrays["closed_form"], rtol=1e-3)


def test_the_charging_cell_keeps_its_ions():
    arrays = find_system("poisson-nernst-planck").simulate(frames=4, cells=60, width=20.0).arrays
    assert float(arrays["concentration"].min()) > 0.0
    close(arrays["wall_charge"].sum(1), torch.zeros(4), atol=1e-12)


def test_a_capsule_with_a_thin_coat_releases_as_crank_s_core_with_a_barrier():
    arrays = find_system("drug-capsule").simulate(frames=5, coat=1e-5, D_coat=2e-12).arrays
    close(arrays["released"], arrays["closed_form"], atol=4e-3)


def test_wrong_settings_are_refused_in_one_sentence():
    with pytest.raises(ValueError, match="must be after the first"):
        find_system("electrode").simulate(first=2.0, last=1.0)
    with pytest.raises(ValueError, match="must be larger than the capillary's"):
        find_system("krogh").simulate(tissue=2e-6)
