"""The baseline of generated data: a Gaussian with the mean and covariance of the data, or of each class."""

from __future__ import annotations

import torch
from torch import Tensor

from unstir import noise


def gaussian_samples(x: Tensor, owners: Tensor | None, wanted: Tensor | None, n: int, seed: int) -> Tensor:
    """Samples of the Gaussian with the mean and covariance of the data, or of each class.

    Args:
        x: (m, *event), data.
        owners: (m,) their classes, or None.
        wanted: (n,) the classes wanted, or None.
        n: number of samples.
        seed: of the samples; sample i of a seed has the same numbers whatever ``n``.

    Returns:
        (n, *event) float32.
    """
    flat = x.flatten(1).double()
    draws = noise.normal(
        (flat.shape[1],),
        seed=seed,
        index=torch.arange(n),
        stream=noise.Stream.GAUSSIAN_BASELINE,
        dtype=torch.float64,
    )
    result = torch.empty_like(draws)
    classes = [None] if owners is None or wanted is None else sorted(set(wanted.tolist()))
    for label in classes:
        part = flat if label is None else flat[owners == label]
        rows = torch.ones(n, dtype=torch.bool) if label is None else wanted == label
        mean = part.mean(0)
        # The right singular vectors of centred data, scaled, are a root of their covariance.
        _, scales, directions = torch.linalg.svd(part - mean, full_matrices=False)
        root = scales[:, None] * directions / max(len(part) - 1, 1) ** 0.5
        result[rows] = mean + draws[rows][:, : len(root)] @ root
    return result.float().reshape(n, *x.shape[1:])
