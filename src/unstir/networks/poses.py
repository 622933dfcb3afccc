"""Where agents are, where they head, and how each sees the others and the map."""

from __future__ import annotations

import torch
from torch import Tensor

MEMORY = 0.3
"""Weight of a displacement relative to the next newer one in the velocity."""


def velocity(past: Tensor) -> Tensor:
    """The velocity at the end of a past, a frame: displacements averaged with weights 1, 0.3, 0.09 ...

    Args:
        past: (..., frames, 2) positions, at least 2 frames.

    Returns:
        (..., 2).
    """
    steps = past.diff(dim=-2)
    ages = torch.arange(steps.shape[-2] - 1, -1, -1, dtype=past.dtype, device=past.device)
    weights = MEMORY**ages
    return (steps * (weights / weights.sum())[:, None]).sum(dim=-2)


def own_frame(past: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Each agent's own frame at the end of its past.

    An agent that stands still has no heading: its frame has the axes of the scene.

    Args:
        past: (..., frames, 2), NaN for an absent agent.

    Returns:
        origin (..., 2), velocity (..., 2) a frame, and the rotation (..., 2, 2) from the own frame to that of
        the scene: its columns point ahead and to the left.
    """
    v = velocity(past)
    speed = v.square().sum(dim=-1, keepdim=True)
    moves = speed > 1e-12
    ahead = torch.where(moves, v, torch.tensor([1.0, 0.0], dtype=v.dtype, device=v.device))
    # The root of a safe number: the gradient at rest would be infinite otherwise.
    ahead = ahead / torch.where(moves, speed, 1.0).sqrt()
    left = torch.stack([-ahead[..., 1], ahead[..., 0]], dim=-1)
    return past[..., -1, :], v, torch.stack([ahead, left], dim=-1)


def compressed(vector: Tensor) -> Tensor:
    """A vector (..., 2) with its length r made log(1 + r): fine near 0, and never large."""
    r = (vector.square().sum(dim=-1, keepdim=True) + 1e-12).sqrt()
    return vector * (r.log1p() / r)


def own_past(past: Tensor, v: Tensor, rotation: Tensor) -> Tensor:
    """What an agent did, in its own frame: its displacements, and its velocity.

    Args:
        past: (batch, agents, frames, 2), finite.
        v: (batch, agents, 2) of `own_frame`.
        rotation: (batch, agents, 2, 2) of `own_frame`.

    Returns:
        (batch, agents, 2 * frames).
    """
    moves = torch.cat([past.diff(dim=2), v[:, :, None]], dim=2) @ rotation
    return compressed(moves).flatten(2)


PAIR_FEATURES = 10


def pair_features(origin: Tensor, v: Tensor, rotation: Tensor) -> Tensor:
    """How each agent sees each other one: place, heading, relative velocity, and how near they would come.

    The last two are the distance of closest approach and when it comes, if both keep their velocity.

    Args:
        origin: (batch, agents, 2).
        v: (batch, agents, 2) a frame.
        rotation: (batch, agents, 2, 2).

    Returns:
        (batch, agents, agents, 10), first the one that sees; unchanged if the scene is turned and moved.
    """
    apart = (origin[:, None] - origin[:, :, None]) @ rotation
    relative = (v[:, None] - v[:, :, None]) @ rotation
    heading = rotation[:, :, None].transpose(-1, -2) @ rotation[:, None]
    squared = relative.square().sum(dim=-1, keepdim=True)
    when = (-(apart * relative).sum(dim=-1, keepdim=True) / (squared + 1e-3)).clamp(0.0, 20.0)
    nearest = apart + when * relative
    distance = apart.square().sum(dim=-1, keepdim=True)
    least = nearest.square().sum(dim=-1, keepdim=True)
    scalars = [0.5 * torch.log1p(distance), 0.5 * torch.log1p(least), when / 10.0]
    turn = heading[..., :, 0]
    longest = torch.exp(-distance / 25.0)
    return torch.cat([compressed(apart), turn, compressed(relative), *scalars, longest], dim=-1)


MEETING_FEATURES = 4


def meeting_features(places: Tensor, rotation: Tensor) -> Tensor:
    r"""How two agents see each other at some times: the way, and how near they come.

    Nearness is :math:`\exp(-d^2 / 2)`, of the distance at that time and of the least one since the time
    before, if both go straight.

    Args:
        places: (batch, agents, 1 + points, 2), of now and of times in the future.
        rotation: (batch, agents, 2, 2) from each agent's own frame to that of the scene.

    Returns:
        (batch, agents, agents, points, 4), first the one that sees; unchanged if the scene is
        turned and moved.
    """
    apart = places[:, None] - places[:, :, None]
    start, stop = apart[:, :, :, :-1], apart[:, :, :, 1:]
    change = stop - start
    squared = change.square().sum(dim=-1, keepdim=True)
    share = (-(start * change).sum(dim=-1, keepdim=True) / (squared + 1e-6)).clamp(0.0, 1.0)
    least = (start + share * change).square().sum(dim=-1, keepdim=True)
    distance = stop.square().sum(dim=-1, keepdim=True)
    way = compressed(stop @ rotation[:, :, None])
    return torch.cat([way, torch.exp(-0.5 * distance), torch.exp(-0.5 * least)], dim=-1)


SEGMENT_FEATURES = 6


def segment_features(segments: Tensor, origin: Tensor, rotation: Tensor) -> Tensor:
    """How each agent sees each line segment of the map: both ends, and the nearest point.

    Args:
        segments: (batch, segments, 4) x0 y0 x1 y1, finite.
        origin: (batch, agents, 2).
        rotation: (batch, agents, 2, 2).

    Returns:
        (batch, agents, segments, 6); unchanged if the scene is turned and moved.
    """
    ends = segments.reshape(*segments.shape[:2], 2, 2)[:, None] - origin[:, :, None, None]
    start, stop = (ends @ rotation[:, :, None]).unbind(dim=3)
    along = stop - start
    squared = along.square().sum(dim=-1, keepdim=True)
    share = (-(start * along).sum(dim=-1, keepdim=True) / (squared + 1e-9)).clamp(0.0, 1.0)
    parts = [compressed(part) for part in (start, stop, start + share * along)]
    return torch.cat(parts, dim=-1)
