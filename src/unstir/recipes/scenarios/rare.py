"""Rare but valid scenes: a model of what usually happens, asked for what seldom does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from unstir import noise
from unstir.guidance import MMPS, Constrained
from unstir.recipes.scenarios.bodies import MARGIN, bodies_apart, overlaps, polyak_step
from unstir.recipes.scenarios.clearance import closest_pair, headings
from unstir.recipes.scenarios.coordinates import constant_velocity, decode
from unstir.recipes.scenarios.data import conditions_of, future_frames
from unstir.recipes.scenarios.ends import in_turn, reach_ends
from unstir.recipes.scenarios.events import INSIDE, Event
from unstir.recipes.scenarios.ranges import Ranges
from unstir.recipes.scenarios.scenes import PEDESTRIAN, VEHICLE, Scenes

if TYPE_CHECKING:
    from unstir.denoisers import Denoiser
    from unstir.model import Model

SHARPNESS = 0.1
"""Deviation to which a value is asked for, as a share of its range's width."""
LAST_TIMES = 4
"""Projections after the last step."""
LAST_STEPS = 24
"""Steps of the descent after the last step, where an event is asked for, too."""


def whole(scenes: Scenes) -> tuple[Tensor, Tensor]:
    """Tracks (n, agents, frames, 2) with absent agents at 0, and kinds (n, agents) as int64."""
    tracks = torch.from_numpy(np.nan_to_num(scenes.tracks))
    return tracks, torch.from_numpy(scenes.kinds).long()


def sample_scenes(
    model: Model,
    scenes: Scenes,
    event: Event | None = None,
    *,
    apart: bool = True,
    met: bool = True,
    ranges: Ranges | None = None,
    seed: int = 0,
    steps: int | None = None,
) -> Tensor:
    r"""One joint future of each scene; with an event, one in which it happens.

    The event's value is taken for a measurement y = A(x_0) + noise of the clean future, with y drawn from the
    middle of its range, and the denoiser is moved to the posterior by moment matching (`guidance.MMPS`):
    along the model's own covariance, so what agents do together changes together, and by as much as the
    value asks for, so there is no weight to tune. What is still missing after the last step, as the value is
    not linear, is made up for by a short descent (`bodies.polyak_step`) on the event's `Event.miss` and all
    that makes a scene valid.

    Source: Rozet et al. 2024, eq. 13 to 19, linearised at the estimate.

    Args:
        model: trained on scenes.
        scenes: n scenes whose past is given; the tokens that they have are asked for, and ends are met
            where bodies leave room.
        event: of the n scenes.
        apart: keep bodies from overlapping (`bodies.bodies_apart`), at every step and once more in the end;
            False also leaves out the descent to the event.
        met: lead every estimate to the ends that are asked for (`ends.reach_ends`); False leaves tokens to
            what the network learned.
        ranges: keep speeds and accelerations in these as well, but for the acceleration of whom an event asks
            more of; only with ``apart``.
        seed: of the samples and of the values that are asked for.
        steps: of the solver; the model's own by default.

    Returns:
        (n, agents, past + future, 2) metres, past and sampled future, 0 for absent agents.
    """
    n, future = len(scenes), future_frames(model)
    given = torch.from_numpy(np.nan_to_num(scenes.given))
    past, kinds = given.to(model.device), torch.from_numpy(scenes.kinds).long().to(model.device)
    strained = torch.zeros_like(kinds, dtype=torch.bool)
    if event is not None and event.strained is not None:
        strained[torch.arange(n), event.strained] = True
    conditions = conditions_of(scenes)
    project = reach_ends(conditions.get("tokens") if met else None, model.scaling, future)
    if apart:
        valid = bodies_apart(past, kinds, model.scaling, future, ranges=ranges, strained=strained)
        project = in_turn(project, valid)

    def guide(denoiser: Denoiser) -> Denoiser:
        if event is not None:
            denoiser = _asked(denoiser, model, past, event, future, seed)
        return denoiser if project is None else Constrained(denoiser, project)

    def left(x: Tensor) -> Tensor:
        """What is still missing of an event in a valid scene, (n,)."""
        assert event is not None
        tracks = torch.cat([past, decode(model.scaling.to_data(x), past, future)], dim=2)
        result = event.miss(tracks) + overlaps(tracks, kinds, past=scenes.past, margin=MARGIN)
        if ranges is not None:
            result = result + ranges.excess(tracks, kinds, strained, past=scenes.past)
        return result

    x = model.sample(n, steps=steps, condition=conditions, seed=seed, batch=n, guide=guide)
    if project is not None:  # the solver joins its last estimates, so they are moved once more
        internal = model.scaling.to_internal(x.to(model.device))
        for _ in range(LAST_STEPS if event is not None and apart else 0):
            internal = polyak_step(internal, left)
        for _ in range(LAST_TIMES):
            internal = project(internal)
        x = model.scaling.to_data(internal).cpu()
    return torch.cat([given, decode(x, given, future)], dim=2)


def _asked(denoiser: Denoiser, model: Model, past: Tensor, event: Event, future: int, seed: int) -> Denoiser:
    """The denoiser of futures in which an event happens."""
    index = torch.arange(len(past))
    u = noise.uniform(tuple(event.low.shape[1:]), seed=seed, index=index, stream=noise.Stream.SCENARIO_EVENT)
    wanted = (INSIDE[0] + (INSIDE[1] - INSIDE[0]) * u).float().to(model.device)

    def operator(x: Tensor) -> Tensor:
        tracks = torch.cat([past, decode(model.scaling.to_data(x), past, future)], dim=2)
        low, high = event.low.to(tracks), event.high.to(tracks)
        return (event.value(tracks) - low) / (high - low)

    # Where the learned Jacobian has no positive curvature, conjugate gradients stop. GMRES goes on, and may
    # throw a scene far away.
    return MMPS(denoiser, wanted, operator, SHARPNESS, iterations=wanted.shape[1], method="cg")


def likely_pair(scenes: Scenes) -> tuple[Tensor, Tensor, Tensor]:
    """The two agents that would come nearest to each other if nobody changed course: known before the future.

    Args:
        scenes: with at least two agents in each.

    Returns:
        their numbers, (n,) and (n,), and the clearance that they would have, (n,) metres.
    """
    tracks, kinds = whole(scenes)
    past = tracks[:, :, : scenes.past]
    straight = torch.cat([past, constant_velocity(past, max(scenes.future, 12))], dim=2)
    return closest_pair(straight, kinds, past=scenes.past)


FAST, SIGHT, ASIDE = 5.0, (4.0, 40.0), 8.0
"""A vehicle that may have to brake: faster than this (m/s), with a pedestrian so far ahead and so far to the
side of its course at most (m)."""


def towards_people(scenes: Scenes) -> Tensor:
    """The fastest vehicle that drives towards a pedestrian at the end of the past, (n,); -1 without one.

    It is faster than `FAST`, and someone on foot is within `SIGHT` ahead and `ASIDE` to the side.
    """
    tracks, kinds = whole(scenes)
    speed = tracks[:, :, scenes.past - 2 : scenes.past].diff(dim=2)[:, :, 0].norm(dim=-1) / scenes.dt
    along, aside, _ = _views(tracks[:, :, : scenes.past])
    before = (along > SIGHT[0]) & (along < SIGHT[1]) & (aside < ASIDE) & (kinds[:, None] == PEDESTRIAN)
    fits = (kinds == VEHICLE) & (speed > FAST) & before.any(2)
    best, agent = torch.where(fits, speed, -1.0).max(dim=1)
    return torch.where(best >= 0, agent, -1)


def neighbours(scenes: Scenes) -> tuple[Tensor, Tensor]:
    """A vehicle and one of the lane beside it, a little behind: the first could cut in before the second.

    Beside is 2.5 to 4.5 m to the side of the second's course, behind is 2 to 15 m between the middles; the
    pair that is nearest.

    Returns:
        their numbers, (n,) and (n,); -1 in a scene without such a pair.
    """
    tracks, kinds = whole(scenes)
    # Rows are those who change, so the views are turned round: the changer's place seen from the follower's.
    along, aside, alike = (view.transpose(1, 2) for view in _views(tracks[:, :, : scenes.past]))
    alike = alike > 0.9
    fits = alike & (kinds[:, :, None] == VEHICLE) & (kinds[:, None] == VEHICLE)
    fits &= (aside > 2.5) & (aside < 4.5) & (along > 2.0) & (along < 15.0)
    distance = torch.where(fits, along, torch.inf).flatten(1)
    best, found = distance.argmin(1), fits.flatten(1).any(1)
    agents = kinds.shape[1]
    return torch.where(found, best // agents, -1), torch.where(found, best % agents, -1)


def _views(past: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """How each agent sees each other one: metres ahead and to the side, and the cosine of their headings."""
    ahead, here = headings(past)[:, :, -1], past[:, :, -1]
    apart = here[:, None] - here[:, :, None]
    left = torch.stack([-ahead[..., 1], ahead[..., 0]], dim=-1)
    along, aside = ((apart * axis[:, :, None]).sum(-1) for axis in (ahead, left))
    return along, aside.abs(), (ahead[:, :, None] * ahead[:, None]).sum(-1)
