"""How far apart two sets of samples are: Fréchet, sliced Wasserstein, maximum mean discrepancy.

All work in float64 and give plain floats. None knows what a good value is: compare with held-out data.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from unstir import noise
from unstir.evaluation.inputs import flat_pair, pairwise, rows_at_once, subset

Kernel = Callable[[Tensor, Tensor], Tensor]


def frechet_distance(a: Tensor, b: Tensor) -> float:
    r"""Squared Fréchet (2-Wasserstein) distance between the Gaussians with the moments of a and b.

    .. math:: d^2 = \lVert \mu_a - \mu_b \rVert^2
              + \mathrm{tr}\left(\Sigma_a + \Sigma_b - 2 (\Sigma_a \Sigma_b)^{1/2}\right)

    Sources: Dowson & Landau 1982, eq. 4; Heusel et al. 2017, eq. 6 (of Inception features: the "FID").
    With :math:`\Sigma = R^T R`, R the triangular factor of the centred rows, the eigenvalues of
    :math:`\Sigma_a \Sigma_b` are those of :math:`(R_a R_b^T)(R_a R_b^T)^T`, so the trace of the root is
    the sum of the singular values of :math:`R_a R_b^T`. Nothing is squared and rooted again, hence
    singular covariances (n < d) lose no digits.

    The estimate is biased upwards by about 1/n (Bińkowski et al. 2018, section 4): compare only values
    from sets of the same sizes.

    Args:
        a: (n, *event), usually features (n, d).
        b: (m, *event).

    Returns:
        A number of at least 0; 0 for equal moments.

    Raises:
        ValueError: for fewer than 2 samples, different event shapes, or values that are not finite.
    """
    x, y = flat_pair(a, b, ("a", "b"))
    mean_x, mean_y = x.mean(0), y.mean(0)
    root_x = torch.linalg.qr(x - mean_x, mode="r").R / (len(x) - 1) ** 0.5
    root_y = torch.linalg.qr(y - mean_y, mode="r").R / (len(y) - 1) ** 0.5
    overlap = torch.linalg.svdvals(root_x @ root_y.T).sum()
    spread = (root_x**2).sum() + (root_y**2).sum() - 2.0 * overlap
    return max(0.0, float(((mean_x - mean_y) ** 2).sum() + spread))


def sliced_wasserstein(a: Tensor, b: Tensor, projections: int = 512, seed: int = 0, p: float = 2.0) -> float:
    r"""Sliced Wasserstein distance: exact in one dimension, averaged over directions.

    .. math:: SW_p(a, b)^p = E_\theta \int_0^1 |F_{\theta a}^{-1}(q) - F_{\theta b}^{-1}(q)|^p \, dq

    Source: Bonneel et al. 2015, definition 2. The quantile functions are steps, so the integral is a sum
    over their joint breakpoints, exact for any two sizes. The directions are orthogonal in blocks of d
    (Rowland et al. 2019), which leaves them uniform on the sphere and lowers the variance.

    Args:
        a: (n, *event).
        b: (m, *event).
        projections: number of directions, at least 1.
        seed: decides the directions.
        p: order of the distance, at least 1.

    Returns:
        A number of at least 0, in the units of the data; a shift by v gives \|v\| / sqrt(d) for p = 2.

    Raises:
        ValueError: for empty sets, different event shapes, values that are not finite, projections < 1
            or p < 1.
    """
    x, y = flat_pair(a, b, ("a", "b"), least=1)
    if projections < 1 or p < 1:
        raise ValueError(f"projections and p are at least 1, got projections={projections} and p={p}")
    n, m = len(x), len(y)
    # Levels in units of 1 / (n m) are integers, hence exact; one that occurs twice gets the width 0.
    first = torch.arange(n, device=x.device) * m
    second = torch.arange(m, device=x.device) * n
    levels = torch.cat([first, second]).sort().values
    ends = torch.cat([levels[1:], levels.new_tensor([n * m])])
    widths = (ends - levels).double() / (n * m)
    total = x.new_zeros(())
    directions = _directions(x.shape[1], projections, seed, x.device)
    for some in torch.split(directions, rows_at_once(n + m)):
        quantiles_x = (some @ x.T).sort(dim=1).values[:, levels // m]
        quantiles_y = (some @ y.T).sort(dim=1).values[:, levels // n]
        total += ((quantiles_x - quantiles_y).abs() ** p * widths).sum()
    return math.pow(float(total) / len(directions), 1.0 / p)


def _directions(d: int, count: int, seed: int, device: torch.device) -> Tensor:
    """(count, d) unit vectors, orthogonal within blocks of d; the line has only one direction."""
    if d == 1:
        return torch.ones((1, 1), dtype=torch.float64, device=device)
    block = min(d, count)
    index = torch.arange(-(-count // block), device=device)
    stream = noise.Stream.PROJECTION
    z = noise.normal((d, block), seed=seed, index=index, stream=stream, dtype=torch.float64)
    columns: Tensor = torch.linalg.qr(z).Q
    return columns.mT.reshape(-1, d)[:count]


@dataclass(frozen=True)
class GaussianKernels:
    r"""The mean of Gaussian kernels :math:`\exp(-\lVert x - y \rVert^2 / (2 s^2))` over bandwidths s > 0."""

    bandwidths: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.bandwidths or min(self.bandwidths) <= 0:
            raise ValueError(f"bandwidths are one or more positive numbers, got {self.bandwidths}")

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """Kernel values (n, m) for x (n, d) and y (m, d)."""
        squared = pairwise(x, y) ** 2
        total = torch.zeros_like(squared)
        for bandwidth in self.bandwidths:
            total += (squared * (-0.5 / bandwidth**2)).exp()
        return total / len(self.bandwidths)

    @classmethod
    def around_median(cls, a: Tensor, b: Tensor, *, limit: int = 1000, seed: int = 0) -> GaussianKernels:
        """Bandwidths 1/4, 1/2, 1, 2 and 4 times the median distance within a and b together.

        Source: Gretton et al. 2012, section 8 (the median heuristic). Sets larger than ``limit`` take
        part with that many random samples.
        """
        x, y = flat_pair(a, b, ("a", "b"))
        pooled = torch.cat([subset(x, limit, seed=seed), subset(y, limit, seed=seed, step=1)])
        row, column = torch.triu_indices(len(pooled), len(pooled), offset=1, device=x.device)
        distances = pairwise(pooled, pooled)[row, column]
        # More than half of all pairs equal leaves no median to speak of; then the mean, then the unit.
        median = float(distances.median()) or float(distances.mean()) or 1.0
        return cls(tuple(median * factor for factor in (0.25, 0.5, 1.0, 2.0, 4.0)))


@dataclass(frozen=True)
class PolynomialKernel:
    r"""The kernel :math:`(x \cdot y / d + 1)^3`. Source: Bińkowski et al. 2018, eq. 5."""

    degree: int = 3
    offset: float = 1.0

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """Kernel values (n, m) for x (n, d) and y (m, d)."""
        return (x @ y.T / x.shape[1] + self.offset) ** self.degree


def mmd(a: Tensor, b: Tensor, kernel: Kernel | None = None) -> float:
    r"""Unbiased estimate of the squared maximum mean discrepancy.

    .. math:: \widehat{MMD}^2 = \frac{\sum_{i \ne j} k(x_i, x_j)}{n (n - 1)}
              + \frac{\sum_{i \ne j} k(y_i, y_j)}{m (m - 1)} - \frac{2 \sum_{i, j} k(x_i, y_j)}{n m}

    Source: Gretton et al. 2012, eq. 3. Its mean does not depend on the sizes; for equal distributions it
    scatters round 0 and is negative about half of the time.

    Args:
        a: (n, *event).
        b: (m, *event).
        kernel: maps float64 (n, d) and (m, d) to (n, m); `GaussianKernels.around_median` by default.

    Returns:
        A number; between -2 and 2 for Gaussian kernels.

    Raises:
        ValueError: for fewer than 2 samples, different event shapes, or values that are not finite.
    """
    x, y = flat_pair(a, b, ("a", "b"))
    kernel = GaussianKernels.around_median(x, y) if kernel is None else kernel
    n, m = len(x), len(y)
    within = _total(kernel, x, x, True) / (n * (n - 1)) + _total(kernel, y, y, True) / (m * (m - 1))
    return within - 2.0 * _total(kernel, x, y, False) / (n * m)


def kernel_distance(a: Tensor, b: Tensor) -> float:
    """`mmd` with `PolynomialKernel`: of Inception features this is the "KID" (Bińkowski et al. 2018)."""
    return mmd(a, b, kernel=PolynomialKernel())


def _total(kernel: Kernel, x: Tensor, y: Tensor, off_diagonal: bool) -> float:
    total, rows = 0.0, rows_at_once(len(y))
    for start in range(0, len(x), rows):
        values = kernel(x[start : start + rows], y)
        if off_diagonal:
            values.diagonal(start).zero_()
        total += float(values.sum())
    return total
