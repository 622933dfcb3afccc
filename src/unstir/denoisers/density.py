"""The denoiser of a known density, piecewise constant on a grid, in closed form."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from unstir import noise
from unstir.denoisers.denoiser import Denoiser, Posterior, times
from unstir.processes import Blurring, Schedule
from unstir.spaces import Grid

_NARROW = 0.02
_PIECE = 4096


class GridDensity(Denoiser):
    r"""The exact posterior of data whose density is constant in each cell of a grid.

    Given x_t, the weight of a cell is its density times, for each axis, the Gaussian's mass between the
    cell's edges, and within a cell x_0 is a truncated Gaussian. With z = (alpha x_0 - x_t) / sigma between
    a and b,

    .. math:: E[z] = \frac{\varphi(a) - \varphi(b)}{\Phi(b) - \Phi(a)},\quad
              E[z^2] = 1 + \frac{a \varphi(a) - b \varphi(b)}{\Phi(b) - \Phi(a)}

    so mean, variance and log-density are exact at every x_t, between the cells' centres too. The grid's axes
    are contracted one after the other: n^d products a sample for d axes of n cells.

    Source: Johnson, Kotz & Balakrishnan 1994, section 13.10.1 (truncated normal moments); Robbins 1956.

    Args:
        schedule: the forward process.
        grid: cartesian axes.
        density: of the grid's shape, at least 0, not all 0; normalised here.

    Raises:
        ValueError: for another shape, negative values, no mass, an axis that is a radius, or a schedule that
            blurs.
    """

    mass: Tensor

    def __init__(self, schedule: Schedule, grid: Grid, density: Tensor) -> None:
        super().__init__()
        if isinstance(schedule, Blurring):
            raise ValueError(
                f"under {type(schedule).__name__} entries of a point mix, and a density on a grid is one of "
                "entries that do not; take a schedule that does not blur"
            )
        if any(axis.metric != "cartesian" for axis in grid.axes):
            raise ValueError("a density to denoise lives on cartesian axes")
        density = torch.as_tensor(density, dtype=torch.float64)
        if tuple(density.shape) != grid.shape:
            raise ValueError(
                f"the density has the shape {grid.shape} of its grid, got {tuple(density.shape)}"
            )
        if not bool((torch.isfinite(density) & (density >= 0)).all()) or not bool((density > 0).any()):
            raise ValueError("a density is finite, at least 0 and not 0 everywhere")
        mass = density * grid.volumes * (1.0 if grid.mask is None else grid.mask)
        self.schedule, self.grid = schedule, grid
        self.event = (len(grid.axes),)
        self.register_buffer("mass", mass / mass.sum())
        for k, axis in enumerate(grid.axes):
            self.register_buffer(f"edges_{k}", axis.edges)
        self.sigma_data = self._deviation()

    def forward(self, x_t: Tensor, t: Tensor | float, **condition: Tensor) -> Posterior:
        alpha, sigma = self._levels(x_t, t)
        _, means, squares = self._moments(x_t, alpha, sigma)
        mean = torch.stack(means, dim=1)
        variance = (torch.stack(squares, dim=1) - mean**2).clamp(min=0.0)
        dtype = torch.promote_types(x_t.dtype, torch.float32)
        return Posterior(mean.to(dtype), variance.to(dtype))

    def log_density(self, x_t: Tensor, t: Tensor | float) -> Tensor:
        """log p_t(x_t) in nats, (batch,) float64; needs alpha(t) > 0 and sigma(t) > 0."""
        alpha, sigma = self._levels(x_t, t)
        log_mass, _, _ = self._moments(x_t, alpha, sigma)
        return log_mass

    def sample_data(self, count: int, *, seed: int = 0) -> Tensor:
        """Draw (count, d) points of the density, float64."""
        index = torch.arange(count, device=self.mass.device)
        u = noise.uniform((1 + len(self.grid.axes),), seed=seed, index=index, stream=noise.Stream.DATA)
        flat = self.mass.reshape(-1).cumsum(0)
        cell = torch.searchsorted(flat, u[:, 0] * flat[-1]).clamp(max=len(flat) - 1)
        point = []
        for k, place in enumerate(torch.unravel_index(cell, self.grid.shape)):
            edges = self._edges(k)
            point.append(torch.lerp(edges[place], edges[place + 1], u[:, 1 + k]))
        return torch.stack(point, dim=1)

    def histogram(self, x: Tensor) -> Tensor:
        """The share of points (n, d) in each cell, of the grid's shape; points outside count for none."""
        inside = torch.ones(len(x), dtype=torch.bool, device=x.device)
        cell = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        for k, n in enumerate(self.grid.shape):
            place = torch.searchsorted(self._edges(k), x[:, k].double().contiguous(), right=True) - 1
            inside &= (place >= 0) & (place < n)
            cell = cell * n + place.clamp(0, n - 1)
        counts = torch.bincount(cell[inside], minlength=self.mass.numel())
        return (counts.double() / len(x)).reshape(self.grid.shape)

    def _edges(self, k: int) -> Tensor:
        edges: Tensor = getattr(self, f"edges_{k}")
        return edges

    def _deviation(self) -> float:
        variances = []
        for k, axis in enumerate(self.grid.axes):
            others = tuple(j for j in range(len(self.grid.axes)) if j != k)
            p = self.mass.sum(dim=others) if others else self.mass
            mean = (p * axis.centers).sum()
            variances.append((p * ((axis.centers - mean) ** 2 + axis.widths**2 / 12.0)).sum())
        return float(torch.stack(variances).mean().sqrt())

    def _levels(self, x_t: Tensor, t: Tensor | float) -> tuple[Tensor, Tensor]:
        if tuple(x_t.shape[1:]) != self.event:
            raise ValueError(f"expected events of shape {self.event}, got {tuple(x_t.shape[1:])}")
        time = times(t, len(x_t), x_t.device)
        return self.schedule.alpha(time)[:, None], self.schedule.sigma(time)[:, None].clamp(min=1e-12)

    def _moments(
        self, x_t: Tensor, alpha: Tensor, sigma: Tensor
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """log p_t(x_t), and E[x_0], E[x_0^2] of every axis; in pieces that stay in the cache."""
        if len(x_t) > _PIECE:
            count = len(x_t)
            pieces = [torch.split(v.expand(count, v.shape[1]), _PIECE) for v in (x_t, alpha, sigma)]
            parts = [self._moments(x, a, s) for x, a, s in zip(*pieces, strict=True)]
            axes = range(len(self.grid.axes))
            return (
                torch.cat([part[0] for part in parts]),
                [torch.cat([part[1][k] for part in parts]) for k in axes],
                [torch.cat([part[2][k] for part in parts]) for k in axes],
            )
        x = x_t.double()
        total, means, squares = self._sums(x, alpha, sigma, log=False)
        # Far from all mass a difference of error functions has no digits left; its logarithm does.
        lost = (total < 1e-8 * self.mass.max()).nonzero()[:, 0]
        log_density = total.clamp(min=1e-300).log()
        if len(lost):
            far, far_means, far_squares = self._sums(
                x[lost], _rows(alpha, lost), _rows(sigma, lost), log=True
            )
            log_density[lost] = far
            for k in range(len(means)):
                means[k][lost], squares[k][lost] = far_means[k], far_squares[k]
        return log_density, means, squares

    def _sums(
        self, x: Tensor, alpha: Tensor, sigma: Tensor, *, log: bool
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """The density of x_t (its logarithm if ``log``), and E[x_0], E[x_0^2] of every axis."""
        scale = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        weights, firsts, seconds = [], [], []
        for k in range(len(self.grid.axes)):
            edges = self._edges(k)
            if log:
                log_w, first, second = _far_cells(edges, x[:, k : k + 1], alpha, sigma)
                top = log_w.amax(dim=1, keepdim=True)
                w, scale = torch.exp(log_w - top), scale + top[:, 0]
            else:
                w, first, second = _cells(edges, x[:, k : k + 1], alpha, sigma)
            weights.append(w)
            firsts.append(weights[-1] * first)
            seconds.append(weights[-1] * second)
        total = _contract(self.mass, weights)
        safe = total.clamp(min=1e-300)
        means = [_contract(self.mass, _with(weights, k, firsts[k])) / safe for k in range(len(weights))]
        squares = [_contract(self.mass, _with(weights, k, seconds[k])) / safe for k in range(len(weights))]
        return (safe.log() + scale if log else total), means, squares


def _rows(value: Tensor, rows: Tensor) -> Tensor:
    return value if len(value) == 1 else value[rows]


def _with(items: list[Tensor], k: int, item: Tensor) -> list[Tensor]:
    return [*items[:k], item, *items[k + 1 :]]


def _contract(density: Tensor, weights: list[Tensor]) -> Tensor:
    """Sum over all cells of density times one weight an axis, (batch,)."""
    n = density.shape
    result = weights[0] @ density.reshape(n[0], -1)
    for w in weights[1:]:
        result = torch.einsum("bi,bij->bj", w, result.reshape(len(w), w.shape[1], -1))
    return result[:, 0] if len(weights) > 1 else result.sum(1)


def _cells(edges: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(density of x_t, E[x_0], E[x_0^2]) given each cell of one axis, each (batch, n)."""
    z = (alpha * edges - x) / sigma
    below = 0.5 * torch.erf(z * math.sqrt(0.5))
    phi = torch.exp(-0.5 * z**2) / math.sqrt(2.0 * math.pi)
    middle, width = 0.5 * (z[:, :-1] + z[:, 1:]), alpha / sigma * edges.diff()
    mass = below.diff(dim=1).clamp(min=1e-300)
    thin = torch.exp(-0.5 * middle**2 + (middle**2 - 1.0) * width**2 / 24.0) / math.sqrt(2.0 * math.pi)
    density = torch.where(_narrow(middle, width), thin, mass / width.clamp(min=1e-300)) / sigma
    first = -phi.diff(dim=1) / mass
    second = 1.0 - (z * phi).diff(dim=1) / mass
    return density, *_inside(edges, x, alpha, sigma, first, second)


def _far_cells(edges: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`_cells` with the logarithm of the density, right at any distance."""
    z = (alpha * edges - x) / sigma
    a, b, width = z[:, :-1], z[:, 1:], alpha / sigma * edges.diff()
    middle = 0.5 * (a + b)
    # By symmetry a cell right of the mean is looked at from its left, where logarithms keep their digits.
    flipped = middle > 0
    low, high = torch.where(flipped, -b, a), torch.where(flipped, -a, b)
    log_high = torch.special.log_ndtr(high)
    log_mass = log_high + torch.log1p(-torch.exp((torch.special.log_ndtr(low) - log_high).clamp(max=-1e-16)))
    half_log = 0.5 * math.log(2.0 * math.pi)
    log_thin = -0.5 * middle**2 - half_log + (middle**2 - 1.0) * width**2 / 24.0
    log_density = torch.where(_narrow(middle, width), log_thin, log_mass - width.clamp(min=1e-300).log())
    phi_a = torch.exp(-0.5 * a**2 - half_log - log_mass)
    phi_b = torch.exp(-0.5 * b**2 - half_log - log_mass)
    inside = _inside(edges, x, alpha, sigma, phi_a - phi_b, 1.0 + a * phi_a - b * phi_b)
    return log_density - sigma.log(), *inside


def _narrow(middle: Tensor, width: Tensor) -> Tensor:
    """Whether the Gaussian is nearly linear over the cell: a series then has more digits than differences."""
    return width * (1.0 + middle.abs()) < _NARROW


def _inside(
    edges: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor, first: Tensor, second: Tensor
) -> tuple[Tensor, Tensor]:
    """E[x_0] and E[x_0^2] in every cell, from the moments of z or, in a narrow cell, its own series."""
    centers, widths = 0.5 * (edges[1:] + edges[:-1]), edges.diff()
    narrow = _narrow((alpha * centers - x) / sigma, alpha / sigma * widths)
    slope = (alpha * centers - x) * alpha / sigma**2
    alpha = alpha.clamp(min=1e-300)
    mean = torch.where(narrow, centers - slope * widths**2 / 12.0, (x + sigma * first) / alpha)
    mean = torch.minimum(torch.maximum(mean, edges[:-1]), edges[1:])
    spread = ((sigma / alpha) ** 2 * (second - first**2)).clamp(min=0.0)
    variance = torch.where(narrow, widths**2 / 12.0, torch.minimum(spread, 0.25 * widths**2))
    return mean, mean**2 + variance
