"""Agents that are told where to end do, by the least change, whatever a network makes of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.recipes.scenarios.test_forecasts import a_model
from unstir.recipes.scenarios.coordinates import decode
from unstir.recipes.scenarios.data import to_data
from unstir.recipes.scenarios.ends import in_turn, reach_ends
from unstir.recipes.scenarios.rare import sample_scenes
from unstir.recipes.scenarios.simulate import simulate
from unstir.recipes.scenarios.task import forecast, forecasts
from unstir.recipes.scenarios.tokens import ask, tokens_of


@pytest.fixture(scope="module", params=[4, None])
def case(request):
    """Scenes, their scaling, a random state, and tokens that ask every second agent for its end."""
    scenes = simulate(6, seed=3, tokens=0.0)
    data = to_data(scenes, modes=request.param)
    x = torch.randn(len(scenes), *data.event, generator=torch.Generator().manual_seed(0))
    tokens = torch.from_numpy(tokens_of(scenes))
    tokens[:, 1::2] = torch.nan
    return scenes, data.scaling, x, tokens


def test_the_projection_ends_where_it_is_told_and_leaves_the_others_alone(case):
    scenes, scaling, x, tokens = case
    project = reach_ends(tokens, scaling, scenes.future)
    assert project is not None
    y = project(x)
    ends = decode(scaling.to_data(y), torch.from_numpy(scenes.given), scenes.future)[:, :, -1]
    asked = ~tokens[:, :, 0].isnan()
    assert 0 < asked.sum() < asked.numel()
    assert (ends - torch.from_numpy(scenes.followed)[:, :, -1])[asked].abs().max() < 1e-5
    assert torch.equal(y.transpose(1, 2)[~asked], x.transpose(1, 2)[~asked])
    torch.testing.assert_close(project(y), y, atol=2e-6, rtol=1e-5)


def test_no_smaller_change_ends_there(case):
    """The change is orthogonal to every direction in which ends stay: least squares in the model's units."""
    scenes, scaling, x, tokens = case
    project = reach_ends(tokens, scaling, scenes.future)
    assert project is not None
    change = (project(x) - x).double()
    other = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    idle = (project(x + other) - project(x)).double()  # keeps every end that is asked for
    asked = ~tokens[:, :, 0].isnan()
    products = (change * idle).transpose(1, 2)[asked].sum(1)
    sizes = change.transpose(1, 2)[asked].norm(dim=1) * idle.transpose(1, 2)[asked].norm(dim=1)
    assert (products.abs() / sizes).max() < 1e-5


def test_nothing_asked_is_no_projection(case):
    scenes, scaling, _, tokens = case
    assert reach_ends(None, scaling, scenes.future) is None
    assert reach_ends(torch.full_like(tokens, torch.nan), scaling, scenes.future) is None
    assert in_turn(None, None) is None


def test_projections_in_turn_are_one_after_the_other():
    both = in_turn(lambda x: x + 1, None, lambda x: 2 * x)
    assert both is not None
    assert both(torch.tensor(3.0)) == 8.0


def test_forecasts_and_scenes_end_where_they_are_told():
    scenes = simulate(3, seed=4, tokens=1.0)
    model = a_model(scenes)
    wish = np.full_like(scenes.tokens, np.nan)
    wish[:, 0, :2] = tokens_of(scenes)[:, 0, :2]
    told = replace(scenes, tokens=wish)
    where = scenes.followed[:, 0, -1]
    found = forecasts(model, told, 2, steps=6)
    assert np.abs(found[:, :, 0, -1] - where[:, None]).max() < 1e-4
    drawn = sample_scenes(model, told, apart=False, steps=6)
    assert (drawn[:, 0, -1] - torch.from_numpy(where)).abs().max() < 1e-4
    free = sample_scenes(model, told, apart=False, met=False, steps=6)
    assert (free[:, 0, -1] - torch.from_numpy(where)).norm(dim=1).min() > 1e-2

    present = scenes.present[0]
    past = torch.from_numpy(scenes.given[0][present])
    tokens = ask(past, {0: {"end": (4.0, 1.0)}}, future=scenes.future)
    line = None if scenes.map is None else scenes.map[0]
    kinds = scenes.kinds[0][present]
    one = forecast(model, past, kinds, n=2, tokens=tokens, map=line, steps=6)
    np.testing.assert_allclose(one[:, 0, -1], [[4.0, 1.0]] * 2, atol=1e-4)
