import itertools
import math

import pytest
import torch

from tests.helpers import check_moments, close
from unstir import noise
from unstir.processes import SDE, geometric_brownian_motion, ornstein_uhlenbeck


def grid_of(end, steps):
    return torch.linspace(0.0, end, steps + 1, dtype=torch.float64)


def orders(errors):
    return [math.log2(a / b) for a, b in itertools.pairwise(errors)]


class Path:
    """Brownian motion known at multiples of 2^-8 up to 1: as `BrownianPath`, and quick."""

    def __init__(self, event, batch):
        z = noise.normal(
            (256, *event), seed=4, index=torch.arange(batch), stream=noise.Stream.DATA, dtype=torch.float64
        )
        self.values = torch.cat([torch.zeros_like(z[:, :1]), z.cumsum(1) / 16.0], dim=1)

    def at(self, t):
        return self.values[:, round(256 * float(t))]

    def increment(self, a, b):
        return self.at(b) - self.at(a)


def strong_errors(sde, x, method, exact, steps, event=(1,)):
    """Root mean square distance at t = 1 from the exact solution along the same Brownian paths."""
    errors, path = [], Path(event, len(x))
    for n in steps:
        end = sde.simulate(x, grid_of(1.0, n), method=method, brownian=path)
        errors.append(float((end - exact(path.at(1.0))).square().mean().sqrt()))
    return errors


@pytest.mark.parametrize(("method", "order"), [("euler-maruyama", 0.5), ("milstein", 1.0), ("tamed", 0.5)])
def test_the_strong_order_on_geometric_brownian_motion_along_common_paths(method, order):
    sde = geometric_brownian_motion(0.5, 0.5)
    x = torch.ones(3000, 1, dtype=torch.float64)
    errors = strong_errors(sde, x, method, lambda w: (0.375 + 0.5 * w).exp(), (32, 64, 128, 256))
    assert sum(orders(errors)) / 3 == pytest.approx(order, abs=0.1)


def test_both_methods_have_weak_order_one_on_geometric_brownian_motion():
    # Against the exact solution along the same paths, so that the sampling noise does not hide the bias.
    sde = geometric_brownian_motion(1.0, 0.3)
    x = torch.ones(10000, 1, dtype=torch.float64)
    path = Path((1,), len(x))
    for method in ("euler-maruyama", "milstein"):
        biases = []
        for n in (4, 8, 16):
            end = sde.simulate(x, grid_of(1.0, n), method=method, brownian=path)
            biases.append(float((end - (1.0 - 0.045 + 0.3 * path.at(1.0)).exp()).mean().abs()))
        assert all(order == pytest.approx(1.0, abs=0.2) for order in orders(biases)), (method, biases)


def test_milstein_keeps_order_one_when_one_noise_drives_a_rotating_plane():
    # dx = A x dt + B x dw with commuting A and B: x_1 = exp((A - B^2 / 2) + B w_1) x_0.
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
    A, B = 0.3 * turn, 0.2 * torch.eye(2).double() + 0.6 * turn
    sde = SDE(lambda x, t: x @ A.mT, lambda x, t: (x @ B.mT)[:, :, None])
    x = torch.tensor([[1.0, 0.5]]).double().expand(1000, 2)

    def exact(w):
        return (torch.matrix_exp(A - 0.5 * B @ B + w[:, :, None] * B) @ x[:, :, None])[..., 0]

    milstein = strong_errors(sde, x, "milstein", exact, (16, 32, 64))
    assert sum(orders(milstein)) / 2 == pytest.approx(1.0, abs=0.1)
    euler = strong_errors(sde, x, "euler-maruyama", exact, (16, 32, 64))
    assert sum(orders(euler)) / 2 == pytest.approx(0.5, abs=0.1)


def test_a_diagonal_written_as_a_matrix_steps_alike():
    x = torch.rand(5, 3, dtype=torch.float64) + 0.5
    diagonal = SDE(lambda x, t: -x, lambda x, t: x.sin() + t)
    matrix = SDE(lambda x, t: -x, lambda x, t: torch.diag_embed(x.sin() + t))
    for method in ("euler-maruyama", "milstein"):
        a, b = (sde.simulate(x, grid_of(1.0, 8), method=method, seed=1) for sde in (diagonal, matrix))
        close(a, b, rtol=1e-13)
    state, t = x, torch.tensor(0.3).double()
    for change in ("reverse", "probability_flow"):
        a, b = (getattr(sde, change)(lambda x, t: -x).drift(state, t) for sde in (diagonal, matrix))
        close(a, b, rtol=1e-13)


def test_milstein_refuses_noise_that_does_not_commute():
    mixed = SDE(lambda x, t: -x, lambda x, t: x.flip(1))
    matrix = SDE(lambda x, t: -x, lambda x, t: torch.stack([torch.ones_like(x), x.flip(1)], dim=2))
    shared = SDE(lambda x, t: -x, lambda x, t: x.square().sum(1).sqrt())
    x = torch.tensor([[1.0, 2.0]]).double()
    for sde in (mixed, matrix, shared):
        with pytest.raises(ValueError, match=r"noises that commute.*use method='euler-maruyama'"):
            sde.simulate(x, grid_of(1.0, 4), method="milstein")
        assert sde.simulate(x, grid_of(1.0, 4)).shape == (1, 2)


def test_heun_has_weak_order_two_for_noise_that_grows_in_time():
    # On dx = -x dt + (1 + t) dw a step is x -> a x + b z, so the variance follows without sampling.
    sde = SDE(lambda x, t: -x, lambda t: 1.0 + t)
    one, zero = torch.ones(1, 1).double(), torch.zeros(1, 1).double()
    exact = 0.5 * 4.0 - 0.5 * 2.0 + 0.25 - (0.5 - 0.5 + 0.25) * math.exp(-2.0)
    errors = []
    for n in (8, 16, 32):
        grid, variance = grid_of(1.0, n), 0.0
        for t, s in itertools.pairwise(grid):
            pair = torch.stack([t, s])
            a = float(sde.stepper(one, pair, "heun")(sde, one, t, s, zero))
            b = float(sde.stepper(one, pair, "heun")(sde, zero, t, s, one))
            variance = a * a * variance + b * b
        errors.append(variance - exact)
    assert all(order == pytest.approx(2.0, abs=0.2) for order in orders([abs(e) for e in errors])), errors


def test_heun_refuses_noise_that_depends_on_the_state():
    with pytest.raises(ValueError, match="heun needs a diffusion that is a function of time alone"):
        geometric_brownian_motion().simulate(torch.ones(1, 1), grid_of(1.0, 2), method="heun")


def test_the_tamed_method_survives_a_cubic_drift_that_blows_up_the_plain_one():
    cubic = SDE(lambda x, t: -(x**3), lambda t: torch.ones((), dtype=torch.float64))
    x = torch.full((100, 1), 20.0, dtype=torch.float64)
    with pytest.raises(FloatingPointError, match="take smaller steps"):
        cubic.simulate(x, grid_of(2.0, 40))
    assert float(cubic.simulate(x, grid_of(2.0, 40), method="tamed").abs().max()) < 20.0


def test_the_path_ends_where_the_simulation_ends_and_starts_where_it_starts():
    sde = ornstein_uhlenbeck()
    x = torch.linspace(-1.0, 1.0, 6, dtype=torch.float64)[:, None]
    path = sde.simulate(x, grid_of(1.0, 10), path=True, seed=2)
    assert path.shape == (11, 6, 1)
    assert torch.equal(path[0], x)
    assert torch.equal(path[-1], sde.simulate(x, grid_of(1.0, 10), seed=2))
    assert torch.equal(path[:, 2:4], sde.simulate(x[2:4], grid_of(1.0, 10), path=True, seed=2, first_index=2))


def test_a_run_that_is_continued_equals_one_that_was_not_interrupted():
    sde, grid = ornstein_uhlenbeck(), grid_of(1.0, 10)
    x = torch.zeros(4, 1, dtype=torch.float64)
    half = sde.simulate(x, grid[:5], seed=2)
    assert torch.equal(sde.simulate(half, grid[4:], seed=2, first_step=4), sde.simulate(x, grid, seed=2))


def test_a_matrix_of_noises_gives_the_covariance_that_it_should():
    G = torch.tensor([[1.0, 0.5, 0.0], [0.0, 0.4, 0.3]], dtype=torch.float64)
    sde = SDE(lambda x, t: 0.0 * x, lambda x, t: G.expand(len(x), 2, 3))
    x = sde.simulate(torch.zeros(20000, 2, dtype=torch.float64), grid_of(2.0, 4), seed=5)
    check_moments(x[:, 0], 0.0, 2.0 * 1.25)
    check_moments(x[:, 0] + x[:, 1], 0.0, 2.0 * (1.0 + 0.81 + 0.09))


def test_the_gradient_reaches_the_parameters_of_the_drift_through_a_simulation():
    rate = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    sde = SDE(lambda x, t: -rate * x, lambda x, t: 0.1 * x)
    x = torch.ones(3, 1, dtype=torch.float64)

    def end(k):
        return SDE(lambda x, t: -k * x, lambda x, t: 0.1 * x).simulate(x, grid_of(1.0, 20), method="milstein")

    sde.simulate(x, grid_of(1.0, 20), method="milstein").sum().backward()
    close(rate.grad, (end(0.7 + 1e-6) - end(0.7 - 1e-6)).sum() / 2e-6, rtol=1e-6)


@pytest.mark.parametrize(
    ("diffusion", "message"),
    [
        (lambda x, t: torch.ones(3, 2), "or \\(batch, d, m\\), got \\(3, 2\\)"),
        (lambda: 1.0, "takes 0 arguments"),
    ],
)
def test_a_diffusion_of_the_wrong_form_is_one_clear_sentence(diffusion, message):
    with pytest.raises(ValueError, match=message):
        SDE(lambda x, t: x, diffusion).simulate(torch.zeros(4, 2), grid_of(1.0, 2))


def test_an_unknown_method_names_the_nearest():
    with pytest.raises(ValueError, match="no method 'milsten' for an SDE; did you mean 'milstein'"):
        ornstein_uhlenbeck().simulate(torch.zeros(1, 1), grid_of(1.0, 2), method="milsten")


def test_milstein_keeps_no_graph_unless_something_asks_for_gradients():
    x = geometric_brownian_motion().simulate(torch.ones(3, 1), grid_of(1.0, 5), method="milstein")
    assert not x.requires_grad
