"""Rare scenes: what the events measure, that guidance brings them about, and that bodies stay apart."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from unstir.recipes.run import build_model, train_run
from unstir.recipes.scenarios import rare
from unstir.recipes.scenarios.bodies import bodies_apart, overlaps
from unstir.recipes.scenarios.clearance import closest_pair
from unstir.recipes.scenarios.coordinates import decode, encode
from unstir.recipes.scenarios.data import to_data
from unstir.recipes.scenarios.default import SimulationSettings, settings, simulated
from unstir.recipes.scenarios.events import cut_in, hard_braking, near_miss
from unstir.recipes.scenarios.rates import EVENTS, Ranges, rates
from unstir.recipes.scenarios.simulate import simulate
from unstir.recipes.scenarios.tokens import tokens_of
from unstir.recipes.splits import Splits
from unstir.training import Scaling

ZERO, ONE = torch.tensor([0]), torch.tensor([1])


def straight(start, step, frames=6):
    return torch.tensor(start) + torch.arange(frames)[:, None] * torch.tensor(step)


def test_a_near_miss_is_a_pass_that_is_near_and_no_touch():
    kinds = torch.zeros(3, 2, dtype=torch.int64)
    tracks = torch.stack(
        [
            torch.stack([straight([0.0, 0.0], [1.0, 0.0]), straight([5.0, side], [-1.0, 0.0])])
            for side in (0.5, 0.3, 2.0)
        ]
    )
    event = near_miss(kinds, ZERO.expand(3), ONE.expand(3), past=2)
    np.testing.assert_allclose(event.value(tracks)[:, 0], [0.1, -0.1, 1.6], atol=1e-6)
    assert event.happens(tracks).tolist() == [True, False, False]


def test_hard_braking_is_the_hardest_of_the_speed_s_falls():
    steps = torch.tensor([4.0, 4.0, 4.0, 3.0, 3.5])  # metres a frame: the hardest fall is 1
    place = torch.cat([torch.zeros(1), steps.cumsum(0)])
    tracks = torch.stack([place, torch.zeros(6)], dim=1)[None, None]
    hard = hard_braking(ZERO, past=2, dt=0.4)
    assert float(hard.value(tracks)) == pytest.approx(1.0 / 0.4**2, rel=1e-4)
    assert not bool(hard.happens(tracks))
    assert bool(hard_braking(ZERO, past=2, dt=0.7).happens(tracks))  # 2.04 m/s^2


def test_a_cut_in_ends_close_ahead_on_the_other_s_lane_whatever_the_direction():
    """Turning the scene changes nothing."""
    front = straight([8.0, 3.5], [4.0, 0.0])
    front[-1, 1] = 0.2
    tracks = torch.stack([front, straight([0.0, 0.0], [4.0, 0.0])])[None]
    turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]])
    for scene in (tracks, tracks @ turn.T + 5.0):
        event = cut_in(scene[:, :, :2], ZERO, ONE, past=2)
        np.testing.assert_allclose(event.value(scene)[0], [0.2, 8.0 - 4.5], atol=1e-4)
        assert bool(event.happens(scene))
    other = tracks.clone()
    other[0, 0, -1, 1] = 3.5
    assert not bool(cut_in(other[:, :, :2], ZERO, ONE, past=2).happens(other))


@pytest.mark.parametrize("name", list(EVENTS))
def test_events_pull_on_those_who_take_part_and_on_nobody_else(name):
    kept, event, members = EVENTS[name][0](simulate(120, seed=4))
    tracks, _ = rare.whole(kept)
    tracks.requires_grad_()
    event.value(tracks).sum().backward()
    pulled = tracks.grad.abs().sum((2, 3)) > 0
    rows = torch.arange(len(kept))[:, None]
    assert bool(torch.isfinite(tracks.grad).all())
    assert bool(pulled[rows, members].all())
    pulled[rows, members] = False
    assert not bool(pulled.any())


def test_pairs_are_chosen_without_a_look_at_the_future():
    scenes = simulate(60, seed=2)
    blind = replace(scenes, tracks=np.where(np.arange(20)[:, None] < 8, scenes.tracks, 0.0 * scenes.tracks))
    for choose in (rare.likely_pair, rare.neighbours, rare.fastest_vehicle):
        for a, b in zip(choose(scenes), choose(blind), strict=True):
            assert torch.equal(a, b)


def test_neighbours_are_vehicles_of_lanes_side_by_side():
    scenes = simulate(100, seed=3, place="overtaking")
    changer, follower = rare.neighbours(scenes)
    rows = torch.nonzero(changer >= 0)[:, 0]
    assert 20 < len(rows) < 100
    here = torch.from_numpy(scenes.given[:, :, -1])
    apart = (here[rows, changer[rows]] - here[rows, follower[rows]]).norm(dim=1)
    assert float(apart.min()) > 2.5
    assert float(apart.max()) < (15.0**2 + 4.5**2) ** 0.5


def test_bodies_that_overlap_are_moved_apart_and_others_are_left_alone():
    past = torch.zeros(2, 2, 8, 2)
    time = torch.arange(8.0)
    past[:, 0, :, 0], past[:, 1, :, 0] = 0.5 * time, 10.0 - 0.5 * time
    past[0, 1, :, 1], past[1, 1, :, 1] = 0.25, 3.0
    kinds, scaling = torch.zeros(2, 2, dtype=torch.int64), Scaling()
    x = torch.zeros(2, 24, 2)
    project = bodies_apart(past, kinds, scaling, 12, iterations=20)
    moved = project(x)
    tracks = torch.cat([past, decode(moved, past, 12)], dim=2)
    before = torch.cat([past, decode(x, past, 12)], dim=2)
    assert float(overlaps(before, kinds, past=8, margin=0.0)[0]) > 0.0
    assert float(closest_pair(before, kinds, past=8)[2][0]) < -0.1
    assert float(closest_pair(tracks, kinds, past=8)[2][0]) > 0.0
    assert torch.equal(moved[1], x[1])
    alone = bodies_apart(past[:1], kinds[:1], scaling, 12, iterations=20)(x[:1])
    torch.testing.assert_close(alone[0], moved[0])


def test_the_range_of_the_data_holds_99_of_100_of_its_own_agents():
    scenes = simulate(300, seed=1)
    tracks, kinds = rare.whole(scenes)
    inside = Ranges.of(scenes).share(tracks, kinds, scenes.past, scenes.dt)
    for share in inside:
        assert float(share[kinds >= 0].float().mean()) == pytest.approx(0.99, abs=3e-3)


def test_training_and_held_out_scenes_differ_and_the_latter_tell_nothing_of_the_future():
    train, heldout = simulated(SimulationSettings(scenes=100), 0.2, 0)
    assert (len(train), len(heldout)) == (80, 20)
    assert np.isnan(heldout.tokens).all()
    assert 0.2 < np.isfinite(train.tokens).any(-1)[train.present].mean() < 0.45
    assert not np.isin(heldout.tracks[:, 0, 0, 0], train.tracks[:, 0, 0, 0]).any()


def test_an_untrained_model_asked_for_an_event_gives_finite_scenes_with_their_past():
    scenes = simulate(40, seed=0)
    data = to_data(scenes)
    model = build_model(settings(), Splits(data, data))
    kept, event, _ = EVENTS["near_miss"][0](scenes)
    drawn = rare.sample_scenes(model, kept, event, steps=4)
    assert drawn.shape == kept.tracks.shape
    assert bool(torch.isfinite(drawn).all())
    np.testing.assert_allclose(drawn[:, :, :8], np.nan_to_num(kept.given), atol=1e-6)


def test_decoded_futures_are_those_that_were_encoded_for_stopped_vehicles_too():
    scenes = simulate(80, seed=8, place="crossing")
    past, future = torch.from_numpy(scenes.given), torch.from_numpy(scenes.followed)
    back = decode(encode(past, future, 12), past, 12)
    there = torch.from_numpy(scenes.present)
    torch.testing.assert_close(back[there], future[there], atol=2e-3, rtol=1e-4)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A quarter of a minute of training: enough to follow tokens and guidance, not enough to be good."""
    train, heldout = simulated(SimulationSettings(scenes=2000, asked=0.5), 0.1, 0)
    data = to_data(train)
    run = settings()
    short = run.training.model_copy(update={"samples": 30_000})
    splits = Splits(data, to_data(heldout, scaling=data.scaling))
    folder = tmp_path_factory.mktemp("scenarios") / "run"
    folder.mkdir()
    return train_run(run.model_copy(update={"training": short}), folder, splits=splits).model


@pytest.mark.slow
def test_guidance_makes_near_misses_more_frequent(model):
    scenes = simulate(200, seed=50, tokens=0.0)
    found = rates(model, "near_miss", scenes, Ranges.of(scenes))
    assert float(found.guided.float().mean()) > 3.0 * float(found.free.float().mean()) > 0.0


@pytest.mark.slow
def test_agents_that_are_told_where_to_end_end_nearer_to_it(model):
    scenes = simulate(200, seed=51, tokens=0.0)
    tracks, _ = rare.whole(scenes)
    asked = np.full_like(scenes.tokens, np.nan)
    asked[:, 0, :2] = tokens_of(scenes)[:, 0, :2]
    off = []
    for tokens in (asked, scenes.tokens):
        drawn = rare.sample_scenes(model, replace(scenes, tokens=tokens))
        off.append(float((drawn - tracks)[:, 0, -1].norm(dim=-1).median()))
    assert off[0] < 0.6 * off[1]
