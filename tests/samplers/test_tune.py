import math

import pytest
import torch

from tests.helpers import close
from unstir import noise
from unstir.denoisers import Denoiser, GaussianMixture, Posterior
from unstir.evaluation.problems import exact_flow
from unstir.processes import VP, Cosine, Flow
from unstir.samplers import Multistep, sample
from unstir.samplers.tune import TunedGrid, fine_reference, rms, tune

MEANS = torch.tensor([[-1.0, 0.4], [0.9, 0.1], [0.2, -0.8]], dtype=torch.float64)


def mixture(schedule):
    return GaussianMixture(schedule, MEANS, stds=torch.tensor([0.2, 0.3, 0.25]))


def start(schedule, seed, count=24, dtype=torch.float64):
    index = torch.arange(count)
    z = noise.normal((2,), seed=seed, index=index, stream=noise.Stream.START, dtype=dtype)
    return z * float(schedule.sigma(1.0))


@pytest.mark.parametrize("schedule", [VP(), Flow()], ids=["vp", "flow"])
@pytest.mark.parametrize("evaluations", [4, 6])
def test_a_tuned_grid_is_more_accurate_on_noise_it_never_saw(schedule, evaluations):
    denoiser, seen, unseen = mixture(schedule), start(schedule, 1, 150), start(schedule, 2, 150)
    told = []
    tuned = tune(denoiser, seen, evaluations, reference=exact_flow(denoiser, seen), on_round=told.append)
    assert tuned.evaluations == evaluations
    exact = exact_flow(denoiser, unseen)
    default = sample(denoiser, x_T=unseen, steps=evaluations)
    mine = sample(denoiser, x_T=unseen, grid=tuned.grid(schedule), solver=tuned.solver())
    assert mine.nfe == default.nfe == evaluations
    assert rms(mine.x, exact) < 0.8 * rms(default.x, exact)
    assert told == sorted(told, reverse=True)


def test_the_fine_reference_is_the_flow():
    denoiser, x = mixture(Cosine()), start(Cosine(), 3)
    assert rms(fine_reference(denoiser, x), exact_flow(denoiser, x)) < 1e-5


def test_float32_denoisers_are_tuned_too():
    denoiser, x = mixture(VP()), start(VP(), 1, dtype=torch.float32)
    tuned = tune(denoiser, x, 4, rounds=5)
    reference = fine_reference(denoiser, x)
    assert rms(sample(denoiser, x_T=x, grid=tuned.grid(VP()), solver=tuned.solver()).x, reference) < rms(
        sample(denoiser, x_T=x, steps=4).x, reference
    )


def test_a_tuned_grid_goes_from_noise_to_data_whatever_the_schedule():
    tuned = TunedGrid((8.0, 1.0, 0.1), 3, 3, 2, 0.5)
    for schedule in (VP(), Flow(), Cosine()):
        grid = tuned.grid(schedule)
        assert grid[0] == 1.0
        assert grid[-1] == 0.0
        close(torch.exp(-0.5 * schedule.log_snr(grid[1:-1])), torch.tensor([8.0, 1.0, 0.1]), rtol=1e-7)
    assert isinstance(tuned.solver(), Multistep)
    assert tuned.evaluations == 4


def test_tuning_survives_a_denoiser_that_fails_on_some_grids():
    class Fragile(Denoiser):
        schedule = VP()

        def forward(self, x_t, t, **condition):
            mean = mixture(VP())(x_t, t).mean
            r = math.exp(-0.5 * float(VP().log_snr(t)))
            return Posterior(mean * (math.nan if 0.09 < r < 0.1 else 1.0))

    x = start(VP(), 1)
    tuned = tune(Fragile(), x, 4, rounds=4, reference=exact_flow(mixture(VP()), x))
    assert torch.isfinite(sample(Fragile(), x_T=x, grid=tuned.grid(VP()), solver=tuned.solver()).x).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"evaluations": 1}, "something to tune from 2 evaluations on, got 1"),
        ({"evaluations": 4, "rounds": 0}, "at least 1 round, got 0"),
    ],
)
def test_nothing_to_tune_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        tune(mixture(VP()), start(VP(), 1), **options)
