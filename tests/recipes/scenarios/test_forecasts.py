"""Metrics against closed forms, the baseline, forecasts of one scene, and agents that keep apart."""

import json
import math

import numpy as np
import pytest
import torch

from tests.recipes.scenarios.test_scenes import FUTURE, PAST, some_scenes
from unstir.model import Model
from unstir.recipes.run import build_model
from unstir.recipes.scenarios.apart import keep_apart
from unstir.recipes.scenarios.baseline import ConstantVelocity, tuned
from unstir.recipes.scenarios.coordinates import decode
from unstir.recipes.scenarios.data import conditions_of, futures, to_data
from unstir.recipes.scenarios.metrics import (
    accelerations,
    best_of,
    ceiling,
    closest,
    collisions,
    share_below,
    speeds,
)
from unstir.recipes.scenarios.recorded import settings
from unstir.recipes.scenarios.scenes import Scenes
from unstir.recipes.scenarios.task import forecast, forecasts
from unstir.recipes.splits import Splits
from unstir.training import Scaling


def a_model(scenes: Scenes, *, modes: int | None = 4) -> Model:
    """An untrained one with weights moved off zero."""
    data = to_data(scenes, modes=modes)
    recipe = settings()
    network = recipe.network.model_copy(update={"width": 16, "layers": 1})
    model = build_model(recipe.model_copy(update={"network": network}), Splits(data, data))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.denoiser.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


def test_the_best_of_n_is_chosen_for_each_agent_and_jointly_for_a_scene():
    scenes = some_scenes(1, 3, absent=1)
    shift = np.zeros((1, 2, 3, 1, 2))
    shift[0, 0, 0], shift[0, 0, 1] = (3.0, 4.0), (0.0, 1.0)  # forecast 0 is 5 m and 1 m away
    shift[0, 1, 0], shift[0, 1, 1] = (0.0, 2.0), (0.0, 3.0)  # forecast 1 is 2 m and 3 m away
    found = best_of(scenes.followed[:, None] + shift, scenes)
    np.testing.assert_allclose(found.ade, [2.0, 1.0], atol=1e-5)
    np.testing.assert_allclose(found.fde, [2.0, 1.0], atol=1e-5)
    np.testing.assert_allclose(found.joint_ade, [2.5], atol=1e-5)
    assert found.scene.tolist() == [0, 0]


def test_ade_is_the_mean_over_frames_and_fde_the_last():
    scenes = some_scenes(1, 1, absent=0)
    shift = np.linspace(0.0, 1.1, FUTURE)[:, None] * [1.0, 0.0]
    found = best_of(scenes.followed[:, None] + shift, scenes)
    np.testing.assert_allclose([found.ade[0], found.fde[0]], [0.55, 1.1], atol=1e-5)
    with pytest.raises(ValueError, match="forecasts have shape"):
        best_of(scenes.followed, scenes)


def test_agents_that_cross_between_two_frames_collide():
    tracks = np.array([[[-1.0, 0.0], [1.0, 0.0]], [[0.0, -1.0], [0.0, 1.0]], [[9.0, 0.0], [9.0, 1.0]]])
    least = closest(tracks)
    np.testing.assert_allclose(least[0, 1], 0.0, atol=1e-9)
    np.testing.assert_allclose(least[0, 2], 8.0, rtol=0.02)
    assert collisions(tracks).tolist() == [True, True, False]
    assert math.isinf(least[0, 0])
    absent = np.concatenate([tracks, np.full((1, 2, 2), np.nan)])
    assert collisions(absent).tolist() == [True, True, False, False]


def test_speeds_and_accelerations_of_even_acceleration():
    seconds = 0.4 * np.arange(6.0)
    track = np.stack([0.5 * 3.0 * seconds**2, 0 * seconds], axis=-1)
    np.testing.assert_allclose(accelerations(track, 0.4), 3.0)
    np.testing.assert_allclose(speeds(track, 0.4), 3.0 * (seconds[:-1] + 0.2))
    values = np.concatenate([np.arange(1.0, 101.0), [np.nan]])
    assert share_below(values, ceiling(values)) == 0.99


def test_the_first_forecast_of_the_baseline_goes_straight_on():
    scenes = some_scenes(3)
    drawn = ConstantVelocity(25.0, 0.2).forecast(scenes, 5)
    step = scenes.given[:, :, -1] - scenes.given[:, :, -2]
    wanted = scenes.given[:, :, -1:] + np.arange(1, FUTURE + 1)[:, None] * step[:, :, None]
    np.testing.assert_allclose(drawn[:, 0], wanted, atol=1e-5)
    ways = np.linalg.norm(np.diff(ConstantVelocity(25.0, 0.0).forecast(scenes, 5), axis=3), axis=-1)
    np.testing.assert_allclose(
        ways[:, :, :-1],
        np.broadcast_to(np.linalg.norm(step, axis=-1)[:, None, :-1, None], ways[:, :, :-1].shape),
        rtol=1e-5,
    )


def test_tuning_finds_the_noise_that_the_scenes_have():
    rng = np.random.default_rng(0)
    scenes = some_scenes(400, 1, absent=0)
    angle = np.deg2rad(15.0) * rng.standard_normal(400)
    step = scenes.given[:, 0, -1] - scenes.given[:, 0, -2]
    turned = np.stack(
        [
            np.cos(angle) * step[:, 0] - np.sin(angle) * step[:, 1],
            np.sin(angle) * step[:, 0] + np.cos(angle) * step[:, 1],
        ],
        -1,
    )
    scenes.tracks[:, 0, PAST:] = scenes.given[:, 0, -1:] + np.arange(1, FUTURE + 1)[:, None] * turned[:, None]
    found = tuned(scenes, turns=(5.0, 15.0, 40.0), paces=(0.0, 0.3))
    assert (found.turn, found.pace) == (15.0, 0.0)


def test_a_forecast_turns_and_moves_with_its_scene():
    scenes = some_scenes(4)
    model, past = a_model(scenes), scenes.given[0, :3].astype(np.float64)
    turn, shift = np.array([[0.0, -1.0], [1.0, 0.0]]), np.array([4.0, -7.0])
    there = forecast(model, past @ turn.T + shift, n=3, steps=4)
    here = forecast(model, past, n=3, steps=4)
    assert here.shape == (3, 3, FUTURE, 2)
    np.testing.assert_allclose(there, here @ turn.T + shift, atol=2e-3)
    assert np.abs(here[0] - here[1]).max() > 1e-2


def test_a_future_is_the_same_whatever_their_number_and_batch():
    scenes = some_scenes(4)
    model = a_model(scenes)
    whole = forecasts(model, scenes, 4, steps=3)
    np.testing.assert_allclose(forecasts(model, scenes, 4, steps=3, batch=4), whole, atol=1e-4)
    np.testing.assert_allclose(
        forecast(model, scenes.given[0, :3], n=2, steps=3), whole[0, :2, :3], atol=1e-4
    )
    assert np.isnan(whole[:, :, 3]).all()


def test_a_model_that_was_saved_forecasts_the_same(tmp_path):
    import unstir

    scenes = some_scenes(4)
    model = a_model(scenes)
    model.save(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["model"]["network"]["kind"] == "agents"
    same = forecast(unstir.load(tmp_path), scenes.given[0, :3], n=2, steps=3)
    np.testing.assert_array_equal(same, forecast(model, scenes.given[0, :3], n=2, steps=3))


def test_apart_keeps_agents_apart_and_leaves_the_others_as_they_are():
    scenes = some_scenes(40, 4, absent=0)
    free = forecasts(a_model(scenes), scenes, 2, steps=4)
    kept = forecasts(a_model(scenes), scenes, 2, steps=4, apart=1.2)
    before, after = collisions(free, touch=1.0), collisions(kept, touch=1.0)
    assert before.sum() > 10
    assert after.sum() < 0.3 * before.sum()
    alone = ~(closest(free) < 1.3).any(axis=(-1, -2)) & ~(closest(kept) < 1.3).any(axis=(-1, -2))
    assert alone.sum() > 20
    # A few may have been moved on the way, where an early estimate of theirs overlapped.
    assert (np.abs(kept - free)[alone].max(axis=(-1, -2, -3)) < 1e-5).mean() > 0.9


def test_rows_that_hold_nobody_are_left_out_and_change_nothing():
    scenes = some_scenes(4)  # 4 rows, the last of which is empty
    model = a_model(scenes)
    whole = model.solve(len(scenes) * 2, condition=conditions_of(scenes, 2), steps=3, batch=8).x
    wanted = futures(whole, scenes, FUTURE).unflatten(0, (4, 2)).numpy()
    np.testing.assert_allclose(forecasts(model, scenes, 2, steps=3), wanted, atol=1e-5)


def head_on(gap: float, batch: int = 1) -> torch.Tensor:
    """Pasts of two who walk towards each other on lines so far apart, 1 m a frame, 6 m from meeting."""
    ahead = torch.arange(-PAST + 1.0, 1.0)
    rows = [torch.stack([side * (6.0 - ahead), torch.full((PAST,), side * gap / 2)], -1) for side in (-1, 1)]
    return torch.stack(rows).expand(batch, -1, -1, -1)


def test_two_who_would_meet_end_up_as_far_apart_as_asked():
    past, scaling = head_on(0.05), Scaling((0.0,) * 8, (1.0, 0.5, 0.2, 0.1) * 2)
    still = torch.zeros(1, 8, 2)
    kept = keep_apart(past, scaling, FUTURE, distance=0.4, iterations=40)(still)
    tracks = torch.cat([past[:, :, -1:], decode(scaling.to_data(kept), past, FUTURE)], dim=2)
    straight = torch.cat([past[:, :, -1:], decode(still, past, FUTURE)], dim=2)
    assert closest(straight.numpy())[0, 0, 1] == pytest.approx(0.05, abs=1e-4)
    assert closest(tracks.numpy())[0, 0, 1] == pytest.approx(0.4, abs=2e-3)
    # Both give way alike: the scene looks the same from either side.
    torch.testing.assert_close(kept[..., 0], kept[..., 1], atol=1e-4, rtol=1e-3)


def test_scenes_without_an_overlap_are_returned_bit_for_bit():
    past = torch.cat([head_on(0.05), head_on(3.0)])
    x = 0.01 * torch.randn(2, 8, 2, generator=torch.Generator().manual_seed(0))
    kept = keep_apart(past, Scaling((0.0,) * 8, (1.0,) * 8), FUTURE, distance=0.4)(x)
    assert not kept[0].equal(x[0])
    assert kept[1].equal(x[1])


def test_the_projection_is_idle_where_nobody_is_near_and_knows_no_batch():
    scenes = some_scenes(6, 3, absent=0)
    data = to_data(scenes, modes=4)
    x, _ = data.batch(slice(None))
    past = torch.from_numpy(scenes.given)
    idle = keep_apart(past, data.scaling, FUTURE, distance=1e-6)
    torch.testing.assert_close(idle(x), x, atol=1e-6, rtol=1e-5)
    whole = keep_apart(past, data.scaling, FUTURE, distance=3.0)(x)
    one = keep_apart(past[2:3], data.scaling, FUTURE, distance=3.0)(x[2:3])
    assert not torch.allclose(whole, x, atol=1e-3)
    torch.testing.assert_close(whole[2:3], one, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"past": np.zeros((2, 5, 2))},
            r"the past has shape \(agents, 8, 2\) for this model, got \(2, 5, 2\)",
        ),
        ({"past": np.zeros((9, 8, 2))}, "forecasts 1 to 4 agents together, got 9"),
        ({"past": np.full((2, 8, 2), np.nan)}, "agent 0 has no position in frame 0 of its past"),
        ({"kinds": [0, 3]}, "kinds are 2 numbers"),
        ({"tokens": np.zeros((2, 4))}, "trained without tokens"),
        ({"map": np.zeros((2, 4))}, "trained without map"),
    ],
)
def test_a_scene_that_cannot_be_forecast_is_one_sentence(options, sentence):
    arguments = {"past": np.zeros((2, 8, 2)), "n": 1, **options}
    with pytest.raises(ValueError, match=sentence):
        forecast(a_model(some_scenes(2)), **arguments)


def test_a_model_of_something_else_is_refused():
    from unstir.model import ModelConfig
    from unstir.networks import UNetSettings

    other = Model(ModelConfig(event=(1, 8, 8), network=UNetSettings(width=8), schedule="vp"))
    with pytest.raises(ValueError, match="not trained on scenes"):
        forecast(other, np.zeros((2, 8, 2)))
