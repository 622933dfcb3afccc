"""A filter over the whole wave: exact for stationary Gaussian signals, nothing at the beginning."""

from __future__ import annotations

import pytest
import torch

from unstir.denoisers import Network
from unstir.networks import WaveformSettings, WaveformUNet, build_network
from unstir.networks.build import fitted
from unstir.networks.filters import Filter
from unstir.processes import VP
from unstir.training import ArrayData

LENGTH, DEVIATION = 64, 0.5


def network(**options) -> WaveformUNet:
    return WaveformUNet(1, patch=8, width=16, multipliers=(1,), classes=2, length=LENGTH, **options)


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("t", [0.02, 0.3, 0.9])
def test_with_the_spectrum_of_a_gaussian_signal_the_denoiser_is_exact(t):
    """Two classes, each a stationary Gaussian signal of a spectrum of its own: Wiener's filter."""
    net = network(deviation=DEVIATION)
    levels = torch.linspace(1.0, -3.0, LENGTH // 2 + 1)
    levels = torch.stack([levels, levels.flip(0)])
    with torch.no_grad():
        log_snr = torch.full((2,), float(VP().log_snr(t)))
        rows = net.net.embedding(2, log_snr, torch.tensor([0, 1]), None, {})
        net.filter.levels.weight.copy_((torch.linalg.pinv(rows.double()) @ levels.double()).T)
    denoiser = Network(net, VP(), sigma_data=DEVIATION)
    alpha, sigma = float(VP().alpha(t)), float(VP().sigma(t))
    v = DEVIATION * levels.double().exp()[:, None]
    x_t = noise(2, 1, LENGTH)
    with torch.no_grad():
        found = denoiser(x_t, t, label=torch.tensor([0, 1])).mean
    gain = alpha * v**2 / (alpha**2 * v**2 + sigma**2)
    exact = torch.fft.irfft(gain * torch.fft.rfft(x_t.double()), n=LENGTH)
    torch.testing.assert_close(found.double(), exact, rtol=1e-3, atol=2e-4)


def test_a_new_filter_changes_nothing():
    with_, without = network(deviation=DEVIATION), network()
    x, log_snr, label = noise(3, 1, LENGTH), torch.tensor([-4.0, 0.0, 6.0]), torch.tensor([0, 1, -1])
    enter, base, leave = with_.filter.factors(log_snr, noise(3, 64))
    assert base.abs().max() < 1e-6
    torch.testing.assert_close(leave, torch.ones_like(leave))
    assert (enter > 0).all()
    assert torch.equal(with_(x, log_snr, label=label), without(x, log_snr, label=label))


@pytest.mark.parametrize("length", [32, 33])
def test_frequencies_come_back_as_the_wave(length):
    one, x = Filter(length, 4, 1.0), noise(2, 3, length).double()
    torch.testing.assert_close(one.signal(one.spectrum(x), x), x)
    half = x.to(torch.bfloat16)
    assert one.signal(one.spectrum(half), half).dtype == torch.bfloat16


def test_extreme_levels_and_noise_stay_finite():
    one = Filter(16, 2, DEVIATION)
    one.levels.bias.data = torch.linspace(-1e4, 1e4, 9)
    for factor in one.factors(torch.tensor([-30.0, 30.0]), torch.zeros(2, 2)):
        assert torch.isfinite(factor).all()


def test_a_filter_has_to_know_the_length_and_the_rest_does_not():
    with pytest.raises(ValueError, match="a filter spans the whole wave; give its length"):
        WaveformUNet(1, patch=8, width=16, deviation=1.0)
    x = noise(2, 1, 40)
    assert WaveformUNet(1, patch=8, width=16)(x, torch.zeros(2)).shape == x.shape


def test_the_deviation_is_measured_for_the_target_v_where_a_filter_is_wanted():
    data = ArrayData(noise(8, 1, LENGTH).numpy())
    settings = WaveformSettings(patch=8, width=16)
    assert fitted(settings, "epsilon", data, 0.7) is settings
    found = fitted(settings, "v", data, 0.7)
    assert found.deviation == 0.7
    assert fitted(found, "v", data, 0.9) is found
    assert build_network(found, (1, LENGTH)).filter is not None
    assert build_network(settings, (1, LENGTH)).filter is None
    without = found.model_copy(update={"filter": False})
    assert fitted(without.model_copy(update={"deviation": None}), "v", data, 0.7).deviation is None
    assert build_network(without, (1, LENGTH)).filter is None
