"""Distillation: students learn the consistency function, which is known for a Gaussian."""

import math

import numpy as np
import pytest
import torch

from tests.training.tiny import network, points, same, state
from unstir.denoisers import Denoiser, Gaussian, GaussianMixture, Network
from unstir.guidance import ClassifierFree
from unstir.processes import VP, Flow, expand
from unstir.samplers import Consistency, sample
from unstir.training.distill import DistillationSettings, Distiller, distill

MEAN, STD = torch.tensor([0.8, -0.5]), 0.6


def settings(**values):
    return DistillationSettings.model_validate({"samples": 96, "batch": 8, "chains": 16, **values})


def exact_function(schedule, x, t):
    """Where the flow of N(MEAN, STD^2) from x at t ends."""
    alpha, sigma = expand(schedule.alpha(t), x), expand(schedule.sigma(t), x)
    return MEAN + (x - alpha * MEAN) * STD / ((alpha * STD) ** 2 + sigma**2).sqrt()


def gaussian(schedule=None):
    return Gaussian(schedule or VP(), MEAN, STD)


def run(student, teacher, options, data=None, event=(2,)):
    return [progress.loss.item() for progress in distill(student, teacher, event, options, data)]


def test_the_student_of_an_exact_gaussian_is_its_consistency_function():
    schedule = VP()
    student = network(width=32, sigma_data=STD)
    options = settings(samples=50_000, batch=256, chains=1024, learning_rate=5e-3, teacher_steps=20)
    run(student, gaussian(), options)
    z = torch.from_numpy(np.random.default_rng(0).standard_normal((4000, 2)).astype(np.float32))
    inner = Consistency().times(schedule, torch.tensor([0.95, 0.75, 0.5, 0.25, 0.05]).double(), STD)
    for t in (1.0, *inner.tolist()):
        alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
        x = alpha * MEAN + z * math.hypot(alpha * STD, sigma)
        with torch.no_grad():
            learned = student(x, t).mean
        # The root mean square error over the states that occur, in units of the data's deviation.
        error = (learned - exact_function(schedule, x, t)).square().mean().sqrt() / STD
        assert float(error) < 0.1, t
        with torch.no_grad():
            mean = gaussian()(x, t).mean
        if t >= float(inner[2]):  # where the teacher's posterior mean is far from it
            assert float((mean - exact_function(schedule, x, t)).square().mean().sqrt()) > 0.2 * STD
    for steps in (1, 2, 4):
        x = sample(student, (4000, 2), solver="consistency", steps=steps, seed=1).x.double()
        torch.testing.assert_close(x.mean(0), MEAN.double(), rtol=0.0, atol=0.06)
        torch.testing.assert_close(x.std(0), torch.full((2,), STD).double(), rtol=0.08, atol=0.0)


def test_the_jumps_of_an_exact_gaussian_end_where_its_consistency_function_says():
    options = settings(teacher_steps=60, chains=64, batch=32)
    jumps = Distiller(network(), gaussian(), (2,), options).solve(3)
    torch.testing.assert_close(
        jumps.x_0, exact_function(VP(), jumps.x_t, jumps.t).float(), rtol=0.0, atol=0.02
    )


def test_jumps_start_from_noise_and_then_from_the_ends_of_earlier_jumps():
    options = settings(chains=4096, batch=2048, jumps=3)
    jumps = Distiller(network(), gaussian(), (2,), options).solve(0)
    assert len(jumps) == 3 * 4096
    starts = jumps.t.unique().tolist()
    assert len(starts) == 1 + 2 * 2  # each of the two groups has levels of its own
    assert int((jumps.t == 1.0).sum()) == 4096
    for t in starts:
        alpha, sigma = float(VP().alpha(t)), float(VP().sigma(t))
        x = jumps.x_t[jumps.t == t].double()
        std = sigma if t == 1.0 else math.hypot(alpha * STD, sigma)
        torch.testing.assert_close(x.mean(0), alpha * MEAN.double(), rtol=0.0, atol=0.1)
        torch.testing.assert_close(x.std(0), torch.full((2,), std).double(), rtol=0.06, atol=0.0)


def test_levels_of_many_groups_cover_the_shares_evenly():
    distiller = Distiller(network(sigma_data=1.0), gaussian(), (2,), settings(jumps=4))
    inner = torch.tensor([distiller._starts(group)[1:] for group in range(200)], dtype=torch.float64)
    assert bool((inner.diff(dim=1) < 0).all())
    logs = (VP().sigma(inner) / VP().alpha(inner) / STD).log().flatten().sort().values
    normal = torch.distributions.Normal(0.0, 1.0).cdf(logs)
    expected = (torch.arange(600) + 0.5) / 600
    assert float((normal - expected).abs().max()) < 0.02


def test_a_budget_in_samples_repeats_bit_for_bit():
    ends = []
    for seed in (0, 0, 1):
        student = network()
        losses = run(student, gaussian(), settings(seed=seed))
        ends.append((losses, state(student)))
    assert len(ends[0][0]) == 12
    assert ends[0][0] == ends[1][0]
    assert same(ends[0][1], ends[1][1])
    assert ends[0][0] != ends[2][0]


def test_the_global_generator_and_the_teacher_are_left_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    teacher = network(seed=1)
    kept = state(teacher)
    run(network(seed=1, dropout=0.5), teacher, settings())
    assert torch.equal(before, torch.get_rng_state())
    assert same(kept, state(teacher))


def test_chains_do_not_depend_on_the_size_of_a_batch():
    small, large = (
        Distiller(network(), gaussian(), (2,), settings(batch=batch, chains=16, jumps=1)).solve(0)
        for batch in (8, 16)
    )
    torch.testing.assert_close(small.x_t, large.x_t, rtol=0.0, atol=0.0)
    torch.testing.assert_close(small.x_0, large.x_0, rtol=1e-5, atol=1e-6)


def test_the_student_ends_as_the_average_of_its_weights():
    student = network()
    distiller = Distiller(student, gaussian(), (2,), settings())
    for _ in distiller.run():
        pass
    last = state(student.module)
    distiller.finish()
    assert not same(last, state(student.module))
    average = distiller.ema.state(0)
    assert all(torch.equal(value, average[name]) for name, value in student.module.named_parameters())


def test_without_a_step_the_student_stays_what_it_was():
    student = network()
    before = state(student)
    Distiller(student, gaussian(), (2,), settings()).finish()
    assert same(before, state(student))


class Recorder(Denoiser):
    """A network, and the conditions that it was given."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.schedule, self.seen = inner, inner.schedule, []

    def forward(self, x_t, t, **condition):
        self.seen.append(condition)
        return self.inner(x_t, t, **condition)


def test_conditions_are_rows_of_the_data_and_some_are_dropped():
    data = points(40, labels=4)
    teacher = Recorder(network(classes=4))
    options = settings(chains=512, batch=512, samples=512, drop_condition=0.25)
    jumps = Distiller(network(classes=4), teacher, (2,), options, data).solve(0)
    label = jumps.condition["label"]
    assert len(label) == len(jumps)
    shares = (label[:512, None] == torch.arange(-1, 4)).double().mean(0)
    expected = torch.tensor([0.25, *[0.75 / 4] * 4]).double()
    torch.testing.assert_close(shares, expected, rtol=0.0, atol=0.07)
    assert torch.equal(label[:512], label[512:1024])  # a chain keeps its condition
    assert all(torch.equal(seen["label"], label[:512]) for seen in teacher.seen)


def test_vectors_are_conditions_too():
    x = np.random.default_rng(0).normal(size=(30, 2)).astype(np.float32)
    from unstir.training import ArrayData

    data = ArrayData(x, vectors=x[:, :1])
    student, teacher = network(vector=1), network(vector=1)
    losses = run(student, teacher, settings(drop_condition=0.5), data)
    assert np.isfinite(losses).all()
    jumps = Distiller(student, teacher, (2,), settings(drop_condition=0.5), data).solve(0)
    missing = jumps.condition["vector"].isnan()
    assert 0 < int(missing.sum()) < len(missing)


def test_guidance_of_the_teacher_is_learned_by_the_student():
    mixture = GaussianMixture(
        VP(),
        torch.tensor([[-0.7, 0.0], [0.7, 0.0]]),
        stds=torch.tensor([0.8, 0.8]),
        labels=torch.tensor([0, 1]),
    )
    data = points(40, labels=2)
    means = []
    for weight in (0.0, 2.0):
        teacher = ClassifierFree(mixture, weight)
        options = settings(chains=512, batch=512, jumps=1, drop_condition=0.0)
        jumps = Distiller(network(classes=2), teacher, (2,), options, data).solve(0)
        means.append(float(jumps.x_0[jumps.condition["label"] == 1, 0].mean()))
    assert means[1] > means[0] + 0.3


@pytest.mark.parametrize("event", [(3,), (2, 6), (1, 5, 5)])
def test_events_of_any_shape_are_distilled(event):
    class Zero(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.zeros(()))

        def forward(self, x, log_snr):
            return self.scale * x

    student = Network(Zero(), VP())
    losses = run(student, Gaussian(VP(), torch.zeros(event), 0.5), settings(), event=event)
    assert np.isfinite(losses).all()
    assert student.module.scale.item() != 0


def test_a_loss_that_is_not_finite_stops_the_run_and_says_so():
    student = network()
    with torch.no_grad():
        student.module.leave.bias.fill_(math.inf)
    with pytest.raises(
        FloatingPointError, match="the loss is not finite after 0 samples; lower the learning"
    ):
        run(student, gaussian(), settings())


def test_another_schedule_than_the_teachers_is_refused():
    with pytest.raises(ValueError, match="is not the teacher's"):
        Distiller(network(schedule=Flow()), gaussian(), (2,), settings())


def test_progress_is_told_and_the_rate_rises_and_falls():
    told = list(distill(network(), gaussian(), (2,), settings(samples=800, warm_up=0.2)))
    assert [p.samples for p in told] == list(range(8, 808, 8))
    assert told[-1].fraction == 1.0
    rates = [p.learning_rate for p in told]
    top = rates.index(max(rates))
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] < 0.01 * rates[top]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"samples": None}, "needs a budget: samples, seconds or both"),
        ({"chains": 12}, "12 chains cannot be split into batches of 8; choose a multiple"),
        ({"jumps": 0}, "jumps"),
        ({"learning_rate": 0.0}, "learning_rate"),
    ],
)
def test_settings_that_make_no_sense_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        settings(**values)


def test_a_budget_of_seconds_ends():
    told = list(distill(network(), gaussian(), (2,), settings(samples=None, seconds=0.05)))
    assert told[-1].fraction == 1.0
