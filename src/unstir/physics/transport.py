"""The linear half of a reaction-diffusion system: one generator for all of u, or one for each species.

With several species u is (species, ..., *shape) and each slice along the first axis has its own generator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from unstir.generators import Generator

T = TypeVar("T")


class Transport:
    """The generators of a system, applied to all species at once.

    Args:
        generator: one for everything, or a tuple with one for each species.

    Attributes:
        generators: as a tuple.
        several: whether the first axis of u counts species.

    Raises:
        ValueError: for no generator, or generators of different shapes.
    """

    def __init__(self, generator: Generator | Sequence[Generator]) -> None:
        self.several = not isinstance(generator, Generator)
        self.generators = (generator,) if isinstance(generator, Generator) else tuple(generator)
        if not self.generators:
            raise ValueError("evolve needs a generator, or a tuple of them, one for each species")
        shapes = {g.shape for g in self.generators}
        if len(shapes) > 1:
            raise ValueError(f"the species' generators must share one space, got shapes {sorted(shapes)}")
        self.shape = self.generators[0].shape

    def checked(self, u: Tensor) -> Tensor:
        """u as floating point, after a look at its shape.

        Raises:
            ValueError: unless u ends in the space's shape and begins with the species.
        """
        u = torch.as_tensor(u)
        u = u if u.is_floating_point() else u.double()
        d = len(self.shape)
        if tuple(u.shape[max(u.ndim - d, 0) :]) != self.shape:
            raise ValueError(f"u_0 ends in the generator's shape {self.shape}, got {tuple(u.shape)}")
        if self.several and (u.ndim == d or u.shape[0] != len(self.generators)):
            raise ValueError(
                f"with {len(self.generators)} generators u_0 begins with {len(self.generators)} species, "
                f"(species, ..., *{self.shape}), got {tuple(u.shape)}"
            )
        if not bool(torch.isfinite(u.detach()).all()):
            raise ValueError("u_0 has values that are not finite")
        return u

    def each(self, work: Callable[[Generator, Tensor], Tensor], u: Tensor) -> Tensor:
        """``work`` with every species and its generator."""
        if not self.several:
            return work(self.generators[0], u)
        return torch.stack([work(g, part) for g, part in zip(self.generators, u.unbind(0), strict=True)])

    def __call__(self, u: Tensor) -> Tensor:
        """A u + source."""
        return self.each(lambda g, part: g(part), u)

    def exp(self, t: float, u: Tensor, *, tolerance: float, positive: bool = False) -> Tensor:
        """The exact state after time t without reaction."""
        return self.each(lambda g, part: g.exp(t, part, tolerance=tolerance, positive=positive), u)

    def solve(self, shift: float, u: Tensor) -> Tensor:
        """(shift - A)^-1 (u + source)."""
        return self.each(lambda g, part: g.solve(shift, part), u)

    @property
    def rate(self) -> float:
        """The largest exit rate, 1 / time."""
        return max(g.rate for g in self.generators)
