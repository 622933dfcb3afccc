"""The network of raw waves: pieces as channels, nothing lost, nothing unseen."""

from __future__ import annotations

import pytest
import torch

from unstir.networks import ConditionSettings, WaveformSettings, build_network
from unstir.networks.waveform import fold, unfold


def network(event=(1, 64), *, randomise=True, **options):
    settings = WaveformSettings(
        patch=options.pop("patch", 8),
        width=16,
        multipliers=(1, 2),
        variance=options.pop("variance", False),
        deviation=0.5,
    )
    net = build_network(settings, event, seed=0, **options)
    if randomise:  # the last layer begins at zero, and nothing could be told of the others
        generator = torch.Generator().manual_seed(1)
        for parameter in net.parameters():
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return net


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_pieces_are_neighbouring_samples_and_come_back_exactly(channels):
    x = torch.arange(2 * channels * 24, dtype=torch.float32).reshape(2, channels, 24)
    pieces = fold(x, 4)
    assert pieces.shape == (2, 4 * channels, 6)
    torch.testing.assert_close(pieces[0, :4, 0], x[0, 0, :4])
    torch.testing.assert_close(pieces[0, :4, 1], x[0, 0, 4:8])
    assert torch.equal(unfold(pieces, 4), x)


def test_folding_keeps_every_inner_product():
    x, y = torch.randn(2, 3, 2, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    before = (x * y).flatten(1).sum(1)
    torch.testing.assert_close((fold(x, 8) * fold(y, 8)).flatten(1).sum(1), before)


def test_a_new_network_predicts_zero():
    x = torch.randn(2, 1, 64, generator=torch.Generator().manual_seed(0))
    net = network(randomise=False, classes=3)
    assert torch.equal(net(x, torch.zeros(2), label=torch.tensor([0, 2])), torch.zeros_like(x))


@pytest.mark.parametrize("variance", [False, True])
def test_the_output_has_the_shape_of_the_wave(variance):
    x = torch.randn(2, 2, 64, generator=torch.Generator().manual_seed(0))
    assert network((2, 64), variance=variance)(x, torch.zeros(2)).shape == (2, 4 if variance else 2, 64)


def test_gradients_reach_every_input_and_every_weight():
    conditions = {
        "beside": ConditionSettings(shape=(1, 64), how="channels"),
        "text": ConditionSettings(shape=(3,), how="embed"),
    }
    net = network(classes=3, vector=2, conditions=conditions)
    generator = torch.Generator().manual_seed(0)
    inputs = {
        "x": torch.randn(2, 1, 64, generator=generator),
        "log_snr": torch.tensor([-1.0, 2.0]),
        "vector": torch.randn(2, 2, generator=generator),
        "beside": torch.randn(2, 1, 64, generator=generator),
        "text": torch.randn(2, 3, generator=generator),
    }
    for value in inputs.values():
        value.requires_grad_()
    # One sample with everything and one with nothing, so that the stand-ins are reached as well.
    blank = {name: inputs[name].detach() * torch.nan for name in ("vector", "beside", "text")}
    full = net(**inputs, label=torch.tensor([0, 2]))
    empty = net(inputs["x"], inputs["log_snr"], label=torch.tensor([-1, 1]), **blank)
    torch.autograd.backward(full.square().sum() + empty.square().sum())
    for name, value in inputs.items():
        assert (value.grad.flatten(1) if value.ndim > 1 else value.grad[:, None]).ne(0).all(), name
    assert all(parameter.grad is not None and parameter.grad.ne(0).any() for parameter in net.parameters())


def test_each_sample_of_a_batch_is_on_its_own():
    net = network(classes=3)
    x = torch.randn(3, 1, 64, generator=torch.Generator().manual_seed(0))
    levels, label = torch.tensor([-2.0, 0.0, 2.0]), torch.tensor([0, 1, 2])
    together = net(x, levels, label=label)
    alone = torch.cat([net(x[i : i + 1], levels[i : i + 1], label=label[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_a_given_wave_beside_the_noisy_one_enters_where_it_is_given():
    net = network(conditions={"beside": ConditionSettings(shape=(1, 64), how="channels")})
    x = torch.randn(1, 1, 64, generator=torch.Generator().manual_seed(0))
    given = torch.full((1, 1, 64), torch.nan)
    nothing = net(x, torch.zeros(1), beside=given)
    torch.testing.assert_close(nothing, net(x, torch.zeros(1)))
    given[..., 10] = 1.0
    assert (net(x, torch.zeros(1), beside=given) - nothing).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("event", "options", "sentence"),
    [
        ((1, 60), {}, "pieces of 8 samples do not fill a wave of 60; take a divisor of 60"),
        ((1, 8, 8), {}, r"takes events \(channels, length\), got \(1, 8, 8\)"),
        ((64,), {}, r"takes events \(channels, length\), got \(64,\)"),
    ],
)
def test_an_event_that_does_not_fit_is_one_sentence(event, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        network(event, **options)


def test_a_wave_of_another_length_is_one_sentence():
    with pytest.raises(ValueError, match="pieces of 8 samples do not fill a wave of 44"):
        network()(torch.zeros(1, 1, 44), torch.zeros(1))
