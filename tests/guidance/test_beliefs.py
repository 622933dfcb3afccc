import pytest
import torch

from tests.helpers import close
from unstir.guidance.beliefs import Correlated, Round, white_basis
from unstir.guidance.spectral import Spectral

GENERATOR = torch.Generator().manual_seed(0)
MATRIX = torch.randn(2, 4, dtype=torch.float64, generator=GENERATOR)
ROOT = torch.randn(4, 4, dtype=torch.float64, generator=GENERATOR)
Z = torch.randn(3, 4, dtype=torch.float64, generator=GENERATOR)
SHIFT = torch.randn(3, 4, dtype=torch.float64, generator=GENERATOR)
RESIDUAL = torch.randn(3, 2, dtype=torch.float64, generator=GENERATOR)
NOISE = 0.4
EYE = torch.eye(4, dtype=torch.float64)


def round_belief():
    variance = torch.full((3,), 0.6, dtype=torch.float64)
    return Round(Spectral(torch.zeros(2), MATRIX, NOISE), variance), 0.6 * EYE


def correlated_belief():
    covariance = ROOT @ ROOT.T
    return Correlated(Spectral(torch.zeros(2), MATRIX, NOISE), *white_basis(covariance, (4,))), covariance


BELIEFS = pytest.mark.parametrize("make", [round_belief, correlated_belief], ids=["round", "correlated"])


@BELIEFS
def test_a_proposal_has_the_posterior_covariance_and_its_ratio_is_that_of_the_densities(make):
    belief, covariance = make()
    seen = MATRIX @ covariance @ MATRIX.T + NOISE**2 * torch.eye(2, dtype=torch.float64)
    posterior = covariance - covariance @ MATRIX.T @ torch.linalg.solve(seen, MATRIX @ covariance)
    wide, narrow = 0.3 * EYE + 0.5 * covariance, 0.3 * EYE + 0.5 * posterior
    x, log_ratio = belief.draw(SHIFT, 0.3, 0.5, Z)
    normal = torch.distributions.MultivariateNormal
    expected = normal(torch.zeros(4, dtype=torch.float64), wide).log_prob(x) - normal(SHIFT, narrow).log_prob(
        x
    )
    close(log_ratio, expected, rtol=1e-8, atol=1e-8)
    for least, share, exact in ((0.3, 0.5, narrow), (0.0, 1.0, posterior)):
        columns = belief.pick(torch.zeros(4, dtype=torch.int64)).draw(
            torch.zeros_like(EYE), least, share, EYE
        )[0]
        close(columns.T @ columns, exact, atol=1e-8)


@BELIEFS
def test_a_residual_is_weighed_by_what_is_seen(make):
    belief, covariance = make()
    _, s, v = torch.linalg.svd(MATRIX / NOISE, full_matrices=False)
    seen = torch.eye(2, dtype=torch.float64) + s[:, None] * v @ covariance @ v.T * s
    weighed, log_density = belief.weigh(RESIDUAL)
    close(weighed, torch.linalg.solve(seen, RESIDUAL.T).T, rtol=1e-9, atol=1e-12)
    constant = torch.log(torch.tensor(2.0 * torch.pi, dtype=torch.float64))
    normal = torch.distributions.MultivariateNormal(torch.zeros(2, dtype=torch.float64), seen)
    close(log_density, normal.log_prob(RESIDUAL) + constant, rtol=1e-9)
    close(belief.spread(Z), Z @ covariance, rtol=1e-9, atol=1e-12)


def test_a_certain_estimate_is_not_moved():
    certain = Round(Spectral(torch.zeros(2), MATRIX, NOISE), torch.zeros(3, dtype=torch.float64))
    x, log_ratio = certain.draw(torch.zeros_like(SHIFT), 0.3, 0.5, Z)
    close(x, 0.3**0.5 * Z, rtol=1e-12)
    close(log_ratio, torch.zeros(3), atol=1e-12)
    close(certain.draw(torch.zeros_like(SHIFT), 0.0, 1.0, Z)[0], torch.zeros(3, 4))
    nothing = torch.zeros(4, dtype=torch.float64)
    singular = Correlated(Spectral(torch.zeros(2), MATRIX, NOISE), EYE, nothing)
    close(singular.draw(SHIFT, 0.0, 1.0, Z)[0], SHIFT, rtol=1e-12)
