import math

import pytest
import torch

from tests.helpers import SCHEDULES, check_moments, close
from unstir.denoisers import Gaussian, GaussianMixture, given
from unstir.guidance import DDRM, LinearOperator
from unstir.processes import VE, VP, Flow, Heat
from unstir.samplers import DDIM, sample

N = 6
INDEX = torch.arange(N, dtype=torch.float64)
COVARIANCE = torch.exp(-(INDEX[:, None] - INDEX).abs() / 3)
MATRIX = torch.randn(3, N, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def correlated(schedule):
    return Gaussian(schedule, torch.full((N,), 0.3, dtype=torch.float64), covariance=COVARIANCE)


def measured(exact, noise):
    y = exact.sample_data(1, seed=5) @ MATRIX.T
    return y[0] + noise * torch.randn(3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def step_of_the_paper(x, mean, y, s, noise, r, r_next, eta, eta_b, z):
    """Kawar et al. 2022, eq. 8, for one direction of VE states; written as printed, in numbers."""
    if s == 0:
        return mean + math.sqrt(1 - eta**2) * r_next * (x - mean) / r + eta * r_next * z
    if r_next < noise / s:
        return mean + math.sqrt(1 - eta**2) * r_next * (y / s - mean) / (noise / s) + eta * r_next * z
    return (1 - eta_b) * mean + eta_b * y / s + math.sqrt(r_next**2 - (eta_b * noise / s) ** 2) * z


@pytest.mark.parametrize(("eta", "eta_b"), [(0.85, 1.0), (0.3, 0.6), (1.0, 0.0)])
def test_a_step_is_that_of_the_paper_in_every_direction(eta, eta_b):
    # Three measured directions, one of them well, one badly and one not at all; a fourth has no row.
    from unstir import noise as random
    from unstir.samplers.solve import Problem

    exact = Gaussian(VE(), torch.tensor([0.2, -0.5, 1.0, 0.4], dtype=torch.float64), std=0.8)
    values, y, noise = [2.0, 0.05, 0.0], torch.tensor([0.7, -0.1, 3.0], dtype=torch.float64), 0.3
    solver = DDRM(
        y, torch.eye(3, 4, dtype=torch.float64) * torch.tensor(values)[:, None], noise, eta=eta, eta_b=eta_b
    )
    t, s = float(VE().time(-2 * math.log(2.0))), float(VE().time(-2 * math.log(0.9)))
    problem = Problem(exact, torch.tensor([t, s, 0.0], dtype=torch.float64), torch.arange(2), 0, {})
    x = torch.tensor([[1.0, 2.0, -1.0, 0.0], [0.3, -3.0, 0.2, 1.0]], dtype=torch.float64)
    state = solver.init(problem, x, t)
    z = random.normal((4,), seed=0, index=torch.arange(2), stream=random.Stream.STEP, dtype=torch.float64)
    after, mean = solver.step(state, s).x, exact(state.x, t).mean
    for i in range(2):
        for j, value in enumerate([*values, 0.0]):
            number = float(y[j]) if j < 3 else 0.0
            expected = step_of_the_paper(
                float(state.x[i, j]),
                float(mean[i, j]),
                number,
                value,
                noise,
                2.0,
                0.9,
                eta,
                eta_b,
                float(z[i, j]),
            )
            close(after[i, j], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["vp", "ve", "sub-vp", "flow"])
def test_the_start_has_the_law_of_the_paper(name):
    # N(y / s, r^2 - noise^2 / s^2) for x / alpha; what starts less noisy than measured stays as it is.
    schedule = SCHEDULES[name]
    solver = DDRM(torch.tensor([3.0, 3.0]), torch.diag(torch.tensor([2.0, 1e-4])), 0.5)
    level = [float(f(0.8)) for f in (schedule.alpha, schedule.sigma)]
    z = torch.randn(20000, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    from unstir.samplers.solve import Problem

    exact = Gaussian(schedule, torch.zeros(2), std=1.0)
    problem = Problem(exact, torch.tensor([0.8, 0.0], dtype=torch.float64), torch.arange(20000), 0, {})
    x = solver.init(problem, level[1] * z, 0.8).x
    check_moments(x[:, 0], level[0] * 1.5, level[1] ** 2 - (level[0] * 0.25) ** 2)
    close(x[:, 1], level[1] * z[:, 1], rtol=1e-12)


@pytest.mark.parametrize("schedule", [VP(), Flow()], ids=["vp", "flow"])
def test_nothing_measured_is_sampling_without_a_measurement(schedule):
    exact = correlated(schedule)
    nothing = torch.zeros(2, N, dtype=torch.float64)
    free = sample(exact, (16, N), solver=DDIM(0.0), steps=10).x
    x = sample(exact, (16, N), solver=DDRM(torch.ones(2), nothing, 0.1, eta=0.0), steps=10).x
    close(x, free, atol=2e-5)
    # With fresh noise it is the generalised DDIM of deviation eta sigma_s (Song, Meng & Ermon 2021, eq. 12).
    x = sample(exact, (16, N), solver=DDRM(torch.ones(2), nothing, 0.1, eta=0.85), steps=10).x
    again = sample(exact, (16, N), solver=DDRM(-torch.ones(2), nothing, 0.7, eta=0.85), steps=10).x
    close(x, again)


@pytest.mark.parametrize("name", ["vp", "ve", "flow", "cosine", "table"])
def test_as_the_noise_goes_to_zero_the_result_fits_the_measurement_exactly(name):
    exact = correlated(SCHEDULES[name])
    y = measured(exact, 0.0)
    x = sample(exact, (64, N), solver=DDRM(y, MATRIX, 1e-9), steps=20).x
    close(x.double() @ MATRIX.T, y.expand(64, 3), atol=1e-5)
    assert float(x.std(0).min()) > 0.05  # and the rest is drawn


@pytest.mark.parametrize("eta_b", [0.0, 0.5])
def test_less_trust_fits_less(eta_b):
    exact = correlated(VP())
    y = measured(exact, 0.0)
    fit = [
        float(
            (sample(exact, (64, N), solver=DDRM(y, MATRIX, 1e-3, eta_b=b)).x @ MATRIX.T.float() - y)
            .abs()
            .mean()
        )
        for b in (eta_b, 1.0)
    ]
    assert fit[0] > 3 * fit[1]


def test_a_gaussian_posterior_is_met_roughly_and_no_better():
    # Means within a quarter of the data's deviation, deviations 0.7 to 1 of the exact: DDRM is approximate.
    exact = correlated(VP())
    y = measured(exact, 0.1)
    posterior = given(exact, y, MATRIX, 0.1)
    x = sample(exact, (2048, N), solver=DDRM(y, MATRIX, 0.1), steps=20).x.double()
    unmeasured = sample(exact, (2048, N), steps=20).x.double()
    error = (x.mean(0) - posterior.means[0]).abs().max()
    assert 0.05 < float(error) < 0.25
    assert float(error) < 0.3 * float((unmeasured.mean(0) - posterior.means[0]).abs().max())
    ratio = x.std(0) / posterior.covariances[0].diagonal().sqrt()
    assert 0.7 < float(ratio.min()) < float(ratio.max()) < 1.0


def test_with_small_noise_more_steps_bring_the_mean_of_a_gaussian_near():
    exact = correlated(Flow())
    y = measured(exact, 0.0)
    posterior = given(exact, y, MATRIX, 1e-6)
    error = [
        float(
            (sample(exact, (2048, N), solver=DDRM(y, MATRIX, 1e-6), steps=n).x.mean(0) - posterior.means[0])
            .abs()
            .max()
        )
        for n in (10, 40, 160)
    ]
    assert error[0] > 1.5 * error[1] > 2.25 * error[2]
    assert error[2] < 0.08


def test_samples_do_not_depend_on_the_batch_and_have_their_own_measurements():
    exact = correlated(VP())
    y = torch.stack([measured(exact, 0.1), -measured(exact, 0.1), torch.zeros(3, dtype=torch.float64)])
    together = sample(exact, (3, N), solver=DDRM(y, MATRIX, 0.1), steps=10).x
    for i in range(3):
        alone = sample(exact, (1, N), solver=DDRM(y[i], MATRIX, 0.1), steps=10, first_index=i).x
        close(alone[0], together[i], atol=1e-5)


def test_events_of_any_shape_and_noise_for_each_entry():
    exact = GaussianMixture(Flow(), torch.zeros(1, 2, 3, 2, dtype=torch.float64), stds=torch.tensor([0.5]))
    operator = LinearOperator(lambda x: x[:, 0], event=(2, 3, 2), name="first channel")
    noise = torch.full((3, 2), 1e-4, dtype=torch.float64)
    noise[2] = 1e3
    y = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(3, 2)
    x_T = torch.randn(32, 2, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = sample(exact, x_T=x_T, solver=DDRM(y, operator, noise)).x
    assert x.dtype == torch.float64
    close(x[:, 0, :2], y[:2].expand(32, 2, 2), atol=1e-3)
    assert float((x[:, 0, 2] - y[2]).abs().mean()) > 0.3


def test_what_cannot_be_done_is_said():
    y = torch.zeros(3)
    with pytest.raises(ValueError, match="eta of DDRM lies between 0 and 1"):
        DDRM(y, MATRIX, 0.1, eta=1.1)
    with pytest.raises(ValueError, match="eta_b of DDRM"):
        DDRM(y, MATRIX, 0.1, eta_b=-0.1)
    with pytest.raises(ValueError, match="plain function"):
        DDRM(y, lambda x: x, 0.1)
    with pytest.raises(ValueError, match="there are 2 measurements for 5 samples"):
        sample(correlated(VP()), (5, N), solver=DDRM(torch.zeros(2, 3), MATRIX, 0.1))
    blurred = Gaussian(Heat(), torch.zeros(N, dtype=torch.float64), std=1.0)
    with pytest.raises(ValueError, match="under Heat the noise level differs between modes"):
        sample(blurred, (2, N), solver=DDRM(y, MATRIX, 0.1))
