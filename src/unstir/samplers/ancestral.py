"""Ancestral samplers: walk the forward process's own posteriors back (DDPM), and DDIM."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor

from unstir.samplers.coefficients import Coefficient, at_least, expm1, sqrt
from unstir.samplers.solve import Level, Solver, State

Gradient = Callable[[Tensor, float, dict[str, Tensor]], Tensor]
"""(x_t, t, condition) -> (batch, *event), a gradient of log p(y | x_t): that of a `guidance.Classifier`."""


def posterior_coefficients(
    here: Level, there: Level
) -> tuple[Coefficient, Coefficient, Coefficient, Coefficient]:
    """(a, b, variance, forgotten) of q(x_s | x_t, x_0) = N(a x_0 + b x_t, variance), from levels.

    The form for levels of ``Schedule.posterior_coefficients``; forgotten is 1 - SNR(t) / SNR(s).
    """
    forgotten = -expm1(here.log_snr - there.log_snr)
    b = (there.sigma / here.sigma) ** 2 * here.alpha / there.alpha
    return there.alpha * forgotten, b, there.sigma**2 * forgotten, forgotten


class Ancestral(Solver):
    r"""DDPM sampling on any grid: x_s ~ N(a E[x_0|x_t] + b x_t, variance).

    Source: Ho et al. 2020, algorithm 2, with the posterior of Kingma et al. 2021, eq. 25, for any pair of
    times. The last step, to data, returns the posterior mean.

    A gradient of log p(y | x_t) shifts every mean by the variance times it: guidance in the form of Dhariwal
    & Nichol 2021, algorithm 1, which is that of the guided score to first order in the step. The last step
    has no noise and so no shift. Evaluations that the gradient takes are not counted. The conditions of the
    run go to the denoiser, too; one that takes none is wrapped: ``Classifier(denoiser, critic, weight=0)``.

    Args:
        variance: of a step from t to s:
            ``"beta"``, that of the forward step, optimal for standard normal data;
            ``"beta-tilde"``, that of q(x_s | x_t, x_0), optimal for data that is one point;
            ``"learned"``, beta-tilde + a^2 Var[x_0 | x_t], optimal for any data if the denoiser's
            variance is right (Bao et al. 2022, eq. 8 to 10); it needs a denoiser that gives one;
            a function of the log-SNR, beta-tilde + a^2 v(log-SNR), as the table of
            `analytic_variance`: optimal among those of one variance for all entries (Bao et al. 2022a,
            Analytic-DPM, theorem 1).
        gradient: (x_t, t, condition) -> (batch, *event), of s log p(y | x_t) by x_t; None for no guidance.

    Raises:
        ValueError: for another variance, or a gradient that is no function; when sampling, if "learned" is
            asked of a denoiser without one.
    """

    def __init__(
        self,
        variance: Literal["beta", "beta-tilde", "learned"] | Callable[[float], float] = "beta-tilde",
        gradient: Gradient | None = None,
    ) -> None:
        if not callable(variance) and variance not in ("beta", "beta-tilde", "learned"):
            raise ValueError(
                f"the variance is 'beta', 'beta-tilde' or 'learned', got {variance!r}; or give a function "
                "of the log-SNR, as analytic_variance makes one"
            )
        if gradient is not None and not callable(gradient):
            raise ValueError(
                "the gradient of an ancestral sampler is a function (x_t, t, condition) -> (batch, *event), "
                f"such as that of a guidance.Classifier; got {gradient!r}"
            )
        self.variance = variance
        self.gradient = gradient

    def step(self, state: State, s: float) -> State:
        problem = state.problem
        here, there = problem.level(state.t), problem.level(s)
        posterior = problem.evaluate(state.x, state.t)
        a, b, least, forgotten = posterior_coefficients(here, there)
        x = posterior.mean * a + state.x * b
        if not there.clean:
            std: Coefficient
            if self.variance == "beta-tilde":
                std = sqrt(least)
            elif self.variance == "beta":
                std = here.sigma * sqrt(forgotten)
            elif callable(self.variance):
                std = sqrt(least + a**2 * self.variance(here.plain[2]))
            elif posterior.variance is None and problem.process is not problem.schedule:
                raise ValueError(
                    f"{type(problem.schedule).__name__} steps in modes, and a learned variance is one of "
                    "entries; use the variance 'beta' or 'beta-tilde', or a function of the log-SNR"
                )
            elif posterior.variance is None:
                raise ValueError(
                    "this denoiser gives no variance; train it with learned variance, or use the "
                    "variance 'beta' or 'beta-tilde'"
                )
            else:
                std = (least + a**2 * posterior.variance).sqrt()
            if self.gradient is not None:
                pull = self.gradient(problem.leave(state.x), state.t, problem.condition)
                x = x + std**2 * problem.enter(pull)
            x = x + std * problem.normal(x, state.step)
        return state.advance(x, s)


class DDIM(Solver):
    r"""Denoising diffusion implicit models: from deterministic (eta = 0) to ancestral (eta = 1).

    .. math:: x_s = \alpha_s \hat x_0 + \sqrt{\sigma_s^2 - \eta^2 \tilde\beta}\ \hat\epsilon
              + \eta \sqrt{\tilde\beta}\, z

    Source: Song, Meng & Ermon 2021, eq. 12 and 16. Order 1.

    Args:
        eta: share of the ancestral noise, 0 to 1.

    Raises:
        ValueError: for an eta outside [0, 1].
    """

    def __init__(self, eta: float = 0.0) -> None:
        if not 0.0 <= eta <= 1.0:
            raise ValueError(f"eta lies between 0 (deterministic) and 1 (ancestral), got {eta}")
        self.eta = eta

    def step(self, state: State, s: float) -> State:
        problem = state.problem
        here, there = problem.level(state.t), problem.level(s)
        mean = problem.evaluate(state.x, state.t).mean
        _, _, variance, _ = posterior_coefficients(here, there)
        variance = variance * self.eta**2
        keep = sqrt(at_least(there.sigma**2 - variance, 0.0)) / here.sigma
        x = state.x * keep + mean * (there.alpha - here.alpha * keep)
        if self.eta > 0 and not there.clean:
            x = x + sqrt(variance) * problem.normal(x, state.step)
        return state.advance(x, s)
