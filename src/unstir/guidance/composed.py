"""Composition: samples that satisfy several conditions at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from unstir.denoisers import Denoiser, Posterior
from unstir.guidance.classifier_free import check_unconditional
from unstir.guidance.contrast import Condition, together
from unstir.guidance.strength import Weight, check_weight
from unstir.processes import expand


class Composed(Denoiser):
    r"""Several conditions at once: the sum of what each adds to the unconditional prediction.

    .. math:: \hat\epsilon = \epsilon(x_t, t)
              + \sum_i w_i\,\bigl(\epsilon(x_t, t, y_i) - \epsilon(x_t, t)\bigr)

    The score is that of p_t(x) prod_i p_t(y_i | x)^{w_i} at every noise level; if the conditions are
    independent given x_t and every w_i is 1, that is the score of p_t(x | y_1, ..., y_n), so samples follow
    the conditional distribution exactly. Else the product of the noisy densities is not the noisy density
    of the product, and samples lie near it only (Du et al. 2023, "Reduce, reuse, recycle", section 3).

    Source: Liu et al. 2022, "Compositional visual generation with composable diffusion models", eq. 11. It is
    linear, so it is done on the posterior mean; the posterior's variance is not known. All predictions come
    from one evaluation of (n + 1) times the batch where the denoiser knows "no condition" by value.

    Args:
        denoiser: trained with condition dropout.
        conditions: at least one, each a tensor by name, of one row for all samples or (batch, ...). A
            condition that is given when called is common to all terms, the unconditional one too.
        weights: w_i >= 0, one for all conditions or a list of one for each; each a number or one for each
            sample, (batch,). One condition with the weight 1 + w is `ClassifierFree` with w.

    Raises:
        ValueError: for no condition, a negative weight, another number of weights than conditions, or a
            denoiser that was trained without condition dropout; when called, for weights or rows of another
            number than the samples.
    """

    def __init__(
        self, denoiser: Denoiser, conditions: Sequence[Condition], weights: Weight | Sequence[Weight] = 1.0
    ) -> None:
        super().__init__()
        if not conditions or not all(conditions):
            raise ValueError("a composition takes at least one condition, and none that is empty")
        each = list(weights) if isinstance(weights, Sequence) else [weights] * len(conditions)
        if len(each) != len(conditions):
            raise ValueError(f"there are {len(each)} weights for {len(conditions)} conditions")
        for weight in each:
            check_weight(weight, "0 leaves a condition out")
        check_unconditional(denoiser)
        self.denoiser = denoiser
        self.schedule = denoiser.schedule
        self.sigma_data = denoiser.sigma_data
        self.conditions = [dict(condition) for condition in conditions]
        self.weights = [torch.as_tensor(weight, dtype=torch.float64) for weight in each]

    def cost(self, t: float) -> int:
        return self.denoiser.cost(t) * (1 + len(self.conditions))

    def forward(self, x_t: Tensor, t: Tensor | float, **condition: Tensor) -> Posterior:
        terms = [condition, *({**condition, **more} for more in self.conditions)]
        base, *others = (posterior.mean for posterior in together(self.denoiser, x_t, t, terms))
        mean = base
        for weight, other in zip(self.weights, others, strict=True):
            mean = mean + expand(weight, x_t) * (other - base)
        return Posterior(mean)
