"""Pictures of scenes show what is there, and traffic of highway-env comes as scenes."""

import sys

import numpy as np
import pytest
from PIL import Image

from unstir.evaluation.pictures import save_gif
from unstir.recipes.domain import Options
from unstir.recipes.run import build_model
from unstir.recipes.scenarios.data import to_data
from unstir.recipes.scenarios.default import SimulationSettings, settings
from unstir.recipes.scenarios.draw import View, draw_scenes, film_scenes
from unstir.recipes.scenarios.highway import highway
from unstir.recipes.scenarios.load import scenes_for
from unstir.recipes.scenarios.show import FILES, panels, side_by_side
from unstir.recipes.scenarios.simulate import simulate
from unstir.recipes.splits import Splits
from unstir.settings import parse_settings

OPTIONS = {"scenes": 80}


def view_of(scenes, i, **more):
    return View(scenes.kinds[i], scenes.given[i], scenes.followed[i][None], scenes.map[i], **more)


@pytest.fixture(scope="module")
def scenes():
    return simulate(12, seed=0)


@pytest.fixture(scope="module")
def run():
    """An untrained model and its settings: what is drawn is nonsense, but it is drawn."""
    chosen = settings()
    chosen = chosen.model_copy(update={"data": chosen.data.model_copy(update={"options": OPTIONS})})
    data = to_data(scenes_for(chosen.data)[0])
    return build_model(chosen, Splits(data, data)), chosen


def test_a_view_shows_every_agent_and_little_more(scenes):
    view = view_of(scenes, 0)
    x, y, half = view.window()
    points = scenes.tracks[0][scenes.present[0]].reshape(-1, 2)
    inside = np.abs(points - (x, y)).max(1) <= half
    assert inside.mean() > 0.97
    assert half <= max(6.0, 0.5 * np.ptp(points, axis=0).max() + 3.0) + 1e-6


def test_agents_are_drawn_in_their_colours(scenes):
    image = np.asarray(draw_scenes([view_of(scenes, 0)]).convert("RGB")).reshape(-1, 3)
    first = np.array([0x1F, 0x5F, 0xBF])
    assert (np.abs(image.astype(int) - first).max(1) < 8).sum() > 20


def test_a_film_moves_and_has_a_picture_for_every_frame(scenes, tmp_path):
    pictures = film_scenes([view_of(scenes, 0), view_of(scenes, 1)], columns=2, size=1.5)
    assert len(pictures) == scenes.frames
    assert np.any(np.asarray(pictures[0]) != np.asarray(pictures[-1]))
    save_gif(pictures, tmp_path / "film.gif", milliseconds=200, colours=48)
    with Image.open(tmp_path / "film.gif") as film:
        assert film.n_frames == scenes.frames
        assert film.info["duration"] == 200
    assert (tmp_path / "film.gif").stat().st_size < 300_000


@pytest.mark.parametrize("suffix", list(FILES))
def test_samples_are_written_by_suffix(run, tmp_path, suffix):
    model, chosen = run
    path = tmp_path / f"scenes{suffix}"
    told = FILES[suffix](model, chosen, path, Options(n=2, steps=2))
    assert told.startswith("2 held-out scenes")
    with Image.open(path) as image:
        assert image.width > 400


def test_the_report_has_pictures_of_futures(run):
    model, chosen = run
    found = panels(model, chosen, Options(n=4, steps=2))
    assert found[0].title == "Futures of held-out scenes"
    assert all(panel.image is not None for panel in found)


def test_guided_scenes_stand_beside_unguided_ones_of_the_same_past(run):
    views = side_by_side(run[0], simulate(30, seed=9, tokens=0.0), "near_miss", 2, steps=2)
    for free, guided in zip(views[::2], views[1::2], strict=True):
        np.testing.assert_array_equal(free.past, guided.past)
        assert guided.ring == free.ring
        assert len(set(guided.ring)) == 2


def test_highway_traffic_comes_as_scenes_of_vehicles_on_its_road():
    pytest.importorskip("highway_env")
    scenes, again, other = highway(4, seed=1), highway(4, seed=1), highway(4, seed=2)
    np.testing.assert_array_equal(scenes.tracks, again.tracks)
    assert not np.array_equal(scenes.kinds, other.kinds) or not np.allclose(
        np.nan_to_num(scenes.tracks), np.nan_to_num(other.tracks)
    )
    assert set(np.unique(scenes.kinds)) <= {-1, 1}
    speed = np.linalg.norm(np.diff(scenes.tracks[scenes.present], axis=1), axis=-1) / scenes.dt
    assert 5.0 < float(np.median(speed)) < 40.0
    side = scenes.tracks[scenes.present][..., 1]
    edges = scenes.map[0, :, 1][np.isfinite(scenes.map[0, :, 1])]
    assert side.min() > edges.min()
    assert side.max() < edges.max()


def test_without_highway_env_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "highway_env", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'unstir\[driving\]'"):
        highway(1)


def test_an_unknown_simulator_is_told():
    with pytest.raises(ValueError, match="streets"):
        parse_settings(SimulationSettings, {"simulator": "motorway"})
