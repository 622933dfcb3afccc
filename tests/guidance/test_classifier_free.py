import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import SCHEDULES, close
from unstir.denoisers import Dataset, Denoiser, GaussianMixture, Network, Posterior, Rescheduled
from unstir.guidance import ClassifierFree
from unstir.networks import MLP
from unstir.processes import V_PREDICTION, VE, VP, Flow, Heat
from unstir.samplers import sample

MEANS = torch.tensor([[-1.0, 0.5], [0.5, 1.3], [1.0, -0.7]], dtype=torch.float64)
X = torch.tensor([[-2.0, 1.0], [0.1, 0.2], [1.5, -1.0], [0.0, 0.0]], dtype=torch.float64)
LABEL = torch.tensor([0, 1, 1, 0])


def mixture(schedule):
    stds, labels = torch.tensor([0.3, 0.4, 0.5]), torch.tensor([0, 1, 1])
    return GaussianMixture(schedule, MEANS, stds=stds, labels=labels)


class Counter(Denoiser):
    def __init__(self, schedule):
        super().__init__()
        self.exact, self.schedule, self.calls = mixture(schedule), schedule, 0

    def forward(self, x_t, t, **condition):
        self.calls += 1
        return self.exact(x_t, t, **condition)


@pytest.mark.parametrize("name", ["vp", "flow", "ve", "table"])
def test_weight_zero_is_the_conditional_model_to_the_last_bit(name):
    denoiser = Counter(SCHEDULES[name])
    guided = ClassifierFree(denoiser, 0.0)
    for t in (0.1, 0.5, 0.9):
        result, expected = guided(X, t, label=LABEL), denoiser.exact(X, t, label=LABEL)
        assert torch.equal(result.mean, expected.mean)
        assert torch.equal(result.variance, expected.variance)
    assert denoiser.calls == 3  # the unconditional model is not asked


@pytest.mark.parametrize("name", ["vp", "sub-vp", "flow", "ve-narrow", "table"])
@pytest.mark.parametrize("weight", [0.5, 1.0, 7.5])
def test_epsilon_is_pushed_away_from_the_unconditional_one(name, weight):
    exact = mixture(SCHEDULES[name])
    guided = ClassifierFree(exact, weight)
    for t in (0.1, 0.5, 0.9):
        conditional, unconditional = exact.epsilon(X, t, label=LABEL), exact.epsilon(X, t)
        expected = (1 + weight) * conditional - weight * unconditional
        close(guided.epsilon(X, t, label=LABEL), expected, rtol=1e-9, atol=1e-9)
        close(guided(X, t, label=LABEL).variance, exact(X, t, label=LABEL).variance)


@pytest.mark.parametrize("weight", [0.5, 3.0])
def test_the_score_is_that_of_the_sharpened_density(weight):
    # grad log p(x) p(y | x)^(1 + w), with p(y | x) from the densities of the mixture.
    exact, x = mixture(VP()), X.clone().requires_grad_()
    unconditional, conditional = exact.log_density(x, 0.4), exact.log_density(x, 0.4, label=LABEL)
    sharpened = unconditional + (1 + weight) * (conditional - unconditional)
    (gradient,) = torch.autograd.grad(sharpened.sum(), x)
    close(ClassifierFree(exact, weight).score(X, 0.4, label=LABEL), gradient, rtol=1e-9)


def test_two_gaussians_of_one_width_give_the_closed_form():
    # Means +-m, deviation s: guidance moves the mean by w (1 - tanh) times the leftover share of m.
    m, s, weight, t = 0.8, 0.5, 2.0, 0.4
    schedule = Flow()
    means = torch.tensor([[m], [-m]], dtype=torch.float64)
    exact = GaussianMixture(schedule, means, stds=torch.tensor([s, s]), labels=torch.tensor([0, 1]))
    alpha, sigma = schedule.alpha(t).item(), schedule.sigma(t).item()
    total = (alpha * s) ** 2 + sigma**2
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    conditional = (alpha * s**2 * x + sigma**2 * m) / total
    shift = sigma**2 * m / total * (1 - torch.tanh(alpha * m * x / total))
    result = ClassifierFree(exact, weight)(x, t, label=torch.zeros(9, dtype=torch.int64)).mean
    close(result, conditional + weight * shift, rtol=1e-12, atol=1e-13)


def test_without_a_condition_there_is_nothing_to_push_from():
    denoiser = Counter(VP())
    close(ClassifierFree(denoiser, 3.0)(X, 0.5).mean, denoiser.exact(X, 0.5).mean)
    assert denoiser.calls == 1


def test_label_minus_one_is_not_moved():
    nobody = torch.full((4,), -1)
    guided = ClassifierFree(mixture(VP()), 3.0)(X, 0.5, label=nobody)
    close(guided.mean, mixture(VP())(X, 0.5).mean, rtol=1e-12)


@pytest.mark.parametrize("schedule", [VP(), Flow()], ids=["vp", "flow"])
def test_outside_the_window_the_conditional_model_is_used(schedule):
    denoiser = Counter(schedule)
    guided = ClassifierFree(denoiser, 2.0, window=(0.25, 0.75))  # log-SNR -6 to 6
    for log_snr, inside in [(-6.5, False), (-5.5, True), (0.0, True), (5.5, True), (6.5, False)]:
        t = schedule.time(log_snr)
        denoiser.calls = 0
        result = guided(X, t, label=LABEL).mean
        conditional = denoiser.exact(X, t, label=LABEL).mean
        assert bool(guided.active(t)) == inside
        assert denoiser.calls == 1 + inside
        assert torch.equal(result, conditional) != inside


def test_the_window_acts_on_every_sample_at_its_own_time():
    guided = ClassifierFree(mixture(VP()), 2.0, window=(0.25, 0.75))
    t = VP().time(torch.tensor([-8.0, -2.0, 3.0, 8.0]))
    assert guided.active(t).tolist() == [False, True, True, False]
    together = guided(X, t, label=LABEL).mean
    for k in range(4):
        one = guided(X[k : k + 1], t[k], label=LABEL[k : k + 1]).mean
        close(together[k : k + 1], one, rtol=1e-12)


def test_the_whole_window_includes_both_ends():
    guided = ClassifierFree(mixture(Flow()), 2.0)
    assert guided.active(torch.tensor([0.0, 0.5, 1.0])).all()
    assert torch.isfinite(guided(X, 1.0, label=LABEL).mean).all()
    close(guided(X, 0.0, label=LABEL).mean, X, rtol=1e-12, atol=1e-12)


def test_guidance_makes_samples_more_typical_of_their_label():
    exact, label = mixture(VP()), torch.ones(400, dtype=torch.int64)
    certainty = []
    for weight in (0.0, 1.0, 4.0):
        x = sample(ClassifierFree(exact, weight), (400, 2), condition={"label": label}).x
        certainty.append(float((exact.log_density(x, 0.0, label=label) - exact.log_density(x, 0.0)).mean()))
    assert certainty[0] < certainty[1] < certainty[2]


def test_guided_denoisers_share_the_weights_and_schedule_of_their_own():
    denoiser = mixture(VP())
    guided = ClassifierFree(denoiser, 1.0)
    assert guided.schedule == VP()
    assert isinstance(guided(X.float(), 0.5, label=LABEL), Posterior)
    assert guided(X.float(), 0.5, label=LABEL).mean.dtype == torch.float32


@pytest.mark.parametrize("weight", [-0.1, math.nan])
def test_a_negative_weight_is_refused(weight):
    with pytest.raises(ValueError, match=r"at least 0 \(0 means conditional only\), got"):
        ClassifierFree(mixture(VP()), weight)


@pytest.mark.parametrize("window", [(0.5, 0.5), (0.6, 0.4), (-0.1, 1.0), (0.0, 1.1), (math.nan, 1.0)])
def test_a_window_that_is_none_is_refused(window):
    with pytest.raises(ValueError, match="a guidance window is"):
        ClassifierFree(mixture(VP()), 1.0, window)


def test_a_guided_run_counts_both_network_evaluations_where_guidance_acts():
    means = torch.tensor([[-1.0], [1.0]])
    mixture = GaussianMixture(VP(), means, stds=torch.full((2,), 0.3), labels=torch.tensor([0, 1]))
    condition = {"label": torch.zeros(4, dtype=torch.int64)}
    counts = [
        sample(ClassifierFree(mixture, weight, window), (4, 1), steps=10, condition=condition).nfe
        for weight, window in ((0.0, (0.0, 1.0)), (1.0, (0.0, 1.0)), (1.0, (0.999, 1.0)))
    ]
    assert counts == [10, 20, 10]


class Batched(Counter):
    """Counts the evaluations of a denoiser that knows "no condition" by value."""

    def no_condition(self, condition):
        return self.exact.no_condition(condition)


EXACT = {"vp": VP(), "flow": Flow(), "ve": VE(), "heat": Heat(VP(), blur=0.3)}


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("t", [0.2, 0.7, torch.tensor([0.1, 0.4, 0.6, 0.9], dtype=torch.float64)])
def test_one_batched_evaluation_equals_two(name, t):
    batched, separate = Batched(EXACT[name]), Counter(EXACT[name])
    one, two = ClassifierFree(batched, 2.0), ClassifierFree(separate, 2.0)
    result, expected = one(X, t, label=LABEL), two(X, t, label=LABEL)
    assert (batched.calls, separate.calls) == (1, 2)
    close(result.mean, expected.mean, rtol=1e-12, atol=1e-12)
    close(result.variance, expected.variance, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", EXACT)
def test_the_guided_score_is_in_closed_form_under_every_kind_of_schedule(name):
    exact, weight = mixture(EXACT[name]), 1.5
    for t in (0.15, 0.5, 0.85):
        x = X.clone().requires_grad_()
        plain, conditional = exact.log_density(x, t), exact.log_density(x, t, label=LABEL)
        (gradient,) = torch.autograd.grad((plain + (1 + weight) * (conditional - plain)).sum(), x)
        guided = ClassifierFree(exact, weight)
        close(guided.score(X, t, label=LABEL), gradient, rtol=1e-7, atol=1e-7 * float(gradient.abs().max()))


def test_weight_zero_takes_one_evaluation_and_no_bit_changes_where_it_could_be_batched():
    denoiser = Batched(VP())
    for weight in (0.0, torch.zeros(4)):
        result = ClassifierFree(denoiser, weight)(X, 0.5, label=LABEL)
        assert torch.equal(result.mean, denoiser.exact(X, 0.5, label=LABEL).mean)
    assert denoiser.calls == 2
    assert ClassifierFree(denoiser, torch.zeros(4)).cost(0.5) == 1
    assert ClassifierFree(denoiser, torch.tensor([0.0, 0.0, 1.0, 0.0])).cost(0.5) == 2


@given(
    st.lists(st.floats(0.0, 8.0), min_size=4, max_size=4),
    st.floats(0.05, 0.95),
    st.floats(0.0, 1.0),
    st.sampled_from(sorted(EXACT)),
)
@settings(max_examples=40, deadline=None)
def test_a_weight_for_each_sample_gives_what_single_runs_give(weights, t, rescale, name):
    exact = mixture(EXACT[name])
    together = ClassifierFree(exact, torch.tensor(weights), rescale=rescale)(X, t, label=LABEL).mean
    for k, weight in enumerate(weights):
        alone = ClassifierFree(exact, float(torch.tensor(weight)), rescale=rescale)
        row = slice(k, k + 1)
        close(together[row], alone(X[row], t, label=LABEL[row]).mean, rtol=1e-9, atol=1e-9)


def test_weights_and_times_of_each_sample_meet():
    weights, guided = torch.tensor([0.0, 1.0, 2.0, 3.0]), mixture(VP())
    t = VP().time(torch.tensor([-8.0, -2.0, 3.0, 8.0]))
    together = ClassifierFree(guided, weights, window=(0.25, 0.75))(X, t, label=LABEL).mean
    for k in range(4):
        one = ClassifierFree(guided, float(weights[k]), window=(0.25, 0.75))
        close(together[k : k + 1], one(X[k : k + 1], t[k], label=LABEL[k : k + 1]).mean, rtol=1e-12)


def test_another_number_of_weights_than_samples_is_refused():
    guided = ClassifierFree(mixture(VP()), torch.ones(3))
    with pytest.raises(ValueError, match="one value for each of 4 samples"):
        guided(X, 0.5, label=LABEL)


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("share", [0.3, 1.0])
def test_rescale_restores_the_deviation_of_v_in_that_share(name, share):
    schedule = EXACT[name]
    exact = mixture(schedule)
    for t in (0.1, 0.5, torch.tensor([0.2, 0.5, 0.7, 0.9], dtype=torch.float64)):
        v_pos = exact.predict(V_PREDICTION, X, t, label=LABEL)
        v_cfg = v_pos + 3.0 * (v_pos - exact.predict(V_PREDICTION, X, t))
        std_pos, std_cfg = v_pos.std(1, keepdim=True), v_cfg.std(1, keepdim=True)
        expected = share * (v_cfg * std_pos / std_cfg) + (1 - share) * v_cfg
        result = ClassifierFree(exact, 3.0, rescale=share).predict(V_PREDICTION, X, t, label=LABEL)
        close(result, expected, rtol=1e-8, atol=1e-8 * float(expected.abs().max()))


def test_rescale_leaves_clean_data_single_numbers_and_the_unguided_model_as_they_are():
    exact = mixture(VP())
    close(ClassifierFree(exact, 3.0, rescale=1.0)(X, 0.0, label=LABEL).mean, X, atol=1e-12)
    plain = exact(X, 0.5, label=LABEL).mean
    assert torch.equal(ClassifierFree(exact, 0.0, rescale=1.0)(X, 0.5, label=LABEL).mean, plain)
    mixed = ClassifierFree(exact, torch.tensor([0.0, 1.0, 1.0, 0.0]), rescale=1.0)
    close(mixed(X, 0.5, label=LABEL).mean[[0, 3]], plain[[0, 3]], rtol=1e-12)
    line = GaussianMixture(VP(), MEANS[:, :1], stds=torch.ones(3), labels=torch.tensor([0, 1, 1]))
    without, single = ClassifierFree(line, 2.0), ClassifierFree(line, 2.0, rescale=1.0)
    assert torch.equal(single(X[:, :1], 0.5, label=LABEL).mean, without(X[:, :1], 0.5, label=LABEL).mean)


@pytest.mark.parametrize("name", EXACT)
def test_at_pure_noise_and_at_data_all_is_finite(name):
    for t in (1.0, 0.0):
        mean = ClassifierFree(mixture(EXACT[name]), 2.0, rescale=0.7)(X, t, label=LABEL).mean
        assert torch.isfinite(mean).all()


@pytest.mark.parametrize("make", [Batched, Counter])
def test_a_negative_condition_takes_the_place_of_none(make):
    denoiser = make(Flow())
    other = 1 - LABEL
    for negative in ({"label": other}, {"label": torch.tensor([1])}):
        rows = negative["label"].expand(4)
        guided = ClassifierFree(denoiser, 2.0, negative=negative)
        for t in (0.1, 0.6):
            wanted, unwanted = (denoiser.exact.epsilon(X, t, label=k) for k in (LABEL, rows))
            close(guided.epsilon(X, t, label=LABEL), wanted + 2.0 * (wanted - unwanted), rtol=1e-9, atol=1e-9)


def test_negative_of_no_class_is_ordinary_guidance_and_of_the_same_class_is_none():
    exact = mixture(VP())
    ordinary = ClassifierFree(exact, 2.0)(X, 0.4, label=LABEL).mean
    nobody = ClassifierFree(exact, 2.0, negative={"label": torch.tensor([-1])})
    close(nobody(X, 0.4, label=LABEL).mean, ordinary, rtol=1e-12)
    same = ClassifierFree(exact, 2.0, negative={"label": LABEL})
    close(same(X, 0.4, label=LABEL).mean, exact(X, 0.4, label=LABEL).mean, rtol=1e-12)


def test_a_negative_condition_steers_a_run_without_condition():
    exact = mixture(VP())
    away = ClassifierFree(exact, 2.0, negative={"label": torch.tensor([0])})
    plain, unwanted = exact.epsilon(X, 0.5), exact.epsilon(X, 0.5, label=torch.zeros(4, dtype=torch.int64))
    close(away.epsilon(X, 0.5), plain + 2.0 * (plain - unwanted), rtol=1e-9, atol=1e-9)


def test_a_negative_condition_of_other_rows_is_refused():
    guided = ClassifierFree(mixture(VP()), 2.0, negative={"label": torch.tensor([0, 1])})
    with pytest.raises(ValueError, match="'label' has 2 rows for 4 samples; give one, or as many"):
        guided(X, 0.5, label=LABEL)


def network(seed=0, **options):
    torch.manual_seed(seed)
    module = MLP(2, width=16, layers=2, classes=2, vector=3, **options)
    torch.nn.init.normal_(module.leave.weight, std=0.3)
    torch.nn.init.normal_(module.condition.no_vector)
    return Network(module, VP(), sigma_data=0.5).double().eval()


@pytest.mark.parametrize("variance", [False, True])
@pytest.mark.parametrize("t", [0.3, torch.tensor(0.3), torch.tensor([0.1, 0.4, 0.6, 0.9])])
def test_a_network_is_asked_once_with_every_absent_condition_by_value(t, variance):
    denoiser = network(variance=variance)
    vector = torch.randn(4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    calls = []
    denoiser.module.register_forward_hook(lambda module, inputs, output: calls.append(len(output)))
    for condition in ({"label": LABEL}, {"vector": vector}, {"label": LABEL, "vector": vector}):
        calls.clear()
        result = ClassifierFree(denoiser, 1.5)(X, t, **condition)
        assert calls == [8]
        wanted, other = denoiser(X, t, **condition), denoiser(X, t)
        close(result.mean, wanted.mean + 1.5 * (wanted.mean - other.mean), rtol=1e-12, atol=1e-12)
        assert (result.variance is None) == (not variance)
        if variance:
            close(result.variance, wanted.variance, rtol=1e-12)
    negative = ClassifierFree(denoiser, 1.5, negative={"label": torch.tensor([1])})
    wanted = denoiser(X, t, vector=vector).mean
    other = denoiser(X, t, label=torch.ones(4, dtype=torch.int64)).mean
    result = negative(X, t, vector=vector).mean
    close(result, wanted + 1.5 * (wanted - other), rtol=1e-12, atol=1e-12)


def test_who_knows_no_condition_by_value_says_so():
    labels = {"label": LABEL}
    exact, data = mixture(VP()), Dataset(VP(), MEANS, labels=torch.tensor([0, 1, 1]))
    for denoiser in (exact, data, network(), Rescheduled(exact, Flow()), Rescheduled(network(), Flow())):
        assert denoiser.no_condition(labels)["label"].tolist() == [-1] * 4
        assert denoiser.no_condition({"colour": LABEL}) is None
    assert network().no_condition({"vector": torch.ones(2, 3)})["vector"].isnan().all()
    guided = ClassifierFree(exact, 1.0)
    assert guided.no_condition(labels) is None  # its weights may belong to the rows of a batch
    nested = ClassifierFree(ClassifierFree(exact, torch.ones(4)), 0.5)(X, 0.5, label=LABEL).mean
    once = ClassifierFree(exact, 2.0)(X, 0.5, label=LABEL).mean  # (1 + 0.5)(1 + 1) = 1 + 2
    close(nested, once, rtol=1e-12)


def test_a_rescheduled_denoiser_is_guided_as_under_its_own_schedule():
    exact = mixture(VP())
    t = Flow().time(VP().log_snr(0.4))
    scale = float((1.0 / (Flow().alpha(t) ** 2 + Flow().sigma(t) ** 2)).sqrt())
    moved = ClassifierFree(Rescheduled(exact, Flow()), 2.0)(X / scale, t, label=LABEL).mean
    close(moved, ClassifierFree(exact, 2.0)(X, 0.4, label=LABEL).mean, rtol=1e-9, atol=1e-9)


def test_a_model_without_condition_dropout_is_refused_unless_it_is_not_needed():
    denoiser = mixture(VP())
    denoiser.unconditional = False
    for guided in (denoiser, Rescheduled(denoiser, Flow())):
        with pytest.raises(
            ValueError, match="was trained with condition dropout, and this one was not"
        ) as error:
            ClassifierFree(guided, 1.0)
        assert "\n" not in str(error.value)
        with pytest.raises(ValueError, match="condition dropout"):
            ClassifierFree(guided, torch.tensor([0.0, 1.0]))
        assert ClassifierFree(guided, 0.0)(X, 0.5, label=LABEL).mean.shape == X.shape
        negative = ClassifierFree(guided, 1.0, negative={"label": torch.tensor([1])})
        assert negative(X, 0.5, label=LABEL).mean.shape == X.shape


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan])
def test_a_rescale_outside_zero_to_one_is_refused(share):
    with pytest.raises(ValueError, match="rescale lies between 0"):
        ClassifierFree(mixture(VP()), 1.0, rescale=share)


@pytest.mark.parametrize("weight", [torch.tensor([1.0, -0.5]), torch.ones(2, 2), math.inf])
def test_weights_that_are_none_are_refused(weight):
    with pytest.raises(ValueError, match="guidance weight"):
        ClassifierFree(mixture(VP()), weight)


def test_guidance_is_differentiable():
    x = X.clone().requires_grad_()
    mean = ClassifierFree(mixture(VP()), 2.0, rescale=0.5)(x, 0.4, label=LABEL).mean
    (gradient,) = torch.autograd.grad(mean.sum(), x)
    step = 1e-6 * torch.ones_like(X)
    up, down = (
        ClassifierFree(mixture(VP()), 2.0, rescale=0.5)(X + k * step, 0.4, label=LABEL).mean for k in (1, -1)
    )
    close(gradient.sum(1), (up - down).sum(1) / 2e-6, rtol=1e-6, atol=1e-6)
