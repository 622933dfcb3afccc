import json
import math

import numpy as np
import pytest
import torch

from tests.helpers import close
from unstir.denoisers import Gaussian
from unstir.evaluation.bench import Task, bench_samplers, exact_task, steps_within
from unstir.evaluation.problems import (
    DISTRIBUTIONS,
    ExactProblem,
    benchmark_problems,
    benchmark_schedules,
    exact_flow,
)
from unstir.processes import VP


@pytest.mark.parametrize("name", benchmark_schedules())
def test_the_reference_is_the_closed_form_on_gaussians(name):
    schedule = benchmark_schedules()[name]
    covariance = torch.tensor([[0.7, 0.3], [0.3, 0.5]], dtype=torch.float64)
    mean = torch.tensor([0.4, -0.2], dtype=torch.float64)
    alpha, sigma = float(schedule.alpha(1.0)), float(schedule.sigma(1.0))
    x_T = sigma * torch.tensor([[0.9, -0.4], [-1.3, 0.2]], dtype=torch.float64)
    spectrum, basis = torch.linalg.eigh(covariance)
    stretch = (spectrum / (alpha**2 * spectrum + sigma**2)).sqrt()
    exact = mean + ((x_T - alpha * mean) @ basis * stretch) @ basis.T
    close(exact_flow(Gaussian(schedule, mean, covariance=covariance), x_T), exact, atol=1e-7)


def test_there_are_six_distributions_of_2_to_256_dimensions_under_four_schedules():
    problems = benchmark_problems(4)
    assert len(problems) == len(DISTRIBUTIONS) * len(benchmark_schedules()) == 24
    sizes = [p.x_T.shape[1] for p in problems]
    assert (min(sizes), max(sizes)) == (2, 256)
    for p in problems:
        close(p.x_T.std() / p.denoiser.schedule.sigma(1.0), 1.0, atol=0.5)


def test_the_error_of_the_reference_is_zero():
    problem = ExactProblem("ring-2", "vp", DISTRIBUTIONS["ring-2"](VP()), torch.randn(3, 2).double())
    assert problem.error(problem.reference) == 0.0
    assert problem.error(problem.reference + 0.5) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("solver", "budget", "steps"),
    [("multistep", 5, 5), ("multistep-4", 5, 4), ("heun", 6, 3), ("rk4", 9, 3), ("multistep-4", 1, 1)],
)
def test_a_solver_takes_the_most_steps_that_keep_to_the_budget(solver, budget, steps):
    assert steps_within(solver, budget) == steps


def test_the_table_ranks_solvers_by_their_error():
    problems = [p for p in benchmark_problems(8) if p.name == "gaussian-2"]
    seen = []
    bench = bench_samplers(
        [exact_task(p) for p in problems],
        solvers=["ddim", "multistep"],
        budgets=[6, 12],
        grids=["uniform"],
        on_row=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert bench.rows[0].solver == "multistep"
    assert [row.mean for row in bench.rows] == sorted(row.mean for row in bench.rows)
    for row in bench.rows:
        cells = np.array(row.cells)
        assert cells.shape == (4, 2)
        np.testing.assert_allclose(row.errors, np.exp(np.log(cells).mean(0)), rtol=1e-12)
        assert row.errors[1] < row.errors[0]
    assert json.loads(json.dumps(bench.to_dict()))["budgets"] == [6, 12]
    assert bench.table().row_count == 4
    assert bench.plot().size[0] > 400


def test_a_budget_that_a_solver_cannot_keep_to_is_a_gap():
    problem = benchmark_problems(2)[0]
    bench = bench_samplers([exact_task(problem)], solvers=["heun", "ddim"], budgets=[1, 4])
    assert bench.to_dict()["rows"][0]["errors"][0] is not None
    assert all(math.isfinite(row.mean) for row in bench.rows)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budgets": [0]}, "budgets of at least 1 evaluation"),
        ({"budgets": []}, "budgets of at least 1"),
        ({"solvers": ["ddmi"]}, "unknown solver 'ddmi'; did you mean"),
        ({"grids": ["kerras"]}, "unknown grid"),
    ],
)
def test_a_benchmark_of_nothing_is_refused(options, message):
    x = torch.ones(2, 1)
    task = Task("one", Gaussian(VP(), torch.zeros(1), 1.0), x, x)
    with pytest.raises(ValueError, match=message):
        bench_samplers([task], **{"solvers": ["ddim"], "budgets": [3], **options})
