"""The exact posterior of a Gaussian mixture under a linear measurement: another mixture."""

from __future__ import annotations

import torch
from torch import Tensor

from unstir.denoisers.exact import GaussianMixture


def given(mixture: GaussianMixture, y: Tensor, matrix: Tensor, noise: float | Tensor) -> GaussianMixture:
    r"""The distribution of x_0 given y = A x_0 + noise, as an exact denoiser under the same schedule.

    With K = C A^T (A C A^T + R)^{-1} for each component,

    .. math:: \mu' = \mu + K (y - A \mu),\quad C' = (I - K A) C,\quad
              \pi' \propto \pi\, N(y; A \mu, A C A^T + R)

    Source: Bishop 2006, eq. 2.116 and 2.117. Every method for inverse problems is measured against it.

    Args:
        mixture: of events with n entries, n small enough for dense covariances.
        y: m numbers, of any shape.
        matrix: (m, n) of flattened events, such as `LinearOperator.matrix`.
        noise: standard deviation, above 0, a number or (m,).

    Raises:
        ValueError: for shapes that do not match, or a noise level that is not above 0.
    """
    n = mixture.means.shape[1]
    flat = y.double().reshape(-1)
    if matrix.ndim != 2 or matrix.shape != (len(flat), n):
        raise ValueError(
            f"the matrix of {len(flat)} measurements of {n} entries has the shape {(len(flat), n)}, "
            f"got {tuple(matrix.shape)}"
        )
    deviation = torch.as_tensor(noise, dtype=torch.float64)
    if not bool((deviation > 0).all()) or deviation.ndim > 1:
        raise ValueError("the noise is a standard deviation above 0, a number or one for each measurement")
    a = matrix.double()
    covariances = mixture.covariances
    noise_covariance = torch.diag(deviation.expand(len(flat)) ** 2)
    seen = a @ covariances @ a.T + noise_covariance
    factor = torch.linalg.cholesky(seen)
    residual = flat - mixture.means @ a.T
    gain = torch.cholesky_solve(a @ covariances, factor).mT
    means = mixture.means + (gain @ residual[:, :, None])[:, :, 0]
    # Joseph's form stays symmetric and positive semidefinite.
    left = torch.eye(n, dtype=torch.float64) - gain @ a
    after = left @ covariances @ left.mT + gain @ noise_covariance @ gain.mT
    whitened = torch.linalg.solve_triangular(factor, residual[:, :, None], upper=False)[:, :, 0]
    determinant = factor.diagonal(dim1=1, dim2=2).log().sum(1)
    # The factor (2 pi)^(-m/2) is the same for all.
    weights = (mixture.log_weights - 0.5 * (whitened**2).sum(1) - determinant).softmax(0)
    kept = weights > 1e-300  # a component that y rules out has no weight to take the logarithm of
    labels = None if mixture.labels is None else mixture.labels[kept]
    return GaussianMixture(
        mixture.schedule,
        means[kept].reshape(-1, *mixture.event),
        covariances=0.5 * (after + after.mT)[kept],
        weights=weights[kept],
        labels=labels,
    )
