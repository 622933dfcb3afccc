"""Fits find what was put in, their intervals cover it as often as they say, and doubts are put in words."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from tests.datasets import ROOT, needs
from unstir.physics import frap
from unstir.physics.frap_data import make_curve
from unstir.physics.frap_fit import fit_curves, fit_frap
from unstir.physics.frap_models import MODELS

APICCO = ROOT / "frap_apicco"
T = np.concatenate([np.arange(-10, 0), np.arange(70)]) * 0.25
W = 1.0


def curve(recovery, noise, seed, *, depth=0.7, mobile=0.85, scale=120.0, t=T, name="curve"):
    after = torch.from_numpy(t[t >= 0])
    clean = np.ones(len(t))
    clean[t >= 0] = frap.observed(recovery(after), depth=depth, mobile=mobile).numpy()
    draws = np.random.default_rng(seed).normal(size=len(t))
    return make_curve(t, scale * (clean + noise * draws), bleach=int((t < 0).sum()), name=name)


def diffusing(D=0.4):
    return lambda t: frap.uniform_spot(t, D, W)


def binding(D=0.5, k_on=0.3, k_off=0.1):
    return lambda t: frap.reaction_diffusion(t, D, W, (k_on,), (k_off,))


TRUTHS = {
    "diffusion": (diffusing(), {"D": 0.4}),
    "reaction": (lambda t: frap.reaction_dominant(t, 0.3), {"k_off": 0.3}),
    "reaction-diffusion": (binding(), {"D": 0.5, "k_on": 0.3, "k_off": 0.1}),
}


@pytest.mark.parametrize("model", TRUTHS)
def test_without_noise_every_parameter_is_found(model):
    recovery, truth = TRUTHS[model]
    problem = MODELS[model].problem([curve(recovery, 0.0, 0)], W, None)
    fit = problem.fit()
    found = problem.values(fit.theta)
    assert found == pytest.approx({**truth, "mobile": 0.85}, rel=1e-3)
    assert fit.coefficients[0] == pytest.approx([1.0, 0.7], rel=1e-3)


def test_a_gaussian_bleach_is_found_with_its_constant():
    depth = float(frap.gaussian_depth(3.0))
    one = curve(lambda t: frap.gaussian_spot(t, 0.4, W, 3.0), 0.0, 0, depth=depth)
    problem = MODELS["gaussian"].problem([one], W, None)
    assert problem.values(problem.fit().theta) == pytest.approx(
        {"D": 0.4, "mobile": 0.85, "K 0": 3.0}, rel=1e-3
    )


def test_a_finite_cell_is_not_taken_for_an_immobile_fraction():
    one = curve(lambda t: frap.finite_cell(t, 0.4, W, 2.5), 0.0, 0, mobile=1.0)
    whole = fit_curves([one], spot_radius=W, cell_radius=2.5, model="diffusion")
    endless = fit_curves([one], spot_radius=W, model="diffusion")
    assert whole["mobile"].value == pytest.approx(1.0, abs=1e-4)
    assert whole["D"].value == pytest.approx(0.4, rel=1e-4)
    assert endless["mobile"].value < 0.93


@pytest.mark.parametrize("model", TRUTHS)
def test_the_data_choose_the_model_that_made_them(model):
    fit = fit_curves([curve(TRUTHS[model][0], 0.004, 3)], spot_radius=W)
    assert fit.model == model
    assert min(fit.criteria, key=fit.criteria.get) == model
    assert fit.autocorrelation_p > 0.01
    for name, value in TRUTHS[model][1].items():
        low, high = fit[name].profile
        assert (low or 0.0) < value < (high or np.inf)


def coverage(count, noise=0.03):
    """How often the profile and the covariance interval hold the true D and mobile fraction."""
    inside, linear = np.zeros((count, 2)), np.zeros((count, 2))
    for seed in range(count):
        problem = MODELS["diffusion"].problem([curve(diffusing(), noise, seed)], W, None)
        fit = problem.fit(keep=1)
        limit = problem.quantile(0.95)
        for i, truth in enumerate((0.4, 0.85)):
            inside[seed, i] = problem.distance(fit, i, truth) <= limit
            low, high = problem.covariance_interval(fit, i, 0.95)
            linear[seed, i] = low <= truth <= high
    return inside.mean(0), linear.mean(0)


def test_the_95_percent_intervals_cover_the_truth_in_a_short_simulation():
    for shares in coverage(60):
        assert (shares >= 0.87).all()
        assert (shares <= 1.0).all()


@pytest.mark.slow
def test_the_95_percent_intervals_cover_the_truth_95_percent_of_the_time():
    for shares in coverage(1000):
        assert shares == pytest.approx(0.95, abs=0.02)


def test_fast_binding_leaves_rates_open_and_says_so():
    fit = fit_curves([curve(diffusing(), 0.01, 1)], spot_radius=W, model="reaction-diffusion")
    assert fit["D"].profile[1] is None
    assert fit["k_on"].profile[1] is None or fit["k_off"].profile[1] is None
    text = "\n".join(fit.lines())
    assert "D is above" in text
    assert "no upper limit" in text


def test_curves_that_share_their_physics_are_fitted_together_and_narrow_the_interval():
    many = [curve(diffusing(), 0.03, seed, depth=0.4 + 0.1 * seed, name=f"{seed}") for seed in range(4)]
    joint = fit_curves(many, spot_radius=W, model="diffusion")
    single = fit_curves(many[:1], spot_radius=W, model="diffusion")
    assert joint.spread_p > 0.05
    assert [s.name for s in joint.spreads] == ["D", "mobile"]
    assert all(len(s.values) == 4 for s in joint.spreads)
    width = [np.log(fit["D"].profile[1] / fit["D"].profile[0]) for fit in (joint, single)]
    assert width[0] < 0.7 * width[1]
    assert [depth for _, depth in joint.levels] == pytest.approx([0.4, 0.5, 0.6, 0.7], abs=0.06)


def test_curves_that_differ_are_called_different():
    many = [curve(diffusing(D), 0.01, i, name=f"{i}") for i, D in enumerate((0.1, 0.4, 1.6))]
    fit = fit_curves(many, spot_radius=W, model="diffusion")
    assert fit.spread_p < 1e-6
    assert any("differ by more than their noise" in sentence for sentence in fit.warnings())
    assert fit.spreads[0].mean == pytest.approx(0.4, rel=0.1)
    assert fit.spreads[0].interval[0] < 0.1


def test_a_baseline_that_drifts_is_seen_in_the_residuals():
    one = curve(diffusing(), 0.01, 0)
    drift = make_curve(T, one.intensity * (1 + 0.05 * np.sin(T)), bleach=10)
    assert any(
        "not independent" in s for s in fit_curves([drift], spot_radius=W, model="diffusion").warnings()
    )


def test_the_report_is_plain_data_and_a_picture():
    fit = fit_curves([curve(diffusing(), 0.03, 0)], spot_radius=W, model="diffusion")
    plain = json.loads(json.dumps(fit.to_dict(), allow_nan=False))
    assert plain["parameters"]["D"]["value"] == fit["D"].value
    assert plain["curves"][0]["before"] == pytest.approx(120.0, rel=0.05)
    figure = Figure(figsize=(9, 5))
    fit.draw(figure)
    assert {axes.get_xlabel() for axes in figure.axes} >= {"time after the bleach (s)", "$D$ (µm²/s)"}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"spot_radius": 0.0}, "the spot radius is above 0"),
        ({"spot_radius": 1.0, "model": "diffusoin"}, "did you mean 'diffusion'"),
        ({"spot_radius": 1.0, "level": 95}, "between 0 and 1"),
        ({"spot_radius": 1.0, "cell_radius": 0.5}, "larger than the spot"),
    ],
)
def test_settings_that_cannot_be_are_one_sentence(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        fit_curves([curve(diffusing(), 0.03, 0)], **settings)


def test_no_file_is_one_sentence():
    with pytest.raises(ValueError, match="no recovery curve"):
        fit_frap([], spot_radius=1.0)


@needs(APICCO)
def test_measured_curves_of_yeast_have_sensible_rates_and_their_drift_is_told():
    rates = []
    for path in sorted(APICCO.glob("data_*.txt"))[::2]:
        fit = fit_frap([path], spot_radius=0.5, interval=1.0, model="reaction")
        low, high = fit["k_off"].profile
        assert low is not None
        assert high is not None
        assert high < 6 * low
        assert 0.15 < fit.levels[0][1] < 0.8
        assert fit["mobile"].value > 0.6
        above = fit["mobile"].profile[0] > 1.0
        assert above == any("mobile fraction is above 1" in sentence for sentence in fit.warnings())
        rates.append(fit["k_off"].value)
    # A curve that drifts upwards to its end seems slow; the others recover in some ten frames.
    assert 0.02 < sorted(rates)[1] < max(rates) < 0.3
