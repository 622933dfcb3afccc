import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import EPS, close
from unstir.processes import Table, cosine_betas, from_betas, linear_betas, zero_terminal_betas

TABLES = {
    "linear": linear_betas(),
    "cosine": cosine_betas(),
    "short": linear_betas(7, 0.01, 0.5),
    "zero-terminal": zero_terminal_betas(linear_betas()),
}
betas_lists = st.lists(st.floats(1e-6, 0.999), min_size=1, max_size=20)


@pytest.mark.parametrize("name", TABLES)
def test_every_step_of_the_table_is_the_product_of_its_alphas(name):
    betas = TABLES[name]
    bar = (1 - betas).cumprod(0)
    t = torch.arange(1, len(betas) + 1, dtype=torch.float64) / len(betas)
    schedule = from_betas(betas)
    # The time i / T carries a rounding that the rate of the last steps multiplies.
    close(schedule.alpha(t)[:-1] ** 2, bar[:-1], rtol=1e-10)
    close(schedule.alpha(1.0) ** 2, bar[-1], rtol=1e-10)
    close(schedule.sigma(t) ** 2, 1 - bar, rtol=1e-10)


@given(betas=betas_lists, share=st.floats(0.0, 1.0))
def test_between_two_steps_the_log_of_alpha_is_linear(betas, share):
    schedule, count = from_betas(betas), len(betas)
    left, right = schedule.alpha((count - 1) / count).log(), schedule.alpha(1.0).log()
    inside = schedule.alpha((count - 1 + share) / count).log()
    close(inside, (1 - share) * left + share * right, rtol=1e-12, atol=64 * EPS)


@given(betas=betas_lists, share=st.floats(0.0, 1.0))
def test_before_zero_terminal_snr_alpha_is_linear(betas, share):
    schedule, count = from_betas([*betas, 1.0]), len(betas) + 1
    t = (count - 1 + share) / count
    start = math.sqrt(math.prod(1 - beta for beta in betas))
    close(schedule.alpha(t), start * (count - t * count), rtol=1e-12, atol=count * 4 * EPS)
    assert float(schedule.alpha(1.0)) == 0.0


@given(betas=betas_lists, last=st.booleans(), t=st.floats(0.0, 1.0))
def test_time_inverts_any_table(betas, last, t):
    schedule = from_betas([*betas, 1.0] if last else betas)
    log_snr = schedule.log_snr(t)
    # The slower of the two steps that meet at t, if two do.
    rate = min(abs(float(schedule.drift(u))) for u in (max(t - 1e-9, 0.0), min(t + 1e-9, 1 - 1e-9)))
    # B = -log alpha^2 is recovered to the rounding of the log-SNR, and t from B at this rate; B itself
    # is rounded in the table.
    tolerance = 64 * EPS * (1 + abs(float(log_snr)) if t > 0 else 1) * (t + 1 / rate) + 8 * EPS
    assert abs(float(schedule.time(log_snr)) - t) <= tolerance


def test_the_linear_table_is_that_of_ddpm():
    betas = linear_betas()
    assert betas.dtype == torch.float64
    assert (len(betas), betas[0].item(), betas[-1].item()) == (1000, 1e-4, 0.02)
    close(betas.diff(), torch.full((999,), (0.02 - 1e-4) / 999, dtype=torch.float64), rtol=1e-9)
    # Ho et al. 2020: x_T is within 1e-4 bits a dimension of noise; alpha-bar is 4.04e-5.
    close(from_betas(betas).alpha(1.0) ** 2, 4.0358e-5, rtol=1e-4)


def test_the_cosine_table_is_that_of_nichol_and_dhariwal():
    betas = cosine_betas()
    i = torch.arange(1001, dtype=torch.float64) / 1000
    f = torch.cos((i + 0.008) / 1.008 * math.pi / 2) ** 2
    bar = f / f[0]
    assert len(betas) == 1000
    close((1 - betas).cumprod(0)[:-1], bar[1:-1], rtol=1e-11)
    assert betas[-1].item() == 0.999
    assert (betas[:-1] < 0.999).all()
    assert cosine_betas(10, largest=0.5).max().item() == 0.5


@pytest.mark.parametrize("name", ["linear", "cosine", "short"])
def test_zero_terminal_betas_follow_lin_et_al(name):
    betas = TABLES[name]
    result = zero_terminal_betas(betas)
    root = (1 - betas).cumprod(0).sqrt()
    first, last = root[0], root[-1]
    expected = (root - last) * first / (first - last)  # algorithm 1, lines 8 to 11
    close((1 - result).cumprod(0).sqrt(), expected, rtol=1e-9)
    assert result[-1].item() == 1.0
    close(result[0], betas[0], rtol=1e-10)
    schedule = from_betas(result)
    assert float(schedule.alpha(1.0)) == 0.0
    assert float(schedule.sigma(1.0)) == 1.0


def test_rescaling_twice_changes_nothing():
    once = zero_terminal_betas(linear_betas(20, 1e-3, 0.3))
    close(zero_terminal_betas(once), once, rtol=1e-12)


def test_a_table_takes_lists_and_float32_tensors():
    assert from_betas([0.1, 0.2]) == Table((0.1, 0.2))
    assert from_betas(torch.tensor([0.5, 0.25])).betas == (0.5, 0.25)
    assert hash(from_betas([0.1, 0.2])) == hash(Table((0.1, 0.2)))


@pytest.mark.parametrize(
    ("betas", "message"),
    [
        ([], "a list of at least one number"),
        ([0.0], "every beta lies between 0 and 1"),
        ([0.1, -0.1, 0.2], "every beta lies between 0 and 1 .* got values from -0.1 to 0.2"),
        ([1.0, 0.5], "only the last may be 1"),
        ([0.5, 1.1], "every beta"),
        ([math.nan, 0.5], "every beta"),
        ([0.5, math.nan], "every beta"),
    ],
)
def test_betas_out_of_range_are_refused(betas, message):
    with pytest.raises(ValueError, match=message):
        from_betas(betas)


@pytest.mark.parametrize("betas", [[0.5], [[0.1, 0.2]]])
def test_rescaling_needs_two_betas(betas):
    with pytest.raises(ValueError, match="a table of at least two betas"):
        zero_terminal_betas(betas)
