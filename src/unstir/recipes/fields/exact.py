"""What is known exactly of a Poisson pair: its denoiser, and its posterior given any linear measurement."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unstir import noise as random
from unstir.denoisers import Denoiser, Posterior
from unstir.denoisers.denoiser import times
from unstir.guidance.operators import LinearOperator
from unstir.processes import Schedule
from unstir.recipes.fields.poisson import PoissonProblem
from unstir.training import Scaling


class PairDenoiser(Denoiser):
    r"""The exact denoiser of (source, potential), each divided by its standard deviation.

    In each mode the pair is v z with one standard normal number z, so that

    .. math:: E[x_0 | x_t] = \frac{\alpha\, v v^T}{\alpha^2 |v|^2 + \sigma^2}\, x_t, \qquad
              Var[x_0 | x_t] = \frac{\sigma^2\, v v^T}{\alpha^2 |v|^2 + \sigma^2}

    Source: Bishop 2006, eq. 2.116, in the basis where the covariance is made of 2 x 2 blocks of rank one.

    Args:
        schedule: the forward process; not one that blurs.
        problem: the equation and the prior.
        joined: False for a denoiser that knows the spectrum of each field but not that they belong together:
            what guidance by the equation starts from.

    Attributes:
        scaling: between the units of the fields and those of this denoiser, as a trained model's.
    """

    loadings: Tensor

    def __init__(self, schedule: Schedule, problem: PoissonProblem, *, joined: bool = True) -> None:
        super().__init__()
        self.schedule = schedule
        self.problem = problem
        self.joined = joined
        self.scaling = Scaling((0.0, 0.0), problem.deviations)
        scale = torch.tensor(problem.deviations, dtype=torch.float64)
        self.register_buffer("loadings", problem.loadings / scale.reshape(-1, *[1] * len(problem.shape)))
        self.event = (2, *problem.shape)

    def forward(self, x_t: Tensor, t: Tensor | float, **condition: Tensor) -> Posterior:
        if tuple(x_t.shape[1:]) != self.event:
            raise ValueError(f"expected events of shape {self.event}, got {tuple(x_t.shape[1:])}")
        time = times(t, len(x_t), x_t.device)
        like = (-1, *[1] * (len(self.event)))
        alpha, sigma = self.schedule.alpha(time).reshape(like), self.schedule.sigma(time).reshape(like)
        v = self.loadings
        power = v.square().sum(0, keepdim=True) if self.joined else v.square()
        total = (alpha**2 * power + sigma**2).clamp(min=1e-300)
        seen = v * self.problem.to_modes(x_t.double())
        latent = alpha * (seen.sum(1, keepdim=True) if self.joined else seen) / total
        mean = self.problem.from_modes(v * latent)
        variance = self.problem.variance_of_modes(sigma**2 * v**2 / total)
        wide = torch.promote_types(x_t.dtype, torch.float32)
        return Posterior(mean.to(wide), variance.to(wide))


@dataclass(frozen=True, eq=False)
class ExactPosterior:
    """The pair given measurements, in closed form.

    Attributes:
        mean: (2, *shape) float64: source and potential.
        deviation: (2, *shape) float64, of every cell.
        prior_deviation: the same before the measurement.
    """

    problem: PoissonProblem
    mean: Tensor
    deviation: Tensor
    prior_deviation: Tensor
    _seen: Tensor  # H, (m, *shape): the measurement of one unit of each mode's random number
    _factor: Tensor  # Cholesky factor of H H^T + R
    _y: Tensor
    _noise: Tensor

    def sample(self, n: int, *, seed: int = 0) -> Tensor:
        """Exact draws, (n, 2, *shape) float64.

        A draw of the prior is moved by what its own noisy measurement lacks of the real one: Matheron's rule
        (Journel & Huijbregts 1978; Wilson et al. 2020, eq. 11).
        """
        index, stream = torch.arange(n), random.Stream.FIELD_POSTERIOR
        z = random.normal(self.problem.shape, seed=seed, index=index, stream=stream, dtype=torch.float64)
        e = random.normal((len(self._y),), seed=seed, index=index, stream=stream, step=1, dtype=torch.float64)
        h = self._seen.flatten(1)
        lacking = self._y - z.flatten(1) @ h.T - self._noise * e
        z = z + (torch.cholesky_solve(lacking.T, self._factor).T @ h).reshape(z.shape)
        return self.problem.pairs(z)


def exact_posterior(
    problem: PoissonProblem, y: Tensor, operator: LinearOperator, noise: float | Tensor
) -> ExactPosterior:
    r"""The distribution of (source, potential) given y = A (source, potential) + noise.

    With H the measurement of the modes' random numbers z ~ N(0, 1),

    .. math:: E[z | y] = H^T (H H^T + R)^{-1} y, \qquad Cov[z | y] = I - H^T (H H^T + R)^{-1} H

    Source: Bishop 2006, eq. 2.116; Rasmussen & Williams 2006, eq. 2.11, in weight space.

    Args:
        problem: the equation and the prior.
        y: m numbers, of any shape.
        operator: of events (2, *shape), in the units of the fields.
        noise: standard deviation, above 0, a number or one for each measurement.

    Raises:
        ValueError: for another number of measurements, another event, or noise that is not above 0.
    """
    event = (2, *problem.shape)
    flat = y.double().reshape(-1)
    m = int(torch.tensor(operator.measured).prod()) if operator.measured else 1
    if operator.event != event or len(flat) != m:
        raise ValueError(
            f"an exact posterior takes {m} numbers measured of events {event}, got {len(flat)} numbers and "
            f"an operator on {operator.event}"
        )
    deviation = torch.as_tensor(noise, dtype=torch.float64).reshape(-1).expand(m)
    if not bool((deviation > 0).all()):
        raise ValueError("the noise is a standard deviation above 0, a number or one for each measurement")
    rows = torch.eye(m, dtype=torch.float64).reshape(m, *operator.measured)
    seen = (problem.to_modes(operator.adjoint(rows).double()) * problem.loadings).sum(1)
    h = seen.flatten(1)
    factor = torch.linalg.cholesky(h @ h.T + torch.diag(deviation**2))
    latent = (torch.cholesky_solve(flat[:, None], factor)[:, 0] @ h).reshape(1, *problem.shape)
    prior = problem.variance_of_modes(problem.loadings**2)
    # What a measurement takes away of the variance: the squares of L^-1 A C, row by row.
    known = problem.pairs(torch.linalg.solve_triangular(factor, h, upper=False).reshape(seen.shape))
    variance = (prior - known.square().sum(0)).clamp(min=0.0)
    return ExactPosterior(
        problem, problem.pairs(latent)[0], variance.sqrt(), prior.sqrt(), seen, factor, flat, deviation
    )
