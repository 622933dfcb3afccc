"""The variational bound of a discrete reverse chain, term by term, in nats."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from unstir.denoisers import Posterior
from unstir.processes import Schedule, expand


def bound_term(schedule: Schedule, x_0: Tensor, posterior: Posterior, s: Tensor, t: Tensor) -> Tensor:
    r"""One term of the bound for the step from t to s, a mean over the event's entries.

    For s > 0 it is KL(q(x_s | x_t, x_0) || p(x_s | x_t)), both Gaussian with variances v_q = beta-tilde
    and v_p (beta-tilde + a^2 Var[x_0|x_t], or beta if the posterior has no variance) and means that
    differ by a (x_0 - E[x_0|x_t]):

    .. math:: \tfrac12 \left(\log\frac{v_p}{v_q} + \frac{v_q}{v_p} - 1
              + \frac{a^2 (x_0 - E[x_0|x_t])^2}{v_p}\right)

    For s = 0 it is -log p(x_0 | x_t), a Gaussian density. Source: Ho et al. 2020, eq. 5; Nichol &
    Dhariwal 2021, eq. 4 to 7.

    Args:
        schedule: the forward process.
        x_0: (batch, *event), the data.
        posterior: the denoiser's, for x_t.
        s: (batch,), below ``t``.
        t: (batch,).

    Returns:
        (batch,) in nats an entry of the event.

    Raises:
        ValueError: for a posterior variance under a schedule that blurs, whose steps are those of modes.
    """
    process = schedule.modes(x_0.shape[1:])
    if process is not schedule and posterior.variance is not None:
        raise ValueError(
            f"the bound's steps under {type(schedule).__name__} are those of modes, and a learned variance "
            "is one of entries; train without it, or under a schedule that does not blur"
        )
    a, _, std = process.posterior_coefficients(s, t)
    forgotten = -torch.expm1(process.log_snr(t) - process.log_snr(s))
    error = schedule.to_modes(x_0 - posterior.mean) ** 2
    last = expand(schedule.sigma(s), x_0) == 0
    least = expand(std**2, x_0)
    if posterior.variance is None:
        # At the last step the forward variance says nothing of x_0; that of x_0 given x_t is (sigma/alpha)^2.
        widest = torch.where(
            process.sigma(s) == 0,
            (process.sigma(t) / process.alpha(t)) ** 2,
            process.sigma(t) ** 2 * forgotten,
        )
        variance = expand(widest, x_0).expand_as(x_0)
    else:
        variance = least + expand(a**2, x_0) * posterior.variance
    squared = expand(a**2, x_0) * error / variance
    ratio = least / variance
    divergence = 0.5 * (torch.where(last, 1.0, ratio) - 1.0 - torch.where(last, 1.0, ratio).log() + squared)
    density = 0.5 * (variance.log() + math.log(2.0 * math.pi) + error / variance)
    return torch.where(last, density, divergence).flatten(1).mean(1)


def prior_term(schedule: Schedule, x_0: Tensor) -> Tensor:
    """KL(q(x_1 | x_0) || N(0, sigma_1^2)), (batch,) in nats an entry (Ho et al. 2020, eq. 5, L_T)."""
    process, u = schedule.modes(x_0.shape[1:]), schedule.to_modes(x_0.double())
    ratio = expand(process.alpha(1.0) / process.sigma(1.0), u)
    return 0.5 * ((ratio * u) ** 2).flatten(1).mean(1)
