"""The guidance of a model's sampling run: from what a user says to a denoiser for every batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from unstir.denoisers import Denoiser
from unstir.guidance import Autoguidance, ClassifierFree, check_weight, check_window
from unstir.guidance.classifier_free import check_rescale
from unstir.guidance.strength import Weight

Weights = float | Sequence[float] | Tensor
"""One guidance weight for all samples, or one for each."""


@dataclass(frozen=True)
class Guidance:
    """How a run is guided.

    Attributes:
        weight: one for all samples, or (n,).
        window: share of the log-SNR range in which to guide.
        conditional: whether the run has a condition.
        negative: what to push away from instead of "no condition", (n, ...) tensors by name.
        rescale: see `guidance.ClassifierFree`.
        weaker: a weaker model to push away from instead.
    """

    weight: Weight
    window: tuple[float, float]
    conditional: bool
    negative: Mapping[str, Tensor] = field(default_factory=dict)
    rescale: float = 0.0
    weaker: Denoiser | None = None

    @property
    def common(self) -> bool:
        """Whether all samples are guided alike."""
        return not (isinstance(self.weight, Tensor) or self.negative)

    def rows(self, part: slice) -> Guidance:
        """The guidance of some of the samples."""
        weight = self.weight[part] if isinstance(self.weight, Tensor) else self.weight
        return replace(self, weight=weight, negative={k: v[part] for k, v in self.negative.items()})

    def round(self, denoiser: Denoiser) -> Denoiser:
        """The guided denoiser; ``denoiser`` itself where there is nothing to guide."""
        if not bool((torch.as_tensor(self.weight) > 0).any()):
            return denoiser
        if self.weaker is not None:
            return Autoguidance(denoiser, self.weaker, self.weight, self.window)
        if not (self.conditional or self.negative):
            return denoiser
        negative = self.negative or None
        return ClassifierFree(denoiser, self.weight, self.window, negative=negative, rescale=self.rescale)


def guidance_of(
    n: int,
    *,
    weight: Weights | None,
    default: float,
    window: tuple[float, float],
    conditional: bool,
    negative: Mapping[str, Tensor],
    rescale: float,
    weaker: Denoiser | None,
) -> Guidance:
    """The guidance of a run of ``n`` samples, checked.

    Args:
        n: number of samples.
        weight: at least 0, one for all samples or one for each; None for the default.
        default: the model's setting.
        window: as in `Guidance`, like the others.
        conditional: see there.
        negative: see there.
        rescale: see there.
        weaker: see there.

    Raises:
        ValueError: for a weight, window or rescale that is none, a negative condition or a weaker model
            without a weight, or both of them.
    """
    values = weights_of(n, default if weight is None else weight)
    check_window(window)
    check_rescale(rescale)
    if weaker is not None and weight is None:
        raise ValueError("guidance by a weaker model needs a weight; give a guidance, such as 1")
    if weaker is not None and (negative or rescale > 0):
        raise ValueError(
            "guidance by a weaker model takes no negative condition and no rescale; leave them out"
        )
    for what, asked in (("a negative condition", bool(negative)), ("rescale", rescale > 0)):
        if asked and weight is None and default == 0:
            raise ValueError(f"{what} acts by guidance; give a guidance above 0, such as 1")
    return Guidance(values, window, conditional, negative, rescale, weaker)


def weights_of(n: int, guidance: Weights) -> Weight:
    """Guidance weights as a number, or as a tensor of one for each of ``n`` samples.

    Raises:
        ValueError: for a negative weight, or another number of weights than samples.
    """
    values = torch.as_tensor(guidance, dtype=torch.float64)
    check_weight(values, "0 means conditional only")
    if values.ndim == 0:
        return float(values)
    if len(values) != n:
        raise ValueError(f"there are {len(values)} guidance weights for {n} samples")
    return values


def knows_unconditional(about: Mapping[str, Any]) -> bool:
    """Whether a model saw data without their condition in training, by what was written about it.

    Args:
        about: see `Model`; the settings of the training, or of the distillation, or ``unconditional``, which
            says that some of the training data came without. Where they say nothing the answer is True.
    """
    if about.get("unconditional") is True:
        return True
    for place in (("distillation", "settings"), ("settings", "training")):
        found: Any = about
        for key in place:
            found = found.get(key) if isinstance(found, Mapping) else None
        share = found.get("drop_condition") if isinstance(found, Mapping) else None
        if isinstance(share, int | float):
            return share > 0
    return True
