"""Composition of conditions: the score of a product of densities."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.guidance.test_classifier_free import EXACT, LABEL, Batched, Counter, X, mixture
from tests.helpers import close
from unstir.denoisers import Denoiser, GaussianMixture, Posterior
from unstir.guidance import ClassifierFree, Composed
from unstir.processes import VE, VP, Flow, Heat
from unstir.samplers import sample

ZERO, ONE = {"label": torch.tensor([0])}, {"label": torch.tensor([1])}


class Two(Denoiser):
    """Two independent halves of an event, each a mixture with a label of its own: ``a`` and ``b``."""

    def __init__(self, schedule):
        super().__init__()
        self.schedule = schedule
        labels = torch.tensor([0, 1])
        first, second = (torch.tensor(m, dtype=torch.float64) for m in ([[-1.0], [0.8]], [[0.5], [-0.7]]))
        self.first = GaussianMixture(schedule, first, stds=torch.tensor([0.3, 0.5]), labels=labels)
        self.second = GaussianMixture(
            schedule, second, stds=torch.tensor([0.4, 0.2]), weights=torch.tensor([1.0, 3.0]), labels=labels
        )

    def no_condition(self, condition):
        return {name: torch.full_like(value, -1) for name, value in condition.items()}

    def forward(self, x_t, t, **condition):
        a, b = ({"label": condition[name]} if name in condition else {} for name in "ab")
        halves = self.first(x_t[:, :1], t, **a), self.second(x_t[:, 1:], t, **b)
        return Posterior(torch.cat([half.mean for half in halves], dim=1))


@pytest.mark.parametrize("schedule", [VP(), Flow(), VE()], ids=["vp", "flow", "ve"])
def test_independent_conditions_compose_to_the_exact_joint_one_at_every_noise_level(schedule):
    denoiser = Two(schedule)
    for a in (0, 1):
        for b in (0, 1):
            composed = Composed(denoiser, [{"a": torch.tensor([a])}, {"b": torch.tensor([b])}])
            for t in (0.05, 0.5, 0.95):
                label = torch.tensor([a]).expand(4), torch.tensor([b]).expand(4)
                expected = denoiser(X, t, a=label[0], b=label[1]).mean
                close(composed(X, t).mean, expected, rtol=1e-10, atol=1e-10)


def test_samples_of_independent_conditions_have_the_joint_distribution():
    composed = Composed(Two(VP()), [{"a": torch.tensor([1])}, {"b": torch.tensor([1])}])
    x = sample(composed, (2000, 2), steps=40).x.double()
    mean, std = torch.tensor([0.8, -0.7]), torch.tensor([0.5, 0.2])
    assert ((x.mean(0) - mean).abs() < 4.5 * std / math.sqrt(2000)).all()
    assert ((x.std(0) / std - 1.0).abs() < 4.5 / math.sqrt(2 * 2000)).all()


@pytest.mark.parametrize("name", EXACT)
def test_the_score_is_that_of_the_product_of_densities(name):
    # grad log p(x) prod (p(x | y_i) / p(x))^w_i, with the densities of the mixture.
    exact, weights = mixture(EXACT[name]), [0.7, 1.8]
    composed = Composed(exact, [ZERO, ONE], weights)
    for t in (0.2, 0.6):
        x = X.clone().requires_grad_()
        log_density = exact.log_density(x, t)
        total = log_density
        for weight, label in zip(weights, (0, 1), strict=True):
            given_label = exact.log_density(x, t, label=torch.full((4,), label))
            total = total + weight * (given_label - log_density)
        (gradient,) = torch.autograd.grad(total.sum(), x)
        close(composed.score(X, t), gradient, rtol=1e-7, atol=1e-7 * float(gradient.abs().max()))


def test_one_condition_is_classifier_free_guidance():
    exact = mixture(VP())
    for weight in (0.0, 1.5):
        composed = Composed(exact, [{"label": LABEL}], 1.0 + weight)
        close(composed(X, 0.4).mean, ClassifierFree(exact, weight)(X, 0.4, label=LABEL).mean, rtol=1e-12)


@given(st.lists(st.floats(0.0, 5.0), min_size=8, max_size=8), st.floats(0.05, 0.95))
@settings(max_examples=30, deadline=None)
def test_weights_for_each_sample_give_what_single_runs_give(values, t):
    exact = mixture(Flow())
    first, second = torch.tensor(values, dtype=torch.float64).reshape(2, 4)
    together = Composed(exact, [ZERO, {"label": LABEL}], [first, second])(X, t).mean
    for k in range(4):
        own = [ZERO, {"label": LABEL[k : k + 1]}]
        alone = Composed(exact, own, [float(first[k]), float(second[k])])(X[k : k + 1], t).mean
        close(together[k : k + 1], alone, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("t", [0.5, torch.tensor([0.1, 0.4, 0.6, 0.9], dtype=torch.float64)])
def test_all_terms_come_from_one_evaluation_where_none_can_be_said_by_value(t):
    batched, separate = Batched(VP()), Counter(VP())
    means = [Composed(d, [ZERO, ONE], [1.0, 0.5])(X, t).mean for d in (batched, separate)]
    assert (batched.calls, separate.calls) == (1, 3)
    close(means[0], means[1], rtol=1e-12, atol=1e-12)
    assert Composed(batched, [ZERO, ONE]).cost(0.5) == 3


def test_a_condition_of_the_call_is_common_to_all_terms():
    denoiser = Two(VP())
    a = torch.tensor([1, 0, 1, 0])
    composed = Composed(denoiser, [{"b": torch.tensor([1])}], 2.0)(X, 0.4, a=a).mean
    base, both = denoiser(X, 0.4, a=a).mean, denoiser(X, 0.4, a=a, b=torch.ones(4, dtype=torch.int64)).mean
    close(composed, base + 2.0 * (both - base), rtol=1e-12, atol=1e-12)


def test_all_is_finite_at_both_ends_and_clean_data_stay():
    for schedule in (VP(), Flow(), VE(), Heat(VP())):
        composed = Composed(mixture(schedule), [ZERO, ONE])
        assert torch.isfinite(composed(X, 1.0).mean).all()
        close(composed(X, 0.0).mean, X, atol=1e-12)


def test_what_cannot_be_composed_is_refused():
    exact = mixture(VP())
    for arguments, sentence in [
        (([],), "takes at least one condition"),
        (([{}],), "takes at least one condition"),
        (([ZERO, ONE], [1.0]), "there are 1 weights for 2 conditions"),
        (([ZERO, ONE], [1.0, -0.5]), "guidance weight must be at least 0"),
        (([ZERO], torch.tensor([1.0, math.nan])), "guidance weight must be at least 0"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            Composed(exact, *arguments)
    with pytest.raises(ValueError, match="has 3 rows for 4 samples"):
        Composed(exact, [{"label": torch.tensor([0, 1, 0])}])(X, 0.5)
    exact.unconditional = False
    with pytest.raises(ValueError, match="condition dropout"):
        Composed(exact, [ZERO])


def test_components_of_both_classes_are_found_where_they_overlap():
    # Classes 0 and 1 share the middle component; asking for both finds it and nothing else.
    means = torch.tensor([[-2.0, 0.0], [0.0, 0.0], [0.0, 0.0], [2.0, 0.0]], dtype=torch.float64)
    exact = GaussianMixture(VP(), means, stds=torch.full((4,), 0.2), labels=torch.tensor([0, 0, 1, 1]))
    x = sample(Composed(exact, [ZERO, ONE]), (200, 2), steps=40).x
    assert float((x.norm(dim=1) < 1.0).double().mean()) > 0.99
