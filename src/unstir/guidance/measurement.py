"""A measurement y = A(x_0) + noise with all that a method has to know of it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from unstir.guidance.operators import LinearOperator, Map, Operator, as_operator


class Measurement:
    r"""y = A(x_0) + Gaussian noise.

    Args:
        y: (*measured), shared by all samples, or (batch, *measured), one for each.
        operator: a `LinearOperator`, a matrix (m, n), or any differentiable function.
        noise: standard deviation of the noise, above 0: a number, or one for each entry of a measurement.

    Raises:
        ValueError: for a measurement of another shape or not finite, or noise that is not above 0.
    """

    def __init__(self, y: Tensor, operator: Operator | Tensor | Map, noise: float | Tensor) -> None:
        self.operator = as_operator(operator)
        deviation = torch.as_tensor(noise, dtype=torch.float64)
        if not bool((torch.isfinite(deviation) & (deviation > 0)).all()):
            wrong = noise if deviation.ndim == 0 else float(deviation.min())
            raise ValueError(
                "the noise of a measurement is a standard deviation above 0 (for exact measurements a small "
                f"one, such as 1e-3 of the data's), got {wrong}"
            )
        if not bool(torch.isfinite(y).all()):
            raise ValueError("a measurement holds values that are not finite; leave missing ones to a mask")
        self.y = y
        self.noise = deviation
        if isinstance(self.operator, LinearOperator):
            self._check(self.operator.measured)
            if deviation.ndim and bool((deviation == deviation.flatten()[0]).all()):
                self.noise = deviation.flatten()[0]  # one level, however it is written

    def _check(self, measured: tuple[int, ...]) -> None:
        shape = tuple(self.y.shape)
        if measured not in (shape, shape[1:]):
            raise ValueError(
                f"the {self.operator.name} gives measurements of shape {measured}, but y has shape {shape}; "
                "give one measurement of that shape, or one for each sample"
            )
        if self.noise.ndim and tuple(self.noise.shape) != measured:
            raise ValueError(
                f"the noise is one number or one for each entry of a measurement {measured}, got the shape "
                f"{tuple(self.noise.shape)}"
            )

    def residual(self, value: Tensor) -> Tensor:
        """y - value for A(x) of shape (batch, *measured).

        Raises:
            ValueError: if the measurement has another shape, or another batch than the samples.
        """
        measured = tuple(value.shape[1:])
        self._check(measured)
        y = self.y.to(value)
        if tuple(y.shape) == measured:
            return y - value
        if len(y) not in (1, len(value)):
            raise ValueError(
                f"there are {len(y)} measurements for {len(value)} samples; give one, or as many"
            )
        return y - value

    def variance(self, like: Tensor) -> Tensor:
        """The noise variance of every entry, to broadcast against (batch, *measured)."""
        return (self.noise**2).to(like)

    def log_likelihood(self, x: Tensor) -> Tensor:
        """log p(y | x_0) in nats, (batch,), of clean events (batch, *event)."""
        value = self.operator(x)
        residual = self.residual(value)
        deviation = self.noise.to(value)
        each = -0.5 * (residual / deviation) ** 2 - deviation.log() - 0.5 * math.log(2.0 * math.pi)
        return each.flatten(1).sum(1)
