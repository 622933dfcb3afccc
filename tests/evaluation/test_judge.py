from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor

from tests.evaluation.test_distances import draw
from unstir.evaluation import Features, Judge, train_judge
from unstir.evaluation.judge import _shifted


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    pixels, classes = load_digits(return_X_y=True)
    x = torch.tensor(pixels / 8 - 1, dtype=torch.float32).reshape(-1, 1, 8, 8)
    y = torch.tensor(classes)
    train, heldout = train_test_split(torch.arange(len(x)), test_size=0.2, stratify=y, random_state=1)
    return x[train], y[train], x[heldout], y[heldout]


@pytest.fixture(scope="module")
def judge(digits) -> Judge:
    return train_judge(*digits, classes=10)


def toy(event: tuple[int, ...], n: int = 90, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Three classes told apart by the level of their first channel."""
    y = torch.arange(n) % 3
    x = 0.3 * draw(n, *event, seed=seed).float()
    x[:, 0] += y.float().reshape(-1, *[1] * (len(event) - 1)) * 2
    return x, y


def test_a_judge_of_digits_is_right_on_heldout_digits(digits, judge):
    _, _, x, y = digits
    assert judge.accuracy >= 0.98
    assert judge.accuracy == float((judge.predict(x) == y).double().mean())


def test_a_judge_sees_what_is_wrong(digits, judge):
    _, _, x, y = digits
    upside_down = float((judge.predict(x.flip(2)) == y).double().mean())
    assert upside_down < 0.7


def test_features_are_few_and_the_classes_linear_in_them(digits, judge):
    x = digits[2]
    features = judge.features(x)
    assert isinstance(judge, Features)
    assert features.shape == (len(x), 64)
    assert torch.equal(judge.network.head(features).argmax(1), judge.predict(x))


def test_samples_are_judged_alone_and_not_by_their_batch(digits, judge):
    x = digits[2]
    assert torch.allclose(judge.features(x[:1]), judge.features(x)[:1], atol=1e-5)


@pytest.mark.parametrize(
    "event", [(5,), (1, 20), (2, 1, 6), (1, 8, 8), (3, 20, 12), (1, 4, 5, 6), (1, 70, 3)]
)
def test_a_judge_takes_rows_series_images_and_volumes(event):
    judge = train_judge(*toy(event), *toy(event, seed=1), classes=3, steps=40, batch=32)
    assert judge.accuracy > 0.9
    assert judge.features(toy(event)[0]).shape == (90, 64)


def test_the_seed_decides_the_judge_and_the_global_generator_stays_untouched():
    before = torch.random.get_rng_state()
    first, again, other = (
        train_judge(*toy((1, 8, 8)), *toy((1, 8, 8), seed=1), classes=3, seed=seed, steps=5)
        for seed in (3, 3, 4)
    )
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(99)
    later = train_judge(*toy((1, 8, 8)), *toy((1, 8, 8), seed=1), classes=3, seed=3, steps=5)
    x = toy((1, 8, 8))[0]
    assert torch.equal(first.features(x), again.features(x))
    assert torch.equal(first.features(x), later.features(x))
    assert not torch.equal(first.features(x), other.features(x))


def test_threads_are_given_back_and_do_not_change_the_judge():
    x = toy((1, 8, 8))[0]
    one = train_judge(*toy((1, 8, 8)), *toy((1, 8, 8), seed=1), classes=3, steps=3).features(x)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        two = train_judge(*toy((1, 8, 8)), *toy((1, 8, 8), seed=1), classes=3, steps=3).features(x)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert torch.equal(one, two)


def test_saved_and_loaded_it_is_the_same_judge(tmp_path, digits, judge):
    path = tmp_path / "judge.safetensors"
    judge.save(path)
    state = torch.random.get_rng_state()
    loaded = Judge.load(path)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert [file.name for file in tmp_path.iterdir()] == ["judge.safetensors"]
    assert (loaded.accuracy, loaded.classes, loaded.event) == (judge.accuracy, 10, (1, 8, 8))
    assert torch.equal(loaded.features(digits[2]), judge.features(digits[2]))
    assert torch.equal(loaded.predict(digits[2]), judge.predict(digits[2]))


def test_files_that_hold_no_judge_are_said_in_one_sentence(tmp_path):
    path = tmp_path / "other.safetensors"
    with pytest.raises(FileNotFoundError, match="there is no judge at"):
        Judge.load(path)
    save_file({"x": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match="does not hold a judge"):
        Judge.load(path)
    path.write_text("no tensors here")
    with pytest.raises(ValueError, match="is not a readable safetensors file"):
        Judge.load(path)


def test_training_data_move_by_at_most_a_cell_and_edges_repeat():
    x = torch.arange(5.0).expand(400, 1, 5)
    moved = _shifted(x, torch.arange(400), seed=0, epoch=0, share=0.1)
    seen = {tuple(row) for row in moved[:, 0].tolist()}
    assert seen == {(0, 1, 2, 3, 4), (0, 0, 1, 2, 3), (1, 2, 3, 4, 4)}
    longer = _shifted(torch.arange(50.0).expand(400, 1, 50), torch.arange(400), seed=0, epoch=1, share=0.1)
    assert {int(v) for v in longer[:, 0, 25]} == set(range(20, 31))


def test_input_that_cannot_be_judged_is_said_in_one_sentence(judge):
    x, y = toy((4,))
    with pytest.raises(ValueError, match="class 3 has no training sample"):
        train_judge(x, y, x, y, classes=4)
    with pytest.raises(ValueError, match="between 0 and 1, got 0 to 2"):
        train_judge(x, y, x, y, classes=2)
    with pytest.raises(ValueError, match="y_heldout must be 90 integers"):
        train_judge(x, y, x, y[:5], classes=3)
    with pytest.raises(ValueError, match="y_train must be 90 integers"):
        train_judge(x, y.float(), x, y, classes=3)
    with pytest.raises(ValueError, match="events of one shape"):
        train_judge(x, y, x[:, :2], y, classes=3)
    with pytest.raises(ValueError, match="classes >= 2"):
        train_judge(x, y, x, y, classes=3, batch=1)
    with pytest.raises(ValueError, match="a judge takes events of shape"):
        train_judge(x[:, 0], y, x[:, 0], y, classes=3)
    with pytest.raises(ValueError, match=r"knows events of shape \(1, 8, 8\), got \(4,\)"):
        judge.predict(x)
    with pytest.raises(ValueError, match="not finite, first in sample 0"):
        judge.features(torch.full((1, 1, 8, 8), torch.inf))
