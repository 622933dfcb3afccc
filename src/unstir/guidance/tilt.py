r"""From a gradient of log p(y | x_t) to the posterior mean that it stands for.

By Tweedie's formula the mean is a linear function of the score, so a term g added to the score adds

.. math:: \Delta E[x_0 | x_t] = \frac{\sigma^2}{\alpha}\, g

to the mean, in each mode of a schedule that blurs.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from unstir.processes import Schedule, expand

NOISIEST = -14.0
"""The lowest log-SNR at which data are looked for; beyond it x_t tells less than 0.1 % of a deviation."""


def shifted(schedule: Schedule, x_t: Tensor, t: Tensor | float, gradient: Tensor) -> Tensor:
    """How far a gradient added to the score moves the posterior mean, (batch, *event).

    Where alpha is below exp(NOISIEST / 2) sigma it is taken to be that: of modes that were blurred away only
    round-off would be magnified.

    Source: Tweedie's formula (Efron 2011, eq. 2.8) with Bayes' rule for scores (Song et al. 2021, eq. 14).
    """
    process = schedule.modes(x_t.shape[1:])
    alpha, sigma = process.alpha(t), process.sigma(t)
    factor = sigma**2 / torch.maximum(alpha, math.exp(0.5 * NOISIEST) * sigma)
    return schedule.from_modes(schedule.to_modes(gradient) * expand(factor, x_t))


def seen(schedule: Schedule, t: Tensor | float) -> Tensor | float:
    """The time nearest to ``t`` at which x_t still tells something of the data.

    At pure noise (alpha = 0) gradients vanish and `shifted` would divide 0 by 0; the guided mean is
    continuous there, so it is taken from the log-SNR `NOISIEST`.
    """
    log_snr = schedule.log_snr(t)
    if bool((log_snr >= NOISIEST).all()):
        return t
    limited = schedule.time(log_snr.clamp(min=NOISIEST))
    return limited if isinstance(t, Tensor) else float(limited)


def watched(x_t: Tensor) -> tuple[Tensor, bool]:
    """A state to differentiate by, and whether the result itself will be differentiated.

    Methods nest (guidance round guidance): where an outer one differentiates, ``x_t`` already requires
    gradients and the inner graph is kept.
    """
    nested = torch.is_grad_enabled() and x_t.requires_grad
    return (x_t if nested else x_t.detach().requires_grad_()), nested
