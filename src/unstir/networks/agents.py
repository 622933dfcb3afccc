"""Attention over the agents of a scene: each agent's future is an entry, told how it sees the others."""

from __future__ import annotations

from typing import Annotated, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from unstir.networks.conditions import Conditions, check_conditions
from unstir.networks.embeddings import ConditionEmbedding, NoiseEmbedding
from unstir.networks.scene_encoder import OWN, SceneEncoder
from unstir.networks.scene_layer import Meetings, SceneLayer
from unstir.networks.zeros import zero
from unstir.settings import Count, Settings


class Agents(nn.Module):
    """A network for events (channels, agents): the futures of all agents of a scene together.

    Permuting the agents permutes the result. Absent agents influence nobody and their entries are 0. The
    event is in the agents' own frames, and so is all that the network sees: turning or moving past and map
    together changes nothing.

    Args:
        channels: entries of an agent.
        conditions: with ``past`` (agents, frames, 2) of kind ``own``, NaN for an absent agent or one whose
            past is not given; optionally ``kind`` (agents,): -1 absent, 0 pedestrian, 1 vehicle; ``map``
            (segments, 4), in the same frame and unit as the past; ``tokens`` (agents, length), NaN for what
            is not asked. NaN in all of a scene's ``past``, ``kind``, ``map`` or ``tokens`` means that it is
            not given; who is present is then read from what is.
        width: hidden features of an agent.
        layers: of attention.
        heads: of attention.
        pairs: features of a pair of agents.
        points: times at which each agent's future, as the state has it, is seen by the others; 0 for none.
        classes: number of classes of the condition ``label``; 0 for none.
        vector: length of the condition ``vector``; 0 for none.
        dropout: probability, in the perceptrons.
        variance: give a second head of the same shape as the event (see ``denoisers.Network``).

    Raises:
        ValueError: if heads do not divide the width.
    """

    def __init__(
        self,
        channels: int,
        *,
        conditions: Conditions,
        width: int = 96,
        layers: int = 3,
        heads: int = 8,
        pairs: int = 32,
        points: int = 0,
        classes: int = 0,
        vector: int = 0,
        dropout: float = 0.0,
        variance: bool = False,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(
                f"{width} features cannot be split into {heads} attention heads; "
                "choose a number of heads that divides it"
            )
        self.variance = variance
        self.conditions = dict(conditions)
        self.noise = NoiseEmbedding(width)
        self.condition = ConditionEmbedding(width, classes, vector, self.conditions)
        self.scene = SceneEncoder(self.conditions, width, pairs)
        self.enter = nn.Linear(channels, width)
        self.layers = nn.ModuleList(SceneLayer(width, pairs, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.leave = zero(nn.Linear(width, channels * (2 if variance else 1)))
        self.meetings = Meetings(channels, width, pairs, points) if points else None

    def forward(
        self,
        x: Tensor,
        log_snr: Tensor,
        label: Tensor | None = None,
        vector: Tensor | None = None,
        **more: Tensor | None,
    ) -> Tensor:
        """Run the network.

        Args:
            x: (batch, channels, agents).
            log_snr: (batch,).
            label: (batch,) class numbers, -1 for none.
            vector: (batch, length).
            more: the named conditions, (batch, *shape), NaN for "not given".

        Returns:
            (batch, channels, agents), or (batch, 2 * channels, agents) if there is a variance head.
        """
        embedding = F.silu(self.noise(log_snr) + self.condition(len(x), label, vector, more))
        seen = self.scene(x, more)
        state = x.transpose(1, 2)
        pairs = seen.pairs if self.meetings is None else seen.pairs + self.meetings(state, seen)
        h = self.enter(state) + seen.agents
        for layer in self.layers:
            h = layer(h, embedding, pairs, seen.present)
        out = self.leave(F.silu(self.norm(h))) * seen.present[..., None].to(h.dtype)
        return out.transpose(1, 2)  # type: ignore[no-any-return]


class AgentsSettings(Settings):
    """A `networks.Agents`; agents and conditions come from the data."""

    kind: Literal["agents"] = "agents"
    width: Count = 96
    layers: Count = 3
    heads: Count = 8
    pairs: Count = Field(default=32, description="features of a pair of agents")
    points: Annotated[int, Field(ge=0)] = Field(
        default=0, description="times at which agents see each other's futures in the state; 0 for none"
    )
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    variance: bool = Field(default=False, description="a second head that learns the variance")

    def build(self, event: tuple[int, ...], classes: int, vector: int, conditions: Conditions) -> nn.Module:
        """The network for events (channels, agents) with the condition ``past``.

        Raises:
            ValueError: for events of other shapes, or conditions that do not fit.
        """
        if len(event) != 2:
            raise ValueError(f"a network of agents takes events (channels, agents), got {tuple(event)}")
        check_conditions(conditions, event, own=OWN, beside=False)
        agents = event[1]
        past = conditions.get("past")
        if past is None or past.how != "own":
            raise ValueError(
                "a network of agents needs the condition 'past' (agents, frames, 2) of kind 'own'"
            )
        shapes = {"past": (agents, -1, 2), "kind": (agents,), "map": (-1, 4), "tokens": (agents, -1)}
        for name, wanted in shapes.items():
            if name in conditions and not _fits(conditions[name].shape, wanted):
                shown = str(wanted).replace("-1", "any")
                raise ValueError(
                    f"the condition {name!r} of {agents} agents has shape {shown}, "
                    f"got {conditions[name].shape}"
                )
        options = self.model_dump(exclude={"kind"})
        return Agents(event[0], classes=classes, vector=vector, conditions=conditions, **options)


def _fits(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    return len(shape) == len(wanted) and all(w in (-1, s) for s, w in zip(shape, wanted, strict=True))
