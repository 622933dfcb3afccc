"""The binomial law: its probabilities, and draws that are a function of one uniform number each."""

from __future__ import annotations

import torch
from torch import Tensor


def binomial(k: Tensor, n: Tensor | float, p: Tensor | float) -> Tensor:
    r"""The probability of k successes in n tries, :math:`\binom{n}{k} p^k (1-p)^{n-k}`, to some 1e-13.

    Source: Feller 1968, "An introduction to probability theory", volume 1, eq. VI.2.1.

    Args:
        k: whole numbers; broadcasts against the others.
        n: whole numbers of at least 0.
        p: from 0 to 1.

    Returns:
        float64 of the broadcast shape; 0 for k outside 0 to n.
    """
    successes, tries, chance = (torch.as_tensor(value, dtype=torch.float64) for value in (k, n, p))
    inside = (successes >= 0) & (successes <= tries)
    successes = torch.minimum(successes.clamp(min=0.0), tries)
    failures = tries - successes
    ways = torch.lgamma(tries + 1.0) - torch.lgamma(successes + 1.0) - torch.lgamma(failures + 1.0)
    log = ways + torch.xlogy(successes, chance) + torch.special.xlog1py(failures, -chance)
    return torch.where(inside, log.exp(), 0.0)


def binomial_quantile(u: Tensor, n: int, p: Tensor) -> Tensor:
    """The least k whose cumulative probability is at least u: an exact draw for a uniform u.

    Args:
        u: above 0 and below 1.
        n: tries.
        p: of the shape of u, from 0 to 1.

    Returns:
        int64 of the shape of u, 0 to n.
    """
    from scipy.special import bdtr, bdtrik

    result = torch.where(p >= 1.0, n, 0)
    inner = (p > 0.0) & (p < 1.0)
    level, chance = u[inner].double().cpu().numpy(), p[inner].double().cpu().numpy()
    k = torch.as_tensor(bdtrik(level, n, chance)).nan_to_num(0.0).ceil().clamp(0, n)
    # The inverse is found to a few digits less than the law itself: move to where the law says.
    below = torch.as_tensor(bdtr((k - 1).clamp(min=0).numpy(), n, chance) >= level)
    k = torch.where((k > 0) & below, k - 1, k)
    short = torch.as_tensor(bdtr(k.numpy(), n, chance) < level)
    k = torch.where(short & (k < n), k + 1, k)
    result[inner] = k.long().to(result.device)
    return result
