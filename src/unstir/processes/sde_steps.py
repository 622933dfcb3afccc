"""One step of an SDE by each method, and what the diffusion's own gradient adds."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from unstir.processes.shapes import expand

if TYPE_CHECKING:
    from unstir.processes.sde import SDE

Step = Callable[["SDE", Tensor, Tensor, Tensor, Tensor], Tensor]
"""(sde, x, t, s, z) -> the state at time s; z is standard normal."""


def apply_noise(g: Tensor, z: Tensor) -> Tensor:
    """g z for a g that multiplies z, or is (batch, d, m) for z of (batch, m)."""
    return (g @ z[..., None])[..., 0] if g.ndim == 3 and z.ndim == 2 else g * z


def covariance(g: Tensor, x: Tensor, v: Tensor) -> Tensor:
    """g g^T v for v of the shape of x."""
    return apply_noise(g, apply_noise(g.mT, v)) if _is_matrix(g, x) else g * g * v


def divergence(sde: SDE, x: Tensor, t: Tensor) -> Tensor:
    """sum_j d (g g^T)_ij / dx_j, of the shape of x, by one derivative for each component of x."""
    flat = x.reshape(len(x), -1)

    def squared(y: Tensor) -> Tensor:
        g = sde.amplitude(y.reshape(x.shape), t)
        if _is_matrix(g, x):
            return torch.bmm(g, g.mT)
        return (g * g).expand(x.shape).reshape(flat.shape)

    total = torch.zeros_like(flat)
    for j in range(flat.shape[1]):
        direction = torch.zeros_like(flat)
        direction[:, j] = 1.0
        slope = _along(squared, flat, direction)
        total = total + (slope[:, :, j] if slope.ndim == 3 else slope * direction)
    return total.reshape(x.shape)


def euler_maruyama(sde: SDE, x: Tensor, t: Tensor, s: Tensor, z: Tensor) -> Tensor:
    """Maruyama 1955; Kloeden & Platen 1992, section 10.2."""
    dt = s - t
    return x + sde.drift(x, t) * dt.to(x) + _noise(sde, x, t, dt, z)


def tamed(sde: SDE, x: Tensor, t: Tensor, s: Tensor, z: Tensor) -> Tensor:
    """Hutzenthaler, Jentzen & Kloeden 2012: the drift moves the state by less than one in a step."""
    dt = s - t
    move = sde.drift(x, t) * dt.to(x)
    size: Tensor = move.reshape(len(x), -1).norm(dim=1).reshape(-1, *[1] * (x.ndim - 1))
    return x + move / (1.0 + size) + _noise(sde, x, t, dt, z)


def milstein(sde: SDE, x: Tensor, t: Tensor, s: Tensor, z: Tensor) -> Tensor:
    r"""Milstein 1975; Kloeden & Platen 1992, section 10.3, for commutative noise.

    With :math:`L^j = \sum_k g_{kj} \partial_k` the step adds
    :math:`\tfrac12 \sum_{jk} L^j g_{ik} (\Delta w_j \Delta w_k - \delta_{jk} \Delta t)`, for one noise a
    component :math:`\tfrac12 g g' (\Delta w^2 - \Delta t)`.
    """
    x_euler = euler_maruyama(sde, x, t, s, z)
    if sde.additive:
        return x_euler
    dt = (s - t).abs().to(x)
    slopes = _slopes(sde, x, t)
    if slopes.ndim == x.ndim + 2:
        pairs = z[:, :, None] * z[:, None, :] - torch.eye(z.shape[1]).to(z)
        return x_euler + 0.5 * dt * torch.einsum("bjik,bjk->bi", slopes, pairs)
    return x_euler + 0.5 * dt * slopes * (z * z - 1.0)


def heun(sde: SDE, x: Tensor, t: Tensor, s: Tensor, z: Tensor) -> Tensor:
    """Kloeden & Platen 1992, section 15.1, for additive noise: the drift averaged over a step's ends."""
    dt = s - t
    middle = expand(0.5 * (sde.diffusion(t) + sde.diffusion(s)) * dt.abs().sqrt(), x) * z
    drift = sde.drift(x, t)
    ahead = sde.drift(x + drift * dt.to(x) + middle, s)
    return x + 0.5 * (drift + ahead) * dt.to(x) + middle


def exact(sde: SDE, x: Tensor, t: Tensor, s: Tensor, z: Tensor) -> Tensor:
    """A draw from the transition itself."""
    assert sde.exact is not None
    if s < t:
        raise ValueError(
            f"exact transitions go forward in time, but the grid falls from {float(t):g} to {float(s):g}"
        )
    return sde.exact(x, t, s, z)


def _noise(sde: SDE, x: Tensor, t: Tensor, dt: Tensor, z: Tensor) -> Tensor:
    if sde.additive:
        # The coefficient times the root of the step in float64, then to the type of x.
        return expand(sde.diffusion(t) * dt.abs().sqrt(), x) * z
    return apply_noise(sde.amplitude(x, t), z) * dt.abs().sqrt().to(x)


def _slopes(sde: SDE, x: Tensor, t: Tensor) -> Tensor:
    """g dg/dx of the shape of x; for a matrix L^j g_ik as (batch, j, i, k)."""

    def amplitude(y: Tensor) -> Tensor:
        g = sde.amplitude(y, t)
        return g if _is_matrix(g, x) else g.expand(x.shape)

    g = amplitude(x)
    if not _is_matrix(g, x):
        return _along(amplitude, x, g)
    columns = [_along(amplitude, x, g[:, :, j]) for j in range(g.shape[2])]
    return torch.stack(columns, dim=1)


def _along(function: Callable[[Tensor], Tensor], x: Tensor, direction: Tensor) -> Tensor:
    """The derivative of a function of x along a direction of the shape of x.

    Two backward passes (the second through the first, which is linear in its cotangent): forward mode would
    load its tables for seconds at first use.
    """
    tracked = function(x).requires_grad
    with torch.enable_grad():
        point = x if x.requires_grad else x.detach().requires_grad_()
        value = function(point)
        if not value.requires_grad:
            return torch.zeros_like(value)
        cotangent = torch.zeros_like(value, requires_grad=True)
        (pulled,) = torch.autograd.grad(value, point, cotangent, create_graph=True, materialize_grads=True)
        if not pulled.requires_grad:
            return torch.zeros_like(value)
        (slope,) = torch.autograd.grad(pulled, cotangent, direction, create_graph=tracked)
    return slope


def _commutes(sde: SDE, x: Tensor, t: Tensor) -> None:
    """Refuse noise for which Milstein's step needs the areas that two noises sweep."""
    if sde.additive or x[0].numel() == 1:
        return
    slopes = _slopes(sde, x, t)
    if slopes.ndim == x.ndim + 2:
        other = slopes.transpose(1, 3)
    else:
        # For a diagonal Jacobian J, J (w g) = w (J g); distinct w betray any other entry.
        weights = torch.arange(1, 1 + x[0].numel()).to(x).cos().reshape(x.shape[1:])

        def amplitude(y: Tensor) -> Tensor:
            return sde.amplitude(y, t).expand(x.shape)

        other = _along(amplitude, x, weights * amplitude(x))
        slopes = weights * slopes
    scale = torch.finfo(x.dtype).eps ** 0.5 * float(slopes.detach().abs().max())
    if float((other - slopes).detach().abs().max()) > scale:
        raise ValueError(
            "milstein needs noises that commute (one noise in all, or one for each component whose strength "
            "depends on that component alone); use method='euler-maruyama' for this SDE"
        )


def _has_exact(sde: SDE, x: Tensor, t: Tensor) -> None:
    if sde.exact is None:
        raise ValueError("the transitions of this SDE are not known exactly; use method='euler-maruyama'")


def _is_additive(sde: SDE, x: Tensor, t: Tensor) -> None:
    if not sde.additive:
        raise ValueError(
            "heun needs a diffusion that is a function of time alone; use method='euler-maruyama'"
        )


def _any(sde: SDE, x: Tensor, t: Tensor) -> None:
    """No condition."""


def _is_matrix(g: Tensor, x: Tensor) -> bool:
    return g.ndim == 3 and x.ndim == 2


METHODS: dict[str, tuple[Step, Callable[[SDE, Tensor, Tensor], None]]] = {
    "euler-maruyama": (euler_maruyama, _any),
    "milstein": (milstein, _commutes),
    "tamed": (tamed, _any),
    "heun": (heun, _is_additive),
    "exact": (exact, _has_exact),
}
"""Step and condition of each method."""
