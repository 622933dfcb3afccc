import pytest
import torch

from tests.helpers import SCHEDULES, close
from unstir.denoisers import Gaussian
from unstir.guidance.strength import active, check_weight, check_window
from unstir.guidance.tilt import seen, shifted
from unstir.processes import VP, Flow, Heat


@pytest.mark.parametrize("name", ["vp", "flow", "ve", "sub-vp", "cosine", "table"])
def test_a_gradient_moves_the_mean_by_tweedies_formula(name):
    # The score of N(m, s^2) tilted by exp(b x_t): the mean of the tilted density's denoiser.
    schedule, t = SCHEDULES[name], 0.6
    x = torch.randn(5, 3, dtype=torch.float64)
    b = torch.tensor([0.2, -0.3, 0.1], dtype=torch.float64).expand(5, 3)
    prior = Gaussian(schedule, torch.zeros(3), std=1.0)
    score = prior.score(x, t) + b
    alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
    close(prior(x, t).mean + shifted(schedule, x, t, b), (x + sigma**2 * score) / alpha, atol=1e-9)


def test_under_blurring_every_mode_moves_by_its_own_factor():
    schedule, t, x = Heat(), 0.2, torch.randn(2, 1, 6, 6, dtype=torch.float64)
    gradient = torch.randn(2, 1, 6, 6, dtype=torch.float64)
    prior = Gaussian(schedule, torch.zeros(1, 6, 6), std=1.0)
    moved = prior(x, t).mean + shifted(schedule, x, t, gradient)
    modes = schedule.modes((1, 6, 6))
    alpha, sigma = modes.alpha(t), modes.sigma(t)
    assert bool((alpha > 1e-3 * sigma).all())  # no mode is beyond sight
    state, score = schedule.to_modes(x), schedule.to_modes(prior.score(x, t) + gradient)
    close(schedule.to_modes(moved), (state + sigma**2 * score) / alpha, atol=1e-8)


def test_modes_that_are_blurred_away_stay_finite():
    schedule = Heat()
    x = torch.randn(2, 1, 8, 8)
    assert torch.isfinite(shifted(schedule, x, 1.0, torch.randn(2, 1, 8, 8))).all()


def test_pure_noise_is_looked_at_where_data_begin_to_show():
    assert seen(VP(), 1.0) == 1.0
    late = seen(Flow(), 1.0)
    assert isinstance(late, float)
    assert late < 1.0
    assert float(Flow().log_snr(late)) == pytest.approx(-14.0)
    times = seen(Flow(), torch.tensor([0.5, 1.0]))
    assert times[0] == 0.5
    assert float(times[1]) == pytest.approx(late)


def test_windows_and_weights():
    assert active(VP(), torch.tensor([0.0, 1.0]), (0.0, 1.0)).all()
    assert not active(VP(), 1.0, (0.5, 1.0))
    check_window((0.0, 0.3))
    check_weight(torch.tensor([0.0, 2.0]), "0 means none")
    with pytest.raises(ValueError, match=r"at least 0 \(0 means none\), got -2"):
        check_weight(torch.tensor([0.0, -2.0]), "0 means none")
    with pytest.raises(ValueError, match="got inf"):
        check_weight(float("inf"), "0 means none")
    with pytest.raises(ValueError, match="one for each sample, got the shape"):
        check_weight(torch.ones(2, 2), "0 means none")
