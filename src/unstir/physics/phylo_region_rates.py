"""Fitting the rates at which lineages jump between regions, with standard errors and profile intervals.

Every model is log-linear: the log of a rate is a sum of effects, so rates stay positive and one design matrix
says whether all rates are equal, symmetric, free, or follow covariates such as distances.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, permutations

import numpy as np
import torch
from torch import Tensor

from unstir.physics.phylo_regions import region_log_likelihood
from unstir.spaces import Tree

_FAR = 9.0
"""A rate is sought within a factor exp(9), some 8000, of one jump for each region along the whole tree."""


@dataclass(frozen=True, eq=False)
class RateModel:
    r"""Rates between k regions as :math:`\log q_{ij} = \sum_m \theta_m X_{mij}`.

    Source: the generalised linear model of Lemey et al. 2014, eq. 1.

    Attributes:
        names: of the m effects.
        design: (m, k, k) float64; the diagonal is ignored.
        allowed: (k, k) bool, where jumps are possible; None for everywhere.

    Raises:
        ValueError: for a design of another shape, effects that cannot be told apart, or other than m names.
    """

    names: Sequence[str]
    design: Tensor
    allowed: Tensor | None = None

    def __post_init__(self) -> None:
        X = self.design
        if X.ndim != 3 or X.shape[1] != X.shape[2] or X.shape[1] < 2 or len(self.names) != len(X):
            raise ValueError(f"a rate model has a design (m, k, k) and m names, got shape {tuple(X.shape)}")
        if int(torch.linalg.matrix_rank(X[:, self._free])) < len(X):
            raise ValueError(
                "effects of a rate model cannot be told apart: a column repeats a mixture of others"
            )

    @property
    def k(self) -> int:
        """The number of regions."""
        return self.design.shape[1]

    @property
    def _free(self) -> Tensor:
        off = ~torch.eye(self.k, dtype=torch.bool)
        return off if self.allowed is None else off & self.allowed

    def rates(self, theta: Tensor) -> Tensor:
        """Q (k, k) of effects (m,), zero on the diagonal and where jumps are not allowed; differentiable."""
        log_rates = torch.einsum("m,mij->ij", theta, self.design.to(theta))
        return torch.where(self._free, log_rates, -torch.inf).exp()

    def start(self, rate: float) -> Tensor:
        """Effects (m,) that bring all rates near one value."""
        X = self.design[:, self._free].T
        log_rates = torch.full((len(X), 1), float(np.log(rate)), dtype=X.dtype)
        solution: Tensor = torch.linalg.lstsq(X, log_rates).solution
        return solution[:, 0]


def equal_rates(k: int) -> RateModel:
    """One rate for all jumps (Lewis 2001, "Mk"; for k = 4 Jukes & Cantor 1969)."""
    return RateModel(["rate"], torch.ones(1, k, k, dtype=torch.float64))


def symmetric_rates(k: int, names: Sequence[str] | None = None) -> RateModel:
    """One rate for each pair of regions, the same both ways: k (k - 1) / 2 of them."""
    labels = list(names) if names is not None else [str(i) for i in range(k)]
    pairs = list(combinations(range(k), 2))
    design = torch.zeros(len(pairs), k, k, dtype=torch.float64)
    for m, (i, j) in enumerate(pairs):
        design[m, i, j] = design[m, j, i] = 1.0
    return RateModel([f"{labels[i]} - {labels[j]}" for i, j in pairs], design)


def all_rates(k: int, names: Sequence[str] | None = None) -> RateModel:
    """A rate for each ordered pair of regions: k (k - 1) of them."""
    labels = list(names) if names is not None else [str(i) for i in range(k)]
    pairs = list(permutations(range(k), 2))
    design = torch.zeros(len(pairs), k, k, dtype=torch.float64)
    for m, (i, j) in enumerate(pairs):
        design[m, i, j] = 1.0
    return RateModel([f"{labels[i]} -> {labels[j]}" for i, j in pairs], design)


@dataclass(frozen=True)
class RegionFit:
    """Rates fitted to the tips' regions.

    Attributes:
        model: what was fitted.
        effects: (m,) at the maximum; for the models of single rates, their logs.
        standard_errors: (m,) of the effects, from the curvature; NaN where the likelihood does not fall off.
        rates: (k, k).
        log_likelihood: at the maximum.
        evaluations: of likelihood and gradient.
    """

    model: RateModel
    effects: Tensor
    standard_errors: Tensor
    rates: Tensor
    log_likelihood: float
    evaluations: int


def fit_regions(tree: Tree, states: Tensor, model: RateModel, root: Tensor | None = None) -> RegionFit:
    """Maximum likelihood by L-BFGS-B with exact gradients; standard errors from the observed information.

    Args:
        tree: lengths in the time unit of 1 / rates.
        states: (tips,) or (tips, sites) integers 0 to k - 1, -1 where unknown.
        model: of the rates.
        root: (k,) probabilities at the root; None for the stationary ones of each set of rates.

    Raises:
        ValueError: for states out of range, or tips that are all in one region, which no rate explains best.
    """
    problem = _Problem(tree, states, model, root)
    theta, value = problem.maximise(problem.first())
    curvature = problem.curvature(theta)
    information = torch.from_numpy(-curvature)
    errors = torch.full_like(information[0], float("nan"))
    if float(torch.linalg.eigvalsh(information).min()) > 1e-8:
        errors = torch.linalg.inv(information).diagonal().sqrt()
    effects = torch.from_numpy(theta)
    return RegionFit(model, effects, errors, model.rates(effects), value, problem.evaluations)


def profile_interval(
    tree: Tree, states: Tensor, fit: RegionFit, effect: int, root: Tensor | None = None, level: float = 0.95
) -> tuple[float, float]:
    """The values of one effect that the profile likelihood does not reject.

    All other effects are fitted anew at each value; the interval ends where twice the log-likelihood has
    fallen by the quantile of chi-squared with one degree of freedom. Source: Venzon & Moolgavkar 1988.

    Args:
        tree: as fitted.
        states: as fitted.
        fit: from `fit_regions`.
        effect: its number.
        root: as fitted.
        level: between 0 and 1.

    Returns:
        (low, high) of the effect, a log rate for the models of single rates; -inf or inf where the likelihood
        does not fall far enough within the range that is searched.
    """
    from scipy.optimize import brentq
    from scipy.stats import chi2

    problem = _Problem(tree, states, fit.model, root)
    best = fit.effects.numpy()
    drop = 0.5 * float(chi2.ppf(level, 1))
    others = best.copy()

    def excess(value: float) -> float:
        nonlocal others
        start = others.copy()
        start[effect] = value
        others, found = problem.maximise(start, fixed=effect)
        return found - fit.log_likelihood + drop

    error = float(fit.standard_errors[effect])
    ends = []
    for direction in (-1.0, 1.0):
        others = best.copy()
        bound = float(problem.middle[effect] + direction * problem.reach[effect])
        inside, step = float(best[effect]), 1.0 if not np.isfinite(error) else max(error, 1e-3)
        outside = inside
        while direction * (bound - outside) > 0:
            outside = min(outside + step, bound) if direction > 0 else max(outside - step, bound)
            if excess(outside) < 0:
                break
            inside, step = outside, 2.0 * step
        else:
            ends.append(direction * float("inf"))
            continue
        ends.append(float(brentq(excess, inside, outside, xtol=1e-3)))
    return ends[0], ends[1]


class _Problem:
    """The likelihood as scipy wants it."""

    def __init__(self, tree: Tree, states: Tensor, model: RateModel, root: Tensor | None) -> None:
        known = torch.as_tensor(states)
        if len(set(known[known >= 0].tolist())) < 2:
            raise ValueError("all tips are in one region: no rate of leaving it can be estimated")
        self.tree, self.states, self.model, self.root = tree, states, model, root
        one_jump = model.k / float(tree.length.sum()) / (model.k - 1)
        self.middle = model.start(one_jump).numpy()
        self.along = model.start(one_jump * np.e).numpy() - self.middle
        self.reach = _FAR / model.design.abs().amax((1, 2)).numpy()
        self.evaluations = 0

    def __call__(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """Log-likelihood and gradient."""
        self.evaluations += 1
        effects = torch.tensor(theta, dtype=torch.float64, requires_grad=True)
        value = region_log_likelihood(self.tree, self.states, self.model.rates(effects), self.root).sum()
        (slope,) = torch.autograd.grad(value, effects)
        return float(value.detach()), slope.numpy()

    def first(self) -> np.ndarray:
        """The best effects with all rates as equal as the model can make them: from there steps are safe."""
        from scipy.optimize import minimize_scalar

        def negative(log_factor: float) -> float:
            rates = self.model.rates(torch.from_numpy(self.middle + log_factor * self.along))
            return -float(region_log_likelihood(self.tree, self.states, rates, self.root).sum())

        found = minimize_scalar(negative, bounds=(-_FAR, _FAR), method="bounded", options={"xatol": 0.05})
        return np.asarray(self.middle + float(found.x) * self.along)

    def maximise(self, start: np.ndarray, fixed: int | None = None) -> tuple[np.ndarray, float]:
        from scipy.optimize import minimize

        def negative(theta: np.ndarray) -> tuple[float, np.ndarray]:
            value, slope = self(theta)
            return -value, -slope

        bounds = list(zip(self.middle - self.reach, self.middle + self.reach, strict=True))
        if fixed is not None:
            bounds[fixed] = (start[fixed], start[fixed])
        options = {"ftol": 1e-12, "gtol": 1e-6, "maxiter": 500}
        found = minimize(negative, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        return np.asarray(found.x), -float(found.fun)

    def curvature(self, theta: np.ndarray, step: float = 1e-4) -> np.ndarray:
        """Second derivatives by central differences of the gradient."""
        units = np.eye(len(theta)) * step
        rows = [(self(theta + unit)[1] - self(theta - unit)[1]) / (2.0 * step) for unit in units]
        both = np.stack(rows)
        return np.asarray(0.5 * (both + both.T))
