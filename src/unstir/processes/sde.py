"""Ito stochastic differential equations: simulate, reverse, and the probability flow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from unstir import noise
from unstir.processes.shapes import as_float64, expand

Score = Callable[[Tensor, Tensor], Tensor]
"""(x, t) -> grad log p_t(x), of the shape of x."""


@dataclass(frozen=True)
class SDE:
    r"""dx = drift(x, t) dt + diffusion(t) dw.

    Args:
        drift: (x, t) -> tensor of the shape of x; x is (batch, *event), t a float64 scalar.
        diffusion: t -> scalar or (batch,), the same in every direction.
    """

    drift: Callable[[Tensor, Tensor], Tensor]
    diffusion: Callable[[Tensor], Tensor]

    def reverse(self, score: Score) -> SDE:
        r"""The SDE of the same process in reversed time (simulate it on a falling grid).

        .. math:: dx = (f - g^2 \nabla \log p_t(x))\,dt + g\,d\bar w

        Source: Anderson 1982; Song et al. 2021, eq. 6.
        """

        def drift(x: Tensor, t: Tensor) -> Tensor:
            return self.drift(x, t) - expand(self.diffusion(t) ** 2, x) * score(x, t)

        return SDE(drift, self.diffusion)

    def probability_flow(self, score: Score) -> SDE:
        r"""The ordinary differential equation with the same marginals (diffusion zero).

        .. math:: dx = (f - \tfrac12 g^2 \nabla \log p_t(x))\,dt

        Source: Song et al. 2021, eq. 13.
        """

        def drift(x: Tensor, t: Tensor) -> Tensor:
            return self.drift(x, t) - 0.5 * expand(self.diffusion(t) ** 2, x) * score(x, t)

        return SDE(drift, lambda t: torch.zeros_like(as_float64(t)))

    def step(self, x: Tensor, t: Tensor, s: Tensor, z: Tensor) -> Tensor:
        """One Euler-Maruyama step from t to s (either direction) with standard normal ``z``."""
        dt = s - t
        return x + self.drift(x, t) * dt.to(x) + expand(self.diffusion(t) * dt.abs().sqrt(), x) * z

    def simulate(self, x: Tensor, grid: Tensor, *, seed: int = 0, first_index: int = 0) -> Tensor:
        """Simulate by Euler & Maruyama (Maruyama 1955; weak order 1, strong order 1/2).

        Args:
            x: (batch, *event), the state at grid[0].
            grid: (steps + 1,) monotone times.
            seed: sample i of a seed follows the same path in any batch.
            first_index: number of the first sample within the seed.

        Returns:
            The state at grid[-1].

        Raises:
            FloatingPointError: if the state stops being finite, with the step and the time.
        """
        index = torch.arange(first_index, first_index + len(x), device=x.device)
        times = as_float64(grid)
        for k in range(len(times) - 1):
            z = noise.normal(
                x.shape[1:], seed=seed, index=index, stream=noise.Stream.SIMULATE, step=k, dtype=x.dtype
            )
            x = self.step(x, times[k], times[k + 1], z)
            if not bool(torch.isfinite(x).all()):
                raise FloatingPointError(
                    f"the state is not finite after step {k + 1} of {len(times) - 1}, "
                    f"at t = {float(times[k + 1]):.6g}; take smaller steps"
                )
        return x
