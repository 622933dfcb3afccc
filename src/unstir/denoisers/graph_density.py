"""A distribution on the nodes of a graph under its own diffusion, and exactly back."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from unstir import noise
from unstir.generators import Generator


class GraphDensity:
    r"""A distribution on the nodes of a graph (or the cells of any generator) under its own diffusion.

    Forward, the masses are p_t = exp(tA) p_0. Backward everything is Bayes' rule with the same exponentials:

    .. math:: p(x_s = y | x_t = x) = \frac{K_{t-s}(y \to x)\, p_s(y)}{p_t(x)},\quad s < t

    Source: Kelly 1979, section 1.7; Campbell et al. 2022, proposition 1, for the reversed rates.

    Args:
        generator: conservative, on any space; its states are numbered as in the flattened space.
        p_0: masses of the space's shape, at least 0, not all 0; normalised here.

    Raises:
        ValueError: for another shape, negative masses, or a generator that loses mass.
    """

    def __init__(self, generator: Generator, p_0: Tensor) -> None:
        mass = torch.as_tensor(p_0, dtype=torch.float64)
        if tuple(mass.shape) != generator.shape:
            raise ValueError(f"p_0 has the shape {generator.shape} of the space, got {tuple(mass.shape)}")
        if not bool((torch.isfinite(mass) & (mass >= 0)).all()) or not bool((mass > 0).any()):
            raise ValueError("masses are finite, at least 0 and not all 0")
        if not generator.conservative:
            raise ValueError(
                "only a process that keeps its mass can be run back; this one leaks or has sources"
            )
        self.generator, self.p_0 = generator, mass / mass.sum()

    def mass_at(self, t: Tensor | float) -> Tensor:
        """p_t, masses of the space's shape (or (T, *shape) for several times)."""
        volumes = self.generator.volumes
        return self.generator.exp(t, self.p_0 / volumes, positive=True) * volumes

    def backward_matrix(self, s: float, t: float) -> Tensor:
        """(N, N): entry [x, y] is p(x_s = y | x_t = x), s < t; rows sum to 1."""
        if not 0 <= s < t:
            raise ValueError(f"a step back goes from t to an earlier s >= 0, got t={t:g} and s={s:g}")
        n = self.p_0.numel()
        volumes = self.generator.volumes.reshape(-1)
        # The bare start in each cell gives the densities of all arrivals at once.
        starts = torch.diag(1.0 / volumes).reshape(n, *self.generator.shape)
        arrivals = self.generator.exp(t - s, starts, positive=True).reshape(n, n) * volumes
        joint = self.mass_at(s).reshape(-1)[:, None] * arrivals
        return (joint / joint.sum(0).clamp(min=1e-300)).mT

    def posterior(self, x_t: Tensor, t: float) -> Tensor:
        """p(x_0 | x_t), (batch, N) for states x_t (batch,) int64."""
        return self.backward_matrix(0.0, t)[x_t]

    def reverse(self, t: float) -> Generator:
        """The generator of the reversed chain at time t, `Generator.reverse` at p_t."""
        return self.generator.reverse(self.mass_at(t) / self.generator.volumes)

    def run_back(self, masses: Tensor, t: float, steps: int, s: float = 0.0) -> Tensor:
        r"""Solve the reversed chain's master equation from ``masses`` at t down to s.

        Each step takes the reversed generator at its middle, frozen: order 2 in the step (Magnus; Blanes,
        Casas, Oteo & Ros 2009, section 5.1). Steps shrink geometrically toward s = 0, where rates blow up.

        Args:
            masses: (..., *shape) at time t.
            t: above s.
            steps: at least 1.
            s: at least 0.
        """
        volumes = self.generator.volumes
        ends = _shrinking(t, s, steps)
        u = masses.double() / volumes
        for late, early in pairwise(ends):
            u = self.reverse(0.5 * (late + early)).exp(late - early, u, positive=True)
        return u * volumes

    def sample_back(
        self, x_t: Tensor, t: float, s: float = 0.0, *, seed: int = 0, first_index: int = 0
    ) -> Tensor:
        """Draw x_s given x_t, exactly; (batch,) int64 to (batch,) int64."""
        index = torch.arange(first_index, first_index + len(x_t))
        u = noise.uniform((), seed=seed, index=index, stream=noise.Stream.STEP)
        cumulative = self.backward_matrix(s, t)[x_t].cumsum(1)
        return torch.searchsorted(cumulative, u[:, None]).clamp(max=cumulative.shape[1] - 1)[:, 0]


def _shrinking(t: float, s: float, steps: int) -> list[float]:
    """Times from t down to s, quadratic towards s."""
    if not 0 <= s < t or steps < 1:
        raise ValueError(
            f"running back goes from t to an earlier s >= 0 in at least one step, got {t}, {s}, {steps}"
        )
    return [s + (t - s) * ((steps - k) / steps) ** 2 for k in range(steps + 1)]
