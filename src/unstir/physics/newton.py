"""Tools of Newton's method on one axis: block-tridiagonal systems, and fluxes with their derivatives."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]


class Banded:
    """Systems of n cells with m unknowns each, every cell coupled to its neighbours.

    Args:
        n: cells.
        m: unknowns of a cell.
    """

    def __init__(self, n: int, m: int) -> None:
        self.n, self.m, self.width = n, m, 2 * m - 1

    def solve(self, lower: Array, middle: Array, upper: Array, right: Array) -> Array:
        """The solution (n, m), by banded elimination with row exchange.

        Args:
            lower: (n, m, m) coupling of a cell to the one before; entry 0 is not used.
            middle: (n, m, m) coupling within a cell.
            upper: (n, m, m) coupling to the next; the last entry is not used.
            right: (n, m).
        """
        from scipy.linalg import LinAlgError, solve_banded

        n, m, w = self.n, self.m, self.width
        bands = np.zeros((2 * w + 1, n * m))
        for a in range(m):
            for b in range(m):
                bands[w + a - b, b::m] = middle[:, a, b]
                bands[w + a - b - m, m + b :: m] = upper[:-1, a, b]
                bands[w + a - b + m, b : (n - 1) * m : m] = lower[1:, a, b]
        # Rows of Poisson and of transport differ by many orders of magnitude.
        size = np.maximum(np.abs(np.concatenate([lower, middle, upper], 2)).max(2), 1e-300).reshape(-1)
        for offset in range(-w, w + 1):
            row = np.arange(n * m) + offset
            valid = (row >= 0) & (row < n * m)
            bands[w + offset, valid] /= size[row[valid]]
        try:
            found: Array = solve_banded((w, w), bands, right.reshape(-1) / size, check_finite=False)
        except LinAlgError:
            return np.full((n, m), np.nan)
        return found.reshape(n, m)


def sharp_bernoulli(x: Array) -> tuple[Array, Array]:
    """B(x) = x / (exp(x) - 1) and its derivative, both to round-off for every x.

    Source: Scharfetter & Gummel 1969, eq. 12; the derivative is (B / x)(1 - B - x).
    """
    small = np.abs(x) < 1e-2
    safe = np.where(small, 1.0, np.minimum(x, 700.0))
    value = np.where(small, 1.0 - x / 2 + x**2 / 12 - x**4 / 720 + x**6 / 30240, safe / np.expm1(safe))
    slope = np.where(small, -0.5 + x / 6 - x**3 / 180 + x**5 / 5040, value / safe * (1.0 - value - safe))
    return value, slope
