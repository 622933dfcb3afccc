import sys

import numpy as np
import pytest

from unstir.recipes.policy.demonstrations import demonstrate
from unstir.recipes.policy.maze import GOAL, JITTER, START, Maze, control, is_wall


@pytest.fixture(scope="module")
def maze():
    pytest.importorskip("gymnasium_robotics")
    return Maze()


def test_the_controller_rests_at_its_target_and_never_asks_for_more_than_it_has():
    assert (control(np.ones(2), np.ones(2), np.zeros(2)) == 0).all()
    assert (control(np.zeros(2), np.array([9.0, -9.0]), np.zeros(2)) == (1.0, -1.0)).all()


def test_the_straight_way_to_the_goal_is_walled_and_the_layout_is_its_own_mirror_image():
    line = np.linspace(START, GOAL, 200)
    assert is_wall(line).any()
    points = np.random.default_rng(0).uniform((-7.4, -4.4), (7.4, 4.4), (500, 2))
    assert (is_wall(points) == is_wall(points * (1, -1))).all()
    assert is_wall(np.array([100.0, 0.0]))


def test_a_seed_decides_where_an_episode_starts(maze):
    first = maze.reset(3)["observation"]
    maze.step(np.array(GOAL))
    other, again = maze.reset(4)["observation"], maze.reset(3)["observation"]
    assert (first == again).all()
    assert (first != other).any()
    assert (np.abs(first[:2] - START) <= JITTER).all()
    assert (first[2:] == 0).all()


def test_going_straight_to_the_goal_ends_in_the_trap(maze):
    maze.reset(0)
    over = False
    while not over:
        seen, over, success = maze.step(np.array(GOAL))
    assert not success
    assert maze.steps == maze.limit
    assert seen["observation"][0] < 2.5
    assert 0 < maze.score < 1


def test_the_ball_comes_to_where_it_is_sent(maze):
    maze.reset(0)
    for _ in range(12):
        seen, _, _ = maze.step(np.array([-4.2, 1.2]))
    assert np.allclose(seen["observation"][:2], (-4.2, 1.2), atol=0.02)


def test_touching_an_obstacle_ends_an_episode(maze):
    careless = Maze(obstacles=((-4.0, 0.0, 0.3),))
    careless.reset(0)
    for _ in range(20):
        _, over, success = careless.step(np.array([-3.0, 0.0]))
        if over:
            break
    assert over
    assert not success
    assert careless.steps < 10
    assert careless.image().shape[2] == 3


@pytest.mark.parametrize("action", [np.zeros(3), np.array([np.nan, 0.0])])
def test_an_action_is_two_finite_numbers(maze, action):
    with pytest.raises(ValueError, match="a place \\(x, y\\) of finite numbers"):
        maze.step(action)


def test_a_missing_simulator_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium_robotics.envs.maze.point_maze", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'unstir\[robotics\]'"):
        Maze()


def test_a_simulator_without_its_physics_is_one_sentence(monkeypatch):
    point_maze = pytest.importorskip("gymnasium_robotics.envs.maze.point_maze")
    from gymnasium.error import DependencyNotInstalled

    def without(**settings):
        raise DependencyNotInstalled("MuJoCo is not installed")

    monkeypatch.setattr(point_maze, "PointMazeEnv", without)
    with pytest.raises(ModuleNotFoundError, match=r"this needs mujoco; .*'unstir\[robotics\]'"):
        Maze()


def test_demonstrations_reach_the_goal_half_of_them_by_either_route(maze):
    done = demonstrate(8, seed=5)
    episodes = done.episodes
    assert len(episodes) == 8
    assert done.upper.sum() == 4
    assert not is_wall(episodes.observations[:, :2].astype(float)).any()
    for start, end, upper in zip(episodes.starts, episodes.ends, done.upper, strict=True):
        way = episodes.observations[start:end, :2]
        assert (way[np.abs(way[:, 0]) < 2, 1] > 0).all() == upper
        assert np.hypot(*(way[-1] - GOAL)) < 1.2
    again = demonstrate(8, seed=5).episodes
    assert (again.actions == episodes.actions).all()
    assert not np.array_equal(demonstrate(8, seed=6).episodes.actions[:20], episodes.actions[:20])


def test_there_is_at_least_one_demonstration():
    with pytest.raises(ValueError, match="at least one demonstration, got 0"):
        demonstrate(0)
