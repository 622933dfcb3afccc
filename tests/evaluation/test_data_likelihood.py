"""The likelihood of a model's data in their own units."""

from __future__ import annotations

import math

import pytest
import torch

from tests.helpers import close
from tests.test_model import model
from unstir.denoisers import GaussianMixture
from unstir.evaluation import likelihood_of_data, log_density
from unstir.processes import Flow
from unstir.training import Scaling

SCALING = Scaling((1.0, -2.0), (0.5, 4.0))
MIXTURE = GaussianMixture(
    Flow(), torch.tensor([[1.0, 1.0], [-1.0, 0.0]]), torch.tensor([0.4, 0.6]), labels=torch.tensor([0, 1])
)


def test_the_density_in_data_units_is_that_of_the_scaled_model_with_the_jacobian():
    internal = MIXTURE.sample_data(5)
    x = SCALING.to_data(internal)
    found = likelihood_of_data(MIXTURE, x, SCALING, batch=2, dtype=torch.float64)
    close(found.nats, MIXTURE.log_density(internal, 0.0) - math.log(0.5 * 4.0), atol=1e-5)
    assert found.bits is None
    assert found.importance is None
    assert found.value == pytest.approx(float(found.nats.mean()))


def test_the_volume_of_a_scaling_counts_every_entry_of_its_channel():
    assert SCALING.log_volume((2, 3, 5)) == pytest.approx(-15 * math.log(2.0))
    assert Scaling((0.0,), (8.0,)).log_volume((1, 8, 8)) == pytest.approx(-64 * math.log(8.0))


def test_samples_do_not_depend_on_their_batch_and_conditions_go_with_them():
    x = SCALING.to_data(MIXTURE.sample_data(5))
    label = torch.tensor([0, 1, 0, 1, 0])
    options = {"dtype": torch.float64, "condition": {"label": label}, "divergence": "hutchinson"}
    whole = likelihood_of_data(MIXTURE, x, SCALING, batch=5, **options)
    parts = likelihood_of_data(MIXTURE, x, SCALING, batch=2, **options)
    close(parts.nats, whole.nats, atol=1e-9)
    close(parts.error, whole.error, atol=1e-9)
    other = likelihood_of_data(MIXTURE, x, SCALING, **{**options, "condition": {}})
    assert not torch.allclose(other.nats, whole.nats)


def test_integers_get_bits_and_the_weighted_bound_only_from_the_exact_divergence():
    k = torch.tensor([[1, 2], [3, 0], [2, 2]])
    scaling = Scaling((1.5,), (1.5,))
    options = {"bins": 4, "dtype": torch.float64, "tolerance": 1e-4}
    exact = likelihood_of_data(MIXTURE, k, scaling, **options)
    assert bool((exact.importance >= exact.nats).all())
    close(exact.bits, -exact.nats / (2 * math.log(2)), atol=1e-12)
    assert exact.value == pytest.approx(float(exact.bits.mean()))
    assert bool((exact.error > 0).all())
    rough = likelihood_of_data(MIXTURE, k, scaling, divergence="hutch++", **options)
    assert rough.importance is None
    assert rough.importance_bits is None
    single = likelihood_of_data(MIXTURE, k, scaling, divergence="hutchinson", draws=1, **options)
    assert bool((single.error > 0).all())  # that of the probes


def test_a_model_gives_its_data_the_log_density_of_its_denoiser_in_data_units():
    made = model((3,), classes=("a", "b"), shift=(1, 2, 3), scale=(2, 1, 0.5))
    x = torch.tensor([[1.0, 2.0, 3.0], [2.0, 1.0, 3.5]])
    found = made.log_likelihood(x, condition={"label": ["a", "b"]})
    internal = made.scaling.to_internal(x)
    direct = log_density(made.denoiser, internal, condition={"label": torch.tensor([0, 1])})
    close(found.nats, direct.nats - math.log(2 * 1 * 0.5), atol=1e-5)
    assert found.dimensions == 3
    unconditional = made.log_likelihood(x)
    assert not torch.allclose(unconditional.nats, found.nats)


def test_a_model_of_integers_takes_integers_within_its_bounds():
    made = model((2,), bounds=(2.0, 5.0), integer=True, shift=(3.5,), scale=(1.5,))
    k = torch.tensor([[2, 3], [4, 5]])
    found = made.log_likelihood(k, draws=2)
    assert found.integer
    assert bool(((found.bits > 0.0) & (found.bits < 20.0)).all())  # no probability is above one
    close(made.log_likelihood(k.float(), draws=2).nats, found.nats, atol=1e-9)
    for bad, sentence in (
        (k + 1, "the data are integers 2 to 5, but hold 6"),
        (k - 1, "but hold 1"),
        (k + 0.5, "but hold 2.5"),
    ):
        with pytest.raises(ValueError, match=sentence):
            made.log_likelihood(bad)


def test_what_a_model_cannot_do_is_one_sentence():
    made = model((3,))
    for x, options, sentence in (
        (torch.zeros(2, 4), {}, r"samples have shape \(n, 3\), got \(2, 4\)"),
        (torch.zeros(0, 3), {}, "at least 1 sample, got none"),
        (torch.zeros(1, 3), {"divergence": "exakt"}, "did you mean 'exact'"),
        (torch.zeros(1, 3), {"probes": 0, "divergence": "hutchinson"}, "probes is at least 1, got 0"),
        (torch.zeros(1, 3), {"batch": 0}, "a batch holds at least 1 sample, got 0"),
        (torch.zeros(1, 3), {"condition": {"label": 1}}, "takes no condition 'label'"),
    ):
        with pytest.raises(ValueError, match=sentence):
            made.log_likelihood(x, **options)
