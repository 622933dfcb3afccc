"""Scenes, their coordinates, and the way through training data and back."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from unstir.recipes.scenarios.coordinates import constant_velocity, decode, encode, modes_of
from unstir.recipes.scenarios.data import conditions_of, futures, to_data
from unstir.recipes.scenarios.scenes import Scenes, join
from unstir.recipes.scenarios.tokens import tokens_of

PAST, FUTURE = 8, 12


def some_scenes(n: int = 6, agents: int = 4, *, seed: int = 0, absent: int = 1) -> Scenes:
    """Walks of random velocity, the last rows absent."""
    rng = np.random.default_rng(seed)
    speed = rng.normal(0.0, 0.5, (n, agents, 1, 2)) + rng.normal(
        0.0, 0.05, (n, agents, PAST + FUTURE, 2)
    ).cumsum(2)
    tracks = (rng.normal(0.0, 4.0, (n, agents, 1, 2)) + speed.cumsum(2)).astype(np.float32)
    kinds = np.zeros((n, agents), dtype=np.int8)
    if absent:
        tracks[:, -absent:], kinds[:, -absent:] = np.nan, -1
    return Scenes(tracks, kinds, 0.4, PAST)


def test_all_modes_give_the_future_back():
    scenes = some_scenes()
    data = to_data(scenes)
    back = futures(torch.from_numpy(data.x), scenes, FUTURE).numpy()
    np.testing.assert_allclose(back, scenes.followed, atol=2e-5)
    assert np.isnan(back[:, -1]).all()


def test_each_scenes_samples_stand_in_a_row():
    scenes = some_scenes(3)
    x = torch.from_numpy(to_data(scenes).x).repeat_interleave(2, dim=0)
    back = futures(x, scenes, FUTURE).unflatten(0, (3, 2)).numpy()
    np.testing.assert_allclose(back[:, 0], scenes.followed, atol=2e-5)
    np.testing.assert_array_equal(back[:, 0], back[:, 1])
    assert conditions_of(scenes, 2)["past"].shape == (6, 4, PAST, 2)
    with pytest.raises(ValueError, match="5 samples are not the same number for each of 3 scenes"):
        futures(x[:5], scenes, FUTURE)


def test_even_motion_has_no_coefficients():
    steps = np.arange(PAST + FUTURE, dtype=np.float32)[:, None]
    tracks = (steps * np.array([0.5, 0.2], dtype=np.float32))[None, None]
    scenes = Scenes(tracks, np.zeros((1, 1), dtype=np.int8), 0.4, PAST)
    assert np.abs(to_data(scenes).x).max() < 1e-5


def test_turning_and_moving_a_scene_keeps_its_coefficients():
    scenes = some_scenes()
    angle = 1.1
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    moved = Scenes((scenes.tracks @ turn.T + [3.0, -8.0]).astype(np.float32), scenes.kinds, 0.4, PAST)
    np.testing.assert_allclose(to_data(moved).x, to_data(scenes).x, atol=3e-5)


def test_a_mirror_changes_the_sign_of_what_is_to_the_left():
    scenes = some_scenes()
    plain, mirrored = to_data(scenes).x, to_data(scenes.mirrored()).x
    np.testing.assert_allclose(mirrored[:, :FUTURE], plain[:, :FUTURE], atol=1e-5)
    np.testing.assert_allclose(mirrored[:, FUTURE:], -plain[:, FUTURE:], atol=1e-5)


def test_the_tokens_of_a_mirrored_scene_are_those_that_its_future_fulfils():
    scenes = some_scenes()
    asked = replace(scenes, tokens=tokens_of(scenes))
    mirrored = asked.mirrored()
    np.testing.assert_allclose(mirrored.tokens, tokens_of(scenes.mirrored()), atol=1e-4)
    assert np.abs(np.nan_to_num(asked.tokens[..., 1])).max() > 0.1
    with pytest.raises(ValueError, match="only scenes with the tokens ahead, left, speed, order"):
        replace(scenes, tokens=asked.tokens[..., :2]).mirrored()


def test_few_modes_hold_most_of_what_smooth_walks_do():
    scenes = some_scenes(50)
    residual = scenes.followed - constant_velocity(torch.from_numpy(scenes.given), FUTURE).numpy()
    rest = futures(torch.from_numpy(to_data(scenes, modes=4).x), scenes, FUTURE).numpy() - scenes.followed
    assert np.sqrt(np.nanmean(rest**2)) < 0.03 * np.sqrt(np.nanmean(residual**2))


def test_modes_are_orthonormal_and_smoothest_first():
    phi = modes_of(FUTURE)
    torch.testing.assert_close(phi.T @ phi, torch.eye(FUTURE, dtype=torch.float64))
    turns = (phi[1:].sign() != phi[:-1].sign()).sum(0)
    assert turns.tolist() == list(range(FUTURE))


def test_decoding_is_linear_and_differentiable():
    past = torch.from_numpy(some_scenes(2, absent=0).given).double()
    x = torch.randn(2, 6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    zero = decode(0 * x, past, FUTURE)
    torch.testing.assert_close(decode(2 * x, past, FUTURE) - zero, 2 * (decode(x, past, FUTURE) - zero))
    assert torch.autograd.gradcheck(lambda x: decode(x, past, FUTURE), x.requires_grad_())
    torch.testing.assert_close(encode(past, decode(x, past, FUTURE), 3), x)


def test_the_network_sees_coefficients_of_deviation_one_and_absent_agents_as_zero():
    scenes = some_scenes(40, absent=2)
    x, condition = to_data(scenes, modes=3).batch(slice(None))
    there = x.transpose(1, 2)[torch.from_numpy(scenes.present)]
    torch.testing.assert_close(there.square().mean(0).sqrt(), torch.ones(6), atol=1e-4, rtol=0)
    assert (x[:, :, -2:] == 0).all()
    assert condition["past"][:, -2:].isnan().all()
    steps = condition["past"][:, :2].diff(dim=2).square().sum(-1).mean().sqrt()
    torch.testing.assert_close(steps, torch.tensor(1.0), atol=1e-4, rtol=0)


def test_the_heldout_part_takes_the_scalings_of_the_training_part():
    train, heldout = to_data(some_scenes(9)), some_scenes(5, seed=1)
    other = to_data(heldout, scaling=train.scaling, stride=train.conditions["past"].scaling.scale[0])
    assert other.scaling == train.scaling
    assert other.conditions["past"].scaling == train.conditions["past"].scaling


def test_joining_pads_with_absent_agents():
    both = join([some_scenes(2, 3), some_scenes(3, 5)])
    assert (len(both), both.agents) == (5, 5)
    assert not both.present[:2, 3:].any()
    assert both.present[2:].sum() == 12


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda s: s.tracks.__setitem__((1, 0, 3), np.nan), "agent 0 of scene 1 has no position in frame 3"),
        (lambda s: s.kinds.__setitem__((0, 1), -1), "an absent agent .* has a position"),
        (lambda s: s.kinds.__setitem__((0, 1), 2), "kinds are -1"),
    ],
)
def test_scenes_that_cannot_be_are_refused(change, sentence):
    scenes = some_scenes()
    change(scenes)
    with pytest.raises(ValueError, match=sentence):
        Scenes(scenes.tracks, scenes.kinds, 0.4, PAST)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"dt": 0.0}, "above 0 s"),
        ({"past": 1}, "at least 2 frames"),
        ({"past": 21}, "at most all 20"),
        ({"map": np.zeros((6, 3, 3), dtype=np.float32)}, "the map of these scenes has shape"),
        ({"tokens": np.zeros((6, 3, 2), dtype=np.float32)}, "the tokens of these scenes has shape"),
        ({"kinds": np.zeros((6, 3), dtype=np.int8)}, "kinds have a number for each agent"),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(options, sentence):
    scenes = some_scenes()
    arguments = {"tracks": scenes.tracks, "kinds": scenes.kinds, "dt": 0.4, "past": PAST, **options}
    with pytest.raises(ValueError, match=sentence):
        Scenes(**arguments)


def test_training_needs_a_future_and_modes_within_it():
    scenes = some_scenes()
    with pytest.raises(ValueError, match="have a future"):
        to_data(Scenes(scenes.given, scenes.kinds, 0.4, PAST))
    with pytest.raises(ValueError, match="1 to 12, the frames of the future; got 13"):
        to_data(scenes, modes=13)
    other = Scenes(scenes.tracks, scenes.kinds, 0.5, PAST)
    with pytest.raises(ValueError, match="same frames, past and time step"):
        join([scenes, other])
