r"""The equation itself as a measurement: a residual that is 0 up to a tolerance, which guidance keeps small.

What a user gives is a function of the two fields, in their own units, differentiable by torch:

    def residual(source, potential):   # (batch, channels, *space) each
        return ...                     # (batch, ...), 0 where the equation holds

It joins any other measurement of the pair. Source: physics-informed guidance by the residual of a
differential equation is that of Huang, Yang, Wang & Park 2024, "DiffusionPDE", eq. 8, there with DPS; here
the residual is one more measurement y = 0 of any method.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from unstir import noise as random
from unstir.guidance import LinearOperator, NonlinearOperator
from unstir.guidance.operators import Operator
from unstir.recipes.fields.sensors import Seen
from unstir.training import Scaling

Residual = Callable[[Tensor, Tensor], Tensor]
"""(batch, first channels, *space), (batch, second channels, *space) to (batch, ...)."""


class Equation:
    """A residual with its tolerance.

    Args:
        residual: of the two fields, each sample for itself.
        noise: standard deviation of the residual's entries that is still a solution, above 0, in the
            residual's own units: the smaller, the closer the pair follows the equation, and the harder the
            guidance.

    Raises:
        ValueError: for noise that is not above 0.
    """

    def __init__(self, residual: Residual, noise: float) -> None:
        if not 0.0 < noise < math.inf:
            raise ValueError(f"the tolerance of a residual is a standard deviation above 0, got {noise}")
        self.residual = residual
        self.noise = noise

    def of(self, x: Tensor, first: int = 1) -> Tensor:
        """The residual of events (batch, channels, *space) in data units, flattened, (batch, m).

        Args:
            x: the events.
            first: number of channels of the first field.

        Raises:
            ValueError: if the function does not answer with one residual for each sample, cannot take the
                fields, or gives numbers that are not finite.
        """
        try:
            value = self.residual(x[:, :first], x[:, first:])
        except (RuntimeError, IndexError, TypeError) as error:
            reason = " ".join(str(error).split())
            if "scalar type" in reason or "dtype" in reason:
                raise ValueError(
                    "the residual has to work in the type of its fields, float32 and float64: bring its own "
                    f"tensors there, such as kernel.to(u) ({reason})"
                ) from error
            raise ValueError(
                f"the residual does not take fields of shape {tuple(x[:, :first].shape)} and "
                f"{tuple(x[:, first:].shape)} ({reason})"
            ) from error
        if not isinstance(value, Tensor) or value.ndim < 1 or len(value) != len(x):
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(
                f"a residual has one row for each of {len(x)} samples, (batch, ...), but this one gave "
                f"{shape}"
            )
        if not bool(torch.isfinite(value).all()):
            raise ValueError(
                "the residual is not finite for some fields on the way to the answer; it has to be for any "
                "real ones: clamp what goes into logarithms, roots and quotients"
            )
        return value.reshape(len(x), -1)


def measurement_of(
    scaling: Scaling, event: tuple[int, ...], seen: Seen | None, equation: Equation | None, first: int = 1
) -> tuple[Tensor, Operator, float | Tensor]:
    """Sensors, an equation, or both, as one measurement of events in the units of a network.

    A residual that is affine in the fields becomes a linear operator; any other one is linearised by the
    methods at each estimate.

    Args:
        scaling: between the fields and the network.
        event: (channels, *space).
        seen: sensors in the units of the fields, or None.
        equation: or None.
        first: number of channels of the first field.

    Returns:
        y, operator and noise.

    Raises:
        ValueError: for neither sensors nor an equation, a residual that torch cannot differentiate, or as in
            `Equation.of`.
    """
    inside = None if seen is None else seen.internal(scaling)
    if equation is None:
        if inside is None:
            raise ValueError("give sensors, an equation or both: there is nothing to infer from")
        return inside.y, inside.operator, _one(inside.noise)

    def value(x: Tensor) -> Tensor:
        return equation.of(scaling.to_data(x), first)

    zero = torch.zeros(1, *event, dtype=torch.float64, requires_grad=True)
    with torch.enable_grad():
        first_value = value(zero)[0]
    if not first_value.requires_grad:
        raise ValueError(
            "the residual is cut off from the fields: it has to be made of them by torch, without detach, "
            "no_grad or a way through numpy"
        )
    origin = first_value.detach()
    tolerance = torch.full((origin.numel(),), equation.noise, dtype=torch.float64)
    if _affine(value, event, origin):
        linear = LinearOperator(lambda x: value(x) - origin.to(x), event=event, name="residual")
        if inside is None:
            return -origin, linear, equation.noise
        y = torch.cat([inside.y, (-origin).expand(*inside.y.shape[:-1], -1)], dim=-1)
        return y, inside.operator.beside(linear), torch.cat([inside.noise, tolerance])
    if inside is None:
        return torch.zeros_like(origin), NonlinearOperator(value, "residual"), equation.noise
    pick = inside.operator
    both = NonlinearOperator(lambda x: torch.cat([pick(x), value(x)], dim=1), "sensors and residual")
    y = torch.cat([inside.y, torch.zeros_like(origin).expand(*inside.y.shape[:-1], -1)], dim=-1)
    return y, both, torch.cat([inside.noise, tolerance])


def _affine(value: Callable[[Tensor], Tensor], event: tuple[int, ...], origin: Tensor) -> bool:
    """Whether a function of events is affine, by its values at two random ones."""
    stream = random.Stream.OPERATOR
    u = random.normal(event, seed=1, index=torch.arange(2), stream=stream, dtype=torch.float64)
    with torch.no_grad():
        a, b = (value(u) - origin).unbind(0)
        c = (value((2.0 * u[0] - 3.0 * u[1])[None]) - origin)[0]
    wrong = (c - (2.0 * a - 3.0 * b)).norm()
    return bool(wrong <= 1e-6 * (2.0 * a.norm() + 3.0 * b.norm()))


def _one(noise: Tensor) -> float | Tensor:
    """One level as a number, which methods have faster ways for."""
    return float(noise[0]) if bool((noise == noise[0]).all()) else noise
