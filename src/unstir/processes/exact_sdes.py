"""SDEs whose transitions are known in closed form: simulate(method='exact') has no error at any step."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from unstir.processes.sde import SDE
from unstir.processes.shapes import as_float64


def brownian_motion(diffusivity: float = 0.5, velocity: float = 0.0) -> SDE:
    r"""dx = v dt + sqrt(2 D) dw, in any number of dimensions; D = 1/2 and v = 0 is the Wiener process.

    Source: Karatzas & Shreve 1991, "Brownian motion and stochastic calculus", section 2.1.

    Args:
        diffusivity: D >= 0, length^2 / time.
        velocity: v, length / time, in every component.

    Raises:
        ValueError: for a negative diffusivity.
    """
    if not diffusivity >= 0:
        raise ValueError(f"a diffusivity is at least 0, got {diffusivity}")
    g = math.sqrt(2.0 * diffusivity)

    def exact(x: Tensor, t: Tensor, s: Tensor, z: Tensor) -> Tensor:
        return x + velocity * (s - t).to(x) + g * (s - t).sqrt().to(x) * z

    return SDE(lambda x, t: torch.full_like(x, velocity), lambda t: _constant(g, t), exact)


def ornstein_uhlenbeck(rate: float = 1.0, mean: float = 0.0, noise: float = 1.0) -> SDE:
    r"""dx = -k (x - m) dt + s dw: a spring in a heat bath. It settles to N(m, s^2 / 2k).

    .. math:: x_t \sim N(m + (x_0 - m) e^{-kt},\; s^2 (1 - e^{-2kt}) / 2k)

    Source: Uhlenbeck & Ornstein 1930; Gardiner 2009, "Stochastic methods", section 4.5.

    Args:
        rate: k > 0, 1 / time.
        mean: m.
        noise: s >= 0, in units of x / sqrt(time).

    Raises:
        ValueError: for a rate that is not above 0, or a negative noise.
    """
    _positive(rate=rate)
    if not noise >= 0:
        raise ValueError(f"the noise is at least 0, got {noise}")

    def exact(x: Tensor, t: Tensor, s: Tensor, z: Tensor) -> Tensor:
        lost = rate * (s - t)
        std = noise * (-torch.expm1(-2.0 * lost) / (2.0 * rate)).sqrt()
        return mean + (x - mean) * (-lost).exp().to(x) + std.to(x) * z

    return SDE(lambda x, t: -rate * (x - mean), lambda t: _constant(noise, t), exact)


def geometric_brownian_motion(growth: float = 0.05, volatility: float = 0.2) -> SDE:
    r"""dx = mu x dt + s x dw: growth by random factors.

    .. math:: x_t = x_0 \exp((\mu - s^2 / 2) t + s w_t),

    so the exact steps follow the path of w, at any step, that the other methods follow approximately.

    Source: Black & Scholes 1973; Kloeden & Platen 1992, section 4.4.

    Args:
        growth: mu, 1 / time.
        volatility: s, 1 / sqrt(time).
    """

    def exact(x: Tensor, t: Tensor, s: Tensor, z: Tensor) -> Tensor:
        dt = (s - t).to(x)
        return x * ((growth - 0.5 * volatility**2) * dt + volatility * dt.sqrt() * z).exp()

    return SDE(lambda x, t: growth * x, lambda x, t: volatility * x, exact)


def cox_ingersoll_ross(rate: float = 1.0, mean: float = 1.0, noise: float = 0.5) -> SDE:
    r"""dx = k (m - x) dt + s sqrt(x) dw: a rate or a population that stays at or above zero.

    With :math:`c = s^2 (1 - e^{-kt}) / 4k`, :math:`x_t / c` is non-central chi-squared with :math:`4km/s^2`
    degrees of freedom and non-centrality :math:`x_0 e^{-kt} / c`; a step takes its quantile at Phi(z), which
    is not differentiable. It settles to a gamma law of shape :math:`2km/s^2` and mean m.

    Source: Cox, Ingersoll & Ross 1985, "A theory of the term structure of interest rates", eq. 18 and 20.

    Args:
        rate: k > 0, 1 / time.
        mean: m > 0.
        noise: s > 0; zero is never reached if s^2 <= 2 k m.

    Raises:
        ValueError: for a parameter that is not above 0.
    """
    _positive(rate=rate, mean=mean, noise=noise)

    def exact(x: Tensor, t: Tensor, s: Tensor, z: Tensor) -> Tensor:
        from scipy.special import chndtrix, ndtr

        decay = math.exp(-rate * float(s - t))
        c = noise**2 * (1.0 - decay) / (4.0 * rate)
        centre = (x.detach().double().cpu() * (decay / c)).numpy()
        quantile = chndtrix(ndtr(z.detach().double().cpu().numpy()), 4.0 * rate * mean / noise**2, centre)
        return (c * torch.as_tensor(quantile)).to(x)

    return SDE(lambda x, t: rate * (mean - x), lambda x, t: noise * x.clamp(min=0.0).sqrt(), exact)


def _constant(value: float, t: Tensor) -> Tensor:
    return torch.full_like(as_float64(t), value)


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"the {name} is above 0, got {value}")
