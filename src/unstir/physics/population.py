"""Genetic drift: the Wright-Fisher model, its Markov chain and its diffusion.

A population of N diploid individuals carries n = 2N copies of a gene. One kind of it, the allele that is
counted, has fitness 1 + s a copy, so its frequency x drifts by s x (1 - x) with variance x (1 - x) / n in a
generation; time is in generations throughout.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unstir import noise
from unstir.generators import Generator
from unstir.physics.binomial import binomial, binomial_quantile
from unstir.processes import SDE, as_float64
from unstir.spaces import Axis, Grid


@dataclass(frozen=True)
class WrightFisher:
    r"""Every copy of the next generation is drawn from the last one, with replacement.

    .. math:: k' \sim \mathrm{Binomial}(n, x^*), \quad
              x^* = (1 - u) x_s + v (1 - x_s), \quad x_s = \frac{(1 + s) x}{1 + s x}, \quad x = k / n

    Source: Fisher 1930; Wright 1931; Ewens 2004, "Mathematical population genetics", chapters
    1 and 3.

    Args:
        copies: n = 2N, at least 1.
        selection: s above -1, advantage of a copy; 0 is neutral.
        away: u, probability that a copy of the allele mutates away from it.
        towards: v, probability that another copy mutates to it.

    Raises:
        ValueError: for a number out of range.
    """

    copies: int
    selection: float = 0.0
    away: float = 0.0
    towards: float = 0.0

    def __post_init__(self) -> None:
        if self.copies < 1 or int(self.copies) != self.copies:
            raise ValueError(f"a population has a whole number of copies, at least 1, got {self.copies}")
        if not self.selection > -1.0:
            raise ValueError(f"the advantage of a copy is above -1 (fitness 1 + s), got {self.selection}")
        if not (0.0 <= self.away <= 1.0 and 0.0 <= self.towards <= 1.0):
            raise ValueError(
                f"mutation probabilities lie from 0 to 1, got {self.away} away and {self.towards} towards"
            )

    @property
    def absorbing(self) -> bool:
        """Whether the allele can be lost or fixed for good: no mutation."""
        return self.away == 0.0 and self.towards == 0.0

    def parents(self, x: Tensor) -> Tensor:
        """x*: the probability that a copy of the next generation is the allele, for frequency x."""
        selected = (1.0 + self.selection) * x / (1.0 + self.selection * x)
        return (1.0 - self.away) * selected + self.towards * (1.0 - selected)

    def simulate(
        self, count: Tensor, generations: int, *, path: bool = False, seed: int = 0, first_index: int = 0
    ) -> Tensor:
        """Populations that drift, by exact binomial sampling.

        Args:
            count: (populations,) copies of the allele at the start, 0 to n.
            generations: how many.
            path: return every generation.
            seed: population i of a seed drifts the same way in any company.
            first_index: number of the first population within the seed.

        Returns:
            (populations,) int64; with ``path`` (generations + 1, populations).

        Raises:
            ValueError: for a count out of range.
        """
        count = count.long()
        if count.ndim != 1 or bool(((count < 0) | (count > self.copies)).any()):
            raise ValueError(f"the counts are one axis of numbers from 0 to {self.copies}")
        index = torch.arange(first_index, first_index + len(count))
        counts = [count]
        for generation in range(generations):
            u = noise.uniform((1,), seed=seed, index=index, stream=noise.Stream.REPRODUCTION, step=generation)
            count = binomial_quantile(u[:, 0], self.copies, self.parents(count.double() / self.copies))
            counts.append(count)
            if not path:
                del counts[0]
                if self.absorbing and bool(((count == 0) | (count == self.copies)).all()):
                    break
        return torch.stack(counts) if path else counts[-1]

    def matrix(self) -> Tensor:
        """(n + 1, n + 1) float64: entry [i, j] is the probability of j copies after i; rows sum to 1."""
        counts = torch.arange(self.copies + 1, dtype=torch.float64)
        return binomial(counts, self.copies, self.parents(counts / self.copies)[:, None])

    def fixation(self) -> Tensor:
        """Probability that the allele takes over, from each count, by solving the Markov chain.

        Source: Ewens 2004, chapter 2, on finite Markov chains.

        Returns:
            (n + 1,) float64, 0 at count 0 and 1 at count n.

        Raises:
            ValueError: with mutation, which undoes every fixation.
        """
        P = self._absorbing_matrix()
        return self._solve(P, P[1:-1, -1], last=1.0)

    def absorption_time(self) -> Tensor:
        """Mean generations until the allele is lost or fixed, from each count, by solving the Markov chain.

        Source: Ewens 2004, chapter 2.

        Returns:
            (n + 1,) float64, 0 at both ends.

        Raises:
            ValueError: with mutation.
        """
        P = self._absorbing_matrix()
        return self._solve(P, torch.ones(self.copies - 1, dtype=torch.float64))

    def fixation_time(self) -> Tensor:
        """Mean generations until fixation among the populations that fix, from each count.

        Source: Ewens 2004, chapter 2: the chain given fixation has probabilities P_ij h_j / h_i.

        Returns:
            (n + 1,) float64; nan at count 0, from which nothing fixes, and 0 at count n.

        Raises:
            ValueError: with mutation.
        """
        h = self.fixation()
        return self._solve(self._absorbing_matrix(), h[1:-1]) / h

    def heterozygosity(self, x: Tensor | float, generations: Tensor | float) -> Tensor:
        r"""The mean of 2 x (1 - x) after t generations without selection and mutation.

        .. math:: H_t = H_0 (1 - 1/n)^t

        Source: Wright 1931; Ewens 2004, chapter 1.

        Raises:
            ValueError: with selection or mutation.
        """
        if self.selection != 0.0 or not self.absorbing:
            raise ValueError("heterozygosity decays as (1 - 1/n)^t only without selection and mutation")
        x_0 = as_float64(x)
        return 2.0 * x_0 * (1.0 - x_0) * (1.0 - 1.0 / self.copies) ** as_float64(generations)

    def sde(self) -> SDE:
        r"""The diffusion limit: dx = (s x (1-x) - u x + v (1-x)) dt + sqrt(x (1-x) / n) dw.

        Source: Kimura 1964, "Diffusion models in population genetics"; Ewens 2004, chapter 4.
        """

        def drift(x: Tensor, t: Tensor) -> Tensor:
            return self.selection * x * (1.0 - x) - self.away * x + self.towards * (1.0 - x)

        def spread(x: Tensor, t: Tensor) -> Tensor:
            return (x * (1.0 - x) / self.copies).clamp(min=0.0).sqrt()

        return SDE(drift, spread)

    def diffusion(self, cells: int = 400) -> Generator:
        r"""The generator of the diffusion limit on 0 to 1, per generation.

        .. math:: \partial_t p = \partial_x^2 \left(\tfrac{x (1-x)}{2n} p\right)
                  - \partial_x \big((s x (1-x) - u x + v (1-x)) p\big)

        Without mutation what reaches an end is lost from the density (allele lost or fixed); with mutation
        the ends reflect.

        Source: Kimura 1964, "Diffusion models in population genetics".

        Args:
            cells: narrower towards the ends.
        """
        # sin^2 spaces the edges so that x (1 - x) changes little within a cell at the ends too.
        angles = torch.linspace(0.0, 0.5 * math.pi, cells + 1, dtype=torch.float64)
        ends = "absorb" if self.absorbing else "reflect"
        grid = Grid(Axis.from_edges(angles.sin().square(), boundary=ends))
        return self.sde().generator(grid)

    def log_stationary(self, x: Tensor) -> Tensor:
        r"""The logarithm of the density that does not change, up to a constant.

        .. math:: \log \varphi = 2 n s x + (2 n v - 1) \log x + (2 n u - 1) \log(1 - x)

        It has a finite integral if u and v are above 0. Source: Wright 1937; Ewens 2004, chapter 5.
        """
        n = self.copies
        ends = (2.0 * n * self.towards - 1.0) * x.log() + (2.0 * n * self.away - 1.0) * torch.log1p(-x)
        return 2.0 * n * self.selection * x + ends

    def _absorbing_matrix(self) -> Tensor:
        if not self.absorbing:
            raise ValueError("with mutation no allele is lost or fixed for good; set away and towards to 0")
        return self.matrix()

    def _solve(self, P: Tensor, supply: Tensor, last: float = 0.0) -> Tensor:
        inner = torch.eye(self.copies - 1, dtype=torch.float64) - P[1:-1, 1:-1]
        ends = torch.tensor([0.0, last], dtype=torch.float64)
        return torch.cat([ends[:1], torch.linalg.solve(inner, supply), ends[1:]])


def fixation_of(generator: Generator) -> Tensor:
    r"""Probability of leaving through the upper end, from every cell of an absorbing line.

    It solves the backward equation A* h = -(rate of leaving upward).

    Source: Ewens 2004, chapter 4.

    Args:
        generator: on a grid of one axis with at least 3 cells, absorbing at both ends.

    Returns:
        (cells,) float64.

    Raises:
        ValueError: for another space, or one without a way out.
    """
    if len(generator.shape) != 1 or generator.shape[0] < 3:
        raise ValueError(f"fixation is for a line of at least 3 cells, got shape {generator.shape}")
    backward = generator.T
    leaving = -backward(torch.ones(generator.shape, dtype=torch.float64))
    if not float(leaving[-1]) > 0.0 or not float(leaving[0]) > 0.0:
        raise ValueError("fixation needs a line that absorbs at both ends")
    upward = torch.zeros_like(leaving)
    upward[-1] = leaving[-1]
    return backward.solve(0.0, upward)
