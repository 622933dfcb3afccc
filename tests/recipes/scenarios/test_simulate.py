"""The simulated scenes: each model's closed forms, symmetries, and that nobody is run over."""

import numpy as np
import pytest
import torch

from unstir.recipes.scenarios import lanes, pedestrians, vehicles
from unstir.recipes.scenarios.clearance import clearance, closest_pair, headings
from unstir.recipes.scenarios.crossing import crossing
from unstir.recipes.scenarios.frames import AGENTS, DT, PAST
from unstir.recipes.scenarios.pedestrians import SocialForce
from unstir.recipes.scenarios.scenes import PEDESTRIAN, VEHICLE
from unstir.recipes.scenarios.simulate import PLACES, simulate
from unstir.recipes.scenarios.tokens import TOKENS, ask, chosen, tokens_of
from unstir.recipes.scenarios.vehicles import HARDEST, IDM, LENGTH, MOBIL

INF = np.array([np.inf])


def test_idm_starts_with_its_maximum_acceleration_and_ends_at_its_desired_speed():
    driver = IDM(speed=12.0, acceleration=1.4)
    assert driver(np.array([0.0]), INF, np.array([0.0])) == pytest.approx(1.4)
    assert driver(np.array([12.0]), INF, np.array([0.0])) == pytest.approx(0.0)
    assert driver(np.array([6.0]), INF, np.array([0.0])) == pytest.approx(1.4 * (1 - 0.5**4))


@pytest.mark.parametrize("speed", [0.0, 5.0, 10.0])
def test_idm_keeps_its_speed_at_the_equilibrium_gap(speed):
    driver = IDM(speed=15.0, headway=1.2, gap=2.0)
    gap = driver.equilibrium_gap(speed)
    assert gap == pytest.approx((2.0 + 1.2 * speed) / np.sqrt(1 - (speed / 15.0) ** 4))
    assert driver(np.array([speed]), np.array([gap]), np.array([0.0])) == pytest.approx(0.0, abs=1e-12)


def test_idm_reaches_the_equilibrium_gap_behind_a_steady_leader():
    driver = IDM(speed=15.0)
    front, place, speed = np.array([40.0]), np.array([0.0]), np.array([14.0])
    for _ in range(3000):
        push = driver(speed, front - place - LENGTH, speed - 8.0)
        place, speed = vehicles.advance(place, speed, push, 0.1)
        front = front + 0.1 * 8.0
    assert speed == pytest.approx(8.0, abs=1e-4)
    assert front - place - LENGTH == pytest.approx(driver.equilibrium_gap(8.0), rel=1e-3)


def test_a_platoon_whose_leader_brakes_to_a_halt_does_not_collide():
    rng = np.random.default_rng(0)
    driver = lanes.drivers((200, 6), rng)
    speed = np.full((200, 6), 10.0)
    place = -np.arange(6) * (LENGTH + 2.0 + 10.0) * np.ones((200, 1))
    here = np.ones((200, 6, 6), dtype=bool)
    smallest = np.inf
    for step in range(300):
        gap, ahead = vehicles.leader(place, speed, here)
        push = driver(speed, gap, speed - ahead)
        push[:, 0] = -4.0 if step > 50 else push[:, 0]
        place, speed = vehicles.advance(place, speed, push, 0.1)
        smallest = min(smallest, float((-np.diff(place, axis=1) - LENGTH).min()))
    assert (speed < 0.1).all()
    assert smallest > 0.5


def test_braking_to_rest_covers_the_way_that_energy_allows():
    place, speed = vehicles.advance(np.array([0.0]), np.array([0.3]), np.array([-6.0]), 0.1)
    assert speed == 0.0
    assert place == pytest.approx(0.3**2 / (2 * 6.0))


def test_a_lane_change_starts_and_ends_at_rest():
    share = np.linspace(0.0, 1.0, 1001)
    shift = vehicles.lane_shift(share)
    slope = np.gradient(shift, share)
    assert shift[0] == 0.0
    assert shift[-1] == 1.0
    assert abs(slope[0]) < 1e-4
    assert abs(slope[-1]) < 1e-4
    assert slope.max() == pytest.approx(15.0 / 8.0, rel=1e-4)


def test_mobil_changes_only_if_it_is_safe_and_pays():
    rule = MOBIL(politeness=0.5, threshold=0.1, safe=4.0)
    gain, follower, loss = np.array([1.0, 1.0, 1.0, 0.05]), np.array([-1.0, -5.0, -1.0, 0.0]), np.zeros(4)
    loss[2] = 2.0
    assert rule(gain, follower, loss).tolist() == [True, False, False, False]


def test_a_lone_pedestrian_takes_up_the_desired_speed_exponentially():
    model, dt = SocialForce(), 1e-3
    position, velocity = np.zeros((1, 2)), np.zeros((1, 2))
    desired, heading = np.array([[1.34, 0.0]]), np.array([[1.0, 0.0]])
    for _ in range(1000):
        force = pedestrians.drive(model, velocity, desired)
        force += pedestrians.repulsion(model, position, velocity, heading, np.ones(1, dtype=bool))
        position, velocity = pedestrians.advance(model, position, velocity, force, np.array([2.0]), dt)
    assert velocity[0, 0] == pytest.approx(1.34 * (1 - np.exp(-1.0 / model.relaxation)), rel=2e-3)
    assert velocity[0, 1] == 0.0


def test_two_who_meet_symmetrically_pass_symmetrically():
    """A half turn about the meeting point maps each track on the other's."""
    model, dt = SocialForce(), 0.05
    position = np.array([[-4.0, 0.15], [4.0, -0.15]])
    goal, velocity = np.array([[9.0, 0.15], [-9.0, -0.15]]), np.array([[1.3, 0.0], [-1.3, 0.0]])
    present, nearest = np.ones(2, dtype=bool), np.inf
    for _ in range(140):
        heading = pedestrians.unit(goal - position)
        force = pedestrians.drive(model, velocity, 1.3 * heading)
        force = force + pedestrians.repulsion(model, position, velocity, heading, present)
        position, velocity = pedestrians.advance(model, position, velocity, force, np.full(2, 1.69), dt)
        np.testing.assert_allclose(position[0], -position[1], atol=1e-9)
        nearest = min(nearest, float(np.linalg.norm(position[0] - position[1])))
    assert nearest > model.diameter
    assert position[0, 0] > 2.0, "they have not passed"


def test_the_repulsion_is_minus_the_gradient_of_its_potential():
    """With full sight and no bodies, by central differences of V0 exp(-b / sigma)."""
    model = SocialForce(behind=1.0, body=0.0)
    rng = np.random.default_rng(1)
    position, velocity = rng.normal(size=(2, 2)), rng.normal(size=(2, 2))
    present = np.ones(2, dtype=bool)

    def potential(place):
        apart = place - position[1]
        ahead = apart - model.step * velocity[1]
        total = np.linalg.norm(apart) + np.linalg.norm(ahead)
        b = 0.5 * np.sqrt(total**2 - (model.step * np.linalg.norm(velocity[1])) ** 2)
        return model.potential * np.exp(-b / model.reach)

    h = 1e-5
    slope = [(potential(position[0] + h * e) - potential(position[0] - h * e)) / (2 * h) for e in np.eye(2)]
    force = pedestrians.repulsion(model, position, velocity, velocity, present)
    np.testing.assert_allclose(force[0], -np.array(slope), rtol=1e-6)


def test_a_wall_pushes_away_from_its_nearest_point():
    model = SocialForce()
    walls = np.array([[-1.0, 0.0, 1.0, 0.0], [np.nan] * 4])
    force = pedestrians.wall_repulsion(model, np.array([[0.5, 0.4], [2.0, 0.0]]), walls)
    np.testing.assert_allclose(force[0], [0.0, 50.0 * np.exp(-2.0)])
    np.testing.assert_allclose(force[1], [50.0 * np.exp(-5.0), 0.0])


@pytest.fixture(scope="module")
def scenes():
    return simulate(600, seed=5)


def test_scenes_are_the_same_for_the_same_seed_and_differ_for_another(scenes):
    again, other = simulate(600, seed=5), simulate(600, seed=6)
    np.testing.assert_array_equal(scenes.tracks, again.tracks)
    np.testing.assert_array_equal(scenes.tokens, again.tokens)
    assert not np.array_equal(scenes.kinds, other.kinds)


def test_scenes_hold_two_to_six_agents_of_both_kinds(scenes):
    assert scenes.tracks.shape == (600, AGENTS, 20, 2)
    counts = scenes.present.sum(1)
    assert counts.min() == 2
    assert counts.max() == AGENTS
    assert (scenes.kinds == PEDESTRIAN).any()
    assert (scenes.kinds == VEHICLE).any()


def test_nobody_moves_faster_or_brakes_harder_than_the_models_allow(scenes):
    speed = np.linalg.norm(np.diff(scenes.tracks, axis=2), axis=-1) / DT
    assert np.nanmax(speed[scenes.kinds == PEDESTRIAN]) < 1.3 * (1.34 + 5 * 0.26)
    brakes = -np.diff(speed[scenes.kinds == VEHICLE], axis=-1) / DT
    assert brakes.max() < HARDEST + 0.1


def test_bodies_hardly_ever_touch(scenes):
    tracks, kinds = torch.from_numpy(scenes.tracks), torch.from_numpy(scenes.kinds)
    _, _, least = closest_pair(tracks, kinds, past=PAST)
    assert float((least < 0.0).float().mean()) < 0.01


def test_vehicles_that_go_first_or_wait_do_so():
    made = crossing(400, np.random.default_rng(3))
    place = np.abs(made.tracks[:, :, :, 0])
    first, waits = made.order == 1.0, made.order == -1.0
    assert first.sum() > 20
    assert waits.sum() > 20
    speed = np.linalg.norm(np.diff(made.tracks, axis=2), axis=-1) / DT
    assert np.median(speed[waits].min(-1)) < 0.5 * np.median(speed[first].min(-1))
    assert place[waits].min() < 10.0


def test_the_mixture_has_the_shares_that_it_says():
    scenes = simulate(200, seed=1)
    without_vehicles = (scenes.kinds != VEHICLE).all(1).sum()
    alone = sum(share for name, (_, share) in PLACES.items() if name in ("corridor", "square"))
    assert without_vehicles == round(200 * alone)


def test_wrong_places_and_numbers_are_told():
    with pytest.raises(ValueError, match="did you mean 'square'"):
        simulate(3, place="squares")
    with pytest.raises(ValueError, match="at least 1"):
        simulate(0)


def test_tokens_tell_where_agents_end(scenes):
    """Asked in the scene's frame for what they did, `ask` gives the same tokens."""
    i, a = 0, 0
    end = scenes.followed[i, a, -1]
    past = torch.from_numpy(scenes.given[i])
    asked = ask(past, {a: {"end": (float(end[0]), float(end[1])), "speed": 1.5, "order": -1}})
    np.testing.assert_allclose(asked[a, :2], scenes.tokens[i, a, :2], atol=1e-4)
    assert asked[a, 2:].tolist() == [1.5, -1.0]
    assert asked[1:].isnan().all()


def test_tokens_do_not_change_if_the_scene_is_turned(scenes):
    moving = np.linalg.norm(scenes.given[:, :, -1] - scenes.given[:, :, -2], axis=-1) > 0.2
    turned = scenes.tracks @ np.array([[0.0, -1.0], [1.0, 0.0]], dtype=np.float32) + 3.0
    other = tokens_of(type(scenes)(turned, scenes.kinds, scenes.dt, scenes.past))
    np.testing.assert_allclose(other[moving][:, :3], scenes.tokens[moving][:, :3], atol=2e-3)


def test_chosen_tokens_leave_places_whole(scenes):
    given = chosen(scenes.tokens, 0.5, np.random.default_rng(0))
    np.testing.assert_array_equal(np.isnan(given[..., 0]), np.isnan(given[..., 1]))
    asked = np.isfinite(given).any(-1)[scenes.present]
    assert 0.3 < asked.mean() < 0.5  # half of the agents, less those of whom nothing is left
    assert len(TOKENS) == given.shape[-1]


def test_wrong_wishes_are_told(scenes):
    past = torch.from_numpy(scenes.given[np.flatnonzero(scenes.present.sum(1) == 2)[0]])
    with pytest.raises(ValueError, match="no agent 5"):
        ask(past, {5: {"speed": 1.0}})
    with pytest.raises(ValueError, match="did you mean 'speed'"):
        ask(past, {0: {"sped": 1.0}})
    with pytest.raises(ValueError, match="place"):
        ask(past, {0: {"end": 1.0}})


def test_the_clearance_of_two_who_pass_between_frames_is_found():
    """Head on at 0.5 m to the side: they are nearest in the middle of an interval, by Pythagoras."""
    tracks = torch.zeros(1, 2, 4, 2)
    tracks[0, 0, :, 0] = torch.tensor([-3.0, -2.0, -0.5, 1.0])
    tracks[0, 1, :, 0] = torch.tensor([3.0, 2.0, 0.5, -1.0])
    tracks[0, 1, :, 1] = 0.5
    zero, one = torch.tensor([0]), torch.tensor([1])
    least = clearance(tracks, torch.zeros(1, 2, dtype=torch.int64), zero, one, past=2)
    np.testing.assert_allclose(least[0], [np.hypot(1.0, 0.5) - 0.4, 0.5 - 0.4], atol=1e-6)


def test_the_clearance_of_vehicles_is_from_bumper_to_bumper():
    tracks = torch.zeros(1, 2, 4, 2)
    tracks[0, 0, :, 0] = torch.arange(4.0)
    tracks[0, 1, :, 0] = torch.arange(4.0) + 10.0
    zero, one = torch.tensor([0]), torch.tensor([1])
    least = clearance(tracks, torch.ones(1, 2, dtype=torch.int64), zero, one, past=2)
    np.testing.assert_allclose(least, 10.0 - 2 * (1.4 + 1.0), atol=1e-5)
    assert abs(2 * (1.4 + 1.0) - LENGTH) < 0.4


def test_headings_last_while_an_agent_stands():
    track = torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.0, 1.0], [0.0, 1.0], [1.0, 1.0]])
    np.testing.assert_allclose(headings(track), [[0, 1], [0, 1], [0, 1], [0, 1], [1, 0]])
