"""CFG++ as a denoiser is its own DDIM loop."""

from __future__ import annotations

import math

import pytest
import torch

from tests.guidance.test_classifier_free import LABEL, Batched, X, mixture
from tests.helpers import SCHEDULES, close
from unstir.guidance import ClassifierFree, PlusPlus
from unstir.processes import VE, VP, Flow, Heat, ZeroTerminal
from unstir.samplers import sample

GRID = torch.tensor([0.95, 0.7, 0.45, 0.2, 0.06, 0.0], dtype=torch.float64)


def literal(exact, x, grid, strength, **condition):
    """Algorithm 2 as it is written: guide the data, put the unconditional noise back; if need be in modes."""
    schedule = exact.schedule
    process = schedule.modes(x.shape[1:])
    states = [x]
    for t, s in zip(grid[:-1].tolist(), grid[1:].tolist(), strict=True):
        noise, wanted = exact.epsilon(x, t), exact.epsilon(x, t, **condition)
        guided = noise + strength * (wanted - noise)
        u, e, g = (schedule.to_modes(value) for value in (x, noise, guided))
        x_0 = (u - process.sigma(t) * g) / process.alpha(t)
        x = schedule.from_modes(process.alpha(s) * x_0 + process.sigma(s) * e)
        states.append(x)
    return torch.stack(states)


@pytest.mark.parametrize(
    "schedule", [VP(), Flow(), VE(), SCHEDULES["table"]], ids=["vp", "flow", "ve", "table"]
)
@pytest.mark.parametrize("strength", [0.0, 0.3, 0.6, 1.0])
def test_ddim_takes_the_steps_of_the_algorithm(schedule, strength):
    exact = mixture(schedule)
    expected = literal(exact, X, GRID, strength, label=LABEL)
    guided = PlusPlus(exact, strength, GRID)
    run = sample(guided, x_T=X, solver="ddim", grid=GRID, condition={"label": LABEL}, path=True)
    close(run.path, expected, rtol=1e-12, atol=1e-12 * float(expected.abs().max()))
    assert run.nfe == 2 * 5


def test_under_a_schedule_that_blurs_every_mode_has_its_own_weight():
    schedule = Heat(VP(), blur=0.3, d_min=0.05)
    exact = mixture(schedule)
    expected = literal(exact, X, GRID, 0.6, label=LABEL)
    guided = PlusPlus(exact, 0.6, GRID)
    run = sample(guided, x_T=X, solver="ddim", grid=GRID, condition={"label": LABEL}, path=True)
    close(run.path, expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))


def test_it_is_classifier_free_guidance_with_the_weight_of_the_step():
    exact = mixture(VP())
    for t, s in zip(GRID[:-1].tolist(), GRID[1:].tolist(), strict=True):
        r_t, r_s = (float(VP().sigma(time) / VP().alpha(time)) for time in (t, s))
        weight = 0.9 / (1.0 - r_s / r_t) - 1.0
        result = PlusPlus(exact, 0.9, GRID)(X, t, label=LABEL).mean
        if weight >= 0:
            close(result, ClassifierFree(exact, weight)(X, t, label=LABEL).mean, rtol=1e-11, atol=1e-11)
        else:
            assert s == 0.0  # the last step: 1 + w is the strength itself
            plain, wanted = exact(X, t).mean, exact(X, t, label=LABEL).mean
            close(result, plain + 0.9 * (wanted - plain), rtol=1e-12, atol=1e-12)


def test_the_step_of_a_time_ends_at_the_next_time_of_the_grid_below_it():
    guided = PlusPlus(mixture(VP()), 0.5, GRID[:-1])
    t = torch.tensor([1.0, 0.95, 0.8, 0.7, 0.06, 0.01, 0.0], dtype=torch.float64)
    assert guided.next(t).tolist() == [0.95, 0.7, 0.7, 0.45, 0.0, 0.0, 0.0]
    assert float(guided.next(0.45)) == 0.2


@pytest.mark.parametrize("schedule", [VP(), Flow(), VE(), Heat(VP())], ids=["vp", "flow", "ve", "heat"])
def test_times_of_each_sample_give_what_single_times_give_at_the_ends_too(schedule):
    grid = torch.tensor([1.0, 0.6, 0.3, 0.0], dtype=torch.float64)
    guided = PlusPlus(mixture(schedule), 0.7, grid)
    t = torch.tensor([1.0, 0.5, 0.3, 0.0], dtype=torch.float64)
    together = guided(X, t, label=LABEL).mean
    assert torch.isfinite(together).all()
    for k in range(4):
        alone = guided(X[k : k + 1], float(t[k]), label=LABEL[k : k + 1]).mean
        close(together[k : k + 1], alone, rtol=1e-12, atol=1e-12)


def test_a_run_from_pure_noise_ends_in_the_class():
    schedule = ZeroTerminal(VP())
    exact, label = mixture(schedule), torch.zeros(500, dtype=torch.int64)
    grid = torch.linspace(1.0, 0.0, 41, dtype=torch.float64)
    run = sample(PlusPlus(exact, 0.6, grid), (500, 2), solver="ddim", grid=grid, condition={"label": label})
    certainty = exact.log_density(run.x, 0.01, label=label) - exact.log_density(run.x, 0.01)
    none = sample(PlusPlus(exact, 0.0, grid), (500, 2), solver="ddim", grid=grid, condition={"label": label})
    other = exact.log_density(none.x, 0.01, label=label) - exact.log_density(none.x, 0.01)
    assert float(certainty.mean()) > 0.95 * math.log(3.0)  # the class is a third of the data
    assert float(other.mean()) < 0.5 * math.log(3.0)


def test_it_asks_once_and_without_a_condition_it_is_the_model_itself():
    denoiser = Batched(VP())
    guided = PlusPlus(denoiser, 0.6, GRID)
    guided(X, 0.7, label=LABEL)
    assert denoiser.calls == 1
    assert guided.cost(0.7) == 2
    assert torch.equal(guided(X, 0.7).mean, denoiser.exact(X, 0.7).mean)


def test_what_cannot_be_guided_so_is_refused():
    exact = mixture(VP())
    for strength in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="strength of CFG"):
            PlusPlus(exact, strength, GRID)
    with pytest.raises(ValueError, match="decrease strictly"):
        PlusPlus(exact, 0.5, GRID.flip(0))
    exact.unconditional = False
    with pytest.raises(ValueError, match="condition dropout"):
        PlusPlus(exact, 0.5, GRID)
