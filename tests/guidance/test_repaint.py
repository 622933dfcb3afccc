import pytest
import torch

from tests.helpers import SCHEDULES, check_moments, close
from unstir.denoisers import Gaussian, GaussianMixture, given
from unstir.guidance import RePaint
from unstir.processes import VP, Flow, Heat
from unstir.samplers import Ancestral, sample

N = 6
INDEX = torch.arange(N, dtype=torch.float64)
COVARIANCE = torch.exp(-(INDEX[:, None] - INDEX).abs() / 3)
KEEP = torch.tensor([True, False, False, True, False, True])


def mixture(schedule):
    means = torch.stack([torch.full((N,), -0.8, dtype=torch.float64), torch.linspace(-0.5, 1, N).double()])
    return GaussianMixture(schedule, means, covariances=torch.stack([0.15 * COVARIANCE, 0.2 * COVARIANCE]))


def conditional(exact, y):
    """The posterior of everything given the known entries, all but exactly."""
    return given(exact, y[KEEP], torch.eye(N, dtype=torch.float64)[KEEP], 1e-4)


def energy(x, y):
    x, y = x.double(), y.double()
    return float(2 * torch.cdist(x, y).mean() - torch.cdist(x, x).mean() - torch.cdist(y, y).mean())


@pytest.mark.parametrize(("schedule", "jump"), [(VP(), 1), (Flow(), 2)], ids=["vp", "flow"])
def test_the_distance_to_the_exact_conditional_falls_with_resampling(schedule, jump):
    exact = mixture(schedule)
    y = exact.sample_data(1, seed=5)[0]
    truth = conditional(exact, y).sample_data(512, seed=1)[:, ~KEEP]
    distance = [
        energy(
            sample(exact, (512, N), solver=RePaint(y, KEEP, resample=r, jump=jump), steps=10).x[:, ~KEEP],
            truth,
        )
        for r in (1, 3, 9)
    ]
    assert distance[0] > 3 * distance[1] > 6 * distance[2]
    assert distance[0] > 0.1


def test_with_many_steps_the_conditional_is_met():
    exact = mixture(Flow())
    y = exact.sample_data(1, seed=5)[0]
    one, other = (conditional(exact, y).sample_data(512, seed=seed)[:, ~KEEP] for seed in (1, 2))
    x = sample(exact, (512, N), solver=RePaint(y, KEEP, resample=10, jump=1), steps=30).x[:, ~KEEP]
    assert energy(x, one) < energy(one, other) + 0.005


def test_a_correlated_gaussian_has_the_conditional_moments():
    exact = Gaussian(VP(), torch.zeros(N, dtype=torch.float64), covariance=COVARIANCE)
    y = exact.sample_data(1, seed=3)[0]
    posterior = conditional(exact, y)
    deviation = posterior.covariances[0].diagonal().sqrt()[~KEEP]
    ratio = {}
    for variance in ("beta", "beta-tilde"):
        solver = RePaint(y, KEEP, resample=10, jump=2, variance=variance)
        x = sample(exact, (1024, N), solver=solver, steps=15).x.double()[:, ~KEEP]
        assert float(((x.mean(0) - posterior.means[0][~KEEP]) / deviation).abs().max()) < 0.15
        ratio[variance] = x.std(0) / deviation
    assert float((ratio["beta"] - 1).abs().max()) < 0.1
    assert float(ratio["beta-tilde"].max()) < 0.95  # the variance of a step for data that are one point


@pytest.mark.parametrize("name", ["vp", "ve", "sub-vp", "flow", "cosine", "table", "zero-table"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_known_entries_end_equal_to_y(name, dtype):
    exact = mixture(SCHEDULES[name])
    y = exact.sample_data(1, seed=5)[0].to(dtype)
    y[~KEEP] = torch.nan  # unknown entries are not looked at
    x_T = float(exact.schedule.sigma(1.0)) * torch.randn(4, N, dtype=dtype)
    x = sample(exact, x_T=x_T, solver=RePaint(y, KEEP, resample=2, jump=3), steps=5).x
    assert x.dtype == dtype
    assert torch.equal(x[:, KEEP], y[KEEP].expand(4, 3))
    assert torch.isfinite(x).all()


def test_known_entries_have_the_noise_of_their_level_on_the_way():
    exact = mixture(VP())
    y = torch.linspace(1, 2, N, dtype=torch.float64)
    grid = torch.tensor([1.0, 0.6, 0.3], dtype=torch.float64)
    x = sample(exact, (20000, N), solver=RePaint(y, KEEP, resample=2, jump=2), grid=grid).x.double()
    alpha, sigma = (float(f(0.3)) for f in (VP().alpha, VP().sigma))
    for k in torch.nonzero(KEEP)[:, 0].tolist():
        check_moments(x[:, k], alpha * float(y[k]), sigma**2)


@pytest.mark.parametrize("name", ["vp", "flow"])
def test_nothing_known_and_one_pass_is_ancestral_sampling(name):
    exact, nothing = mixture(SCHEDULES[name]), torch.zeros(N, dtype=torch.bool)
    solver = RePaint(torch.zeros(N), nothing, resample=1, jump=1)
    x = sample(exact, (8, N), solver=solver, steps=12).x
    close(x, sample(exact, (8, N), solver=Ancestral("beta"), steps=12).x)


def test_nothing_known_keeps_the_law_of_the_data_however_often_steps_are_repeated():
    exact = Gaussian(Flow(), torch.zeros(2, dtype=torch.float64), std=1.0)
    nothing = torch.zeros(2, dtype=torch.bool)
    solver = RePaint(torch.zeros(2), nothing, resample=4, jump=2, variance="learned")
    check_moments(sample(exact, (4000, 2), solver=solver, steps=15).x, 0.0, 1.0, z=6)


def test_all_known_is_y_for_each_sample():
    exact = mixture(VP())
    y = exact.sample_data(5, seed=2)
    x = sample(
        exact, (5, N), solver=RePaint(y, torch.ones(N, dtype=torch.bool), resample=2, jump=2), steps=4
    ).x
    close(x, y.float())


def test_samples_do_not_depend_on_the_batch_and_masks_may_differ():
    exact = mixture(VP())
    y = exact.sample_data(3, seed=2)
    keep = torch.stack([KEEP, ~KEEP, torch.ones(N, dtype=torch.bool)])
    together = sample(exact, (3, N), solver=RePaint(y, keep, resample=3, jump=2), steps=6).x
    for i in range(3):
        solver = RePaint(y[i], keep[i], resample=3, jump=2)
        close(sample(exact, (1, N), solver=solver, steps=6, first_index=i).x[0], together[i], atol=1e-5)


def test_a_mask_of_pixels_serves_all_channels():
    means = torch.tensor([-0.5, 0.5], dtype=torch.float64)[:, None, None, None].expand(2, 2, 3, 3)
    exact = GaussianMixture(VP(), means, stds=torch.tensor([0.2, 0.2]))
    keep = torch.eye(3, dtype=torch.bool)
    y = torch.full((2, 3, 3), 0.6)
    x = sample(exact, (64, 2, 3, 3), solver=RePaint(y, keep, resample=4, jump=2), steps=8).x
    assert torch.equal(x[:, :, keep], y[:, keep].expand(64, 2, 3))
    assert float(x[:, :, ~keep].mean()) > 0.4  # the rest is of the same mode


def test_every_evaluation_is_counted_and_the_step_to_data_is_not_divided():
    exact = mixture(VP())
    y = torch.zeros(N)
    assert sample(exact, (2, N), solver=RePaint(y, KEEP, resample=3, jump=4), steps=6).nfe == 5 * 12 + 3


def test_what_cannot_be_done_is_said():
    y = torch.zeros(N)
    with pytest.raises(ValueError, match="as booleans; got"):
        RePaint(y, KEEP.float())
    with pytest.raises(ValueError, match="resample=0 and jump=10"):
        RePaint(y, KEEP, resample=0)
    with pytest.raises(ValueError, match="does not fit y of shape"):
        RePaint(y, torch.ones(4, dtype=torch.bool))
    with pytest.raises(ValueError, match="a known entry of y is not finite"):
        RePaint(torch.full((N,), torch.nan), KEEP)
    with pytest.raises(ValueError, match="give one event, or one for each sample"):
        sample(mixture(VP()), (4, N), solver=RePaint(torch.zeros(3, N), KEEP))
    blurred = Gaussian(Heat(), torch.zeros(N, dtype=torch.float64), std=1.0)
    with pytest.raises(ValueError, match="under Heat entries of a noisy state mix known and unknown"):
        sample(blurred, (2, N), solver=RePaint(y, KEEP))
