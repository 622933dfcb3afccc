"""Denoising diffusion restoration: the measured directions follow the measurement, the others diffuse."""

from __future__ import annotations

import torch
from torch import Tensor

from unstir.guidance.operators import Map, Operator
from unstir.guidance.spectral import Spectral
from unstir.samplers.solve import Level, Problem, Solver, State


class DDRM(Solver):
    r"""Restoration in the singular basis of a linear operator, each direction by its own noise.

    With :math:`r = \sigma / \alpha` the noise level of x_t / alpha, and for a singular value s_i > 0 the
    measurement :math:`\bar y_i = x_i + \tau_i z`, :math:`\tau_i = noise / s_i`, in the basis V^T a step
    from t to s draws x_s / alpha_s from

    .. math:: N\left(\hat x_i + \sqrt{1 - \eta^2}\, r_s \hat\epsilon_i,\ \eta^2 r_s^2\right)
                  \quad\text{if } s_i = 0

    .. math:: N\left(\hat x_i + \sqrt{1 - \eta^2}\, r_s (\bar y_i - \hat x_i) / \tau_i,\ \eta^2 r_s^2\right)
                  \quad\text{if } r_s < \tau_i

    .. math:: N\left((1 - \eta_b) \hat x_i + \eta_b \bar y_i,\ r_s^2 - \eta_b^2 \tau_i^2\right)
                  \quad\text{if } r_s \geq \tau_i

    and starts in the measured directions from :math:`N(\bar y_i, r_T^2 - \tau_i^2)`. No gradient passes the
    denoiser, so it costs no more than sampling.

    It is not the posterior: what is measured tells of the rest only through the denoiser, directions measured
    badly are drawn to y as if nothing else were known, and fresh noise that is a fixed share of each step is
    not undone by as many steps. For a correlated Gaussian of 6 entries under 3 random measurements, in the
    paper's 20 steps, means were wrong by up to 0.2 deviations of the data and deviations were 0.6 to 0.9 of
    the exact; more steps helped the means only where the noise was small.

    The paper's last step, to r_s = 0, returns the estimate in all directions unless the noise is 0. Here
    those that were measured better than the state is known, tau_i <= r_t, get (1 - eta_b) of the estimate
    and eta_b of the measurement, as if a step had ended at tau_i. With small steps this is the paper's; as
    the noise goes to 0 the result has A x = y.

    Source: Kawar, Elad, Ermon & Song 2022, "Denoising diffusion restoration models", eq. 7 and 8, for any
    schedule by x_t / alpha. A start that is less noisy than a measured direction, r_T < tau_i, which the
    source excludes, begins there as without a measurement.

    Args:
        y: (*measured), shared by all samples, or (batch, *measured).
        operator: a `LinearOperator` with singular values at hand or small enough, or a matrix.
        noise: standard deviation, above 0; a number or one for each entry of a measurement.
        eta: share of fresh noise in a step, 0 to 1; 0.85 in the paper.
        eta_b: trust in the measurement where it is better than the state, 0 to 1; 1 in the paper.

    Raises:
        ValueError: for an eta or eta_b outside [0, 1], or as in `Spectral`; when sampling, for a schedule
            that blurs.
    """

    def __init__(
        self,
        y: Tensor,
        operator: Operator | Tensor | Map,
        noise: float | Tensor,
        *,
        eta: float = 0.85,
        eta_b: float = 1.0,
    ) -> None:
        for name, value in (("eta", eta), ("eta_b", eta_b)):
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} of DDRM lies between 0 and 1, got {value}")
        self.spectral = Spectral(y, operator, noise)
        self.eta = eta
        self.eta_b = eta_b
        # Values that are round-off of 0 measure nothing.
        values = self.spectral.values
        self._kept = values > 1e-10 * values.max()
        self._noise = torch.where(self._kept, 1.0 / torch.where(self._kept, values, 1.0), torch.inf)

    def init(self, problem: Problem, x: Tensor, t: float) -> State:
        if problem.process is not problem.schedule:
            raise ValueError(
                f"under {type(problem.schedule).__name__} the noise level differs between modes, which DDRM "
                "cannot join with the singular basis of the operator; use MMPS, PiGDM, DPS or Twisted"
            )
        y, noise = self._measurement(x)
        alpha, sigma, _ = problem.level(t).plain
        start = self.spectral.analyse(x)
        drawn = alpha * y + (1.0 - (alpha * noise / sigma) ** 2).clamp(min=0.0).sqrt() * start
        return State(problem, self._replace(x, start, drawn, alpha * noise <= sigma), t)

    def step(self, state: State, s: float) -> State:
        problem, x = state.problem, state.x
        here, there = problem.level(state.t), problem.level(s)
        (alpha, sigma, _), (alpha_s, sigma_s, _) = here.plain, there.plain
        mean = problem.evaluate(x, state.t).mean
        z = torch.zeros_like(x) if there.clean else problem.normal(x, state.step)
        kept, fresh = (1.0 - self.eta**2) ** 0.5 * sigma_s, self.eta * sigma_s
        free = alpha_s * mean + kept * (x - alpha * mean) / sigma + fresh * z
        drawn = self._measured(here, there, self.spectral.analyse(mean), self.spectral.analyse(z))
        return state.advance(self._replace(free, self.spectral.analyse(free), drawn, self._kept), s)

    def _measured(self, here: Level, there: Level, mean: Tensor, z: Tensor) -> Tensor:
        """x_s in the measured directions, (batch, k)."""
        (alpha, sigma, _), (alpha_s, sigma_s, _) = here.plain, there.plain
        y, noise = self._measurement(mean)
        kept, fresh = (1.0 - self.eta**2) ** 0.5 * sigma_s, self.eta * sigma_s
        rough = alpha_s * mean + kept * (y - mean) / noise + fresh * z
        variance = (sigma_s**2 - (self.eta_b * alpha_s * noise) ** 2).clamp(min=0.0)
        exact = alpha_s * torch.lerp(mean, y.expand_as(mean), self.eta_b) + variance.sqrt() * z
        trusted = alpha * noise <= sigma if there.clean else alpha_s * noise <= sigma_s
        return torch.where(trusted, exact, rough)

    def _measurement(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """The measurement divided by the singular values, 0 where they are, and its deviation, inf there."""
        noise = self._noise.to(like.device)
        y = self.spectral.measured(len(like)).to(like.device) * torch.where(noise.isinf(), 0.0, noise)
        return y.to(like), noise.to(like)

    def _replace(self, x: Tensor, before: Tensor, after: Tensor, where: Tensor) -> Tensor:
        """x with new coordinates in some directions."""
        change = torch.where(where.to(x.device), after - before, 0.0)
        return x + self.spectral.synthesise(change)
