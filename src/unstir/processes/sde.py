"""Ito stochastic differential equations: simulate, reverse, probability flow, Fokker-Planck operator."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unstir import noise
from unstir.brownian import BrownianPath
from unstir.processes.sde_steps import METHODS, Step, covariance, divergence, euler_maruyama
from unstir.processes.shapes import as_float64, expand
from unstir.settings import nearest

if TYPE_CHECKING:
    from unstir.generators import Generator
    from unstir.spaces import Grid

Score = Callable[[Tensor, Tensor], Tensor]
"""(x, t) -> grad log p_t(x), of the shape of x."""


@dataclass(frozen=True)
class SDE:
    r"""dx = drift(x, t) dt + diffusion(x, t) dw, in the sense of Ito.

    Args:
        drift: (x, t) -> tensor of the shape of x; x is (batch, *event), t a float64 scalar. Each sample's
            value depends on that sample alone.
        diffusion: t -> scalar or (batch,), the same in every direction; or a function of two arguments,
            (x, t) -> scalar or (batch,), or a tensor of the shape of x (one noise for each component), or
            (batch, d, m) for x of (batch, d) and m noises.
        exact: (x, t, s, z) -> x at time s, drawn from the exact transition with standard normal z of the
            shape of x; None where it is not known. `processes.exact_sdes` has some.

    Raises:
        ValueError: for a diffusion that takes neither one argument nor two.
    """

    drift: Callable[[Tensor, Tensor], Tensor]
    diffusion: Callable[..., Tensor]
    exact: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor] | None = None

    def __post_init__(self) -> None:
        if _arguments(self.diffusion) not in (1, 2):
            raise ValueError(
                "the diffusion of an SDE is a function of t or of (x, t), but this one takes "
                f"{_arguments(self.diffusion)} arguments"
            )

    @property
    def additive(self) -> bool:
        """Whether the diffusion is a function of time alone."""
        return _arguments(self.diffusion) == 1

    def amplitude(self, x: Tensor, t: Tensor) -> Tensor:
        """The diffusion at a state, in the type of x: it multiplies x, or is (batch, d, m).

        Raises:
            ValueError: for a diffusion of any other shape.
        """
        value = as_float64(self.diffusion(t)) if self.additive else self.diffusion(x, t).to(x)
        if not self.additive and value.ndim > 1:
            if value.shape == x.shape or (x.ndim == 2 and value.ndim == 3 and value.shape[:2] == x.shape):
                return value
            raise ValueError(
                f"for states of shape {tuple(x.shape)} the diffusion is a scalar, one value a sample, of "
                f"that shape, or (batch, d, m), got {tuple(value.shape)}"
            )
        return expand(value, x)

    def reverse(self, score: Score) -> SDE:
        r"""The SDE of the same process in reversed time (simulate it on a falling grid).

        .. math:: dx = (f - \nabla\cdot(g g^T) - g g^T \nabla \log p_t(x))\,dt + g\,d\bar w

        The divergence, (\nabla\cdot a)_i = \sum_j \partial a_{ij} / \partial x_j, vanishes where g does not
        depend on x; else it takes d derivatives.

        Source: Anderson 1982, "Reverse-time diffusion equation models"; Haussmann & Pardoux 1986, "Time
        reversal of diffusions", theorem 2.1; Song et al. 2021, eq. 6 and appendix A.
        """
        return SDE(self._against(score, 1.0), self.diffusion)

    def probability_flow(self, score: Score) -> SDE:
        r"""The ordinary differential equation with the same marginals (diffusion zero).

        .. math:: dx = (f - \tfrac12 \nabla\cdot(g g^T) - \tfrac12 g g^T \nabla \log p_t(x))\,dt

        Source: Song et al. 2021, eq. 13 and appendix A.
        """
        return SDE(self._against(score, 0.5), lambda t: torch.zeros_like(as_float64(t)))

    def _against(self, score: Score, share: float) -> Callable[[Tensor, Tensor], Tensor]:
        def drift(x: Tensor, t: Tensor) -> Tensor:
            if self.additive:
                squared = expand(self.diffusion(t) ** 2, x)
                return self.drift(x, t) - (share * squared if share != 1.0 else squared) * score(x, t)
            pushed = covariance(self.amplitude(x, t), x, score(x, t))
            return self.drift(x, t) - share * (divergence(self, x, t) + pushed)

        return drift

    def step(self, x: Tensor, t: Tensor, s: Tensor, z: Tensor) -> Tensor:
        """One Euler-Maruyama step from t to s (either direction) with standard normal ``z``."""
        return euler_maruyama(self, x, t, s, z)

    def simulate(
        self,
        x: Tensor,
        grid: Tensor,
        *,
        seed: int = 0,
        first_index: int = 0,
        first_step: int = 0,
        method: str = "euler-maruyama",
        path: bool = False,
        brownian: BrownianPath | None = None,
    ) -> Tensor:
        """Simulate on a grid of times.

        Methods: 'euler-maruyama' (Maruyama 1955; weak order 1, strong order 1/2, or 1 for a diffusion
        without x); 'milstein' (Milstein 1975; strong order 1); 'tamed' (Hutzenthaler, Jentzen & Kloeden
        2012; strong order 1/2, stable for drifts that grow faster than x); 'heun' (weak order 2 for a
        diffusion without x, two drifts a step); 'exact' (no error at any step, where it is known).

        Args:
            x: (batch, *event), the state at grid[0].
            grid: (steps + 1,) monotone times.
            seed: sample i of a seed follows the same path in any batch.
            first_index: number of the first sample within the seed.
            first_step: number of the first step within the noise; a run that is continued with the number
                of steps already taken equals one that was not interrupted.
            method: one of the above.
            path: return the states at all times of the grid.
            brownian: the path of the noise, known at the times of the grid (all at least 0), instead of
                independent draws: runs on different grids then follow one path. Its event is that of the
                noise: x's own, or (m,).

        Returns:
            The state at grid[-1], (batch, *event); with ``path`` (steps + 1, batch, *event).

        Raises:
            FloatingPointError: if the state stops being finite, with the step and the time.
            ValueError: for an unknown method, or one that this SDE does not allow.
        """
        step, times = self.stepper(x, grid, method), as_float64(grid)
        index = torch.arange(first_index, first_index + len(x), device=x.device)
        states = [x]
        for k in range(len(times) - 1):
            t, s = times[k], times[k + 1]
            if brownian is None:
                z = self.draw(x, t, seed, index, first_step + k)
            else:
                z = brownian.increment(t, s).to(x) / (s - t).abs().sqrt().to(x)
            x = step(self, x, t, s, z)
            if not bool(torch.isfinite(x).all()):
                raise FloatingPointError(
                    f"the state is not finite after step {k + 1} of {len(times) - 1}, "
                    f"at t = {float(s):.6g}; take smaller steps"
                )
            if path:
                states.append(x)
        return torch.stack(states) if path else x

    def stepper(self, x: Tensor, grid: Tensor, method: str) -> Step:
        """The step function of a method of `simulate`, after its condition was checked at the start."""
        if method not in METHODS:
            raise ValueError(f"there is no method {method!r} for an SDE; {nearest(method, list(METHODS))}")
        step, check = METHODS[method]
        check(self, x, as_float64(grid)[0])
        return step

    def draw(self, x: Tensor, t: Tensor, seed: int, index: Tensor, k: int) -> Tensor:
        """The standard normal z of step k, of the shape of x or (batch, m), for samples ``index``."""
        event = x.shape[1:]
        if not self.additive and x.ndim == 2 and (g := self.amplitude(x[:1], t)).ndim == 3:
            event = g.shape[2:]
        return noise.normal(
            event, seed=seed, index=index, stream=noise.Stream.SIMULATE, step=k, dtype=x.dtype
        )

    def generator(self, space: Grid, t: float = 0.0) -> Generator:
        r"""The Fokker-Planck operator on a grid, with the coefficients at time ``t``.

        .. math:: \partial_t p = -\nabla\cdot(f p) + \sum_i \partial_i^2 (D_i p)
                  = \nabla\cdot(D \nabla p) - \nabla\cdot((f - \nabla D) p), \quad D = g^2 / 2

        Source: Risken 1989, "The Fokker-Planck equation", section 4.7.

        Args:
            space: a grid with a cartesian axis for each component of the state, x of (batch, d).
            t: the time at which drift and diffusion are taken; they are functions of x from there on.

        Raises:
            ValueError: for a radial axis, or noise that correlates two axes.
        """
        from unstir.processes.fokker_planck import fokker_planck

        return fokker_planck(self, space, t)


def _arguments(function: Callable[..., Any]) -> int:
    """How many arguments must be given by place; 1 for a callable that does not say."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 1
    places = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in places and p.default is p.empty for p in parameters)
