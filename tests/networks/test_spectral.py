import math

import numpy as np
import pytest
import scipy.fft
import torch
from torch import nn

from unstir.denoisers import Network
from unstir.networks import ConditionSettings, SpectralSettings, build_network
from unstir.networks.build import UNetSettings, fitted
from unstir.networks.modes import hat_functions, hats_for, modes_of, transform, wave_grid, wave_numbers
from unstir.networks.spectrum import Preconditioner, Spectrum, measure_spectrum
from unstir.processes import VP
from unstir.settings import parse_settings
from unstir.training import ArrayData

LOG_SNR = torch.tensor([-3.0, 2.0])
KNOWN = {"known": ConditionSettings(shape=(2, 5, 7), how="channels")}
NONE = torch.zeros(0, dtype=torch.bool)


def build(event, conditions=None, **changes):
    options = {"width": 6, "layers": 2, **changes}
    settings = SpectralSettings(**{k: v for k, v in options.items() if k not in ("classes", "vector")})
    more = {k: options[k] for k in ("classes", "vector") if k in options}
    module = build_network(settings, event, conditions=conditions, **more)
    torch.manual_seed(0)
    for parameter in module.parameters():  # several layers begin at zero
        nn.init.normal_(parameter, std=0.2)
    return module


def field(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("boundary", ["periodic", "cosine", "sine"])
@pytest.mark.parametrize("size", [1, 2, 3, 8, 15])
def test_the_modes_of_an_axis_are_an_orthonormal_basis(size, boundary):
    modes = modes_of(size, boundary)
    assert torch.allclose(modes @ modes.T, torch.eye(size, dtype=torch.float64), atol=1e-12)


@pytest.mark.parametrize(("boundary", "scipys"), [("cosine", scipy.fft.dctn), ("sine", scipy.fft.dstn)])
def test_the_transform_is_scipys_of_type_two(boundary, scipys):
    x = field(2, 3, 4, 5, 6).double()
    ours = transform(x, [modes_of(n, boundary) for n in (4, 5, 6)])
    np.testing.assert_allclose(ours, scipys(x.numpy(), type=2, axes=(2, 3, 4), norm="ortho"), atol=1e-12)


@pytest.mark.parametrize("boundary", ["periodic", "cosine", "sine"])
def test_the_modes_are_the_eigenvectors_of_the_second_difference_of_that_boundary(boundary):
    n = 9
    second = torch.diag(torch.ones(n - 1), 1) + torch.diag(torch.ones(n - 1), -1) - 2 * torch.eye(n)
    if boundary == "periodic":
        second[0, -1] = second[-1, 0] = 1.0
    else:
        second[0, 0] = second[-1, -1] = -1.0 if boundary == "cosine" else -3.0
    modes, k = modes_of(n, boundary), wave_numbers(n, boundary)
    values = 2.0 * (math.pi * k / n).cos() - 2.0
    assert torch.allclose(modes @ second.double(), values[:, None] * modes, atol=1e-12)


def test_hat_functions_sum_to_one_everywhere():
    hats = hat_functions(wave_grid((8, 20), ("sine", "periodic")), hats_for((8, 20)))
    assert torch.allclose(hats.sum(0), torch.ones(160, dtype=torch.float64))
    assert bool((hats >= 0).all())


@pytest.mark.parametrize("event", [(1, 7), (2, 5, 7), (1, 3, 4, 5), (3, 1, 1)])
@pytest.mark.parametrize("boundary", ["periodic", "cosine", "sine"])
def test_the_output_has_the_shape_of_the_event(event, boundary):
    module = build(event, boundary=boundary, modes=4, variance=True)
    y = module(field(2, *event), LOG_SNR)
    assert y.shape == (2, 2 * event[0], *event[1:])
    assert bool(y.isfinite().all())


def test_a_network_of_one_grid_takes_another():
    module = build((1, 8, 8))
    assert module(field(2, 1, 12, 9), LOG_SNR).shape == (2, 1, 12, 9)


def test_a_periodic_network_commutes_with_translations():
    module = build((2, 6, 9), boundary="periodic").double()
    x = field(2, 2, 6, 9).double()
    moved = module(x.roll((2, 5), (2, 3)), LOG_SNR.double())
    assert torch.allclose(moved, module(x, LOG_SNR.double()).roll((2, 5), (2, 3)), atol=1e-10)


def test_a_network_with_walls_does_not():
    module = build((2, 6, 9), boundary="sine")
    x = field(2, 2, 6, 9)
    assert not torch.allclose(module(x.roll(2, 3), LOG_SNR), module(x, LOG_SNR).roll(2, 3), atol=1e-2)


def test_modes_that_are_left_out_pass_no_filter():
    module = build((1, 16), boundary="cosine", modes=3, layers=1)
    for name, parameter in module.named_parameters():
        if "join" in name or "bias" in name:
            nn.init.zeros_(parameter)
    wave = modes_of(16, "cosine")[9].float().expand(2, 1, 16)
    plain = module.leave(module.enter(wave))
    assert torch.allclose(module(wave, LOG_SNR), plain, atol=1e-6)
    slow = modes_of(16, "cosine")[2].float().expand(2, 1, 16)
    unfiltered = module.leave(module.enter(slow))
    filtered = (module(slow, LOG_SNR) - unfiltered).detach()
    assert float(filtered.norm()) > 0.05 * float(unfiltered.detach().norm())


def test_gradients_reach_every_input_and_every_parameter():
    conditions = {**KNOWN, "told": ConditionSettings(shape=(3,), how="embed")}
    spectrum = Spectrum(deviation=1.0, levels=((0.5, 0.1), (0.2, 0.3)))
    module = build((2, 5, 7), conditions, classes=3, vector=2, spectrum=spectrum, variance=True)
    x, log_snr = field(2, 2, 5, 7).requires_grad_(), LOG_SNR.clone().requires_grad_()
    vector, told = field(2, 2).requires_grad_(), field(2, 3).requires_grad_()
    known = field(2, 2, 5, 7, seed=1)
    known[1, 1, 2] = torch.nan
    known.requires_grad_()
    label = torch.tensor([-1, 2])
    module(x, log_snr, label=label, vector=vector, known=known, told=told).square().sum().backward()
    for name, given in {"x": x, "log_snr": log_snr, "vector": vector, "told": told}.items():
        assert bool((given.grad.flatten(1 if given.ndim > 1 else 0) != 0).any()), name
    seen = ~known.isnan()
    assert bool((known.grad[seen] != 0).all())
    unused = [
        name for name, p in module.named_parameters() if p.grad is None or not bool((p.grad != 0).any())
    ]
    assert [name for name in unused if not name.endswith((".none", "no_vector"))] == []


def test_an_answer_does_not_depend_on_the_rest_of_the_batch():
    module = build((2, 5, 7), KNOWN, spectrum=Spectrum(deviation=1.0, levels=((0.5, 0.1), (0.2, 0.3))))
    x, known = field(3, 2, 5, 7), field(3, 2, 5, 7, seed=1)
    known[0], known[1, :, 2:] = torch.nan, torch.nan
    together = module(x, torch.tensor([-3.0, 0.0, 2.0]), known=known)
    alone = module(x[1:2], torch.zeros(1), known=known[1:2])
    assert torch.allclose(together[1:2], alone, atol=1e-5)


def test_no_condition_is_the_same_as_one_that_gives_nothing():
    module = build((2, 5, 7), KNOWN)
    x = field(2, 2, 5, 7)
    assert torch.equal(module(x, LOG_SNR), module(x, LOG_SNR, known=torch.full_like(x, torch.nan)))


def gaussian_field(n, size=16, slope=2.0, seed=0):
    """A field of levels proportional to (1 + |k|)^-slope, and the deviations of its modes."""
    waves = wave_grid((size, size), ("sine", "sine")).square().sum(0).sqrt()
    v = (1.0 + waves) ** -slope
    v = v / v.square().mean().sqrt()
    modes = [modes_of(size, "sine")] * 2
    c = v * field(n, 1, size, size, seed=seed).double()
    return transform(c, [m.T for m in modes]).float(), v


def test_the_spectrum_of_a_field_is_measured():
    x, v = gaussian_field(4000)
    spectrum = measure_spectrum(x, ("sine", "sine"), deviation=float(x.std()))
    hats = hat_functions(wave_grid((16, 16), ("sine", "sine")), len(spectrum.levels[0]))
    found = (torch.tensor(spectrum.levels, dtype=torch.float64).log() @ hats).exp().reshape(16, 16) * 16
    assert torch.allclose(found.log(), v.log(), atol=0.05)


@pytest.mark.parametrize("deviation", [1.0, 0.3])
def test_with_the_spectrum_an_untrained_network_is_the_wiener_filter(deviation):
    x, v = gaussian_field(512)
    x, v = deviation * x, deviation * v
    knots = 2.0 ** (torch.arange(hats_for((16, 16))) / 4.0)  # |k| + 1
    levels = float(v[0, 0]) / 16 * ((1.0 + math.sqrt(2.0)) / knots) ** 2
    spectrum = Spectrum(deviation=deviation, levels=(tuple(levels.tolist()),))
    module = build_network(SpectralSettings(boundary="sine", spectrum=spectrum), (1, 16, 16))
    schedule = VP()
    denoiser = Network(module, schedule, sigma_data=deviation)
    modes = [modes_of(16, "sine").float()] * 2
    for t in (0.05, 0.3, 0.7):
        alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
        x_t = alpha * x[:64] + sigma * field(64, 1, 16, 16, seed=1)
        gain = alpha * v**2 / (alpha**2 * v**2 + sigma**2)
        exact = transform(gain.float() * transform(x_t, modes), [m.T for m in modes])
        with torch.no_grad():
            found = denoiser(x_t, t).mean
        assert float((found - exact).norm() / exact.norm()) < 1e-4


def test_samples_that_are_told_a_whole_field_go_without_the_spectrum():
    spectrum = Spectrum(deviation=1.0, levels=((0.5, 0.1), (0.2, 0.3)))
    factors = Preconditioner(spectrum).factors(LOG_SNR, (4, 4), ("sine", "sine"), torch.tensor([True, False]))
    for factor, value in zip(factors, (1.0, 0.0, 1.0), strict=True):
        assert bool((factor[0] == value).all())
        assert not bool((factor[1] == value).any())
    with_, without = build((2, 5, 7), KNOWN, spectrum=spectrum), build((2, 5, 7), KNOWN)
    x, known = field(2, 2, 5, 7), torch.full((2, 2, 5, 7), torch.nan)
    known[:, 0] = 1.0
    assert torch.allclose(with_(x, LOG_SNR, known=known), without(x, LOG_SNR, known=known), atol=1e-4)


def test_the_spectrum_is_measured_for_the_target_v_alone():
    x, _ = gaussian_field(64)
    data = ArrayData(x.numpy())
    settings = SpectralSettings(boundary="sine")
    assert fitted(settings, "epsilon", data, 1.0) is settings
    assert fitted(UNetSettings(), "v", data, 1.0) == UNetSettings()
    found = fitted(settings, "v", data, 1.0)
    assert found.spectrum is not None
    assert fitted(found, "v", data, 1.0) is found
    assert SpectralSettings.model_validate(found.model_dump(mode="json")) == found


def test_it_learns_a_field_of_two_channels_that_one_equation_joins():
    # The second channel is the first one filtered: what a filter of each channel alone cannot know.
    x, v = gaussian_field(2048, size=8)
    modes = [modes_of(8, "sine").float()] * 2
    smooth = transform(v.float() / v.max() * transform(x, modes), [m.T for m in modes])
    pair = torch.cat([x, smooth / smooth.std()], dim=1)
    data = ArrayData(pair.numpy())
    settings = fitted(SpectralSettings(boundary="sine", width=8, layers=2), "v", data, data.internal_std())
    denoiser = Network(build_network(settings, (2, 8, 8)), VP(), sigma_data=data.internal_std())
    w = torch.stack([v, v**2 / smooth.std() / v.max()])

    def error():
        alpha, sigma = float(VP().alpha(0.3)), float(VP().sigma(0.3))
        x_t = alpha * pair[:256] + sigma * field(256, 2, 8, 8, seed=3)
        latent = alpha * (w * transform(x_t.double(), modes_of_pair)).sum(1, keepdim=True)
        exact = w * latent / (alpha**2 * w.square().sum(0) + sigma**2)
        exact = transform(exact, [m.T for m in modes_of_pair])
        with torch.no_grad():
            return float((denoiser(x_t, 0.3).mean - exact).norm() / exact.norm())

    modes_of_pair = [modes_of(8, "sine")] * 2
    before = error()
    optimizer = torch.optim.Adam(denoiser.parameters(), lr=1e-2)
    for step in range(250):
        t = torch.rand(64, generator=torch.Generator().manual_seed(step), dtype=torch.float64) * 0.8 + 0.02
        x_0 = pair[torch.arange(64 * step, 64 * step + 64) % len(pair)]
        mean, std = VP().marginal(x_0, t)
        x_t = mean + std * field(64, 2, 8, 8, seed=step + 10)
        weight = (VP().log_snr(t).exp() + 1.0).float().reshape(-1, 1, 1, 1)
        loss = (weight * (denoiser(x_t, t).mean - x_0).square()).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert error() < 0.4 * before


@pytest.mark.parametrize(
    ("settings", "event", "sentence"),
    [
        ({}, (4,), "1 to 3 axes"),
        ({"boundary": ("sine",)}, (1, 4, 4), "one for each of the 2 axes"),
        ({"spectrum": {"deviation": 1.0, "levels": [[1.0]]}}, (2, 4, 4), "not of 2"),
    ],
)
def test_what_does_not_fit_is_one_sentence(settings, event, sentence):
    with pytest.raises(ValueError, match=sentence):
        build_network(SpectralSettings.model_validate(settings), event)


@pytest.mark.parametrize("boundary", ["periodic", "cosine", "sine"])
def test_a_network_that_was_asked_in_inference_mode_can_be_trained_afterwards(boundary):
    space = (11, 13)  # a size that no other test has cached the modes of
    module = build((1, *space), boundary=boundary, spectrum=Spectrum(deviation=1.0, levels=((0.5, 0.1),)))
    x = field(2, 1, *space)
    with torch.inference_mode():
        seen = module(x, LOG_SNR)
    module(x, LOG_SNR).square().sum().backward()
    assert all(p.grad is not None for p in module.parameters())
    torch.testing.assert_close(seen, module(x, LOG_SNR).detach())


@pytest.mark.parametrize("spectrum", [None, Spectrum(deviation=1.0, levels=((0.5, 0.2, 0.1),))])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-4), (torch.bfloat16, 0.1), (torch.float16, 0.02)]
)
def test_a_network_changes_its_type(spectrum, dtype, tolerance):
    first, module = (build((1, 6, 5), spectrum=spectrum) for _ in range(2))
    x = field(2, 1, 6, 5)
    with torch.no_grad():
        before = first(x, LOG_SNR)
        other = module.to(dtype)(x.to(dtype), LOG_SNR)  # the first that it is asked
        assert other.dtype == dtype
        scale = float(before.abs().max())
        torch.testing.assert_close(other.float(), before, rtol=0, atol=tolerance * scale)
        assert module.float()(x, LOG_SNR).dtype == torch.float32


@pytest.mark.parametrize(
    ("levels", "sentence"),
    [
        ([[1.0, 2.0], [1.0]], "for every one; got 2, 1"),
        ([[]], "at least one level"),
        ([], "no channel"),
    ],
)
def test_a_ragged_spectrum_is_one_sentence(levels, sentence):
    with pytest.raises(ValueError, match=sentence):
        parse_settings(Spectrum, {"deviation": 1.0, "levels": levels})


def test_a_wrong_boundary_is_named_by_its_field():
    with pytest.raises(ValueError, match=r"^the setting 'boundary' is 'open', but input should be"):
        parse_settings(SpectralSettings, {"boundary": "open"})
