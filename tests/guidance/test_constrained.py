import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.guidance.test_measurements import random
from tests.helpers import close
from unstir.denoisers import Gaussian, GaussianMixture
from unstir.guidance import DPS, LinearOperator, as_operator
from unstir.guidance.constrained import Constrained, onto, summing_to, within
from unstir.guidance.measurements import blur, downsample, fourier, heat, mask
from unstir.processes import VP, Cosine, Flow, Heat, ZeroTerminal
from unstir.samplers import Multistep, sample

MEANS = torch.tensor([[-1.0, 0.5, 0.2], [0.5, 1.3, -0.3], [1.0, -0.7, 0.8]], dtype=torch.float64)
EXACT = Multistep(last=1)
"""The default solver with a last step that returns the estimate."""
SCHEDULES = [VP(), Flow(), ZeroTerminal(Cosine()), Heat(channels=False)]


def mixture(schedule):
    return GaussianMixture(schedule, MEANS, stds=torch.tensor([0.3, 0.3, 0.3]))


OPERATORS = {
    "mask": mask(random(1, 1, 4, 4)[0] > 0),
    "means": downsample(2, (1, 4, 4)),
    "blur": blur(torch.tensor([[1.0, 2.0, 1.0]]), (1, 4, 4), boundary="periodic"),
    "heat": heat((1, 4, 4), 0.3),
    "fourier": fourier(random(1, 4, 4)[0] > 0, (1, 4, 4)),
    "function": LinearOperator(lambda x: x.cumsum(2)[:, :, 1:3], event=(1, 4, 4)),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_the_projection_onto_a_measurement_is_the_nearest_event_that_has_it(name):
    operator, x, y = OPERATORS[name], random(3, 1, 4, 4), OPERATORS[name](random(3, 1, 4, 4, seed=1))
    projected = onto(operator, y)(x)
    close(operator(projected), y, atol=1e-11)
    close(onto(operator, y)(projected), projected, atol=1e-11)
    # The shift is orthogonal to all that the operator does not see.
    unseen = random(3, 1, 4, 4, seed=2)
    unseen = unseen - operator.pseudo_inverse(operator(unseen))
    close(((projected - x) * unseen).flatten(1).sum(1), torch.zeros(3), atol=1e-10)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: type(schedule).__name__)
@pytest.mark.parametrize("solver", [EXACT, "ddim", "ddpm", "heun"], ids=["multistep", "ddim", "ddpm", "heun"])
def test_samples_satisfy_the_constraint_exactly(schedule, solver):
    operator = as_operator(torch.tensor([[1.0, 1.0, 0.0]], dtype=torch.float64))
    for projection, error in (
        (onto(operator, torch.tensor([0.7])), lambda x: operator(x) - 0.7),
        (within(-0.2, 0.4), lambda x: x - x.clamp(-0.2, 0.4)),
        (summing_to(1.0), lambda x: x.sum(1) - 1.0),
        (summing_to(1.0, positive=True), lambda x: torch.cat([x.sum(1) - 1.0, x.clamp(max=0.0).flatten()])),
    ):
        x = sample(Constrained(mixture(schedule), projection), (40, 3), solver=solver, steps=12).x
        assert float(error(x).abs().max()) < 3e-6
        assert float(x.std()) > 0.05


def test_the_default_solver_meets_a_measurement_nearly_and_a_projection_of_the_samples_does_the_rest():
    projection = onto(mask(torch.tensor([True, False, False])), torch.tensor([0.7]))
    x = sample(Constrained(mixture(VP()), projection), (40, 3)).x
    assert 0.0 < float((x[:, 0] - 0.7).abs().max()) < 1e-4
    close(projection(x)[:, 0], torch.full((40,), 0.7), atol=1e-6)


def test_a_coordinate_of_its_own_is_conditioned_exactly():
    # The first coordinate is independent of the others, so fixing it leaves their distribution as it is.
    denoiser = Gaussian(VP(), torch.zeros(3, dtype=torch.float64), covariance=torch.eye(3) * 0.5)
    projection = onto(mask(torch.tensor([True, False, False])), torch.tensor([1.5]))
    x_T = random(50, 3)
    free = sample(denoiser, x_T=x_T, solver=EXACT).x
    fixed = sample(Constrained(denoiser, projection), x_T=x_T, solver=EXACT).x
    close(fixed[:, 1:], free[:, 1:], atol=1e-12)
    close(fixed[:, 0], torch.full((50,), 1.5), atol=1e-12)


def test_constraints_go_round_guidance_and_guidance_round_constraints():
    y = torch.tensor([0.3])
    guided = DPS(Constrained(mixture(VP()), within(-1.0, 1.0)), y, torch.tensor([[0.0, 0.0, 1.0]]), 0.1)
    both = Constrained(guided, summing_to(0.5))
    x = sample(both, (20, 3), solver=EXACT).x
    close(x.sum(1), torch.full((20,), 0.5), atol=1e-6)
    assert both.cost(0.5) == guided.cost(0.5)


def test_one_measurement_for_each_sample():
    operator = mask(torch.tensor([True, False, True]))
    y = random(6, 2)
    x = sample(Constrained(mixture(Flow()), onto(operator, y)), x_T=random(6, 3), solver=EXACT).x
    close(x[:, [0, 2]], y, atol=1e-12)


def test_a_constrained_denoiser_knows_no_variance_and_keeps_the_type():
    constrained = Constrained(mixture(VP()), within(-0.1, 0.1))
    for dtype in (torch.float32, torch.float64):
        posterior = constrained(random(2, 3).to(dtype), 0.5)
        assert posterior.variance is None
        assert posterior.mean.dtype == dtype


@given(seed=st.integers(0, 1000), total=st.floats(0.1, 10.0), n=st.integers(1, 8))
def test_the_projection_onto_a_simplex_is_the_nearest_point(seed, total, n):
    x = 3.0 * random(4, n, seed=seed)
    p = summing_to(total, positive=True)(x)
    close(p.sum(1), torch.full((4,), total, dtype=torch.float64), rtol=1e-12)
    assert float(p.min()) >= 0.0
    # Variational inequality: <x - p, q - p> <= 0 for every q of the set.
    q = total * torch.softmax(random(4, n, seed=seed + 1) * 3.0, dim=1)
    corner = total * torch.eye(n, dtype=torch.float64)[:1].expand(4, n)
    for other in (q, corner):
        assert float(((x - p) * (other - p)).sum(1).max()) < 1e-10


def test_bounds_may_differ_from_entry_to_entry():
    low, high = torch.tensor([0.0, -math.inf]), torch.tensor([1.0, 2.0])
    x = torch.tensor([[-3.0, -3.0], [5.0, 5.0]])
    close(within(low, high)(x), torch.tensor([[0.0, -3.0], [1.0, 2.0]]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: within(1.0, 0.0), "lower bound"),
        (lambda: within(math.nan, 0.0), "lower bound"),
        (lambda: summing_to(math.inf), "finite number"),
        (lambda: summing_to(0.0, positive=True), "above 0"),
        (lambda: summing_to(torch.ones(2, 2)), "one for each sample"),
        (lambda: onto(downsample(2, (4,)), torch.zeros(3)), r"shape \(2,\), but y has shape \(3,\)"),
        (lambda: onto(downsample(2, (4,)), torch.tensor([0.0, math.nan])), "not finite"),
        (lambda: onto(LinearOperator(lambda x: x, event=(6000,)), torch.zeros(6000)), "too large"),
        (lambda: Constrained(mixture(VP()), lambda x: x[:, :1])(random(2, 3), 0.5), "keeps the shape"),
        (
            lambda: Constrained(mixture(VP()), lambda x: x.float())(random(2, 3), 0.5),
            "keeps the shape and type",
        ),
    ],
)
def test_bad_settings_are_one_clear_sentence(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_an_estimate_that_is_no_number_has_no_projection_but_raises_nothing():
    assert not torch.isfinite(summing_to(1.0, positive=True)(torch.tensor([[torch.nan, 0.0, 1.0]]))).all()
