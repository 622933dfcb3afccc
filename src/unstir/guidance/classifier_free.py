"""Classifier-free guidance: away from the unconditional prediction, or from that of a negative condition."""

from __future__ import annotations

import torch
from torch import Tensor

from unstir.denoisers import Denoiser, Posterior
from unstir.guidance.contrast import Condition, pushed, together, weight_at
from unstir.guidance.strength import Weight, active, check_weight, check_window
from unstir.processes import Schedule, expand


class ClassifierFree(Denoiser):
    r"""Classifier-free guidance: push the conditional prediction away from the unconditional one.

    .. math:: \hat\epsilon = (1 + w)\,\epsilon(x_t, t, y) - w\,\epsilon(x_t, t)

    Source: Ho & Salimans 2022, eq. 6. The combination is linear, so it is done on the posterior mean.
    The posterior's variance stays that of the conditional model.

    Both predictions come from one evaluation of twice the batch where the denoiser knows "no condition" by
    value (`Denoiser.no_condition`); `cost` counts them as two all the same. With a weight of 0, and outside
    the window, it is the conditional model to the last bit, in one evaluation.

    Args:
        denoiser: trained with condition dropout.
        weight: w >= 0, a number or one for each sample, (batch,); 0 is the conditional model (1 + w is called
            guidance_scale elsewhere).
        window: (low, high), the share of the log-SNR range -12 (noise) to 12 (data) in which to guide,
            Kynkäänniemi et al. 2024; outside it the conditional model is used.
        negative: a condition to push away from instead of the unconditional model, one row for all samples
            or (batch, ...); the denoiser then needs no condition dropout.
        rescale: phi in [0, 1], see `rescaled`.

    Raises:
        ValueError: for a negative weight, a window that is not 0 <= low < high <= 1, a rescale outside
            [0, 1], or a denoiser that was trained without condition dropout; when called, for weights or
            rows of another number than the samples.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        weight: Weight,
        window: tuple[float, float] = (0.0, 1.0),
        *,
        negative: Condition | None = None,
        rescale: float = 0.0,
    ) -> None:
        super().__init__()
        check_weight(weight, "0 means conditional only")
        check_window(window)
        check_rescale(rescale)
        if negative is None and bool((torch.as_tensor(weight) > 0).any()):
            check_unconditional(denoiser)
        self.denoiser = denoiser
        self.schedule: Schedule = denoiser.schedule
        self.sigma_data = denoiser.sigma_data
        self.unconditional = denoiser.unconditional
        self.weight = weight
        self.window = window
        self.negative = dict(negative or {})
        self.rescale = rescale

    def active(self, t: Tensor | float) -> Tensor:
        """Where guidance acts: booleans of the shape of ``t``."""
        return active(self.schedule, t, self.window)

    def cost(self, t: float) -> int:
        both = bool((weight_at(self.weight, self.schedule, t, self.window) > 0).any())
        return self.denoiser.cost(t) * (2 if both else 1)

    def forward(self, x_t: Tensor, t: Tensor | float, **condition: Tensor) -> Posterior:
        weight = weight_at(self.weight, self.schedule, t, self.window)
        if not (condition or self.negative) or not bool((weight > 0).any()):
            alone: Posterior = self.denoiser(x_t, t, **condition)
            return alone
        conditional, other = together(self.denoiser, x_t, t, [condition, self.negative])
        mean = pushed(other.mean, conditional.mean, weight)
        if self.rescale > 0:
            mean = rescaled(self.schedule, x_t, t, mean, conditional.mean, self.rescale)
        return Posterior(mean, conditional.variance)


def check_rescale(share: float) -> None:
    """Check a share of rescaling.

    Raises:
        ValueError: unless it lies in [0, 1].
    """
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"rescale lies between 0 (none) and 1 (the deviation of no guidance), got {share}")


def check_unconditional(denoiser: Denoiser) -> None:
    """Check that a denoiser knows the data without their condition.

    Raises:
        ValueError: if it was trained without condition dropout.
    """
    if not denoiser.unconditional:
        raise ValueError(
            "guidance away from 'no condition' needs a model that was trained with condition dropout, and "
            "this one was not; train it with training.drop_condition=0.1, or guide it away from a negative "
            "condition or a weaker model"
        )


def rescaled(
    schedule: Schedule, x_t: Tensor, t: Tensor | float, guided: Tensor, conditional: Tensor, share: float
) -> Tensor:
    r"""A guided posterior mean whose prediction of v has the deviation of the conditional one again.

    .. math:: \hat v' = \left(\phi\, \frac{\mathrm{std}(v_{pos})}{\mathrm{std}(\hat v)} + 1 - \phi\right)
              \hat v

    with the deviations of each sample over all entries of its event. Source: Lin et al. 2024, "Common
    diffusion noise schedules and sample steps are flawed", section 3.4, eq. 14 to 16 and algorithm 2. They
    rescale what the network predicts, and theirs predicts v (section 3.2); here it is v = alpha epsilon -
    sigma x_0 whatever the network predicts, which is finite at both ends.

    Args:
        schedule: the forward process.
        x_t: (batch, *event), events of more than one entry; a single one has no deviation and stays.
        t: scalar or (batch,).
        guided: the guided posterior mean, (batch, *event).
        conditional: that of the conditional model.
        share: phi in [0, 1]; they took 0.7.
    """
    process = schedule.modes(x_t.shape[1:])
    alpha, sigma = process.alpha(t), process.sigma(t)
    norm = expand(alpha**2 + sigma**2, x_t)
    faded = expand(alpha, x_t) * schedule.to_modes(x_t)
    # sigma v = alpha x_t - (alpha^2 + sigma^2) x_0 has the same ratio of deviations, and needs no division.
    v, v_conditional = (
        schedule.from_modes(faded - norm * schedule.to_modes(mean)) for mean in (guided, conditional)
    )
    entries = tuple(range(1, x_t.ndim))
    before = v.std(dim=entries, correction=0, keepdim=True)
    after = v_conditional.std(dim=entries, correction=0, keepdim=True)
    factor = torch.where(before > 0, after / before, 1.0)
    return guided - schedule.from_modes(schedule.to_modes(share * (factor - 1.0) * v) / norm)
