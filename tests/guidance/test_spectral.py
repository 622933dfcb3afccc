import pytest
import torch

from tests.helpers import close
from unstir.guidance import LinearOperator
from unstir.guidance.beliefs import Round
from unstir.guidance.spectral import Spectral

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(4, 5, dtype=torch.float64, generator=GENERATOR)


@pytest.mark.parametrize("shape", [(3, 5), (5, 5), (8, 5)])
@pytest.mark.parametrize("noise", [0.4, None])
def test_the_likelihood_in_the_basis_is_that_of_the_measurement(shape, noise):
    matrix = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    deviation = (
        torch.linspace(0.2, 2.0, shape[0], dtype=torch.float64) if noise is None else torch.tensor(noise)
    )
    y = torch.linspace(-1, 2, shape[0], dtype=torch.float64)
    spectral = Spectral(y, matrix, deviation)
    residual = spectral.measured(4) - spectral.values * spectral.analyse(X)
    rest = spectral.log_rest(torch.zeros(4, dtype=torch.int64))
    diagonal = torch.diag(deviation.double().expand(shape[0]) ** 2)
    for c in (0.0, 0.7):
        belief = Round(spectral, torch.full((4,), c, dtype=torch.float64))
        normal = torch.distributions.MultivariateNormal(X @ matrix.T, diagonal + c * matrix @ matrix.T)
        close(belief.weigh(residual)[1] + rest, normal.log_prob(y), rtol=1e-6)
    exactly = Round(spectral, torch.zeros(4, dtype=torch.float64)).weigh(residual)[1]
    close(exactly + rest, spectral.measurement.log_likelihood(X), rtol=1e-6)


def test_the_basis_is_orthonormal_for_events_of_any_shape():
    operator = LinearOperator(lambda x: x[:, 0] + x[:, 1], event=(2, 3, 2))
    spectral = Spectral(torch.zeros(3, 2), operator, torch.linspace(0.1, 1, 6).reshape(3, 2))
    c = torch.randn(7, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    assert spectral.synthesise(c).shape == (7, 2, 3, 2)
    close(spectral.analyse(spectral.synthesise(c)), c, atol=1e-12)


def test_each_sample_has_its_own_measurement_or_all_one():
    matrix = torch.eye(2, 5, dtype=torch.float64)
    assert Spectral(torch.zeros(2), matrix, 0.1).measured(9).shape == (1, 2)
    assert Spectral(torch.zeros(9, 2), matrix, 0.1).measured(9).shape == (9, 2)
    with pytest.raises(ValueError, match="there are 3 measurements for 9 samples"):
        Spectral(torch.zeros(3, 2), matrix, 0.1).measured(9)


def test_a_plain_function_is_refused():
    with pytest.raises(ValueError, match="singular basis of a linear operator"):
        Spectral(torch.zeros(2), lambda x: x, 0.1)
