r"""The coefficients of exponential integrators: polynomials of past predictions, integrated exactly.

In ell = log(alpha / sigma), r = sigma / alpha = e^{-ell} and y = x / alpha, the reverse process with
stochasticity eta is

.. math:: dy = q\,(E[x_0|x_t] - y)\,d\ell + \eta \sqrt{2}\, r\, dw,\qquad q = 1 + \eta^2

(eta = 0: the probability flow, Song et al. 2021, eq. 13; eta = 1: the reverse SDE, their eq. 6; between:
Xue et al. 2023, SA-Solver, eq. 5). Whatever a network predicts, this is linear in y and in the prediction F:

.. math:: y_s = \frac{H_s}{H_t} y_t + \int_{\ell_t}^{\ell_s} \frac{H_s}{H(\ell)}\, g(\ell)\, F(\ell)\, d\ell
          + \text{noise}

so F is replaced by a polynomial in some coordinate, and the integral is done to full precision.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

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
    def mixture(self, alpha: float, sigma: float, sigma_data: float) -> tuple[float, float]:
        """(from_x, from_mean) at one noise level."""

    @abstractmethod
    def log_h(self, ell: Array, q: float, sigma_data: float) -> Array:
        """log H, the growth of y where F is zero."""

    @abstractmethod
    def g(self, ell: Array, q: float, sigma_data: float) -> Array:
        """The factor of F in dy / d ell."""

    @abstractmethod
    def clock(self, ell: float, eta: float, sigma_data: float) -> float:
        r"""The time of the Brownian motion B with noise = H_s |B(clock_s) - B(clock_t)|."""


class DataPrediction(Prediction):
    """F = E[x_0 | x_t]: H = r^q (DPM-Solver++, Lu et al. 2022b, eq. 8; its SDE, eq. 18)."""

    name: str = "x0"

    def mixture(self, alpha: float, sigma: float, sigma_data: float) -> tuple[float, float]:
        return 0.0, 1.0

    def log_h(self, ell: Array, q: float, sigma_data: float) -> Array:
        return -q * ell

    def g(self, ell: Array, q: float, sigma_data: float) -> Array:
        return np.full_like(ell, q)

    def clock(self, ell: float, eta: float, sigma_data: float) -> float:
        return math.exp(min(2.0 * eta**2 * ell, 700.0))


class NoisePrediction(Prediction):
    """F = E[epsilon | x_t]: H = 1 (DPM-Solver, Lu et al. 2022, eq. 3.4; DEIS, Zhang & Chen 2023, eq. 8)."""

    name: str = "epsilon"
    at_pure_noise: bool = False

    def mixture(self, alpha: float, sigma: float, sigma_data: float) -> tuple[float, float]:
        if alpha == 0.0:  # epsilon is x itself and says nothing; the step from there takes the mean
            return 0.0, 1.0
        return 1.0 / sigma, -alpha / sigma

    def log_h(self, ell: Array, q: float, sigma_data: float) -> Array:
        return np.zeros_like(ell)

    def g(self, ell: Array, q: float, sigma_data: float) -> Array:
        return -q * _noise_ratio(ell)

    def clock(self, ell: float, eta: float, sigma_data: float) -> float:
        return eta**2 * math.exp(min(-2.0 * ell, 700.0))


class VelocityPrediction(Prediction):
    r"""F = v of data scaled to unit variance: H = (c^2 + r^2)^{q/2}, c = sigma_data.

    F is dy'/d phi with y' = y / sqrt(c^2 + r^2) and tan phi = r / c (Salimans & Ho 2022, appendix D), what
    an EDM-preconditioned network predicts (Karras et al. 2022, table 1). Zero for Gaussian data of that
    deviation about zero.
    """

    name: str = "v"

    def mixture(self, alpha: float, sigma: float, sigma_data: float) -> tuple[float, float]:
        norm = math.hypot(alpha * sigma_data, sigma)
        return sigma_data * alpha / (sigma * norm), -norm / (sigma * sigma_data)

    def log_h(self, ell: Array, q: float, sigma_data: float) -> Array:
        return q * np.log(np.hypot(sigma_data, _noise_ratio(ell)))

    def g(self, ell: Array, q: float, sigma_data: float) -> Array:
        r = _noise_ratio(ell)
        return -q * sigma_data * r / np.hypot(sigma_data, r)

    def clock(self, ell: float, eta: float, sigma_data: float) -> float:
        return float(math.hypot(sigma_data, math.exp(min(-ell, 340.0))) ** (-2.0 * eta**2))


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
    r"""The factor of y_start and of the prediction at each node in y_end.

    .. math:: w_j = \int_{\ell_t}^{\ell_s} \frac{H_s}{H(\ell)}\, g(\ell)\, L_j(\ell)\, d\ell

    with the Lagrange polynomials of the nodes in the coordinate, by composite Gauss-Legendre quadrature of
    16 points on pieces of at most 1.5 (relative error about 1e-15).

    Args:
        prediction: what is interpolated.
        coordinate: in which variable.
        sigma_data: deviation of the data.
        eta: stochasticity.
        start: ell at the start of the step; -inf for pure noise, which makes the first factor 0.
        end: ell at its end; inf for data.
        nodes: ell of the predictions, finite in the coordinate.

    Returns:
        1 + len(nodes) numbers.
    """
    q = 1.0 + eta**2
    anchors = coordinate(np.asarray(nodes), sigma_data)
    if math.isinf(end) and prediction.name == "x0":  # all weight lies at the end
        return 0.0, *_lagrange(coordinate(np.array([end]), sigma_data), anchors)[:, 0]
    # Integrands fall off on both sides of the noise level of the data, or of the step's end.
    top = min(end, max(start, -math.log(sigma_data)) + _REACH)
    low = max(start, min(top, -math.log(sigma_data)) - _REACH)
    pieces = max(1, math.ceil((top - low) / 1.5))
    edges = np.linspace(low, top, pieces + 1)
    half = 0.5 * (edges[1:] - edges[:-1])[:, None]
    ell = (0.5 * (edges[1:] + edges[:-1])[:, None] + half * _POINTS).ravel()
    log_h_end = prediction.log_h(np.array([top]), q, sigma_data)
    density = np.exp(log_h_end - prediction.log_h(ell, q, sigma_data)) * prediction.g(ell, q, sigma_data)
    values = _lagrange(coordinate(ell, sigma_data), anchors) @ (density * (half * _WEIGHTS).ravel())
    keep = 0.0
    if math.isfinite(start):
        log_h_start = prediction.log_h(np.array([start]), q, sigma_data)
        keep = math.exp(float((log_h_end - log_h_start)[0]))
    return keep, *values.tolist()


def _lagrange(at: Array, nodes: Array) -> Array:
    """The Lagrange polynomials of the nodes, (nodes, points)."""
    rows = []
    for j, node in enumerate(nodes):
        others = np.delete(nodes, j)
        rows.append(np.prod((at[None] - others[:, None]) / (node - others)[:, None], axis=0))
    return np.stack(rows)


def growth(prediction: Prediction, ell: float, eta: float, sigma_data: float) -> float:
    """H at one noise level."""
    return math.exp(float(prediction.log_h(np.array([ell]), 1.0 + eta**2, sigma_data)[0]))


@lru_cache(maxsize=8192)
def step_coefficients(
    prediction: Prediction,
    coordinate: Coordinate,
    eta: float,
    sigma_data: float,
    start: Point,
    end: Point,
    nodes: tuple[float, ...],
) -> tuple[float, tuple[float, ...]]:
    """The factors of x at the start of a step, and of the predictions, in x at its end.

    Args:
        prediction: what is interpolated; from pure noise (alpha = 0) it is x0 if it says nothing there.
        coordinate: in which variable.
        eta: stochasticity.
        sigma_data: deviation of the data.
        start: of the step.
        end: of the step.
        nodes: ell of the predictions, newest first; the oldest are dropped while the weights are large.

    Returns:
        The factor of x, and as many of predictions as are used.
    """
    pure, to_data = start[0] == 0.0, end[1] == 0.0
    if pure and not prediction.at_pure_noise:
        prediction, nodes = PREDICTIONS["x0"], nodes[:1]
    nodes = _usable(coordinate, nodes, to_data)
    while True:
        keep, *weights = exponential_weights(prediction, coordinate, sigma_data, eta, start[2], end[2], nodes)
        if len(nodes) == 1 or sum(map(abs, weights)) <= LARGEST_WEIGHTS * abs(sum(weights)):
            break
        nodes = nodes[:-1]
    scaled = tuple(end[0] * weight for weight in weights)
    if to_data and prediction.name == "x0":
        return 0.0, scaled
    if pure:  # H grows like r^q, and y_t / H_t is x_t / sigma_t without noise, nothing with it
        forgets = eta > 0.0
        return (0.0 if forgets else end[0] * growth(prediction, end[2], eta, sigma_data) / start[1]), scaled
    return keep * end[0] / start[0], scaled


def _usable(coordinate: Coordinate, nodes: tuple[float, ...], to_data: bool) -> tuple[float, ...]:
    """The newest nodes that are finite in the coordinate; one if the step ends where it has no end."""
    if coordinate in (angle, correlation):
        return nodes
    finite = tuple(node for node in nodes if math.isfinite(node)) or nodes[:1]
    return finite[:1] if to_data and coordinate is half_log_snr else finite
