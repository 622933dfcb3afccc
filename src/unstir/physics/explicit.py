"""Explicit Euler steps: order 1, stable for short steps only, and the cheapest there are.

Long runs on a grid go through one compiled pass over memory, several steps a call; short ones stay eager,
because compiling takes longer than they do.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from unstir.physics.compiled import A_CALL, Compiled
from unstir.physics.splitting import Reaction
from unstir.physics.stencil import Stencil, stencil
from unstir.physics.stepping import Tally, relative_change, stop_unless_finite
from unstir.physics.transport import Transport
from unstir.spaces import Grid

_WORTH = 6e8
"""Values times steps from which compiling (10 to 30 s) is repaid, at about 10 ns a value eagerly."""
_A_CHECK = 64
_CHECKS = 24


class Explicit:
    """Euler steps of one system.

    Args:
        transport: generators with rates (finite volumes, graphs).
        reaction: du/dt.
        u: the first state; decides type and device.
        steps: how many are planned, to decide whether to compile.

    Attributes:
        how: what a step is made of, in words.

    Raises:
        ValueError: for the spectral scheme, whose steps have no stable form here.
    """

    def __init__(self, transport: Transport, reaction: Reaction, u: Tensor, steps: int) -> None:
        self.transport, self.reaction = transport, reaction
        self.dims = len(transport.shape)
        self.stencils = _stencils(transport, u)
        self.rate = transport.rate
        tracked = u.requires_grad and torch.is_grad_enabled()
        self._compiled: Compiled | None = None
        if self.stencils is None:
            self.how = "sparse products"
        elif tracked or u.numel() * steps < _WORTH:
            self.how = "an eager stencil"
        else:
            self.how = "a compiled stencil"
            periodic = [axis.periodic for axis in transport.generators[0].space.axes]
            self._compiled = Compiled(self.stencils, reaction, u, periodic, transport.several)

    def check(self, t: float, dt: float) -> None:
        """Refuse steps that the shortest wave of the grid would not survive.

        Raises:
            ValueError: with the largest stable step and the number of steps that it takes.
        """
        if dt * self.rate <= 1.0 + 1e-9:
            return
        least = math.ceil(t * self.rate * (1.0 - 1e-12))
        number = f"{dt * self.rate / 2.0:.3g} is above 1/2"
        what = f"D dt sum(1/dx^2) = {number}" if self.stencils is not None else f"dt rate / 2 = {number}"
        raise ValueError(
            f"explicit steps of {dt:.4g} are unstable: {what}; the largest stable step is "
            f"{1.0 / self.rate:.4g}, which takes at least {least} steps for t = {t:g}"
        )

    def run(
        self, u: Tensor, start: float, stop: float, count: int, tally: Tally, tell: Callable[[int], None]
    ) -> Tensor:
        """``count`` equal steps; a step's error is taken as half of dt times the change of the slope."""
        dt = (stop - start) / count
        self.check(stop - start, dt)
        done, size = 0, max(_A_CHECK, A_CALL * (count // (A_CALL * _CHECKS)))
        while done < count:
            block = min(size, count - done)
            before = u
            local = self.local_error(u, dt)
            u = self._block(u, dt, block)
            if not bool(torch.isfinite(u.detach()).all()):
                self._find(before, tally.steps, start + done * dt, dt, block)
            tally.error += block * local
            tally.steps += block
            done += block
            tell(block)
        return u

    def slope(self, u: Tensor) -> Tensor:
        """A u + source + reaction."""
        return self._linear(u) + self.reaction(u)

    def _linear(self, u: Tensor) -> Tensor:
        if self.stencils is None:
            return self.transport(u)
        if not self.transport.several:
            return self.stencils[0](u)
        return torch.stack([s(part) for s, part in zip(self.stencils, u.unbind(0), strict=True)])

    def local_error(self, u: Tensor, dt: float) -> float:
        u = u.detach()
        slope = self.slope(u)
        new = u + dt * slope
        return relative_change(new + 0.5 * dt * (self.slope(new) - slope), new, self.dims)

    def _block(self, u: Tensor, dt: float, count: int) -> Tensor:
        if self._compiled is not None:
            try:
                u, count = self._compiled.run(u, dt, count // A_CALL), count % A_CALL
            except Exception as error:  # no C++ compiler, or a reaction that it cannot read
                self._compiled = None
                self.how = f"an eager stencil, because compiling failed ({type(error).__name__})"
        for _ in range(count):
            u = u + dt * self.slope(u)
        return u

    def _find(self, u: Tensor, step: int, t: float, dt: float, count: int) -> None:
        """Repeat a block one step at a time to say where it went wrong."""
        for i in range(1, count + 1):
            u = u + dt * self.slope(u)
            stop_unless_finite(u, step + i, t + i * dt)
        raise FloatingPointError(
            f"the state is no longer finite after step {step + count}, t = {t + count * dt:g}"
        )


def _stencils(transport: Transport, u: Tensor) -> list[Stencil] | None:
    """One for each species on a grid; None where neighbours are not along axes."""
    made: dict[int, Stencil] = {}
    for generator in transport.generators:
        if getattr(generator, "spectral", False):
            raise ValueError(
                'explicit steps need finite volumes; the spectral scheme is for "strang" and "etdrk4"'
            )
        if not isinstance(generator.space, Grid):
            return None
        if id(generator) not in made:
            try:
                made[id(generator)] = stencil(generator).to(u)
            except ValueError:
                return None
    return [made[id(generator)] for generator in transport.generators]
