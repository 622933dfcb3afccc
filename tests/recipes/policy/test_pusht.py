"""Pushing a T: the environment, and the way from a file of demonstrations to a policy that acts."""

import sys
from itertools import pairwise

import numpy as np
import pytest
import torch

from unstir.recipes.domain import Options
from unstir.recipes.policy import pusht
from unstir.recipes.policy.data import load
from unstir.recipes.policy.environment import stack
from unstir.recipes.policy.pusht import PushT
from unstir.recipes.policy.task import Policy, rollouts
from unstir.recipes.run import build_model, conditions_of, train_run
from unstir.recipes.settings import RunSettings

pytest.importorskip("gym_pusht")


def push(seen):
    """Behind the T as seen from its place, then towards it: it moves the T, and is no expert."""
    finger, block = seen["observation"][:2], seen["observation"][2:4]
    away = block - 256.0
    away = away / max(float(np.linalg.norm(away)), 1e-6)
    behind = block + 90.0 * away
    near = np.linalg.norm(finger - behind) < 25.0 or (finger - block) @ away > 60.0
    return (block - 40.0 * away if near else behind).clip(10.0, 500.0)


def demonstrations(episodes=3, steps=30, *, pixels=False):
    """The scripted pusher's states, pictures and actions, as they are kept in a replay buffer."""
    states, pictures, actions = [], [], []
    for seed in range(episodes):
        watched = PushT(pixels=True) if pixels else None
        environment = PushT()
        seen = environment.reset(seed)
        view = watched.reset(seed) if watched else None
        for _ in range(steps):
            action = push(seen)
            states.append(seen["observation"])
            actions.append(action)
            if watched:
                pictures.append(view["image"].transpose(1, 2, 0))
                view, _, _ = watched.step(action)
            seen, _, _ = environment.step(action)
    return np.array(states), np.array(actions), np.array(pictures)


def write(folder, states, actions, pictures, steps=30):
    import zarr

    root = zarr.open_group(folder, mode="w", zarr_format=2)
    arrays = {"data/state": states, "data/action": actions, "meta/episode_ends": None}
    arrays["meta/episode_ends"] = np.arange(steps, len(states) + 1, steps)
    if len(pictures):
        arrays["data/img"] = pictures.astype(np.float32)
    for name, values in arrays.items():
        root.create_array(name, data=values)
    return str(folder)


def small(path, samples=64, **options):
    """The recipe with a small network."""
    base = pusht.settings().model_dump(mode="json")
    base["data"] |= {"path": path, "options": options}
    base["network"] = {"kind": "unet", "width": 8, "multipliers": [1, 2]}
    base["training"] |= {"samples": samples, "batch": 16}
    base["sampling"] = {"steps": 2}
    return RunSettings.model_validate(base)


def test_a_seed_decides_the_episode():
    first, second = PushT().reset(3)["observation"], PushT().reset(3)["observation"]
    assert np.array_equal(first, second)
    assert not np.array_equal(first, PushT().reset(4)["observation"])


def test_the_finger_goes_where_it_is_sent():
    environment = PushT()
    environment.reset(3)
    for _ in range(15):
        seen, _, _ = environment.step(np.array([60.0, 450.0]))
    assert np.abs(seen["observation"][:2] - [60.0, 450.0]).max() < 5.0


def test_pushing_moves_the_t_and_the_score_never_falls():
    environment = PushT()
    seen = environment.reset(1)
    began, scores = seen["observation"][2:].copy(), []
    for _ in range(80):
        seen, done, _ = environment.step(push(seen))
        scores.append(environment.score)
        if done:
            break
    assert np.abs(seen["observation"][2:] - began).max() > 5.0
    assert all(a <= b for a, b in pairwise(scores))
    assert 0.0 <= scores[0] <= scores[-1] <= 1.0
    environment.reset(1)
    assert environment.score == 0.0


def test_an_episode_ends_at_its_limit_and_covering_the_place_is_success():
    environment = PushT(limit=3)
    environment.reset(0)
    assert [environment.step(np.array([10.0, 10.0]))[1:] for _ in range(3)] == [
        (False, False), (False, False), (True, False)
    ]  # fmt: skip
    inner = environment._environment.unwrapped
    environment.reset(0)
    inner.agent.position = (20.0, 20.0)
    inner.block.angle = float(inner.goal_pose[2])
    inner.block.position = tuple(inner.goal_pose[:2])
    _, done, success = environment.step(np.array([20.0, 20.0]))
    assert (done, success, environment.score) == (True, True, 1.0)


def test_pictures_are_seen_channels_first_beside_the_finger_alone():
    environment = PushT(pixels=True)
    seen = environment.reset(2)
    assert seen["image"].shape == (3, 96, 96)
    assert seen["image"].dtype == np.uint8
    assert np.array_equal(seen["observation"], PushT().reset(2)["observation"][:2])
    assert environment.image().shape == (192, 192, 3)
    later, _, _ = environment.step(np.array([300.0, 300.0]))
    assert not np.array_equal(later["image"], seen["image"])


@pytest.mark.parametrize("action", [np.zeros(3), np.array([np.nan, 0.0]), np.zeros((1, 2))])
def test_an_action_that_is_none_is_refused(action):
    environment = PushT()
    environment.reset(0)
    with pytest.raises(ValueError, match="two finite numbers"):
        environment.step(action)


def test_a_missing_simulator_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "gym_pusht", None)
    with pytest.raises(
        ModuleNotFoundError, match=r"needs gym-pusht; install it with: pip install 'unstir\[rob"
    ):
        PushT()


def test_the_recipe_without_its_file_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no file or folder pusht_cchi_v7_replay\.zarr"):
        load(pusht.settings().data)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A replay buffer of the scripted pusher with states and pictures."""
    return write(tmp_path_factory.mktemp("pusht") / "p.zarr", *demonstrations(pixels=True))


def test_a_file_of_demonstrations_becomes_windows(recorded):
    states = load(small(recorded).data)
    assert states.train.event == (2, 16)
    assert {name: c.shape for name, c in states.train.conditions.items()} == {"observation": (5, 2)}
    seen = load(small(recorded, image="img", dimensions=2).data)
    shapes = {name: c.shape for name, c in seen.train.conditions.items()}
    assert shapes == {"observation": (2, 2), "image": (6, 96, 96)}
    assert len(seen.train) == 2 * len(seen.heldout)  # three episodes of one length


def test_a_model_is_told_how_pictures_and_observations_are_scaled(recorded):
    """What the environment shows enters the network as the demonstrations did."""
    splits = load(small(recorded, image="img", dimensions=2, image_size=[24, 24]).data)
    model = build_model(small(recorded, image="img", dimensions=2, image_size=[24, 24]), splits)
    assert model.config.conditions == conditions_of(splits.train)
    _, scaled = splits.train.batch(slice(0, 3))
    raw = {
        name: torch.from_numpy(np.asarray(c.values[0:3], dtype=np.float32))
        for name, c in splits.train.conditions.items()
    }
    for name, value in model.condition(3, raw).items():
        torch.testing.assert_close(value, scaled[name])


def test_gradients_reach_pictures_and_observations(recorded):
    run = small(recorded, image="img", dimensions=2, image_size=[24, 24])
    splits = load(run.data)
    network = build_model(run, splits).denoiser.module
    torch.manual_seed(0)
    for parameter in network.parameters():  # a fresh network ends in zeros
        torch.nn.init.normal_(parameter, std=0.1)
    x, conditions = splits.train.batch(slice(0, 4))
    for value in conditions.values():
        value.requires_grad_()
    network(x, torch.zeros(4), **conditions).square().sum().backward()
    for name, value in conditions.items():
        assert bool((value.grad.flatten(1).abs().sum(1) > 0).all()), name


@pytest.mark.parametrize("kind", ["unet", "transformer"])
def test_a_policy_that_sees_pictures_trains_and_acts(recorded, tmp_path, kind):
    run = small(recorded, samples=640, image="img", dimensions=2, image_size=[24, 24])
    if kind == "transformer":
        network = {"kind": "transformer", "width": 16, "layers": 1, "heads": 2}
        run = RunSettings.model_validate({**run.model_dump(mode="json"), "network": network})
    model = train_run(run, tmp_path).model
    environment = PushT(pixels=True, size=(24, 24))
    policy = Policy(model)
    seen = environment.reset(0)
    for _ in range(9):  # the ninth action is of a second plan
        action = policy.act(seen)
        assert action.shape == (2,)
        assert np.isfinite(action).all()
        seen, _, _ = environment.step(action)
    given = {name: torch.from_numpy(value) for name, value in stack([seen], 2).items()}
    plans = model.solve(1, condition=given, seed=1).x
    other = {**given, "image": 255.0 - given["image"]}
    assert float((plans - model.solve(1, condition=other, seed=1).x).abs().max()) > 0.05


def test_a_policy_is_measured_in_its_environment(recorded, tmp_path, monkeypatch):
    monkeypatch.setattr(pusht, "LIMIT", 12)
    run = small(recorded)
    model = train_run(run, tmp_path).model
    found = pusht.measure(model, run, Options(n=3))
    assert set(found) == {"score", "success", "evaluations"}
    assert 0.0 <= found["score"].value <= 1.0
    assert found["success"].interval[0] <= found["success"].value <= found["success"].interval[1]
    assert 1 <= found["evaluations"].value <= 10


def test_a_policy_of_something_else_is_refused(recorded):
    run = small(recorded, dimensions=3)
    with pytest.raises(ValueError, match=r"observations of 5, or of 2 beside a picture, but .* of 3"):
        pusht.measure(build_model(run, load(run.data)), run, Options(n=1))


@pytest.mark.slow
def test_the_pusher_is_learned_from_its_demonstrations(tmp_path):
    """End to end from a replay buffer, on episodes that training never saw.

    Plans are nearer to what the pusher did than plans from another moment's observation, and the T moves.
    """
    path = write(tmp_path / "p.zarr", *demonstrations(20))
    run = small(path, samples=60_000)
    values = run.model_dump(mode="json")
    values["network"] |= {"width": 16}
    values["training"] |= {"batch": 128, "learning_rate": 3e-3}
    run = RunSettings.model_validate(values)
    splits = load(run.data)
    model = train_run(run, tmp_path / "run").model
    x = torch.from_numpy(np.asarray(splits.heldout.x))
    seen = torch.from_numpy(splits.heldout.conditions["observation"].values)
    errors = [
        float((model.solve(len(x), condition={"observation": given}, steps=8).x - x)[:, :, 1:9].abs().mean())
        for given in (seen, seen.roll(len(x) // 2, 0))
    ]
    assert errors[0] < 0.6 * errors[1]
    runs = rollouts(Policy(model, steps=8), lambda: PushT(limit=60), range(100, 106))
    moved = [np.abs(r.observations[-1, 2:4] - r.observations[0, 2:4]).max() for r in runs]
    assert np.median(moved) > 20.0
