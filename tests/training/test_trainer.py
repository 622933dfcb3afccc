"""The training loop: it learns, does not depend on how work is cut, and goes on as if nothing happened."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import torch
from torch import nn

from tests.training.tiny import mlp, network, points, same, settings, state
from unstir.denoisers import Network
from unstir.networks import UNet
from unstir.processes import VP
from unstir.settings import parse_settings
from unstir.training import ArrayData, Trainer, TrainingSettings, reconstruct, train
from unstir.training.trainer import rate_factor


def run(data=None, folder=None, *, network_options=None, **values):
    """Train a fresh tiny network to its end; the trainer."""
    denoiser = network(2, **(network_options or {}))
    trainer = Trainer(denoiser, data or points(), settings(**values), folder)
    for _ in trainer.run():
        pass
    trainer.finish()
    return trainer


class Recorder(ArrayData):
    """Data that write down which rows were asked for."""

    rows: list

    def batch(self, rows):
        if not hasattr(self, "seen"):
            object.__setattr__(self, "seen", [])
        self.seen.extend(rows.tolist())
        return super().batch(rows)


class Spy(nn.Module):
    """A network that writes down what it is given."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))
        self.inputs, self.labels, self.vectors = [], [], []

    def forward(self, x, log_snr, label=None, vector=None):
        self.inputs.append(x.detach().clone())
        self.labels.append(label)
        self.vectors.append(vector)
        return x * self.gain


def test_training_overfits_four_points_to_a_twentieth_of_the_first_loss():
    x = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]], np.float32)
    data = ArrayData(np.tile(x, (8, 1)), np.tile(np.arange(4), 8))
    denoiser = Network(mlp(2, width=48, layers=2, classes=4), VP(), sigma_data=1.0)
    chosen = settings(
        samples=16_000,
        batch=64,
        learning_rate=1e-2,
        drop_condition=0.0,
        noise_levels={"distribution": "uniform"},
    )
    losses = [float(progress.loss) for progress in train(denoiser, data, chosen)]
    assert np.mean(losses[-20:]) < np.mean(losses[:5]) / 20


def test_the_trained_network_is_the_average_of_the_width_asked_for():
    trainer = run(ema=(0.05, 0.1), ema_width=0.1, learning_rate=1e-2)
    parameters = dict(trainer.denoiser.module.named_parameters())
    assert same({k: v.detach() for k, v in parameters.items()}, trainer.ema.state(1))
    last = run(ema_width=None, learning_rate=1e-2)
    assert not same(state(last.denoiser.module), state(trainer.denoiser.module))
    assert not trainer.denoiser.training


def test_a_width_that_is_not_tracked_is_reconstructed_from_snapshots(tmp_path):
    options = {"samples": 640, "learning_rate": 1e-2, "ema": (0.05, 0.1), "snapshots": 16}
    made = run(folder=tmp_path, ema_width=0.07, **options)
    direct = run(ema_width=0.07, **options | {"ema": (0.07,)})
    nearest = run(ema_width=0.05, **options)
    name = "leave.weight"
    values = [state(trainer.denoiser.module)[name] for trainer in (made, direct, nearest)]
    assert float((values[0] - values[1]).norm()) < float((values[2] - values[1]).norm()) / 5
    torch.testing.assert_close(values[0], reconstruct(tmp_path / "ema", 0.07)[name])


def test_a_run_stopped_before_its_first_snapshot_ends_with_the_nearest_tracked_average(tmp_path):
    chosen = settings(samples=640, ema=(0.05, 0.1), ema_width=0.08, snapshots=2)
    trainer = Trainer(network(2), points(), chosen, tmp_path)
    next(trainer.run())
    trainer.finish()
    assert same(dict(trainer.denoiser.module.named_parameters()), trainer.ema.state(1))


def test_a_resumed_run_forgets_the_snapshots_that_are_later_than_its_checkpoint(tmp_path):
    def stored():
        return sorted({int(path.name[:12]) for path in (tmp_path / "ema").iterdir()})

    chosen = settings(samples=80, ema_width=0.07, snapshots=10)
    trainer = Trainer(network(2), points(), chosen, tmp_path)
    for progress in trainer.run():
        if progress.samples == 40:
            trainer.save()
        if progress.samples == 64:  # killed here
            break
    assert stored() == [8, 16, 24, 32, 40, 48, 56, 64]
    Trainer(network(2), points(), chosen, tmp_path).restore()
    assert stored() == [8, 16, 24, 32, 40]


@pytest.mark.parametrize("pieces", [2, 4])
def test_micro_batches_equal_one_batch(pieces):
    options = {"samples": 24, "batch": 8, "drop_condition": 0.3, "learning_rate": 1e-2, "ema_width": None}
    data = points(labels=3)
    one = run(data, network_options={"classes": 3}, **options)
    many = run(data, network_options={"classes": 3}, micro_batches=pieces, **options)
    before, after = state(one.denoiser.module), state(many.denoiser.module)
    assert max(float((after[name] - before[name]).abs().max()) for name in before) < 1e-6


@pytest.mark.parametrize(
    ("options", "built"),
    [
        ({}, {}),
        ({"micro_batches": 2, "clip": None, "weight_decay": 0.1, "decay": "cosine"}, {"dropout": 0.3}),
        (
            {
                "noise_levels": {"distribution": "uniform", "loss_aware": True, "stratified": False},
                "objective": {"kind": "hybrid", "weighting": "uniform", "steps": 50},
                "ema": (0.05, 0.1, 0.2),
                "precision": "bf16",
            },
            {"variance": True},
        ),
    ],
    ids=["plain", "dropout", "loss-aware hybrid bf16"],
)
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(options, built, tmp_path):
    def fresh():
        denoiser = network(2, classes=3, **built)
        chosen = settings(samples=2560, batch=64, learning_rate=1e-2, **options)
        return Trainer(denoiser, points(37, labels=3), chosen, tmp_path)

    whole = fresh()
    losses = {progress.samples: float(progress.loss) for progress in whole.run()}
    first = fresh()
    for progress in first.run():
        if progress.samples == 1792:
            break
    with first.averaged():  # a look on the way changes nothing
        first.denoiser(torch.zeros(2, 2), 0.5)
    first.save()
    second = fresh()
    assert second.restore() == []
    assert second.samples == 1792
    later = {progress.samples: float(progress.loss) for progress in second.run()}
    assert later == {samples: loss for samples, loss in losses.items() if samples > 1792}
    assert same(state(second.denoiser.module), state(whole.denoiser.module))
    for index in range(len(whole.ema.widths)):
        assert same(second.ema.state(index), whole.ema.state(index))
    assert torch.equal(second.levels.squares, whole.levels.squares)
    if "noise_levels" in options:
        assert not torch.equal(whole.levels.density(), torch.ones(64, dtype=torch.float64))


def test_a_resumed_u_net_equals_an_uninterrupted_one_bit_for_bit(tmp_path):
    # Its weights are laid out channels last, and so must be the moments of the optimizer.
    def fresh():
        data = ArrayData(np.random.default_rng(0).standard_normal((20, 1, 6, 6)).astype(np.float32))
        with torch.random.fork_rng():
            torch.manual_seed(0)
            module = UNet(1, 2, width=8, multipliers=(1, 2))
        return Trainer(Network(module, VP()), data, settings(samples=80), tmp_path)

    whole, first = fresh(), fresh()
    list(whole.run())
    for progress in first.run():
        if progress.samples == 40:
            break
    first.save()
    second = fresh()
    second.restore()
    list(second.run())
    assert same(state(second.denoiser.module), state(whole.denoiser.module))


def test_checkpoints_are_written_when_due_and_two_are_kept(tmp_path):
    run(folder=tmp_path, samples=96, batch=8, checkpoint_samples=16)
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == [f"{80:012d}", f"{96:012d}"]


def test_resuming_with_another_network_is_refused_with_a_sentence(tmp_path):
    run(folder=tmp_path)
    other = Trainer(network(2, width=32), points(), settings(), tmp_path)
    with pytest.raises(ValueError, match="is of another network or other averages"):
        other.restore()
    other = Trainer(network(2), points(), settings(ema=(0.05, 0.1, 0.2)), tmp_path)
    with pytest.raises(ValueError, match="is of another network or other averages"):
        other.restore()


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_used(tmp_path):
    run(folder=tmp_path, samples=96, batch=8, checkpoint_samples=16)
    path = tmp_path / "checkpoints" / f"{96:012d}" / "optimizer.safetensors"
    path.write_bytes(path.read_bytes()[:-7])
    trainer = Trainer(network(2), points(), settings(), tmp_path)
    problems = trainer.restore()
    assert len(problems) == 1
    assert str(path) in problems[0]
    assert "damaged" in problems[0]
    assert trainer.samples == 80
    earlier = tmp_path / "checkpoints" / f"{80:012d}" / "state.json"
    earlier.write_text(earlier.read_text()[:40])
    with pytest.raises(ValueError, match=r"no checkpoint can be read.*state\.json"):
        Trainer(network(2), points(), settings(), tmp_path).restore()


def test_every_epoch_sees_every_row_once_in_a_new_order():
    base = points(10)
    data = Recorder(base.x)
    run(data, samples=60, batch=6)
    epochs = [data.seen[start : start + 10] for start in range(0, 60, 10)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 6


def test_a_batch_larger_than_the_data_spans_epochs():
    data = Recorder(points(10).x)
    run(data, samples=50, batch=25)
    assert sorted(data.seen) == sorted(list(range(10)) * 5)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_conditions_are_dropped_for_the_share_asked_for(share):
    base = points(50, labels=5)
    data = ArrayData(base.x, base.labels, vectors=np.ones((50, 3), np.float32))
    spy = Spy()
    n = 4000
    list(train(Network(spy, VP()), data, settings(samples=n, batch=400, drop_condition=share)))
    labels, vectors = torch.cat(spy.labels), torch.cat(spy.vectors)
    dropped = labels == -1
    assert abs(float(dropped.double().mean()) - share) <= 4.5 * math.sqrt(share * (1 - share) / n)
    assert torch.equal(vectors.isnan().all(1), dropped)
    assert torch.equal(vectors.isnan().any(1), dropped)


def test_half_of_the_samples_are_mirrored_along_the_last_axis_and_conditions_keep_their_row():
    x = np.stack([np.array([[0.0, 1.0, 2.0]]) + 10 * row for row in range(20)]).astype(np.float32)
    data = ArrayData(x, np.arange(20), flip=True)
    trainer = Trainer(Network(Spy(), VP()), data, settings(drop_condition=0.0))
    seen, condition = trainer._rows(torch.arange(2000))
    plain = torch.from_numpy(x)[condition["label"]]
    straight = (seen == plain).flatten(1).all(1)
    mirrored = (seen == plain.flip(-1)).flatten(1).all(1)
    assert bool((straight ^ mirrored).all())
    assert abs(float(mirrored.double().mean()) - 0.5) < 4.5 * 0.5 / math.sqrt(2000)


def test_dropout_repeats_and_the_global_generator_is_left_alone():
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        results.append(state(run(network_options={"dropout": 0.4}).denoiser.module))
        assert torch.equal(torch.get_rng_state(), before)
    assert same(*results)
    assert not same(results[0], state(run().denoiser.module))


def test_the_largest_seed_works_with_dropout():
    run(network_options={"dropout": 0.4}, seed=2**63 - 1, samples=16)


def test_another_seed_trains_another_network():
    assert not same(state(run(seed=0).denoiser.module), state(run(seed=1).denoiser.module))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_data_that_are_not_finite_stop_the_run_with_sample_and_noise_level(value, tmp_path):
    x = points(10).x.copy()
    x[7, 1] = value
    data = Recorder(x)
    trainer = Trainer(network(2), data, settings(batch=2, checkpoint_samples=2), tmp_path)
    with pytest.raises(
        FloatingPointError, match=r"sample \d+ \(log-SNR -?[\d.]+\).*checkpoint is unharmed"
    ) as e:
        list(trainer.run())
    sample = int(str(e.value).split("sample ")[1].split()[0])
    assert data.seen[sample] == 7
    assert sample >= len(data.seen) - 2


def test_weights_that_diverge_stop_the_run():
    with pytest.raises(FloatingPointError, match=r"lower training\.learning_rate"):
        run(learning_rate=1e30, clip=None, warm_up=0.0)


def test_the_learning_rate_rises_then_falls_to_zero():
    for decay in ("linear", "cosine"):
        factors = [rate_factor(f, 0.1, decay) for f in np.linspace(0, 1, 101)]
        assert factors[0] == pytest.approx(0.01, abs=1e-9)
        assert np.all(np.diff(factors[:10]) > 0)
        assert max(factors) == pytest.approx(1.0, abs=1e-2)
        assert np.all(np.diff(factors[11:]) < 0)
        assert factors[100] == 0.0
    assert rate_factor(0.55, 0.1, "linear") == pytest.approx(0.5)
    assert rate_factor(0.55, 0.1, "cosine") == pytest.approx(0.5)
    assert rate_factor(0.325, 0.1, "cosine") == pytest.approx(0.5 + 0.5 * math.cos(math.pi / 4))
    assert [rate_factor(f, 0.1, "none") for f in (0.2, 0.9, 1.0)] == [1.0, 1.0, 1.0]
    assert rate_factor(0.0, 0.0, "linear") == 1.0


def test_the_rate_of_every_step_follows_the_share_of_the_budget():
    denoiser = network(2)
    chosen = settings(samples=80, batch=8, learning_rate=0.5e-2, warm_up=0.2)
    reports = list(train(denoiser, points(), chosen))
    assert [r.samples for r in reports] == list(range(8, 81, 8))
    assert [r.fraction for r in reports] == pytest.approx([0.1 * k for k in range(1, 11)])
    expected = [0.5e-2 * rate_factor(0.1 * k, 0.2, "linear") for k in range(10)]
    assert [r.learning_rate for r in reports] == pytest.approx(expected)


def test_bf16_runs_on_the_cpu_and_keeps_the_weights_in_float32():
    plain, half = run(), run(precision="bf16")
    again = run()
    weights = state(half.denoiser.module)
    assert {value.dtype for value in weights.values()} == {torch.float32}
    assert all(bool(value.isfinite().all()) for value in weights.values())
    assert not same(weights, state(plain.denoiser.module))
    assert same(state(again.denoiser.module), state(plain.denoiser.module))
    for name, value in state(plain.denoiser.module).items():
        torch.testing.assert_close(weights[name], value, rtol=0.1, atol=0.02)


def test_a_budget_of_seconds_ends_near_its_time_and_anneals():
    started = time.monotonic()
    reports = list(train(network(2), points(), settings(samples=None, seconds=1.0, learning_rate=1.0e-2)))
    took = time.monotonic() - started
    assert 0.9 < took < 4.0
    assert reports[-1].fraction == 1.0
    rates = [r.learning_rate for r in reports]
    assert max(rates) > 0.5e-2
    assert rates[-1] < 0.3e-2


def test_the_first_budget_to_end_ends_the_run():
    reports = list(train(network(2), points(), settings(samples=40, seconds=600.0)))
    assert reports[-1].samples == 40


def test_the_last_moment_of_a_resumed_run_counts_all_its_seconds(tmp_path):
    trainer = run(folder=tmp_path)
    trainer.seconds_before += 100.0
    trainer.save()
    again = Trainer(network(2), points(), settings(), tmp_path)
    again.restore()
    assert again.seconds > 100.0


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"samples": None}, "a training run needs a budget"),
        ({"batch": 10, "micro_batches": 3}, "cannot be split into 3 equal micro-batches"),
        ({"ema_width": 0.07}, "neither tracked"),
        ({"learning_rate": -1.0}, "'learning_rate' is -1.0"),
        ({"learning_rate": math.inf}, "'learning_rate' is inf"),
        ({"learning_rat": 1.0}, "unknown setting 'learning_rat'; did you mean 'learning_rate'?"),
        ({"objective": {"weighting": "edn"}}, "'objective.weighting' is 'edn'"),
        ({"noise_levels": {"mu": 1}}, "unknown setting 'noise_levels.mu'"),
        ({"seed": 2**63}, "'seed' is"),
    ],
)
def test_settings_that_make_no_sense_are_refused_with_a_sentence(values, sentence):
    with pytest.raises(ValueError, match=sentence.replace("?", r"\?")) as error:
        parse_settings(TrainingSettings, {"samples": 96, "batch": 8} | values)
    assert "\n" not in str(error.value)
