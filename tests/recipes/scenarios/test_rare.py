"""Rare scenes: what the events measure, that guidance brings them about, and that bodies stay apart."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from unstir.recipes.run import build_model, train_run
from unstir.recipes.scenarios import rare
from unstir.recipes.scenarios.bodies import bodies_apart, overlaps, polyak_step
from unstir.recipes.scenarios.clearance import closest_pair
from unstir.recipes.scenarios.coordinates import decode, encode
from unstir.recipes.scenarios.data import halves, to_data
from unstir.recipes.scenarios.default import SimulationSettings, settings, simulated
from unstir.recipes.scenarios.default_check import measured, rare_numbers, validity_numbers
from unstir.recipes.scenarios.events import cut_in, hard_braking, near_miss
from unstir.recipes.scenarios.ranges import ROOM, Ranges
from unstir.recipes.scenarios.rates import EVENTS, rates
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


def test_hard_braking_is_the_largest_fall_of_the_speed_over_two_frames():
    steps = torch.tensor([4.0, 4.0, 4.0, 3.5, 2.8, 3.5])  # metres a frame: it falls most from 4 to 2.8
    place = torch.cat([torch.zeros(1), steps.cumsum(0)])
    tracks = torch.stack([place, torch.zeros(7)], dim=1)[None, None]
    hard = hard_braking(ZERO, past=2, dt=0.4)
    assert float(hard.value(tracks)) == pytest.approx(1.2 / 0.4 / 0.8, rel=1e-4)  # 3.75 m/s^2
    assert bool(hard.happens(tracks))
    assert not bool(hard_braking(ZERO, past=2, dt=0.5).happens(tracks))  # 2.4 m/s^2
    assert not bool(hard_braking(ZERO, past=2, dt=0.3).happens(tracks))  # 6.67 m/s^2


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
    kept, event, members = EVENTS[name][0](simulate(200, seed=4))
    tracks, _ = rare.whole(kept)
    tracks.requires_grad_()
    event.value(tracks).sum().backward()
    pulled = tracks.grad.abs().sum((2, 3)) > 0
    rows = torch.arange(len(kept))[:, None]
    assert bool(torch.isfinite(tracks.grad).all())
    assert bool(pulled[rows, members].all())
    pulled[rows, members] = False
    assert not bool(pulled.any())


def test_what_misses_an_event_is_0_in_the_middle_of_its_range_and_else_half_the_square():
    kinds = torch.zeros(1, 2, dtype=torch.int64)
    event = near_miss(kinds, ZERO, ONE, past=2)  # two on foot: 0.03 to 0.2 m, the middle 0.064 to 0.166 m
    for clearance, beyond in ((0.1, 0.0), (0.3, 0.3 - 0.166), (0.01, 0.064 - 0.01), (-0.1, 0.064 + 0.1)):
        ways = straight([0.0, 0.0], [1.0, 0.0]), straight([5.0, 0.4 + clearance], [-1.0, 0.0])
        assert float(event.miss(torch.stack(ways)[None])) == pytest.approx(0.5 * beyond**2, abs=1e-6)


def test_a_step_to_energy_0_ends_at_once_on_the_nearest_point_of_a_plane():
    """And moves each sample by itself: the second is there already."""
    normal = torch.tensor([[3.0], [4.0]])
    x = torch.tensor([[[2.0], [1.0]], [[4.0], [-3.0]]])

    def energy(x):
        return 0.5 * (x * normal).sum((1, 2)).square()

    moved = polyak_step(x, energy)
    np.testing.assert_allclose(moved[0, :, 0], [2.0 - 10.0 / 25 * 3.0, 1.0 - 10.0 / 25 * 4.0], atol=1e-6)
    assert torch.equal(moved[1], x[1])


def test_pairs_are_chosen_without_a_look_at_the_future():
    scenes = simulate(60, seed=2)
    blind = replace(scenes, tracks=np.where(np.arange(20)[:, None] < 8, scenes.tracks, 0.0 * scenes.tracks))
    for choose in (rare.likely_pair, rare.neighbours, rare.towards_people):
        assert all(map(torch.equal, choose(scenes), choose(blind)))


def test_who_may_have_to_brake_is_a_fast_vehicle_with_somebody_on_foot_ahead():
    scenes = simulate(300, seed=6)
    agent = rare.towards_people(scenes)
    rows = torch.nonzero(agent >= 0)[:, 0]
    assert 10 < len(rows) < 120
    past = torch.from_numpy(scenes.given)
    step = past[rows, agent[rows], -1] - past[rows, agent[rows], -2]
    assert float(step.norm(dim=1).min()) / scenes.dt > 5.0
    apart = past[rows, :, -1] - past[rows, agent[rows], None, -1]
    ahead = (apart * (step / step.norm(dim=1, keepdim=True))[:, None]).sum(-1)
    on_foot = torch.from_numpy(scenes.kinds == 0)[rows]
    assert bool(((ahead > 4.0) & (ahead < 40.0) & on_foot).any(1).all())


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


def test_the_range_of_the_data_holds_99_of_100_of_its_own_frames():
    scenes = simulate(300, seed=1)
    tracks, kinds = rare.whole(scenes)
    for inside in Ranges.of(scenes).within(tracks, kinds, scenes.past):
        for kind in (0, 1):
            assert float(inside[kinds == kind].float().mean()) == pytest.approx(0.99, abs=1e-3)


def test_the_excess_is_the_squared_way_beyond_the_range():
    """One frame at 4 m/s where 2 are usual, then standing: half of 0.8^2, or of both brakings."""
    steps = torch.tensor([0.8, 0.8, 0.8, 1.6, 0.0])  # metres in 0.4 s
    place = torch.cat([torch.zeros(1), steps.cumsum(0)])
    tracks = torch.stack([place, torch.zeros(6)], dim=1)[None, None]
    kinds, nobody = torch.zeros(1, 1, dtype=torch.int64), torch.zeros(1, 1, dtype=torch.bool)
    ranges = Ranges((2.0, 16.0), (float("inf"), 2.0), 0.4)
    assert float(ranges.excess(tracks, kinds, nobody, past=3)) == pytest.approx(0.5 * 0.8**2, rel=1e-3)
    ranges = Ranges((float("inf"), 16.0), (4.0 / ROOM, 2.0), 0.4)  # 0.64 m a frame and frame
    expected = 0.5 * ((0.8 - 0.64) ** 2 + (1.6 - 0.64) ** 2)
    assert float(ranges.excess(tracks, kinds, nobody, past=3)) == pytest.approx(expected, rel=1e-3)
    assert float(ranges.excess(tracks, kinds, ~nobody, past=3)) == 0.0  # a strained agent may
    assert float(ranges.excess(tracks, kinds - 1, nobody, past=3)) == 0.0  # nobody is there


def test_who_was_faster_than_usual_is_not_slowed_down():
    tracks = straight([0.0, 0.0], [1.6, 0.0], frames=20)[None, None]  # 4 m/s on foot
    kinds, nobody = torch.zeros(1, 1, dtype=torch.int64), torch.zeros(1, 1, dtype=torch.bool)
    ranges = Ranges((2.0, 16.0), (2.0, 2.0), 0.4)
    assert float(ranges.excess(tracks, kinds, nobody, past=8)) == pytest.approx(0.0, abs=1e-9)


def test_speeds_and_accelerations_beyond_the_range_are_led_back_into_it_and_nothing_else_is():
    scenes = simulate(60, seed=9)
    ranges = Ranges.of(scenes)
    past, kinds = torch.from_numpy(np.nan_to_num(scenes.given)), torch.from_numpy(scenes.kinds).long()
    data = to_data(scenes)
    x = data.scaling.to_internal(torch.from_numpy(data.x).clone())
    x[::2] *= 3.0  # every other scene goes too far
    project = bodies_apart(past, kinds, data.scaling, 12, ranges=ranges, iterations=20)
    moved = project(x)
    shares = []
    for state in (x, moved):
        future = decode(data.scaling.to_data(state), past, 12)
        tracks = torch.cat([past, future], dim=2)
        inside = ranges.within(tracks, kinds, scenes.past)
        shares.append([float((~part[::2][kinds[::2] >= 0]).float().mean()) for part in inside])
    for before, after in zip(*shares, strict=True):
        assert before > 0.02
        assert after < 0.25 * before
    still = (moved == x).flatten(1).all(1)
    assert int(still.sum()) > 15
    assert bool(still[1::2].sum() > still[::2].sum())


def test_the_agent_that_brakes_is_not_held_to_the_usual_acceleration():
    """With a range for everybody, braking at 4 m/s^2 is undone; not so for who is asked for it."""
    scenes = simulate(200, seed=4)
    _, event, agent = EVENTS["hard_braking"][0](scenes)
    assert torch.equal(event.strained, agent[:, 0])
    speed = torch.tensor([10.0] * 9 + [8.4, 6.8, 5.2] + [5.2] * 8)
    place = torch.cat([torch.zeros(1), (0.4 * speed[1:]).cumsum(0)])
    tracks = torch.stack([place, torch.zeros(20)], dim=1)[None, None]
    kinds, past, scaling = torch.ones(1, 1, dtype=torch.int64), tracks[:, :, :8], to_data(scenes).scaling
    x = scaling.to_internal(encode(past, tracks[:, :, 8:], 12))
    ranges = Ranges((2.0, 16.0), (2.0, 2.0), 0.4)
    hardest = []
    for strained in (None, torch.ones(1, 1, dtype=torch.bool)):
        project = bodies_apart(past, kinds, scaling, 12, ranges=ranges, strained=strained, iterations=50)
        after = torch.cat([past, decode(scaling.to_data(project(x)), past, 12)], dim=2)
        hardest.append(float(hard_braking(ZERO, past=8, dt=0.4).value(after)))
    assert hardest[0] < 2.1
    assert hardest[1] == pytest.approx(4.0, rel=1e-3)


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


def test_an_event_that_no_scene_fits_is_left_out():
    scenes = simulate(3, seed=0, place="square", tokens=0.0)
    data = to_data(simulate(20, seed=0))
    run = settings()
    quick = run.model_copy(update={"sampling": run.sampling.model_copy(update={"steps": 2})})
    model = build_model(quick, Splits(data, data))
    found = measured(model, scenes, simulate(20, seed=1))
    assert set(found) == {"near_miss"}
    assert {"near_miss_ratio", "near_miss_rate", "guided_speed_in_range"} <= set(rare_numbers([found]))
    assert rare_numbers([{}]) == {}
    with pytest.raises(ValueError, match="none of these 3 scenes has a vehicle that drives towards a pedest"):
        EVENTS["hard_braking"][0](scenes)


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
    run = settings()
    short = run.training.model_copy(update={"samples": 30_000})
    splits = halves(train, heldout)
    folder = tmp_path_factory.mktemp("scenarios") / "run"
    folder.mkdir()
    return train_run(run.model_copy(update={"training": short}), folder, splits=splits).model


@pytest.mark.slow
def test_guidance_makes_near_misses_more_frequent(model):
    scenes = simulate(200, seed=50, tokens=0.0)
    found = rates(model, "near_miss", scenes, Ranges.of(scenes))
    assert float(found.guided.float().mean()) > 3.0 * float(found.free.float().mean()) > 0.0
    inside = validity_numbers([found])
    assert inside["guided_speed_in_range"].ok
    assert inside["guided_acceleration_in_range"].ok


@pytest.mark.slow
def test_agents_that_are_told_where_to_end_end_nearer_to_it(model):
    scenes = simulate(200, seed=51, tokens=0.0)
    tracks, _ = rare.whole(scenes)
    asked = np.full_like(scenes.tokens, np.nan)
    asked[:, 0, :2] = tokens_of(scenes)[:, 0, :2]

    def off(tokens, met):
        drawn = rare.sample_scenes(model, replace(scenes, tokens=tokens), met=met)
        return float((drawn - tracks)[:, 0, -1].norm(dim=-1).median())

    free = off(scenes.tokens, met=True)
    assert off(asked, met=False) < 0.95 * free  # by what so short a training taught
    assert off(asked, met=True) < 0.1
