"""Kimura's closed forms for the diffusion limit of the Wright-Fisher model: who takes over, and how soon.

With n = 2N copies of a gene, selection s a copy, frequency x, and time in generations.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unstir.processes import as_float64


def fixation_probability(x: Tensor | float, selection: Tensor | float, copies: float) -> Tensor:
    r"""Kimura's probability that an allele at frequency x takes over.

    .. math:: h(x) = \frac{1 - e^{-2 n s x}}{1 - e^{-2 n s}}, \quad
              h(1/n) = \frac{1 - e^{-2s}}{1 - e^{-4Ns}}

    and x without selection. Source: Kimura 1962, "On the probability of fixation of mutant genes
    in a population", with n = 2N.

    Args:
        x: 0 to 1.
        selection: s.
        copies: n = 2N, above 0; the effective number where the population is not ideal.

    Returns:
        float64 of the broadcast shape.

    Raises:
        ValueError: for a frequency out of range or no copies.
    """
    x, a = _frequency(x, copies), 2.0 * copies * as_float64(selection)
    neutral = a.abs() < 1e-8
    size = torch.where(neutral, 1.0, a.abs())
    share = torch.expm1(-size * x) / torch.expm1(-size)
    # For a < 0 both exponentials grow; their quotient is that for -a times exp(a (1 - x)).
    h = torch.where(a < 0, share * (a.clamp(max=0.0) * (1.0 - x)).exp(), share)
    return torch.where(neutral, x * (1.0 + 0.5 * a * (1.0 - x)), h)


def absorption_time(x: Tensor | float, copies: float) -> Tensor:
    r"""Mean generations until a neutral allele is lost or fixed, -2 n (x ln x + (1-x) ln(1-x)).

    Source: Watterson 1962; Kimura & Ohta 1969, "The average number of generations of a mutant
    gene until fixation in a finite population", fixed and lost together; n = 2N.

    Args:
        x: frequency, 0 to 1.
        copies: n = 2N, above 0.

    Raises:
        ValueError: for a frequency out of range or no copies.
    """
    x = _frequency(x, copies)
    entropy: Tensor = torch.xlogy(x, x) + torch.special.xlog1py(1.0 - x, -x)
    return -2.0 * copies * entropy


def fixation_time(x: Tensor | float, copies: float) -> Tensor:
    r"""Mean generations until a neutral allele fixes, if it does: -2 n (1-x) ln(1-x) / x, 4N for a new one.

    Source: Kimura & Ohta 1969, with n = 2N.

    Args:
        x: frequency, 0 to 1; the limit for x to 0 is 2 n.
        copies: n = 2N, above 0.

    Raises:
        ValueError: for a frequency out of range or no copies.
    """
    x = _frequency(x, copies)
    safe = torch.where(x > 0, x, 1.0)
    time = -2.0 * copies * torch.special.xlog1py(1.0 - x, -x) / safe
    return torch.where(x > 0, time, 2.0 * copies)


def _frequency(x: Tensor | float, copies: float) -> Tensor:
    frequency = as_float64(x)
    if not copies > 0 or bool(((frequency < 0) | (frequency > 1)).any()):
        raise ValueError(f"a frequency lies from 0 to 1 among copies above 0, got {frequency} of {copies}")
    return frequency
