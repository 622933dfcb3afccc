"""What distances look at: a map from events to a few numbers each, with or without labels."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from unstir.evaluation.inputs import flat, subset


@runtime_checkable
class Features(Protocol):
    """Anything with ``features``: `PCAFeatures`, `Judge`, `InceptionFeatures`, or your own."""

    def features(self, x: Tensor) -> Tensor:
        """Map events (n, *event) to rows (n, d)."""


class RawFeatures:
    """The events themselves, flattened: for data of few dimensions."""

    def features(self, x: Tensor) -> Tensor:
        """Rows (n, D) float64 of events (n, *event)."""
        return flat(x, "x", least=1)


class PCAFeatures:
    """Standardised principal components of the training data: features without labels.

    Each component has mean 0 and variance 1 over the training data, so fine structure counts as much as
    coarse. Directions with less than 1 % of the leading deviation are left out: there a difference that
    nobody could see would outweigh all else.

    Attributes:
        mean: (D,) float64, D = prod(event).
        components: (D, d) float64, directions divided by their deviations.
    """

    def __init__(self, mean: Tensor, components: Tensor, event: tuple[int, ...]) -> None:
        self.mean = mean
        self.components = components
        self.event = event

    @classmethod
    def fit(cls, train: Tensor, d: int = 64, *, limit: int = 20_000, seed: int = 0) -> PCAFeatures:
        """Components of the training data.

        Args:
            train: (n, *event), n >= 2.
            d: most components to keep, at least 1; fewer where the data have fewer.
            limit: sets larger than this take part with that many random samples.
            seed: decides which, and the randomised solver that sklearn uses for large sets.

        Raises:
            ValueError: for d < 1, fewer than 2 samples, values that are not finite, or samples that are
                all equal.
        """
        from sklearn.decomposition import PCA

        if d < 1:
            raise ValueError(f"the number of components d is at least 1, got {d}")
        rows = subset(flat(train, "train"), limit, seed=seed)
        if not bool((rows != rows[0]).any()):
            raise ValueError("the training samples are all equal, so they have no principal components")
        pca = PCA(min(d, *rows.shape), random_state=seed).fit(rows.cpu().numpy())
        deviations = torch.from_numpy(pca.explained_variance_).sqrt()
        keep = deviations >= 0.01 * deviations[0]
        components = (torch.from_numpy(pca.components_)[keep] / deviations[keep, None]).T
        mean = torch.from_numpy(pca.mean_)
        return cls(mean.to(train.device), components.to(train.device), tuple(train.shape[1:]))

    def features(self, x: Tensor) -> Tensor:
        """Standardised components (n, d) float64; ValueError for events of another shape."""
        if tuple(x.shape[1:]) != self.event:
            raise ValueError(f"expected events of shape {self.event}, got {tuple(x.shape[1:])}")
        return (flat(x, "x", least=1) - self.mean.to(x.device)) @ self.components.to(x.device)
