"""From settings to objects: strings end here."""

from __future__ import annotations

from unstir.denoisers import Network
from unstir.training.noise_levels import Distribution, LogNormal, NoiseLevels, Uniform
from unstir.training.objective import Objective
from unstir.training.settings import NoiseLevelSettings, ObjectiveSettings
from unstir.training.weighting import (
    EDMWeighting,
    MinSNRWeighting,
    SigmoidWeighting,
    SNRWeighting,
    UniformWeighting,
    Weighting,
)


def build_noise_levels(settings: NoiseLevelSettings, *, whole: bool = False) -> NoiseLevels:
    """The sampler of training times that the settings describe; ``whole`` as in `Uniform`."""
    distribution: Distribution = Uniform(whole)
    if settings.distribution == "log-normal":
        distribution = LogNormal(settings.mean, settings.std)
    return NoiseLevels(distribution, stratified=settings.stratified, loss_aware=settings.loss_aware)


def build_objective(settings: ObjectiveSettings, denoiser: Network) -> Objective:
    """The objective that the settings describe, for a network."""
    weightings: dict[str, Weighting] = {
        "uniform": UniformWeighting(denoiser.target),
        "snr": SNRWeighting(),
        "min-snr": MinSNRWeighting(settings.gamma),
        "edm": EDMWeighting(denoiser.sigma_data),
        "sigmoid": SigmoidWeighting(settings.bias),
    }
    weighting = weightings[settings.weighting]
    return Objective(weighting, settings.kind, settings.steps, settings.bound_weight)
