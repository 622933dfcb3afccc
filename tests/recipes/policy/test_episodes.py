"""Demonstrations and their windows: what is padded, what is scaled, what is refused."""

import numpy as np
import pytest

from unstir.recipes.policy.environment import stack
from unstir.recipes.policy.episodes import Episodes, Frames, range_of, split_episodes, window_rows, windows

LENGTHS = (20, 3, 30)


def episodes(lengths=LENGTHS, *, pictures=False):
    """Step numbers in the first column, so that a window says which steps it holds."""
    rng = np.random.default_rng(0)
    steps = sum(lengths)
    numbers = np.arange(steps, dtype=np.float32)
    observations = np.stack([numbers, rng.normal(size=steps), np.ones(steps)], axis=1).astype(np.float32)
    actions = np.stack([numbers, rng.normal(size=steps)], axis=1).astype(np.float32)
    images = rng.integers(0, 256, (steps, 3, 5, 6), dtype=np.uint8) if pictures else None
    return Episodes(observations, actions, np.cumsum(lengths), images, np.arange(len(lengths)) % 2 == 0)


def reference_rows(length, observed, horizon, executed):
    """The windows of one episode by the rule of the published sampler, written as loops."""
    windows = []
    for start in range(-(observed - 1), length - horizon + (executed - 1) + 1):
        steps = list(range(max(start, 0), min(start + horizon, length)))
        before = max(0, -start)
        after = horizon - before - len(steps)
        windows.append([steps[0]] * before + steps + [steps[-1]] * after)
    return np.array(windows)


@pytest.mark.parametrize(
    ("observed", "horizon", "executed"), [(2, 16, 8), (1, 8, 8), (3, 12, 1), (2, 16, 15)]
)
def test_windows_are_those_of_the_published_sampler(observed, horizon, executed):
    found = window_rows(episodes((30,)), observed=observed, horizon=horizon, executed=executed)
    assert np.array_equal(found, reference_rows(30, observed, horizon, executed))


def test_every_executed_action_was_demonstrated():
    """Entries observed - 1 to observed - 1 + executed of a window are steps in a row, never repeated ones."""
    rows = window_rows(episodes((30,)))
    assert (np.diff(rows[:, 1 : 1 + 8], axis=1) == 1).all()
    assert rows[0, :2].tolist() == [0, 0]
    assert rows[-1, 8] == 29
    assert set(rows[-1, 8:]) == {29}


@pytest.mark.parametrize(
    ("observed", "horizon", "executed"), [(2, 16, 8), (1, 15, 8), (1, 2, 1), (4, 12, 5), (2, 8, 4)]
)
def test_executed_actions_are_demonstrated_from_a_horizon_on_and_not_below_it(observed, horizon, executed):
    """At horizon = 2 executed + observed - 2 all of them are; one less repeats the last action once."""
    lengths = {"observed": observed, "executed": executed}
    at = 2 * executed + observed - 2
    first = observed - 1

    def repeated(horizon):
        rows = window_rows(episodes((30,)), horizon=horizon, **lengths)
        return int((np.diff(rows[:, first : first + executed], axis=1) == 0).sum())

    assert repeated(max(horizon, at)) == 0
    if at - 1 >= first + executed:
        assert repeated(at - 1) == 1
        assert repeated(first + executed) == sum(range(1, executed))


@pytest.mark.parametrize(("length", "demonstrated"), [(8, True), (7, False)])
def test_a_short_episode_demonstrates_what_is_executed_if_it_is_as_long(length, demonstrated):
    rows = window_rows(episodes((length,)))
    assert len(rows) == 1
    assert bool((np.diff(rows[0, 1:9]) == 1).all()) is demonstrated


def test_a_window_for_each_step_if_a_whole_plan_is_executed():
    rows = window_rows(episodes((30,)), observed=2, horizon=16, executed=15)
    assert rows[:, 1].tolist() == list(range(30))


def test_windows_do_not_cross_episodes():
    demonstrations = episodes()
    data = windows(demonstrations)
    numbers = data.x[:, 0]
    which = np.searchsorted(demonstrations.ends, numbers, side="right")
    assert (which == which[:, :1]).all()
    assert set(which[:, 0]) == {0, 1, 2}  # the short one has its window, too


def test_observations_and_pictures_are_those_of_the_first_steps_of_the_window():
    demonstrations = episodes(pictures=True)
    data = windows(demonstrations)
    steps = data.x[:, 0].astype(int)
    assert data.event == (2, 16)
    seen = data.conditions["observation"].values
    assert seen.shape[1:] == (3, 2)
    assert np.array_equal(seen[:, 0], steps[:, :2])
    frames = data.conditions["image"].values
    assert frames.shape == (len(data), 6, 5, 6)
    assert frames.dtype == np.uint8
    expected = demonstrations.images[steps[:, :2]].reshape(len(data), 6, 5, 6)
    assert np.array_equal(frames[np.arange(len(data))], expected)
    assert np.array_equal(frames[3:7], expected[3:7])


def test_pictures_are_kept_once():
    demonstrations = episodes(pictures=True)
    frames = windows(demonstrations).conditions["image"].values
    assert isinstance(frames, Frames)
    assert frames.base is demonstrations.images


def test_a_batch_lies_in_minus_one_to_one_and_reaches_both():
    data = windows(episodes(pictures=True))
    x, conditions = data.batch(slice(None))
    for dimension in range(2):  # every step's action is in some window
        assert float(x[:, dimension].min()) == pytest.approx(-1.0)
        assert float(x[:, dimension].max()) == pytest.approx(1.0)
    assert float(conditions["observation"].abs().max()) <= 1.0 + 1e-6
    assert conditions["observation"][:, 2].eq(0).all()  # a constant dimension is 0
    assert float(conditions["image"].min()) >= -1.0
    assert float(conditions["image"].max()) <= 1.0


def test_scaling_goes_back():
    import torch

    values = np.random.default_rng(0).normal(3.0, 20.0, (50, 4))
    scaling = range_of(values)
    x = torch.from_numpy(values)
    torch.testing.assert_close(scaling.to_data(scaling.to_internal(x)), x)


def test_held_out_windows_are_scaled_as_the_training_ones():
    train, heldout = split_episodes(episodes(pictures=True), 0.3, seed=1)
    learned = windows(train)
    other = windows(heldout, like=learned)
    assert other.scaling == learned.scaling
    assert {k: c.scaling for k, c in other.conditions.items()} == {
        k: c.scaling for k, c in learned.conditions.items()
    }


def test_a_split_keeps_episodes_whole_and_loses_none():
    demonstrations = episodes(pictures=True)
    train, heldout = split_episodes(demonstrations, 0.3)
    steps = [part.actions[:, 0].astype(int) for part in (train, heldout)]
    assert sorted(np.concatenate(steps)) == list(range(sum(LENGTHS)))
    for part, numbers in zip((train, heldout), steps, strict=True):
        assert len(part) == len(part.ends) == len(part.success)
        assert np.array_equal(part.images[:], demonstrations.images[numbers])
        for start, end in zip(part.starts, part.ends, strict=True):
            assert np.array_equal(numbers[start:end], np.arange(numbers[start], numbers[start] + end - start))
    assert len(heldout) == 1


def test_a_history_is_padded_as_the_windows_are():
    demonstrations = episodes(pictures=True)
    data = windows(demonstrations)
    seen = [
        {"observation": demonstrations.observations[k], "image": demonstrations.images[k]} for k in range(4)
    ]
    for window, history in ((0, seen[:1]), (1, seen[:2]), (3, seen)):
        found = stack(history, 2)
        assert np.array_equal(found["observation"], data.conditions["observation"].values[window])
        assert np.array_equal(found["image"], data.conditions["image"].values[window : window + 1][0])


def test_an_empty_history_is_refused():
    with pytest.raises(ValueError, match="there is no observation yet"):
        stack([], 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"observations": np.zeros((9, 3))}, "there are 10 actions but 9 observations"),
        ({"images": np.zeros((8, 3, 4, 4), np.uint8)}, "there are 10 actions but 8 images"),
        ({"images": np.zeros((10, 3, 4, 4))}, "images are uint8 .* got float64"),
        ({"actions": np.zeros(10)}, r"actions are numbers of shape \(steps, dimensions\)"),
        ({"observations": np.full((10, 3), "x")}, "observations are numbers"),
        ({"ends": np.array([4, 9])}, "the last episode ends at step 9, but there are 10 steps"),
        ({"ends": np.array([4, 4, 10])}, "every episode has at least one step"),
        ({"ends": np.array([0, 10])}, "every episode has at least one step"),
        ({"ends": np.array([], dtype=int)}, "at least one episode"),
        ({"ends": np.array([4.5, 10.0])}, "ends are whole numbers"),
        ({"success": np.array([True])}, "there are 2 episodes but 1 marks of success"),
    ],
)
def test_what_does_not_fit_together_is_refused(changes, message):
    given = {"observations": np.zeros((10, 3)), "actions": np.zeros((10, 2)), "ends": np.array([4, 10])}
    with pytest.raises(ValueError, match=message):
        Episodes(**{**given, **changes})


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["observations", "actions"])
def test_a_value_that_is_not_finite_is_named_with_its_step_and_episode(bad, name):
    given = {"observations": np.zeros((10, 3)), "actions": np.zeros((10, 2)), "ends": np.array([4, 10])}
    given[name][4, 1] = bad
    with pytest.raises(
        ValueError, match=f"the {name} hold a value that is not finite .* step 4, in episode 1"
    ):
        Episodes(**given)


@pytest.mark.parametrize(
    "lengths",
    [{"observed": 0}, {"executed": 0}, {"observed": 10, "executed": 8}, {"horizon": 8}],
)
def test_lengths_without_room_are_refused(lengths):
    with pytest.raises(ValueError, match=r"a window of .* has no room"):
        windows(episodes(), **lengths)


def test_a_single_demonstration_cannot_be_split():
    with pytest.raises(ValueError, match="leaves none to train on"):
        split_episodes(episodes((20,)), 0.1)
