"""Hard constraints: the estimate of the data is projected onto what is known for certain, at every step."""

from __future__ import annotations

import torch
from torch import Tensor

from unstir.denoisers import Denoiser, Posterior
from unstir.guidance.operators import LinearOperator, Map
from unstir.processes import Schedule


class Constrained(Denoiser):
    r"""A denoiser whose mean is projected onto a set of admissible events.

    .. math:: \hat x \leftarrow P(E[x_0 | x_t])

    A last step to noise-free data that returns the estimate makes samples satisfy the constraint to
    round-off: that of ddim, ddpm, euler, heun, edm and ``Multistep(last=1)``. The default solver joins its
    last three estimates there, which leaves a gap (1e-4 of a measurement, some hundredths at the wall of a
    box): give it ``last=1``, or project the samples once more. It is the exact posterior only if data and
    constraint are independent (a coordinate of its own); otherwise noise goes on to explore what the
    constraint forbids, and a measurement with noise (MMPS) is the better model.

    Source: Wang, Yu & Zhang 2023, "Zero-shot image restoration using denoising diffusion null-space model",
    eq. 11 to 13 (exact measurements); Saharia et al. 2022, "Photorealistic text-to-image diffusion models",
    section 2.3 (static thresholding: a box).

    Args:
        denoiser: any denoiser.
        projection: (batch, *event) to the same, each sample for itself: `onto`, `within`, `summing_to` or
            any function.

    Raises:
        ValueError: when called, if the projection changes the shape or the type of the estimate.
    """

    def __init__(self, denoiser: Denoiser, projection: Map) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.schedule: Schedule = denoiser.schedule
        self.sigma_data = denoiser.sigma_data
        self.unconditional = denoiser.unconditional
        self.projection = projection

    def cost(self, t: float) -> int:
        return self.denoiser.cost(t)

    def forward(self, x_t: Tensor, t: Tensor | float, **condition: Tensor) -> Posterior:
        mean = self.denoiser(x_t, t, **condition).mean
        projected = self.projection(mean)
        if projected.shape != mean.shape or projected.dtype != mean.dtype:
            raise ValueError(
                f"a projection keeps the shape and type of the estimate, {tuple(mean.shape)} {mean.dtype}, "
                f"but this one gives {tuple(projected.shape)} {projected.dtype}"
            )
        return Posterior(projected)


def onto(operator: LinearOperator, y: Tensor) -> Map:
    r"""The projection onto exact measurements A x = y.

    .. math:: P(x) = x + A^+ (y - A x)

    What A sees is replaced by the measurement, what it does not see is left as it is. Where no x gives y,
    the result is the x nearest to the old one among those that fit best.

    Source: Wang, Yu & Zhang 2023 (DDNM), eq. 11 to 13.

    Args:
        operator: with singular values, fast ones or of a matrix that fits in memory.
        y: (*measured), shared by all samples, or (batch, *measured).

    Returns:
        A function (batch, *event) to (batch, *event).

    Raises:
        ValueError: for measurements of another shape or not finite, or a matrix that is too large.
    """
    shape = tuple(y.shape)
    if operator.measured not in (shape, shape[1:]):
        raise ValueError(
            f"the {operator.name} gives measurements of shape {operator.measured}, but y has shape {shape}"
        )
    if not bool(torch.isfinite(y).all()):
        raise ValueError("a measurement holds values that are not finite; leave missing ones to a mask")
    operator.singular  # noqa: B018 - a matrix that is too large is refused here, not in the middle of a run

    def project(x: Tensor) -> Tensor:
        gap = y.to(x) - operator(x)
        return x + operator.pseudo_inverse(gap)

    return project


def within(low: float | Tensor, high: float | Tensor) -> Map:
    """The projection onto a box: every entry between two bounds.

    Args:
        low: a number, or a tensor that broadcasts against (batch, *event); -inf for no bound.
        high: likewise, at least ``low``.

    Raises:
        ValueError: for a lower bound above the upper one.
    """
    lower, upper = torch.as_tensor(low, dtype=torch.float64), torch.as_tensor(high, dtype=torch.float64)
    if not bool((lower <= upper).all()):
        raise ValueError(
            f"a box has a lower bound of at most its upper bound, got low = {low}, high = {high}"
        )

    def project(x: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(x, lower.to(x)), upper.to(x))

    return project


def summing_to(total: float | Tensor, *, positive: bool = False) -> Map:
    r"""The projection onto events whose entries add up to a total, such as a mass.

    .. math:: P(x) = x + \frac{1}{n}\Big(total - \sum_i x_i\Big)\quad\text{or}\quad
              P(x) = \max(x - \theta, 0)

    with theta such that the sum is right, if entries are at least 0 as well (a simplex).
    Source: Duchi, Shalev-Shwartz, Singer & Chandra 2008, "Efficient projections onto the l1-ball", figure 1.

    Args:
        total: a number, or (batch,) one for each sample; above 0 if ``positive``.
        positive: whether every entry is at least 0, too.

    Raises:
        ValueError: for a total that is not finite, or not above 0 where entries are to be positive.
    """
    goal = torch.as_tensor(total, dtype=torch.float64)
    if goal.ndim > 1 or not bool(torch.isfinite(goal).all()) or (positive and not bool((goal > 0).all())):
        raise ValueError(
            f"a total is a finite number or one for each sample{', above 0' if positive else ''}, got {total}"
        )

    def project(x: Tensor) -> Tensor:
        flat, sums = x.flatten(1), goal.to(x).reshape(-1, 1)
        if not positive:
            return (flat + (sums - flat.sum(1, keepdim=True)) / flat.shape[1]).reshape(x.shape)
        ordered = flat.sort(dim=1, descending=True).values
        count = torch.arange(1, flat.shape[1] + 1, device=x.device)
        theta = (ordered.cumsum(1) - sums) / count
        active = (ordered > theta).sum(1, keepdim=True)
        return (flat - theta.gather(1, active.clamp(min=1) - 1)).clamp(min=0.0).reshape(x.shape)

    return project
