from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from tests.evaluation.test_distances import draw
from unstir.evaluation import precision_recall


def two_modes(n: int, seed: int) -> torch.Tensor:
    x = draw(n, 2, seed=seed)
    x[: n // 2, 0] += 20.0
    return x


def test_identical_sets_reach_all():
    x = draw(100, 3)
    found = precision_recall(x, x)
    assert (found.precision, found.recall, found.coverage) == (1.0, 1.0, 1.0)
    assert found.density >= 1.0


def test_disjoint_sets_reach_nothing():
    found = precision_recall(draw(100, 3), draw(80, 3, seed=1) + 100.0)
    assert (found.precision, found.recall, found.density, found.coverage) == (0.0, 0.0, 0.0, 0.0)


def test_fresh_samples_have_density_one_and_the_coverage_of_naeem():
    found = precision_recall(draw(2000, 2), draw(2000, 2, seed=1))
    assert found.density == pytest.approx(1.0, abs=0.05)
    # For equal sizes the expected coverage tends to 1 - 2^-k (Naeem et al. 2020, eq. 9).
    assert found.coverage == pytest.approx(1 - 2**-5, abs=0.02)
    assert min(found.precision, found.recall) > 0.95


def test_dropping_a_mode_lowers_recall_and_coverage_but_not_precision():
    data, whole = two_modes(600, 0), two_modes(600, 1)
    dropped = draw(600, 2, seed=2)
    good, bad = precision_recall(whole, data), precision_recall(dropped, data)
    assert bad.precision > good.precision - 0.05
    assert good.recall > 0.9
    assert good.coverage > 0.9
    assert bad.recall < 0.6
    assert bad.coverage < 0.6


def test_inventing_a_mode_lowers_precision_but_not_recall():
    found = precision_recall(two_modes(600, 1), draw(300, 2))
    assert found.precision == pytest.approx(0.5, abs=0.05)
    assert found.recall > 0.9


@given(
    n=st.integers(4, 40),
    m=st.integers(4, 40),
    k=st.integers(1, 3),
    d=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_figures_equal_their_definition_by_another_library(n, m, k, d, seed):
    x, y = draw(n, d, seed=seed), draw(m, d, seed=seed + 100) + 0.3
    # Asked about its own points sklearn counts each as its first neighbour.
    radius_x, radius_y = (
        torch.from_numpy(NearestNeighbors(n_neighbors=k + 1).fit(z.numpy()).kneighbors(z.numpy())[0][:, -1])
        for z in (x, y)
    )
    distances = (x[:, None] - y[None]).norm(dim=-1)
    inside = distances <= radius_y
    found = precision_recall(x, y, k)
    assert found.precision == pytest.approx(float(inside.any(1).double().mean()))
    assert found.recall == pytest.approx(float((distances <= radius_x[:, None]).any(0).double().mean()))
    assert found.density == pytest.approx(float(inside.sum()) / (k * n))
    assert found.coverage == pytest.approx(float(inside.any(0).double().mean()))
    assert precision_recall(x.flip(0), y.flip(0).reshape(m, d, 1).squeeze(2), k) == found


def test_chunks_change_nothing(monkeypatch):
    x, y = draw(50, 2, 2), draw(40, 2, 2, seed=1)
    whole = precision_recall(x, y)
    monkeypatch.setattr("unstir.evaluation.coverage.rows_at_once", lambda columns: 7)
    assert precision_recall(x, y) == whole


def test_too_few_samples_for_k_are_said_in_one_sentence():
    with pytest.raises(ValueError, match="samples needs at least 6 samples, got 5"):
        precision_recall(draw(5, 2), draw(9, 2))
    with pytest.raises(ValueError, match="data needs at least 3 samples, got 2"):
        precision_recall(draw(5, 2), draw(2, 2), k=2)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        precision_recall(draw(5, 2), draw(9, 2), k=0)
