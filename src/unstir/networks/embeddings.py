"""What a network is told besides its input: the noise level, a class, a vector, and named conditions.

Each of them becomes one vector a sample, but for those that enter otherwise (`networks.conditions`); their
sum conditions every block.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from unstir.networks.conditions import Conditions, check_name, encoder, or_none

NO_LABEL = -1
"""The label that means "no condition" (used by condition dropout and classifier-free guidance)."""


class NoiseEmbedding(nn.Module):
    r"""Sinusoids of the log-SNR, then a two-layer perceptron.

    .. math:: (\cos f_k \lambda, \sin f_k \lambda),\quad f_k \text{ geometric between } 0.02 \text{ and } 2

    Source: Vaswani et al. 2017, section 3.5; of the log-SNR instead of a step number, as in Kingma et
    al. 2021, so that the network does not depend on the schedule that it was trained with.

    Args:
        width: number of output features, even.
        features: number of sinusoids, even.
    """

    frequencies: Tensor

    def __init__(self, width: int, features: int = 32) -> None:
        super().__init__()
        powers = torch.linspace(0.0, 1.0, features // 2, dtype=torch.float64)
        self.register_buffer("frequencies", (0.02 * 100.0**powers).float(), persistent=False)
        self.layers = nn.Sequential(nn.Linear(features, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, log_snr: Tensor) -> Tensor:
        """Embed ``log_snr`` of shape (batch,), finite; returns (batch, width)."""
        angles = log_snr.float()[:, None] * self.frequencies
        waves = torch.cat([angles.cos(), angles.sin()], dim=1) * math.sqrt(2.0)
        weight = next(self.layers.parameters(), waves)
        return self.layers(waves.to(weight.dtype))  # type: ignore[no-any-return]


class ConditionEmbedding(nn.Module):
    """All conditions as one vector a sample, each with a learned stand-in for "not given".

    Args:
        width: number of output features.
        classes: number of classes; 0 for a network that takes no label.
        vector: length of the condition vector; 0 for a network that takes none.
        conditions: further ones by name; those that enter otherwise are left to the network.

    Raises:
        ValueError: for a name that cannot be one (`networks.conditions.check_name`).
    """

    def __init__(
        self, width: int, classes: int = 0, vector: int = 0, conditions: Conditions | None = None
    ) -> None:
        super().__init__()
        self.classes = classes
        self.labels = nn.Embedding(classes + 1, width) if classes else None
        self.vector = nn.Linear(vector, width) if vector else None
        self.no_vector = nn.Parameter(torch.zeros(width)) if vector else None
        self.known = tuple(conditions or {})
        for name in self.known:
            check_name(name)
        made = {name: encoder(condition, width) for name, condition in (conditions or {}).items()}
        found = {name: module for name, module in made.items() if module is not None}
        # Some names are attributes of a dictionary of modules already; their keys are longer.
        taken = nn.ModuleDict()
        self.keys = {name: f"condition {name}" if hasattr(taken, name) else name for name in found}
        self.more = nn.ModuleDict({self.keys[name]: module for name, module in found.items()})

    def forward(
        self,
        batch: int,
        label: Tensor | None,
        vector: Tensor | None,
        more: Mapping[str, Tensor | None] | None = None,
    ) -> Tensor | float:
        """Embed a batch of conditions.

        Args:
            batch: number of samples.
            label: (batch,) of 0 ... classes - 1, or -1 for "no class"; None for no class at all.
            vector: (batch, length); a row that holds a NaN means "no vector"; None for none at all.
            more: the further conditions, (batch, *shape) by name, NaN for "not given".

        Returns:
            (batch, width), or 0.0 if the network takes no condition.

        Raises:
            ValueError: if a condition is given that the network does not take.
        """
        for name, given, takes in (("label", label, self.labels), ("vector", vector, self.vector)):
            if given is not None and takes is None:
                raise ValueError(f"this network was built without the condition {name!r}, but one is given")
        for name in more or {}:
            if name not in self.known:
                raise ValueError(f"this network was built without the condition {name!r}, but one is given")
        total: Tensor | float = 0.0
        if self.labels is not None:
            if label is None:
                total = total + self.labels.weight[:1].expand(batch, -1)
            else:
                total = total + self.labels(label + 1)
        if self.vector is not None and self.no_vector is not None:
            total = total + or_none(self.vector, vector, self.no_vector, batch)
        for name, key in self.keys.items():
            total = total + self.more[key]((more or {}).get(name), batch)
        return total
