"""A critic learns log p(label | x_t) of every noise level, measured against the exact one."""

import contextlib
import math

import numpy as np
import pytest
import torch

from unstir.denoisers import GaussianMixture
from unstir.guidance import Classifier, CriticConfig, LabelCritic
from unstir.processes import VE, VP, Flow, Heat, schedule_to_dict
from unstir.samplers import sample
from unstir.training import ArrayData, ClassifierSettings, score_by_level, train_classifier

MEANS = torch.tensor([[-1.0, 0.5], [0.5, 1.3], [1.0, -0.7]], dtype=torch.float64)
STDS = torch.tensor([0.3, 0.4, 0.5])
LABELS = torch.tensor([0, 1, 1])
SHARES = torch.tensor([1 / 3, 2 / 3], dtype=torch.float64)


def mixture(schedule=None, keep=slice(None)):
    return GaussianMixture(schedule or VP(), MEANS[keep], stds=STDS[keep], labels=LABELS[keep])


def exact_log_p(x, t, schedule=None):
    """log p(label | x_t) of both labels, (batch, 2)."""
    exact = mixture(schedule)
    joint = [exact.log_density(x, t, label=torch.full((len(x),), y)) + SHARES[y].log() for y in (0, 1)]
    return torch.stack(joint, 1).log_softmax(1)


def labelled(count):
    """Samples whose labels are drawn from p(label | x)."""
    x = mixture().sample_data(count, seed=1)
    u = torch.rand(count, generator=torch.Generator().manual_seed(0))
    return ArrayData(x.numpy(), labels=(u < exact_log_p(x, 0.0).exp()[:, 1]).long().numpy())


def fresh(schedule=None, classes=("a", "b"), event=(2,), **options):
    schedule = schedule_to_dict(schedule or VP())
    return LabelCritic(CriticConfig(event=event, classes=classes, schedule=schedule, width=16, **options))


def trained(critic, data, samples, **options):
    for _ in train_classifier(critic, data, ClassifierSettings(samples=samples, **options)):
        pass
    return critic


@pytest.fixture(scope="module")
def critic():
    return trained(fresh(sigma_data=mixture().sigma_data), labelled(10_000), 60_000, batch=256)


@pytest.mark.parametrize("level", [0.1, 0.3, 1.0, 3.0, 10.0])
def test_a_trained_critic_is_close_to_the_exact_classifier_at_every_noise_level(critic, level):
    t = float(VP().time(-2.0 * math.log(level)))
    x_0 = mixture().sample_data(2000, seed=9)
    epsilon = torch.randn(x_0.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x_t = (VP().alpha(t) * x_0 + VP().sigma(t) * epsilon).float()
    exact, learned = exact_log_p(x_t, t), critic.log_probabilities(x_t, t).double()
    assert float((exact.exp() * (exact - learned)).sum(1).mean()) < 0.01  # the divergence, in nats
    assert float((exact.exp() - learned.exp()).abs().mean()) < 0.03
    guess = SHARES.log().expand_as(exact)
    if level < 3.0:
        assert float((exact.exp() * (exact - guess)).sum(1).mean()) > 0.1


def test_samples_guided_by_it_have_the_moments_of_the_exact_conditional(critic):
    # Not its law to the last detail: a gradient is learned less well than the probability.
    unlabelled, label = GaussianMixture(VP(), MEANS, stds=STDS), torch.arange(1000) % 2
    x = sample(Classifier(unlabelled, critic), (1000, 2), condition={"label": label}, steps=30, seed=2).x
    for y in (0, 1):
        data = mixture(keep=y == LABELS).sample_data(4000, seed=5)
        own = x[label == y].double()
        torch.testing.assert_close(own.mean(0), data.mean(0), rtol=0.0, atol=0.2)
        torch.testing.assert_close(own.std(0), data.std(0), rtol=0.15, atol=0.0)
        assert float((own.mean(0) - mixture().sample_data(4000, seed=6).mean(0)).norm()) > 0.5


def test_more_weight_makes_samples_more_certain_of_their_label(critic):
    unlabelled, label = GaussianMixture(VP(), MEANS, stds=STDS), torch.zeros(400, dtype=torch.int64)
    right = []
    for weight in (0.0, 1.0, 4.0):
        x = sample(Classifier(unlabelled, critic, weight), (400, 2), condition={"label": label}).x
        right.append(float(exact_log_p(x, 0.0)[:, 0].exp().mean()))
    assert right[0] == pytest.approx(1 / 3, abs=0.08)
    assert right[1] > 0.9
    assert right[2] > right[1]


def test_the_same_weights_serve_another_schedule(critic):
    # States of equal log-SNR differ by a scale only.
    x = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    t_vp, t_flow = float(VP().time(0.4)), float(Flow().time(0.4))
    scale = float(Flow().sigma(t_flow) / VP().sigma(t_vp))
    other = critic.under(Flow()).log_probabilities(x * scale, t_flow)
    torch.testing.assert_close(other, critic.log_probabilities(x, t_vp), rtol=1e-4, atol=1e-5)
    assert critic.schedule == VP()


@pytest.mark.parametrize("schedule", [VP(), Heat(VP(), blur=0.4)], ids=["vp", "heat"])
def test_accuracy_by_level_is_that_of_two_points_in_noise(schedule):
    # Points at +-m: the best guess is right with probability Phi(|m| / noise) for the noise sigma / alpha.
    # Their difference is constant along the axis, the mode that is not blurred.
    count = 1500
    labels = np.arange(count) % 2
    data = ArrayData(np.where(labels[:, None] == 1, 0.6, -0.6) * np.ones((1, 3)), labels=labels)
    critic = trained(fresh(schedule, event=(3,)), data, 16_000)
    size = 0.6 * math.sqrt(3.0)
    scores = score_by_level(critic, data, (0.3, 1.0, 3.0), draws=2)
    assert [score.level for score in scores] == [0.3, 1.0, 3.0]
    for score in scores:
        best = 0.5 * (1.0 + math.erf(size / score.level / math.sqrt(2.0)))
        error = math.sqrt(best * (1.0 - best) / (2 * count))
        assert best - 0.03 - 3 * error < score.accuracy < best + 4 * error
        assert score.cross_entropy < math.log(2.0)


def test_an_untrained_critic_guesses_and_levels_out_of_reach_are_left_out():
    data = labelled(300)
    scores = score_by_level(fresh(VE(0.5, 2.0)), data, (1.0, 2.1, 1e6))
    assert [score.level for score in scores] == [1.0]
    assert scores[0].cross_entropy == pytest.approx(math.log(2.0), rel=1e-6)
    assert scores[0].accuracy == pytest.approx(float((data.labels == 0).mean()))
    assert score_by_level(fresh(), data, (1.0,), batch=7) == pytest.approx(scores)


def test_a_budget_in_samples_gives_the_same_weights_bit_for_bit():
    data = ArrayData(labelled(90).x, labels=labelled(90).labels, flip=True)
    before = torch.random.get_rng_state()
    first, second = (trained(fresh(), data, 640, batch=64) for _ in range(2))
    other = trained(fresh(), data, 640, batch=64, seed=1)
    assert torch.equal(before, torch.random.get_rng_state())
    states = [critic.state_dict() for critic in (first, second, other)]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert any(not torch.equal(value, states[2][name]) for name, value in states[0].items())


def test_every_epoch_shows_each_row_once():
    from unstir.training.classifier import _Rows

    data = ArrayData(np.arange(10.0)[:, None].repeat(2, 1), labels=np.arange(10))
    rows = _Rows(data, seed=0)
    seen = torch.cat([rows(torch.arange(start, start + 6))[1] for start in range(0, 30, 6)]).reshape(3, 10)
    assert (seen.sort(1).values == torch.arange(10)).all()
    assert not torch.equal(seen[0], seen[1])


def test_a_training_that_is_left_early_holds_the_average_and_is_ready_to_guide():
    critic, settings = fresh(), ClassifierSettings(samples=10_000, batch=64)
    with contextlib.closing(train_classifier(critic, labelled(200), settings)) as training:
        progress = [next(training) for _ in range(5)]
    assert [p.samples for p in progress] == [64, 128, 192, 256, 320]
    assert progress[-1].fraction == pytest.approx(0.032)
    assert not critic.training
    assert not any(p.requires_grad for p in critic.parameters())
    last = trained(fresh(), labelled(200), 320, batch=64, ema_width=None)  # other rates, so other weights
    assert any(not torch.equal(a, b) for a, b in zip(critic.parameters(), last.parameters(), strict=True))


def test_a_budget_in_seconds_ends_it():
    *_, last = train_classifier(fresh(), labelled(200), ClassifierSettings(seconds=0.3, batch=16))
    assert last.fraction == 1.0
    assert last.seconds >= 0.3


def test_what_cannot_be_learned_from_is_one_sentence():
    x = np.zeros((6, 2))
    for data, sentence in (
        (ArrayData(x), "these data have no labels"),
        (
            ArrayData(np.zeros((6, 3)), labels=np.zeros(6, int)),
            r"events of shape \(2,\), the data have \(3,\)",
        ),
        (ArrayData(x, labels=np.arange(6)), "numbers of the classes, 0 to 1, but the data have 0 to 5"),
        (ArrayData(x, labels=-np.ones(6, int)), "the data have -1 to -1"),
    ):
        with pytest.raises(ValueError, match=sentence):
            trained(fresh(), data, 64)
        with pytest.raises(ValueError, match=sentence):
            score_by_level(fresh(), data)
    with pytest.raises(ValueError, match="needs a budget: samples, seconds or both"):
        ClassifierSettings()
    broken = ArrayData(np.full((6, 2), np.nan), labels=np.arange(6) % 2)
    with pytest.raises(FloatingPointError, match="the classifier's loss is not finite after 0 samples"):
        trained(fresh(), broken, 64)
