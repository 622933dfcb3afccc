import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers import steps_of_solves
from tests.recipes.policy.test_task import small
from unstir.networks import ConditionSettings
from unstir.recipes.domain import Options
from unstir.recipes.policy import baseline, data, metrics, video
from unstir.recipes.policy.check import FILES, heldout
from unstir.recipes.policy.task import DiffusionPlanner, Rollout
from unstir.recipes.settings import DataSettings
from unstir.training import ArrayData, ConditionArray


def walk(height, *, success=True, n=30):
    x = np.linspace(-5, 5, n)
    y = height * np.cos(np.pi * x / 10)
    seen = np.stack([x, y, 0 * x, 0 * x], axis=1)
    return Rollout(seen, seen[1:, :2], success, float(success))


def short(samples):
    settings = data.settings()
    training = settings.training.model_copy(update={"samples": samples})
    network = settings.network.model_copy(update={"width": 16})
    return settings.model_copy(update={"training": training, "network": network})


def test_routes_and_success_are_counted_and_failures_take_no_route():
    runs = [walk(2.5), walk(2.5), walk(-2.5), walk(-2.5, success=False)]
    numbers = metrics.outcome(runs, [walk(0.0, success=False)], 1.0)
    assert metrics.route_of(runs[0]) == "upper"
    assert metrics.route_of(runs[2]) == "lower"
    assert metrics.route_of(walk(0.1)) == ""
    assert numbers["success"].value == 0.75
    assert numbers["success"].baseline == 0.0
    assert not numbers["success"].ok
    assert numbers["upper_route"].value == pytest.approx(2 / 3)
    assert numbers["lower_route"].value == pytest.approx(1 / 3)


def test_no_success_takes_no_route_and_falls_short():
    numbers = metrics.outcome([walk(2.5, success=False)])
    assert not numbers["upper_route"].ok
    assert not numbers["lower_route"].ok


def test_cloning_learns_the_mean_of_what_demonstrations_differ_in():
    rng = np.random.default_rng(0)
    seen = rng.uniform(-1, 1, (4000, 2, 2)).astype(np.float32)
    side = rng.choice([-1.0, 1.0], 4000)
    actions = np.stack([seen[:, 0, 1], 0.9 * side], axis=1)[:, :, None].repeat(16, axis=2)
    windows = ArrayData(actions.astype(np.float32), conditions={"observation": ConditionArray(seen)})
    cloner = baseline.clone(short(128), windows, 128 * 150)
    given = torch.from_numpy(seen[:200])
    plans = cloner.plan({"observation": given}, 0, 0)
    assert float((plans[:, 0] - given[:, 0, 1:]).abs().mean()) < 0.1
    assert float(plans[:, 1].abs().mean()) < 0.25  # nobody demonstrated anything below 0.9


def test_options_are_checked_and_a_wrong_one_names_the_nearest():
    with pytest.raises(ValueError, match="horizon"):
        data.options_of(DataSettings(source="policy", options={"horizn": 8}))


def test_limit_counts_episodes_and_both_halves_share_a_scaling():
    pytest.importorskip("gymnasium_robotics")
    splits = data.load(DataSettings(source="policy", limit=4, heldout=0.25, options={"demonstrations": 5}))
    assert splits.train.scaling == splits.heldout.scaling
    assert splits.train.event == (2, 16)
    assert 60 < len(splits.train) < 3 * 60


def test_films_show_both_groups_to_their_end(tmp_path):
    groups = [("Ours", [walk(2.5), walk(-2.5)]), ("Theirs", [walk(0.0, success=False)])]
    video.write_gif(tmp_path / "a.gif", groups)
    with Image.open(tmp_path / "a.gif") as film:
        assert film.n_frames >= 10
        assert film.width > 2 * film.height / 2
    drawn = [np.asarray(image) for image in video.frames(groups)]
    assert (drawn[0] != drawn[5]).any()
    still = video.routes_picture(groups)
    assert still.width > 800
    assert len(still.getcolors(100_000)) > 8


def test_a_film_can_be_an_mp4(tmp_path):
    pytest.importorskip("imageio_ffmpeg")
    video.write_mp4(tmp_path / "a.mp4", [("Ours", [walk(2.5)])])
    assert (tmp_path / "a.mp4").read_bytes()[4:8] == b"ftyp"


@pytest.mark.slow
def test_a_short_training_plans_nearer_to_demonstrations_than_standing_still(tmp_path):
    pytest.importorskip("gymnasium_robotics")
    from unstir.recipes.run import train_run

    settings = short(12_800)
    settings = settings.model_copy(
        update={"data": DataSettings(source="policy", options={"demonstrations": 40})}
    )
    splits = data.load(settings.data)
    model = train_run(settings, tmp_path / "run", splits=splits).model
    numbers = heldout(DiffusionPlanner(model), splits.heldout, Options(n=200))
    assert numbers["plan_error"].value < 0.6 * numbers["plan_error"].baseline
    sentence = FILES[".png"](model, settings, tmp_path / "routes.png", Options(n=2))
    assert "2 (Diffusion policy)" in sentence
    assert (tmp_path / "routes.png").stat().st_size > 1000


def test_costs_and_goals_are_of_the_steps_that_are_asked_for(monkeypatch):
    """What is held against a limit is what was measured, not the model's own sampler."""
    model = small(conditions={"observation": ConditionSettings(shape=(4, 2))})
    seen = steps_of_solves(monkeypatch)
    assert metrics.cost(model, steps=2, executed=2)["evaluations"].value == 2
    metrics.goal_plans(model, n=1, steps=2)
    assert seen == {2}
