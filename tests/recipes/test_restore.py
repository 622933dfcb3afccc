"""Restoring against closed forms: exact posteriors in data units, classical inverses, and what files say."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from tests.helpers import close
from unstir import noise
from unstir.denoisers import Denoiser, GaussianMixture
from unstir.guidance.measurements import blur, downsample, heat, mask
from unstir.model import Model, ModelConfig
from unstir.networks import ConditionSettings, MLPSettings, UNetSettings
from unstir.processes import VE, VP
from unstir.recipes.inverses import (
    Prior,
    classical,
    heat_inverse,
    nearest_known,
    prior_of,
    repeated,
    tikhonov,
)
from unstir.recipes.measured import Asked, Measured, check_condition, internal, read_measured
from unstir.recipes.measured_noise import estimated_noise, noise_of
from unstir.recipes.restore import METHODS, outputs, restore
from unstir.recipes.restored_sheet import rows_of, sheet


class Exact(Denoiser):
    """A denoiser that is known exactly, with a parameter as a network has."""

    def __init__(self, denoiser):
        super().__init__()
        self.exact, self.schedule, self.sigma_data = denoiser, denoiser.schedule, denoiser.sigma_data
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x_t, t, **condition):
        return self.exact(x_t, t, **condition)


def normal(event, n, seed=0):
    stream = noise.Stream.DATA
    return noise.normal(event, seed=seed, index=torch.arange(n), stream=stream, dtype=torch.float64)


def model_of(event, *, shift=(0.0,), scale=(1.0,), schedule=None, bounds=None):
    """A model whose network is replaced by the exact denoiser of a correlated Gaussian, in network units."""
    network = MLPSettings(width=8) if len(event) == 1 else UNetSettings(width=8, multipliers=(1,))
    schedule = schedule or VP()
    config = ModelConfig(
        event=event, network=network, schedule={"name": "vp"}, shift=shift, scale=scale, bounds=bounds
    )
    model = Model(config)
    size = math.prod(event)
    place = torch.arange(size, dtype=torch.float64)
    covariance = 0.36 * torch.exp(-(place[:, None] - place).abs() / 2.0)
    mean = 0.3 * torch.sin(place).reshape(event)
    model.denoiser = Exact(GaussianMixture(schedule, mean[None], covariances=covariance[None]))
    model.config = config.model_copy(update={"sigma_data": model.denoiser.sigma_data})
    model.mean, model.covariance = mean, covariance
    return model


def posterior(model, operator, y, sigma):
    """Mean and deviation of the exact posterior in data units: all in data units, no scaling of y."""
    event = model.config.event
    ones = torch.ones(1, *event, dtype=torch.float64)
    shift = model.scaling.to_data(0.0 * ones)
    factor = (model.scaling.to_data(ones) - shift).flatten()
    mean = model.scaling.to_data(model.mean[None]).flatten()
    covariance = factor[:, None] * model.covariance * factor
    a = operator.matrix
    gain = (
        covariance
        @ a.T
        @ torch.linalg.inv(a @ covariance @ a.T + sigma**2 * torch.eye(len(a), dtype=torch.float64))
    )
    found = mean + (y.double().flatten(1) - mean @ a.T) @ gain.T
    return found.reshape(-1, *event), (covariance - gain @ a @ covariance).diagonal().sqrt().reshape(event)


SCALINGS = {"one": ((5.0,), (3.0,)), "a channel": ((5.0, -2.0), (3.0, 0.5))}


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("name", ["heat", "mask", "downsample", "blur"])
def test_measurements_in_network_units_are_those_of_the_data(scaling, name):
    shift, scale = SCALINGS[scaling]
    event = (2, 6)
    model = model_of(event, shift=shift, scale=scale)
    operator = {
        "heat": heat(event, 0.4),
        "mask": mask(normal(event, 1, 3)[0] > 0),
        "downsample": downsample(2, event),
        "blur": blur(torch.tensor([0.2, 0.5, 0.3]), event),
    }[name]
    x = 4.0 * normal(event, 3)
    y, inside, sigma = internal(model, operator(x), operator, 0.7)
    close(y, inside(model.scaling.to_internal(x)), atol=1e-9)
    # The residual over the noise is the same in both units.
    other = normal(event, 3, 1)
    expected = (operator(x) - operator(model.scaling.to_data(other))) / 0.7
    close((y - inside(other)) / sigma, expected, atol=1e-9)


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("method", ["mmps", "particles"])
def test_a_gaussian_is_restored_by_its_exact_posterior_in_data_units(scaling, method):
    shift, scale = SCALINGS[scaling]
    event, sigma, n = (2, 4), 0.3, 300
    model = model_of(event, shift=shift, scale=scale)
    operator = heat(event, 0.5)
    truth = model.scaling.to_data(model.denoiser.exact.sample_data(2, seed=3).double())
    y = (operator(truth) + sigma * normal(event, 2, 5)).float()
    solver = "stochastic-heun" if method == "mmps" else None
    chosen = METHODS[method]
    if method == "mmps":
        chosen = replace(chosen, guide=lambda *args: METHODS["mmps"].guide(*args, iterations=4))
    result = restore(
        model,
        [Measured(y, operator, y, "heat")],
        sigma,
        n=n,
        method=chosen,
        solver=solver,
        steps=24,
        heat_time=0.5,
    )
    mean, std = posterior(model, operator, y, sigma)
    # Particles of one group depend on each other, which widens the error of their mean.
    wide = 4.5 if method == "mmps" else 9.0
    assert float(((result.mean - mean).abs() / std).max()) < wide / math.sqrt(n) + 0.02
    ratio = result.std / std
    assert float((ratio - 1.0).abs().max()) < wide / math.sqrt(2 * n) + 0.03
    inside = ((mean >= result.low) & (mean <= result.high)).double().mean()
    assert float(inside) == 1.0
    assert result.covers >= 0.9


def test_the_residual_is_the_distance_of_samples_to_the_measurement():
    event = (2, 4)
    model, operator = model_of(event), mask(torch.tensor([True, False, True, True]), event)
    y = operator(normal(event, 3)).float()
    result = restore(model, [Measured(y, operator, y, "mask")], 0.2, n=5, steps=5, prior=prior_of(model))
    for row in range(3):
        expected = (operator(result.samples[row]) - y[row]).square().mean().sqrt()
        close(result.residual[row], expected, rtol=1e-5)


def test_a_restoration_does_not_depend_on_how_many_are_sampled_at_once():
    event = (1, 6)
    model, operator = model_of(event), downsample(2, event)
    y = operator(normal(event, 4)).float()
    parts = [Measured(y, operator, y, "downsample")]
    whole, some = (restore(model, parts, 0.2, n=3, steps=6, batch=batch) for batch in (256, 4))
    torch.testing.assert_close(whole.samples, some.samples, rtol=0, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_meets_the_measurement_better_than_an_unguided_sample(method):
    event = (1, 6)
    model, operator, sigma = model_of(event), heat(event, 0.1), 0.1
    y = operator(model.denoiser.exact.sample_data(3, seed=8).double()).float()
    result = restore(model, [Measured(y, operator, y, "heat")], sigma, n=8, method=method, heat_time=0.1)
    free = model.sample(24, seed=0).reshape(3, 8, *event)
    unguided = (operator(free.flatten(0, 1)).reshape(free.shape) - y[:, None]).square().mean().sqrt()
    assert float(result.residual.square().mean().sqrt()) < 0.6 * float(unguided)


@pytest.mark.parametrize("schedule", [VP(), VE(0.01, 50.0)])
def test_the_prior_of_a_model_is_the_mean_and_the_deviation_of_its_data(schedule):
    model = model_of((2, 6), shift=(5.0,), scale=(3.0,), schedule=schedule)
    prior = prior_of(model)
    close(prior.mean, model.scaling.to_data(model.mean[None])[0], atol=0.03 * 3)
    assert abs(prior.std / 3.0 - 0.6) < 0.06  # entries are correlated, and sigma_data is that of all of them


def test_tikhonov_is_the_posterior_mean_of_white_data_by_either_way():
    event, sigma = (2, 3, 4), 0.3
    operator, x = heat(event, 0.5), normal(event, 2)
    prior = Prior(normal(event, 1, 7)[0], 0.8)
    y = operator(x) + sigma * normal(event, 2, 9)
    a, mean = operator.matrix, prior.mean.flatten()
    gain = 0.64 * a.T @ torch.linalg.inv(0.64 * a @ a.T + sigma**2 * torch.eye(len(a), dtype=torch.float64))
    expected = (mean + (y.flatten(1) - mean @ a.T) @ gain.T).reshape(x.shape)
    close(tikhonov(operator, y, sigma, prior), expected, atol=1e-9)
    measured = Measured(y, operator, y, "heat")
    close(heat_inverse(measured, 0.5, sigma, prior, "tikhonov"), expected, atol=1e-9)


def test_block_means_of_repeated_cells_are_the_cells():
    for event in ((3, 4, 6), (1, 8), (6,)):
        operator = downsample(2, event)
        y = normal(operator.measured, 2)
        close(operator(repeated(y, event)), y, atol=1e-12)


@given(st.integers(0, 10_000), st.floats(0.05, 0.9))
@settings(max_examples=25, deadline=None)
def test_missing_entries_become_the_nearest_known_ones(seed, share):
    event = (2, 4, 5)
    x = normal(event, 1, seed)[0]
    index = torch.zeros(1, dtype=torch.int64)
    hidden = noise.uniform(event, seed=seed, index=index, stream=noise.Stream.SIMULATE)[0] < share
    hidden[0, 0, 0] = False
    filled = nearest_known(torch.where(hidden, torch.nan, x))
    close(filled[~hidden], x[~hidden])
    places = torch.cartesian_prod(*(torch.arange(size) for size in event)).double()
    places[:, 0] *= 100.0  # channels are apart
    known = (~hidden).flatten()
    distances = torch.cdist(places, places[known])
    best = distances.min(1).values
    for entry in range(len(places)):
        at_best = x.flatten()[known][(distances[entry] - best[entry]).abs() < 1e-9]
        assert bool((filled.flatten()[entry] == at_best).any())


def test_classical_inverses_have_names_and_the_shape_of_the_data():
    event, prior = (1, 4, 4), Prior(torch.zeros(1, 4, 4, dtype=torch.float64), 1.0)
    x = normal(event, 2)
    shown = torch.where(x > 0, x, torch.nan)
    cases = {
        "heat": (heat(event, 0.5), ["tikhonov", "truncated"], None),
        "downsample": (downsample(2, event), ["nearest"], None),
        "blur": (blur(torch.ones(3, 3) / 9, event), ["tikhonov"], None),
        "mask": (mask(x[0] > 0), ["nearest"], shown),
    }
    for name, (operator, names, seen) in cases.items():
        y = operator(x)
        found = classical(Measured(y, operator, y if seen is None else seen, name), 0.1, prior, time=0.5)
        assert list(found) == names
        assert all(tuple(inverse.shape) == (2, *event) for inverse in found.values())
        assert all(bool(torch.isfinite(inverse).all()) for inverse in found.values())


DIGITS = ModelConfig(
    event=(1, 4, 4),
    network=UNetSettings(width=8, multipliers=(1,)),
    schedule={"name": "vp"},
    bounds=(0.0, 16.0),
)
HEAT = Asked("heat", time=0.5)


def test_measurements_come_as_one_or_several_with_or_without_the_channel_axis(tmp_path):
    x = np.arange(48.0).reshape(3, 1, 4, 4)
    for array, count in ((x, 3), (x[:, 0], 3), (x[0], 1), (x[0, 0], 1)):
        np.save(tmp_path / "x.npy", array)
        (part,) = read_measured([tmp_path / "x.npy"], DIGITS, HEAT)
        assert tuple(part.y.shape) == (count, 1, 4, 4)
        close(part.y, torch.from_numpy(x[:count]))
    np.savez(tmp_path / "y.npz", x=x)
    (part,) = read_measured([tmp_path / "x.npy", tmp_path / "y.npz"], DIGITS, HEAT)
    assert len(part.y) == 4
    np.save(tmp_path / "small.npy", x[:, :, ::2, ::2])
    (part,) = read_measured([tmp_path / "small.npy"], DIGITS, Asked("downsample", factor=2))
    assert part.operator.event == (1, 4, 4)


def test_black_and_white_of_an_image_are_the_bounds_of_the_data(tmp_path):
    pixels = np.zeros((4, 4), np.uint8)
    pixels[0], pixels[1] = 255, 51
    Image.fromarray(pixels).convert("RGB").save(tmp_path / "x.png")
    (part,) = read_measured([tmp_path / "x.png"], DIGITS, HEAT)
    expected = torch.zeros(1, 1, 4, 4)
    expected[..., 0, :], expected[..., 1, :] = 16.0, 16.0 / 5
    close(part.y, expected, atol=1e-5)


def test_neighbours_with_the_same_missing_entries_share_an_operator(tmp_path):
    x = np.arange(64.0).reshape(4, 1, 4, 4)
    x[:, 0, 0, 0] = np.nan
    x[2:, 0, 3, 3] = np.nan
    np.save(tmp_path / "x.npy", x)
    parts = read_measured([tmp_path / "x.npy"], DIGITS, Asked("mask"))
    assert [tuple(part.y.shape) for part in parts] == [(2, 15), (2, 14)]
    shown = torch.cat([part.shown for part in parts])
    assert torch.equal(torch.isnan(shown), torch.from_numpy(np.isnan(x)))
    for part in parts:
        close(part.y, part.operator(part.shown.nan_to_num()))
    result = restore(model_of((1, 4, 4), bounds=(0.0, 16.0)), parts, 0.3, n=3, steps=4)
    assert tuple(result.samples.shape) == (4, 3, 1, 4, 4)
    assert torch.equal(torch.isnan(result.shown), torch.from_numpy(np.isnan(x)))


@pytest.mark.parametrize("kind", ["png", "npy", "bool"])
def test_a_mask_may_be_a_file(tmp_path, kind):
    known = np.zeros((4, 4), bool)
    known[:, :2] = True
    file = tmp_path / f"mask.{'png' if kind == 'png' else 'npy'}"
    if kind == "png":
        Image.fromarray((255 * known).astype(np.uint8)).save(file)
    else:
        np.save(file, known if kind == "bool" else known.astype(np.float32))
    np.save(tmp_path / "x.npy", np.ones((2, 1, 4, 4)))
    (part,) = read_measured([tmp_path / "x.npy"], DIGITS, Asked("mask", mask=file))
    assert part.operator.measured == (8,)
    assert bool(torch.isnan(part.shown[..., 2:]).all())


WRONG = {
    "shape": (
        Asked("heat", time=1.0),
        np.ones((2, 1, 5, 5)),
        "has shape (2, 1, 5, 5), but the heat of events",
    ),
    "coarse": (Asked("downsample", factor=2), np.ones((1, 4, 4)), "give (1, 2, 2), or (n, 1, 2, 2)"),
    "indivisible": (
        Asked("downsample", factor=3),
        np.ones((1, 4, 4)),
        "blocks of 3 cells do not fill",
    ),
    "nan": (Asked("heat", time=1.0), np.full((1, 4, 4), np.nan), "only --operator mask takes NaN"),
    "infinite": (Asked("mask"), np.full((1, 4, 4), np.inf), "infinite values; missing entries are NaN"),
    "nothing": (Asked("mask"), np.full((1, 4, 4), np.nan), "nothing is known of measurement 0"),
    "operator": (Asked("heta", time=1.0), None, "unknown operator 'heta'; did you mean 'heat'?"),
    "time": (Asked("heat"), None, "--operator heat needs its time, such as --time 0.5"),
    "factor": (Asked("downsample"), None, "--operator downsample needs its factor"),
    "kernel": (Asked("blur"), None, "--operator blur needs its kernel"),
    "foreign": (Asked("mask", time=1.0), None, "--time belongs to --operator heat, not to mask"),
    "negative": (Asked("heat", time=-1.0), None, "the time of heat flow is above 0"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_measurements_that_do_not_fit_are_refused_in_a_sentence(tmp_path, kind):
    asked, array, sentence = WRONG[kind]
    if array is not None:
        np.save(tmp_path / "x.npy", array)
    with pytest.raises(ValueError, match=re.escape(sentence)):
        read_measured([tmp_path / "x.npy"], DIGITS, asked)


def test_missing_files_and_foreign_masks_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_measured([tmp_path / "x.npy"], DIGITS, HEAT)
    np.save(tmp_path / "x.npy", np.ones((1, 4, 4)))
    np.save(tmp_path / "mask.npy", np.ones((3, 3)))
    with pytest.raises(ValueError, match=r"has shape \(3, 3\), but events have shape"):
        read_measured([tmp_path / "x.npy"], DIGITS, Asked("mask", mask=tmp_path / "mask.npy"))
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_measured([tmp_path / "x.npy"], DIGITS, Asked("blur", kernel=tmp_path / "none.npy"))
    (tmp_path / "x.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match="cannot be read as an image"):
        read_measured([tmp_path / "x.png"], DIGITS, HEAT)
    Image.new("L", (4, 4)).save(tmp_path / "y.png")
    with pytest.raises(ValueError, match="are no images with a range"):
        read_measured([tmp_path / "y.png"], DIGITS.model_copy(update={"bounds": None}), HEAT)


def test_noise_is_a_share_of_the_range_of_data_that_have_one():
    bounded, free = model_of((1, 4), bounds=(-2.0, 14.0)), model_of((1, 4))
    assert noise_of("0.02", [], bounded) == (0.32, "noise 0.02 of the range -2 to 14: 0.32")
    assert noise_of("0.02", [], free) == (0.02, "noise 0.02 in the data's units")
    for wrong in ("0", "-1", "inf", "nan"):
        with pytest.raises(ValueError, match="a standard deviation above 0"):
            noise_of(wrong, [], free)
    with pytest.raises(ValueError, match="--noise is a number above 0"):
        noise_of("little", [], free)


def test_unknown_noise_is_estimated_in_data_units():
    event, sigma = (1, 8), 1.5
    model = model_of(event, shift=(5.0,), scale=(3.0,))
    truth = model.scaling.to_data(model.denoiser.exact.sample_data(16, seed=3).double())
    parts = []
    for seed in (1, 2):  # two masks, so two operators
        operator = mask(normal(event, 1, seed)[0] > -0.5)
        some = truth[8 * (seed - 1) : 8 * seed]
        y = operator(some)
        y = (y + sigma * normal(operator.measured, 8, 10 + seed)).float()
        parts.append(Measured(y, operator, y, "mask"))
    value, sentence = noise_of("auto", parts, model)
    # Of m numbers a deviation has a relative error of 1 / sqrt(2 m); half of each entry is the data's own.
    count = sum(part.y.numel() for part in parts)
    assert abs(value / sigma - 1.0) < 4.0 / math.sqrt(count)
    assert sentence.startswith(f"noise estimated to be {value:.3g} ± ")


def test_estimated_noise_and_its_error_are_in_the_units_of_the_data():
    operator = mask(normal((1, 8), 1, 1)[0] > -0.5)
    y = (operator(0.6 * normal((1, 8), 4, 2)) + 0.4 * normal(operator.measured, 4, 3)).float()
    found = [
        estimated_noise([Measured(y * unit, operator, y, "mask")], model_of((1, 8), scale=(unit,)))
        for unit in (1.0, 8.0)
    ]
    (value, error), (wide, wide_error) = found
    assert error > 0.0
    assert (wide / value, wide_error / error) == pytest.approx((8.0, 8.0), rel=1e-3)


def test_both_files_are_written_unless_a_suffix_chooses_one(tmp_path):
    def names(out, folder=tmp_path):
        return [str(path.relative_to(tmp_path)) for path in outputs(out, folder, tmp_path / "my.heat.npy")]

    assert names(None) == ["samples/restored-my-heat.npz", "samples/restored-my-heat.png"]
    assert names(tmp_path / "x.png") == ["x.png"]
    assert names(tmp_path / "x") == ["x.npz", "x.png"]
    with pytest.raises(ValueError, match=r"written as \.png, \.npz"):
        names(tmp_path / "x.gif")


def test_too_few_samples_unknown_methods_and_levels_are_refused():
    model = model_of((1, 4))
    part = Measured(torch.zeros(1, 1, 4), heat((1, 4), 0.5), torch.zeros(1, 1, 4), "heat")
    for options, sentence in (
        ({"n": 1}, "at least 2 samples"),
        ({"method": "mpms"}, "unknown method 'mpms'; did you mean 'mmps'"),
        ({"level": 1.0}, "lies between 0 and 1"),
    ):
        with pytest.raises(ValueError, match=sentence):
            restore(model, [part], 0.1, **options)
    with pytest.raises(ValueError, match="above 0"):
        restore(model, [part], 0.0)


@pytest.mark.parametrize("event", [(1, 6, 6), (3, 6, 6), (1, 4, 4, 4), (2, 12), (5,)])
def test_a_sheet_shows_every_kind_of_data(event):
    model = model_of(event)
    operator = heat(event, 0.3)
    y = operator(normal(event, 3)).float()
    result = restore(model, [Measured(y, operator, y, "heat")], 0.2, n=4, steps=3, heat_time=0.3)
    labels = [label for label, _, _ in rows_of(result, truth=y)]
    assert labels[:3] == ["measurement", "Tikhonov", "truncated"]
    assert labels[-1] == "truth"
    wide, narrow = sheet(result), sheet(replace(result, mean=result.mean[:1]))
    assert wide.width > narrow.width
    assert len(set(wide.convert("L").tobytes())) > 20


def test_saved_arrays_are_those_of_the_restoration(tmp_path):
    model, operator = model_of((1, 4)), heat((1, 4), 0.5)
    y = operator(normal((1, 4), 2)).float()
    result = restore(model, [Measured(y, operator, y, "heat")], 0.1, n=3, steps=4, heat_time=0.5)
    result.save(tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz") as file:
        names = {"mean", "std", "low", "high", "samples", "residual", "measured", "noise", "covers"}
        assert set(file.files) == names | {"tikhonov", "truncated"}
        close(torch.from_numpy(file["samples"]), result.samples)
        assert file["noise"] == 0.1
        assert abs(float(file["covers"]) - 0.5) < 1e-9  # 3 samples: from the least to the largest


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_images_of_more_than_8_bits_are_refused_instead_of_cut_off(tmp_path, mode):
    values = np.linspace(0, 60000, 16).reshape(4, 4)
    kind = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
    Image.fromarray(values.astype(kind)).save(tmp_path / "x.tif")
    config = model_of((1, 4, 4), bounds=(0.0, 16.0)).config
    with pytest.raises(ValueError, match="pixels of more than 8 bits"):
        read_measured([tmp_path / "x.tif"], config, Asked("heat", time=0.5))


def test_masks_come_one_for_all_or_one_for_each_with_or_without_the_channel_axis(tmp_path):
    config = model_of((1, 4, 4)).config
    np.save(tmp_path / "x.npy", np.ones((3, 1, 4, 4)))
    for shape in ((4, 4), (1, 4, 4), (3, 4, 4), (3, 1, 4, 4)):
        np.save(tmp_path / "m.npy", np.arange(np.prod(shape)).reshape(shape) % 2)
        parts = read_measured([tmp_path / "x.npy"], config, Asked("mask", mask=tmp_path / "m.npy"))
        assert sum(part.y.numel() for part in parts) == 24
    np.save(tmp_path / "m.npy", np.ones((2, 1, 4, 4)))
    with pytest.raises(ValueError, match="one for each of 3 measurements"):
        read_measured([tmp_path / "x.npy"], config, Asked("mask", mask=tmp_path / "m.npy"))


def test_a_model_that_never_saw_data_without_their_class_is_asked_with_one():
    made = model_of((1, 4, 4))
    made.config = made.config.model_copy(update={"classes": ("a", "b")})
    made.denoiser.unconditional = False
    y = torch.ones(1, 16)
    part = Measured(y, mask(torch.ones(1, 4, 4, dtype=torch.bool)), y.reshape(1, 1, 4, 4), "mask")
    with pytest.raises(ValueError, match="give one \\(--class\\)"):
        restore(made, [part], 0.1, n=3, steps=3)
    check_condition(made, {"label": 0})
    speed = {"speed": ConditionSettings(shape=(1,))}
    made.config = made.config.model_copy(update={"classes": (), "conditions": speed})
    with pytest.raises(ValueError, match=r"whose speed is not given; it cannot be given on the command line"):
        check_condition(made, None)
    check_condition(model_of((1, 4, 4)), None)


def test_heat_needs_its_time_and_there_must_be_something_to_restore():
    model = model_of((1, 4, 4))
    y = torch.ones(1, 1, 4, 4)
    with pytest.raises(ValueError, match="give heat_time"):
        restore(model, [Measured(y, heat((1, 4, 4), 0.1), y, "heat")], 0.1)
    with pytest.raises(ValueError, match="no measurement to restore"):
        restore(model, [], 0.1)
