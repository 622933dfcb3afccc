"""The networks of diffusers behind one call: (x_t, timestep, **condition) -> prediction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class Adapter(nn.Module):
    """Calls a network of diffusers; a subclass turns conditions by name into the network's arguments.

    Args:
        network: the network.
        empty: (tokens, width) text embedding for no text, for networks that take text.
    """

    takes: tuple[str, ...] = ()
    empty: Tensor | None

    def __init__(self, network: nn.Module, empty: Tensor | None = None) -> None:
        super().__init__()
        self.network: Any = network
        self.register_buffer("empty", empty, persistent=False)

    def forward(self, x_t: Tensor, timestep: Tensor, **condition: Tensor) -> Tensor:
        """The network's prediction, without the half of its channels that is a variance.

        Raises:
            ValueError: for a condition that the network does not take, or lacks.
        """
        for name in condition:
            if name not in self.takes:
                known = " and ".join(self.takes) or "none"
                raise ValueError(f"this network takes no condition {name!r}; it takes {known}")
        x = x_t.to(self.network.dtype)
        prediction: Tensor = self.network(x, timestep, **self.arguments(x, condition)).sample
        channels = x_t.shape[1]
        return prediction[:, :channels] if prediction.shape[1] == 2 * channels else prediction

    def arguments(self, x: Tensor, condition: dict[str, Tensor]) -> dict[str, Any]:
        """The network's keyword arguments for a condition."""
        return {}


class UNet(Adapter):
    """UNet2DModel: unconditional or with classes."""

    def __init__(self, network: nn.Module, empty: Tensor | None = None) -> None:
        super().__init__(network, empty)
        if self.network.config.time_embedding_type == "fourier":
            raise ValueError(
                "a UNet2DModel with fourier time embedding is told sigma, which is not supported"
            )
        if self.network.class_embedding is not None:
            self.takes = ("label",)

    def arguments(self, x: Tensor, condition: dict[str, Tensor]) -> dict[str, Any]:
        if not self.takes:
            return {}
        if "label" not in condition:
            raise ValueError("this network needs the condition 'label', (batch,) class numbers")
        return {"class_labels": condition["label"]}


class ConditionalUNet(Adapter):
    """UNet2DConditionModel: text or other tokens, and classes or SDXL's pooled text where it takes them."""

    def __init__(self, network: nn.Module, empty: Tensor | None = None) -> None:
        super().__init__(network, empty)
        takes = ["encoder_hidden_states", "encoder_attention_mask"]
        if self.network.class_embedding is not None:
            takes.append("label")
        kind = self.network.config.addition_embed_type
        if kind not in (None, "text_time"):
            raise ValueError(f"a UNet2DConditionModel with addition_embed_type {kind!r} is not supported")
        if kind == "text_time":
            takes += ["text_embeds", "time_ids"]
        self.takes = tuple(takes)

    def arguments(self, x: Tensor, condition: dict[str, Tensor]) -> dict[str, Any]:
        given = dict(condition)
        if "encoder_hidden_states" not in given:
            if self.empty is None:
                raise ValueError(
                    "this network needs the condition 'encoder_hidden_states' (batch, tokens, width), or "
                    "the empty prompt's as `empty` when it is loaded"
                )
            given["encoder_hidden_states"] = self.empty.expand(len(x), *self.empty.shape)
        for name in self.takes[2:]:
            if name not in given:
                raise ValueError(f"this network needs the condition {name!r}")
        added = {name: given.pop(name).to(x.dtype) for name in ("text_embeds", "time_ids") if name in given}
        given["encoder_hidden_states"] = given["encoder_hidden_states"].to(x)
        if "label" in given:
            given["class_labels"] = given.pop("label")
        return {**given, "added_cond_kwargs": added} if added else dict(given)


class DiT(Adapter):
    """DiTTransformer2DModel: classes, of which the one after the last is "no class"."""

    takes = ("label",)

    def arguments(self, x: Tensor, condition: dict[str, Tensor]) -> dict[str, Any]:
        none = self.network.config.num_embeds_ada_norm
        label = condition.get("label")
        if label is None:
            label = torch.full((len(x),), none, device=x.device)
        return {"class_labels": torch.where(label < 0, none, label)}


ADAPTERS: dict[str, Callable[[nn.Module, Tensor | None], Adapter]] = {
    "UNet2DModel": UNet,
    "UNet2DConditionModel": ConditionalUNet,
    "DiTTransformer2DModel": DiT,
}
"""The supported networks by the class names in their config.json."""
