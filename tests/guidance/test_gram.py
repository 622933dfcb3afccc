import pytest
import torch

from tests.helpers import close
from unstir.guidance import Measurement
from unstir.guidance.gram import solve_gram

MATRIX = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
RESIDUAL = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("noise", [0.5, 1e-3, 1e-5])
@pytest.mark.parametrize("c", [1e-3, 1.0, 1e5])
def test_float32_residuals_lose_nothing_to_cancellation_however_small_the_noise(noise, c):
    measurement = Measurement(torch.zeros(3), MATRIX, noise)
    local = measurement.operator.near(torch.zeros(4, 5))
    solved = solve_gram(measurement, local, torch.tensor(c, dtype=torch.float64), RESIDUAL.float())
    gram = c * MATRIX @ MATRIX.T + noise**2 * torch.eye(3, dtype=torch.float64)
    expected = torch.linalg.solve(gram, RESIDUAL.T).T
    assert solved.dtype == torch.float32
    close(solved / expected.norm(), expected / expected.norm(), atol=1e-6)


def test_what_no_data_explain_is_divided_by_the_noise_alone():
    tall = MATRIX.T
    measurement = Measurement(torch.zeros(5), tall, 0.3)
    r = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    c = torch.tensor([0.0, 0.5, 1.0, 7.0], dtype=torch.float64)
    solved = solve_gram(measurement, measurement.operator.near(torch.zeros(4, 3)), c, r)
    gram = c[:, None, None] * tall @ tall.T + 0.09 * torch.eye(5, dtype=torch.float64)
    close(solved, torch.linalg.solve(gram, r[:, :, None])[:, :, 0], rtol=1e-9)
