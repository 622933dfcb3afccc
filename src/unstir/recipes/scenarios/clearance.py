"""How near agents come to each other, from body to body, between the frames too."""

from __future__ import annotations

import torch
from torch import Tensor

from unstir.recipes.scenarios.scenes import VEHICLE

BODY = 0.2
"""Radius of a pedestrian, metres."""
DISC, SPREAD = 1.0, 1.4
"""A vehicle of 4.5 x 1.8 m as three discs of this radius, so far apart along it, metres."""
SLOW = 0.05
"""Metres from frame to frame below which a way has no direction."""

_OFFSETS = (-SPREAD, 0.0, SPREAD)


def headings(tracks: Tensor, start: int = 0) -> Tensor:
    """Unit vectors along the ways of agents, (..., frames - start, 2), constant while they stand.

    Before an agent first moves it is the direction in which it will; 0 if it never moves. No gradient passes.

    Args:
        tracks: (..., frames, 2) metres.
        start: first frame of the result.
    """
    with torch.no_grad():
        steps = tracks.diff(dim=-2, prepend=tracks[..., :1, :]).nan_to_num()
        length = steps.norm(dim=-1, keepdim=True)
        unit = torch.where(length > SLOW, steps / length.clamp(min=1e-9), 0.0)
        frames = tracks.shape[-2]
        last = torch.zeros_like(unit[..., 0, :])
        result = []
        for k in range(frames):
            moves = length[..., k, :] > SLOW
            last = torch.where(moves, unit[..., k, :], last)
            result.append(last)
        for k in range(frames - 2, -1, -1):
            known = result[k].abs().sum(-1, keepdim=True) > 0
            result[k] = torch.where(known, result[k], result[k + 1])
        return torch.stack(result[start:], dim=-2)


def discs(place: Tensor, heading: Tensor, kinds: Tensor) -> tuple[Tensor, Tensor]:
    """Bodies as three discs: a vehicle's one behind the other, a pedestrian's all in one place.

    Args:
        place: (..., frames, 2) metres.
        heading: (..., frames, 2) unit vectors.
        kinds: (...) numbers of kinds.

    Returns:
        middles (..., 3, frames, 2) and radii (...).
    """
    vehicle = (kinds == VEHICLE).to(place)
    offsets = torch.tensor(_OFFSETS, dtype=place.dtype, device=place.device)
    shift = vehicle[..., None] * offsets
    middles = place[..., None, :, :] + shift[..., None, None] * heading[..., None, :, :]
    return middles, BODY + vehicle * (DISC - BODY)


def least_distance(apart: Tensor) -> Tensor:
    r"""The least length of a vector that changes evenly between frames, in every interval.

    With r the vector at the beginning of an interval and w its change,

    .. math:: \min_{0 \le s \le 1} |r + s w| \quad\text{at}\quad s = \mathrm{clip}(-r \cdot w / |w|^2, 0, 1)

    Differentiable; s is held.

    Args:
        apart: (..., frames, 2) metres.

    Returns:
        (..., frames - 1) metres; 1e-4 where it is 0, as a length has no gradient there.
    """
    start, way = apart[..., :-1, :], apart.diff(dim=-2)
    share = (-(start * way).sum(-1) / way.square().sum(-1).clamp(min=1e-9)).clamp(0.0, 1.0).detach()
    return ((start + share[..., None] * way).square().sum(-1) + 1e-8).sqrt()


def clearance(tracks: Tensor, kinds: Tensor, first: Tensor, second: Tensor, *, past: int) -> Tensor:
    r"""Metres between the bodies of two agents of each scene, for every interval of the future.

    Within an interval both move on straight lines (`least_distance`). Below 0 the bodies overlap.
    Differentiable in the tracks; headings are held.

    Args:
        tracks: (n, agents, frames, 2) metres, past and future.
        kinds: (n, agents).
        first: (n,) number of one agent of each scene.
        second: (n,) of the other.
        past: frames of the past; the first interval is that from its last frame.

    Returns:
        (n, frames - past).
    """
    rows = torch.arange(len(tracks), device=tracks.device)
    middles, radii = [], []
    for agent in (first, second):
        track = tracks[rows, agent]
        heading = headings(track, past - 1)
        middle, radius = discs(track[:, past - 1 :], heading, kinds[rows, agent])
        middles.append(middle)
        radii.append(radius)
    apart = middles[0][:, :, None] - middles[1][:, None]
    return least_distance(apart).flatten(1, 2).amin(1) - (radii[0] + radii[1])[:, None]


def closest_pair(tracks: Tensor, kinds: Tensor, *, past: int) -> tuple[Tensor, Tensor, Tensor]:
    """The two agents that come nearest to each other in the future.

    Args:
        tracks: (n, agents, frames, 2) metres, NaN for absent agents.
        kinds: (n, agents), -1 for absent ones.
        past: frames of the past.

    Returns:
        numbers of the two (n,), (n,), the smaller first, and their least clearance (n,); infinite in a scene
        of one agent.
    """
    n, agents = kinds.shape
    best = torch.full((n,), torch.inf, dtype=tracks.dtype, device=tracks.device)
    pair = torch.zeros(2, n, dtype=torch.int64, device=tracks.device)
    for i in range(agents):
        for j in range(i + 1, agents):
            there = (kinds[:, i] >= 0) & (kinds[:, j] >= 0)
            numbers = torch.tensor([[i], [j]], device=tracks.device).expand(2, n)
            least = clearance(tracks, kinds, numbers[0], numbers[1], past=past).amin(1)
            nearer = there & (least < best)
            best = torch.where(nearer, least, best)
            pair = torch.where(nearer, numbers, pair)
    return pair[0], pair[1], best
