r"""A linear measurement seen in the singular basis of its operator, where its entries do not mix."""

from __future__ import annotations

import math

from torch import Tensor

from unstir.guidance.measurement import Measurement
from unstir.guidance.operators import LinearOperator, Map, Operator, Singular


class Spectral:
    r"""y = A x_0 + noise as y_i = s_i x_i + N(0, 1), one number for each singular value.

    With R^{-1/2} A = U diag(s) V^T everything is in units of the noise: x_i are the entries of V^T x_0, y_i
    those of U^T R^{-1/2} y. What of y lies outside the range of U no x_0 explains.

    Args:
        y: (*measured), shared by all samples, or (batch, *measured).
        operator: a `LinearOperator` or a matrix.
        noise: standard deviation, above 0; a number or one for each entry of a measurement.

    Attributes:
        measurement: the measurement as it was given.
        values: (k,) float64, s, singular values divided by the noise.
        y: (1 or batch, k) float64.

    Raises:
        ValueError: for a nonlinear operator, one whose dense matrix is too large, or as in `Measurement`.
    """

    def __init__(self, y: Tensor, operator: Operator | Tensor | Map, noise: float | Tensor) -> None:
        self.measurement = Measurement(y, operator, noise)
        if not isinstance(self.measurement.operator, LinearOperator):
            raise ValueError(
                "this method works in the singular basis of a linear operator, and the one given is a plain "
                "function; give a LinearOperator or a matrix, or use DPS, PiGDM or MMPS"
            )
        self.operator = self.measurement.operator
        deviation = self.measurement.noise
        self._singular = _scaled(self.operator, deviation)
        white = _batched(y, self.operator.measured).double() / deviation.to(y.device)
        self.values = self._singular.values
        self.y = self._singular.left(white)
        self._outside = white.flatten(1).square().sum(1) - self.y.square().sum(1)
        size = math.prod(self.operator.measured)
        logs = (
            deviation.log().expand(self.operator.measured).sum() if deviation.ndim else size * deviation.log()
        )
        self._constant = float(logs) + 0.5 * size * math.log(2.0 * math.pi)

    def analyse(self, x: Tensor) -> Tensor:
        """V^T x, (batch, *event) to (batch, k)."""
        if tuple(x.shape[1:]) != self.operator.event:
            raise ValueError(
                f"the {self.operator.name} acts on events of shape {self.operator.event}, got "
                f"{tuple(x.shape[1:])}"
            )
        return self._singular.right(x)

    def synthesise(self, c: Tensor) -> Tensor:
        """V c, (batch, k) to (batch, *event)."""
        return self._singular.from_right(c)

    def measured(self, batch: int) -> Tensor:
        """The measurement of every sample, (batch or 1, k).

        Raises:
            ValueError: if there are neither one nor ``batch`` measurements.
        """
        if len(self.y) not in (1, batch):
            raise ValueError(
                f"there are {len(self.y)} measurements for {batch} samples; give one, or as many"
            )
        return self.y

    def log_rest(self, rows: Tensor) -> Tensor:
        """The part of a log-likelihood that no x_0 changes, (batch,) float64, in nats.

        Args:
            rows: (batch,) number of the measurement of each sample.
        """
        return -0.5 * self._outside.to(rows.device)[rows] - self._constant


def _batched(y: Tensor, measured: tuple[int, ...]) -> Tensor:
    """(1 or batch, *measured)."""
    return y[None] if tuple(y.shape) == measured else y


def _scaled(operator: LinearOperator, deviation: Tensor) -> Singular:
    """The singular value decomposition of R^{-1/2} A, with float64 values."""
    if deviation.ndim == 0:
        singular = operator.singular
        return singular._replace(values=singular.values.double() / deviation.to(singular.values.device))
    scaled = LinearOperator(
        lambda x: operator(x) / deviation.to(x),
        lambda y: operator.adjoint(y / deviation.to(y)),
        event=operator.event,
        name=operator.name,
    )
    return scaled.singular
