r"""The coefficients of exponential integrators: polynomials of past predictions, integrated exactly.

In ell = log(alpha / sigma), r = sigma / alpha = e^{-ell} and y = x / alpha, the reverse process with
stochasticity eta is

.. math:: dy = q\,(E[x_0|x_t] - y)\,d\ell + \eta \sqrt{2}\, r\, dw,\qquad q = 1 + \eta^2

(eta = 0: the probability flow, Song et al. 2021, eq. 13; eta = 1: the reverse SDE, their eq. 6; between:
Xue et al. 2023, SA-Solver, eq. 5). Whatever a network predicts, this is linear in y and in the prediction F:

.. math:: y_s = \frac{H_s}{H_t} y_t + \int_{\ell_t}^{\ell_s} \frac{H_s}{H(\ell)}\, g(\ell)\, F(\ell)\, d\ell
          + \text{noise}

so F is replaced by a polynomial in some coordinate, and the integral is done to full precision. Where the
modes of the process have noise levels of their own, each has a polynomial in its own coordinate.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from unstir.samplers.coefficients import Coefficient, at_least, at_most, exp, hypot

Array = NDArray[np.float64]
Coordinate = Callable[[Array, float], Array]
"""(ell, sigma_data) -> the variable in which predictions are interpolated; inf where it has no end."""
Point = tuple[float, float, float]
"""alpha, sigma and ell of a noise level."""

LARGEST_WEIGHTS = 12.0
"""A polynomial whose weights add up to more than this multiple of their sum loses its oldest node."""


def correlation(ell: Array, sigma_data: float) -> Array:
    r"""The correlation of x_t with x_0 for data of deviation c = sigma_data, less 1: finite at both ends.

    .. math:: u - 1 = \frac{c}{\sqrt{c^2 + r^2}} - 1 = -\frac{r^2}{\sqrt{c^2 + r^2}\,(c + \sqrt{c^2 + r^2})}

    Along the probability flow of Gaussian data of deviation c the posterior mean is a linear function of
    u (its deviation from the mean of the data shrinks like sqrt(c^2 + r^2), and it is u^2 of that), so two
    predictions determine all others. At high noise u falls like c / r, at low noise it differs from 1 by
    r^2 / (2 c^2): the orders in which any posterior mean changes there.
    """
    r = _noise_ratio(ell) / sigma_data
    root = np.hypot(1.0, r)
    return -r / root * (r / (1.0 + root))


def angle(ell: Array, sigma_data: float) -> Array:
    r"""The angle -arctan(r / c) between data and noise, c = sigma_data: finite at both ends.

    Its cosine is the correlation of x_t with x_0 for data of deviation c. With v it makes the probability
    flow of such data a rotation (Salimans & Ho 2022, appendix D; Lu & Song 2025, TrigFlow, eq. 2).
    """
    return -np.arctan(_noise_ratio(ell) / sigma_data)


def half_log_snr(ell: Array, sigma_data: float) -> Array:
    """The variable ell itself, that of DPM-Solver (Lu et al. 2022) and UniPC (Zhao et al. 2023)."""
    return ell


def noise_ratio(ell: Array, sigma_data: float) -> Array:
    """r = sigma / alpha, DEIS's rho (Zhang & Chen 2023, section 3.3); taken negative, so that it rises."""
    return -_noise_ratio(ell)


COORDINATES: dict[str, Coordinate] = {
    "angle": angle,
    "correlation": correlation,
    "log-snr": half_log_snr,
    "noise-ratio": noise_ratio,
}


def _noise_ratio(ell: Array) -> Array:
    return np.exp(-np.maximum(ell, -340.0))  # squares must stay numbers


class Prediction(ABC):
    """What is interpolated, as a linear combination F = from_x x_t + from_mean E[x_0 | x_t]."""

    name: str
    at_pure_noise: bool = True
    """Whether it determines the data there."""

    @abstractmethod
    def mixture(
        self, alpha: Coefficient, sigma: Coefficient, sigma_data: float
    ) -> tuple[Coefficient, Coefficient]:
        """(from_x, from_mean) at one noise level."""

    @abstractmethod
    def log_h(self, ell: Array, q: float, sigma_data: float) -> Array:
        """log H, the growth of y where F is zero."""

    @abstractmethod
    def g(self, ell: Array, q: float, sigma_data: float) -> Array:
        """The factor of F in dy / d ell."""

    @abstractmethod
    def clock(self, ell: Coefficient, eta: float, sigma_data: float) -> Coefficient:
        r"""The time of the Brownian motion B with noise = H_s |B(clock_s) - B(clock_t)|."""


class DataPrediction(Prediction):
    """F = E[x_0 | x_t]: H = r^q (DPM-Solver++, Lu et al. 2022b, eq. 8; its SDE, eq. 18)."""

    name: str = "x0"

    def mixture(
        self, alpha: Coefficient, sigma: Coefficient, sigma_data: float
    ) -> tuple[Coefficient, Coefficient]:
        return 0.0, 1.0

    def log_h(self, ell: Array, q: float, sigma_data: float) -> Array:
        return -q * ell

    def g(self, ell: Array, q: float, sigma_data: float) -> Array:
        return np.full_like(ell, q)

    def clock(self, ell: Coefficient, eta: float, sigma_data: float) -> Coefficient:
        return exp(at_most(2.0 * eta**2 * ell, 700.0))


class NoisePrediction(Prediction):
    """F = E[epsilon | x_t]: H = 1 (DPM-Solver, Lu et al. 2022, eq. 3.4; DEIS, Zhang & Chen 2023, eq. 8)."""

    name: str = "epsilon"
    at_pure_noise: bool = False

    def mixture(
        self, alpha: Coefficient, sigma: Coefficient, sigma_data: float
    ) -> tuple[Coefficient, Coefficient]:
        if _vanishes(alpha):  # epsilon is x itself and says nothing; the step from there takes the mean
            return 0.0, 1.0
        return 1.0 / sigma, -alpha / sigma

    def log_h(self, ell: Array, q: float, sigma_data: float) -> Array:
        return np.zeros_like(ell)

    def g(self, ell: Array, q: float, sigma_data: float) -> Array:
        return -q * _noise_ratio(ell)

    def clock(self, ell: Coefficient, eta: float, sigma_data: float) -> Coefficient:
        return eta**2 * exp(at_most(-2.0 * ell, 700.0))


class VelocityPrediction(Prediction):
    r"""F = v of data scaled to unit variance: H = (c^2 + r^2)^{q/2}, c = sigma_data.

    F is dy'/d phi with y' = y / sqrt(c^2 + r^2) and tan phi = r / c (Salimans & Ho 2022, appendix D), what
    an EDM-preconditioned network predicts (Karras et al. 2022, table 1). Zero for Gaussian data of that
    deviation about zero.
    """

    name: str = "v"

    def mixture(
        self, alpha: Coefficient, sigma: Coefficient, sigma_data: float
    ) -> tuple[Coefficient, Coefficient]:
        norm = hypot(alpha * sigma_data, sigma)
        return sigma_data * alpha / (sigma * norm), -norm / (sigma * sigma_data)

    def log_h(self, ell: Array, q: float, sigma_data: float) -> Array:
        return q * np.log(np.hypot(sigma_data, _noise_ratio(ell)))

    def g(self, ell: Array, q: float, sigma_data: float) -> Array:
        r = _noise_ratio(ell)
        return -q * sigma_data * r / np.hypot(sigma_data, r)

    def clock(self, ell: Coefficient, eta: float, sigma_data: float) -> Coefficient:
        squared = sigma_data**2 + exp(-2.0 * at_least(ell, -340.0))
        result: Coefficient = squared ** (-(eta**2))
        return result


PREDICTIONS: dict[str, Prediction] = {
    p.name: p for p in (DataPrediction(), NoisePrediction(), VelocityPrediction())
}

_POINTS, _WEIGHTS = np.polynomial.legendre.leggauss(16)
_REACH = 44.0
"""Beyond this distance in ell the integrand is below the last bit."""


@lru_cache(maxsize=8192)
def exponential_weights(
    prediction: Prediction,
    coordinate: Coordinate,
    sigma_data: float,
    eta: float,
    start: float,
    end: float,
    nodes: tuple[float, ...],
) -> tuple[float, ...]:
    """`exponential_weights_of` one mode: 1 + len(nodes) numbers."""
    ends = np.array([start]), np.array([end])
    anchors = np.array(nodes)[:, None]
    keep, weights = exponential_weights_of(prediction, coordinate, sigma_data, eta, *ends, anchors)
    return float(keep[0]), *weights[:, 0].tolist()


def exponential_weights_of(
    prediction: Prediction,
    coordinate: Coordinate,
    sigma_data: float,
    eta: float,
    start: Array,
    end: Array,
    nodes: Array,
) -> tuple[Array, Array]:
    r"""The factor of y_start and of the prediction at each node in y_end, for m modes at once.

    .. math:: w_j = \int_{\ell_t}^{\ell_s} \frac{H_s}{H(\ell)}\, g(\ell)\, L_j(\ell)\, d\ell

    with the Lagrange polynomials of the nodes in the coordinate, by composite Gauss-Legendre quadrature of
    16 points on pieces of at most 1.5 (relative error about 1e-15).

    Args:
        prediction: what is interpolated.
        coordinate: in which variable.
        sigma_data: deviation of the data.
        eta: stochasticity.
        start: ell at the start of the step, (m,); all -inf for pure noise, which makes the first factor 0.
        end: ell at its end, (m,); all inf for data.
        nodes: ell of the predictions, (n, m), finite in the coordinate.

    Returns:
        (m,) and (n, m).
    """
    q = 1.0 + eta**2
    anchors = coordinate(nodes, sigma_data)
    if math.isinf(end[0]) and prediction.name == "x0":  # all weight lies at the end
        return np.zeros_like(end), _lagrange(coordinate(end[None], sigma_data), anchors)[:, 0]
    # Integrands fall off on both sides of the noise level of the data, or of the step's end.
    width = -math.log(sigma_data)
    top = np.minimum(end, np.maximum(start, width) + _REACH)
    low = np.maximum(start, np.minimum(top, width) - _REACH)
    pieces = max(1, math.ceil(float((top - low).max()) / 1.5))
    edges = np.linspace(low, top, pieces + 1)
    half = 0.5 * (edges[1:] - edges[:-1])[:, None]
    ell = (0.5 * (edges[1:] + edges[:-1])[:, None] + half * _POINTS[:, None]).reshape(-1, len(start))
    log_h_end = prediction.log_h(top, q, sigma_data)
    density = np.exp(log_h_end - prediction.log_h(ell, q, sigma_data)) * prediction.g(ell, q, sigma_data)
    density = density * (half * _WEIGHTS[:, None]).reshape(-1, len(start))
    values = np.einsum("npm,pm->nm", _lagrange(coordinate(ell, sigma_data), anchors), density)
    keep = np.zeros_like(start)
    if math.isfinite(start[0]):
        keep = np.exp(log_h_end - prediction.log_h(start, q, sigma_data))
    return keep, values


def _lagrange(at: Array, nodes: Array) -> Array:
    """The Lagrange polynomials of the nodes (n, m) at points (p, m): (n, p, m)."""
    rows = []
    for j, node in enumerate(nodes):
        others = np.delete(nodes, j, axis=0)[:, None]
        rows.append(np.prod((at[None] - others) / (node - others), axis=0))
    return np.stack(rows)


def growth(prediction: Prediction, ell: Coefficient, eta: float, sigma_data: float) -> Coefficient:
    """H at one noise level, of all modes."""
    if isinstance(ell, float):
        return math.exp(float(prediction.log_h(np.array([ell]), 1.0 + eta**2, sigma_data)[0]))
    log_h = prediction.log_h(ell.cpu().numpy(), 1.0 + eta**2, sigma_data)
    return torch.from_numpy(log_h).to(ell).exp()


def step_coefficients(
    prediction: Prediction,
    coordinate: Coordinate,
    eta: float,
    sigma_data: float,
    start: Point,
    end: Point,
    nodes: tuple[float, ...],
) -> tuple[float, tuple[float, ...]]:
    """`step_coefficients_of` one mode: the factor of x, and those of as many predictions as are used."""
    first, last = (Points(np.array([p[0]]), p[1], np.array([p[2]])) for p in (start, end))
    anchors = np.array(nodes)[:, None]
    keep, weights = step_coefficients_of(prediction, coordinate, eta, sigma_data, first, last, anchors)
    return float(keep[0]), tuple(weights[:, 0].tolist())


class Points(NamedTuple):
    """The noise levels of m modes at one time: alpha (m,), the sigma of all, and ell (m,)."""

    alpha: Array
    sigma: float
    ell: Array


def step_coefficients_of(
    prediction: Prediction,
    coordinate: Coordinate,
    eta: float,
    sigma_data: float,
    start: Points,
    end: Points,
    nodes: Array,
) -> tuple[Array, Array]:
    """The factors of x at the start of a step, and of the predictions, in x at its end, for m modes.

    Args:
        prediction: what is interpolated; from pure noise (alpha = 0) it is x0 if it says nothing there.
        coordinate: in which variable.
        eta: stochasticity.
        sigma_data: deviation of the data.
        start: of the step; either all modes are pure noise or none.
        end: of the step.
        nodes: ell of the predictions, (n, m), newest first; each mode drops its oldest while its weights are
            large.

    Returns:
        The factor of x, (m,), and those of as many predictions as any mode uses, (at most n, m).
    """
    pure, to_data = start.alpha[0] == 0.0, end.sigma == 0.0
    if pure and not prediction.at_pure_noise:
        prediction, nodes = PREDICTIONS["x0"], nodes[:1]
    nodes = _usable(coordinate, nodes, to_data)
    keep, weights = _bounded_weights(prediction, coordinate, sigma_data, eta, start.ell, end.ell, nodes)
    scaled = end.alpha * weights
    if to_data and prediction.name == "x0":
        return np.zeros_like(keep), scaled
    if pure:  # H grows like r^q, and y_t / H_t is x_t / sigma_t without noise, nothing with it
        rise = np.exp(prediction.log_h(end.ell, 1.0 + eta**2, sigma_data))
        return (np.zeros_like(keep) if eta > 0.0 else end.alpha * rise / start.sigma), scaled
    return keep * end.alpha / start.alpha, scaled


def _bounded_weights(
    prediction: Prediction,
    coordinate: Coordinate,
    sigma_data: float,
    eta: float,
    start: Array,
    end: Array,
    nodes: Array,
) -> tuple[Array, Array]:
    """The weights without those nodes that would amplify errors of the predictions."""
    count = len(nodes)
    # Nodes that coincide in the coordinate to rounding amplify without bound.
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        keep, weights = exponential_weights_of(prediction, coordinate, sigma_data, eta, start, end, nodes)
        size = np.abs(weights).sum(0)
        large = ~(np.isfinite(size) & (size <= LARGEST_WEIGHTS * np.abs(weights.sum(0))))
    if count == 1 or not large.any():
        return keep, weights
    _, fewer = _bounded_weights(
        prediction, coordinate, sigma_data, eta, start[large], end[large], nodes[:-1, large]
    )
    if large.all():
        return keep, fewer
    weights[:, large] = 0.0
    weights[: len(fewer), large] = fewer
    return keep, weights


def _usable(coordinate: Coordinate, nodes: Array, to_data: bool) -> Array:
    """The newest nodes that are finite in the coordinate; one if the step ends where it has no end."""
    if coordinate in (angle, correlation):
        return nodes
    finite = nodes[np.isfinite(nodes).all(axis=1)]
    finite = finite if len(finite) else nodes[:1]
    return finite[:1] if to_data and coordinate is half_log_snr else finite


def _vanishes(alpha: Coefficient) -> bool:
    return alpha == 0.0 if isinstance(alpha, float) else not bool(alpha.any())
