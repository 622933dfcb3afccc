"""Acting by diffusion: plan several actions from the last observations, do some of them, plan anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unstir.recipes.policy.environment import Environment, Observation, stack

if TYPE_CHECKING:
    from unstir.model import Model
    from unstir.recipes.policy.steering import Steering

_PLANS = 1_000_003
CANDIDATES = 16
"""Of a steered plan."""
_TRUST = 0.1
"""How far guidance moves an action, as a deviation in the network's units, where actions are -1 to 1."""


class Planner(Protocol):
    """What plans actions; the diffusion is one, and what it is compared with is another.

    Attributes:
        observed: observations that it takes.
        horizon: actions in a plan.
        evaluations: of its network for a plan.
    """

    observed: int
    horizon: int
    evaluations: int

    def plan(self, conditions: Mapping[str, Tensor], seed: int, first: int) -> Tensor:
        """Plans for several episodes.

        Args:
            conditions: (n, *shape) by name, in their own units.
            seed: of the noise.
            first: number of the first episode; it and the seed decide an episode's noise.

        Returns:
            (n, action_dim, horizon) in the units of the demonstrations.
        """
        ...


class DiffusionPlanner:
    r"""Plans drawn from a trained model.

    A steered plan is chosen among candidates, each drawn twice from the same noise: as the model has it, and
    guided. Candidate c costs as much as its guided plan, and as guidance moved it,

    .. math:: cost(x_c) + \lVert x_c - x_c^{free} \rVert^2 / (2 \tau^2)

    so those near the wish to begin with are preferred: guidance then corrects, and need not choose a route,
    which a gradient cannot. Guided plans are those of Janner et al. 2022, "Planning with diffusion", section
    3.2; the choice among them is ours.

    Args:
        model: events (action_dim, horizon), with the condition ``observation`` (obs_dim, observed).
        steps: of the solver, at least 1; the model's own by default.
        steering: changes where plans go, see `steering`.
        candidates: of a steered plan, at least 1; a single one is taken as it comes.

    Raises:
        ValueError: for a model that plans no actions from observations, or less than one step or candidate.
    """

    def __init__(
        self,
        model: Model,
        *,
        steps: int | None = None,
        steering: Steering | None = None,
        candidates: int = CANDIDATES,
    ) -> None:
        self.observed, self.horizon = lengths_of(model)
        self.model = model
        self.steps = model.config.sampling.steps if steps is None else steps
        if self.steps < 1:
            raise ValueError(f"a plan takes at least 1 step of the solver, got {steps}")
        if candidates < 1:
            raise ValueError(f"a steered plan is chosen among at least 1 candidate, got {candidates}")
        self.steering = steering
        self.candidates = 1 if steering is None else candidates
        self.evaluations = 0
        """Of the network for the last plan, all candidates together."""

    def plan(self, conditions: Mapping[str, Tensor], seed: int, first: int) -> Tensor:
        """As `Planner.plan`.

        Raises:
            ValueError: for what the model sees but is not given, unless it was trained without it as well.
        """
        self._check_seen(conditions)
        n, k = len(conditions["observation"]), self.candidates
        every = {name: value.repeat_interleave(k, dim=0) for name, value in conditions.items()}
        draw = partial(
            self.model.solve,
            n * k,
            steps=self.steps,
            condition=every,
            seed=seed,
            first_index=first * k,
            batch=n * k,
        )
        if self.steering is None:
            solution = draw()
            self.evaluations = solution.nfe
            return solution.x
        wish = self.steering(self.model, conditions, k)
        guided = draw(guide=wish.guide)
        self.evaluations = guided.nfe * k
        if k == 1:
            return guided.x
        free = draw()
        self.evaluations += free.nfe * k
        units = self.model.scaling.to_internal
        moved = (units(guided.x) - units(free.x)).square().flatten(1).sum(1)
        price = wish.cost(guided.x) + moved / (2.0 * _TRUST**2)
        best = price.view(n, k).argmin(dim=1) + k * torch.arange(n)
        return guided.x[best]

    def _check_seen(self, conditions: Mapping[str, Tensor]) -> None:
        if self.model.denoiser.unconditional:
            return
        for name in self.model.config.conditions:
            if name not in conditions:
                raise ValueError(f"this policy sees {name!r}, too, and was never trained without it")
            if not bool(conditions[name].isfinite().all()):
                raise ValueError(f"the policy's {name!r} is finite, got a number that is not")


def lengths_of(model: Model) -> tuple[int, int]:
    """How many observations a model takes and how many actions it plans.

    Raises:
        ValueError: for a model of something else.
    """
    event, about = model.config.event, model.config.conditions.get("observation")
    if len(event) != 2 or about is None or len(about.shape) != 2:
        raise ValueError(
            "a policy's model makes events (action_dim, horizon) from the condition 'observation' "
            f"(obs_dim, observed), but this one makes events {event} from "
            f"{' and '.join(model.config.conditions) or 'no condition'}; train one with `unstir train policy`"
        )
    return about.shape[1], event[1]


class Policy:
    """A policy with a receding horizon.

    Source: Chi et al. 2023, "Diffusion Policy", section 3 and figure 3: of each plan the first ``executed``
    actions that follow the newest observation are done.

    Args:
        model: a trained model, or another `Planner`.
        steps: of the solver; the model's own by default.
        executed: actions done of each plan, at least 1.
        seed: with the number of an episode it decides the policy's chance.
        steering: see `steering`.
        candidates: of a steered plan, see `DiffusionPlanner`.

    Raises:
        ValueError: if a plan does not hold so many actions, or the model is none of a policy.
    """

    def __init__(
        self,
        model: Model | Planner,
        *,
        steps: int | None = None,
        executed: int = 8,
        seed: int = 0,
        steering: Steering | None = None,
        candidates: int = CANDIDATES,
    ) -> None:
        from unstir.model import Model

        if isinstance(model, Model):
            model = DiffusionPlanner(model, steps=steps, steering=steering, candidates=candidates)
        elif steps is not None or steering is not None:
            raise ValueError("steps and steering are those of a diffusion model; this planner has its own")
        self.planner: Planner = model
        room = self.planner.horizon - self.planner.observed + 1
        if not 1 <= executed <= room:
            raise ValueError(
                f"a plan has {room} actions after the newest observation, so 1 to {room} of them are "
                f"executed, got {executed}"
            )
        self.executed, self.seed = executed, seed
        self.plans: NDArray[np.float32] = np.empty((0, 0, 0), dtype=np.float32)
        """(n, action_dim, horizon), the plans that are being followed."""
        self.reset()

    def reset(self, episode: int = 0) -> None:
        """Forget the past; ``episode`` is the number of the episode that begins (of the first of several)."""
        self.episode = episode
        self.histories: list[list[Observation]] = []
        self.done = self.executed
        self.planned = 0

    def act(self, observation: Observation | NDArray[np.generic]) -> NDArray[np.float32]:
        """The next action (action_dim,), given what is seen now.

        Args:
            observation: by name, or (obs_dim,) if the model sees nothing else.

        Raises:
            ValueError: for an observation of another shape than the demonstrations', one that is not finite,
                or none where the policy sees one.
        """
        seen = observation if isinstance(observation, Mapping) else {"observation": observation}
        action: NDArray[np.float32] = self.act_many([seen])[0]
        return action

    def act_many(self, observations: Sequence[Observation]) -> NDArray[np.float32]:
        """The next actions (n, action_dim) of n episodes that began together.

        Episode i has the same actions as it has alone after ``reset(first + i)``, but for round-off.

        Raises:
            ValueError: if the number of episodes changes without a `reset`, or as in `act`.
        """
        if not self.histories:
            self.histories = [[] for _ in observations]
        if len(observations) != len(self.histories):
            raise ValueError(
                f"{len(self.histories)} episodes are under way, but there are {len(observations)} "
                "observations; call reset() before others"
            )
        for history, seen in zip(self.histories, observations, strict=True):
            history.append(seen)
            del history[: -self.planner.observed]
        if self.done >= self.executed:
            self._plan()
        action: NDArray[np.float32] = self.plans[:, :, self.planner.observed - 1 + self.done]
        self.done += 1
        return action

    def _plan(self) -> None:
        stacked = [stack(history, self.planner.observed) for history in self.histories]
        conditions = {name: torch.from_numpy(np.stack([row[name] for row in stacked])) for name in stacked[0]}
        seed = self.seed * _PLANS + self.planned
        self.plans = self.planner.plan(conditions, seed, self.episode).numpy()
        self.planned, self.done = self.planned + 1, 0


@dataclass(frozen=True)
class Rollout:
    """An episode as it went.

    Attributes:
        observations: (steps + 1, obs_dim).
        actions: (steps, action_dim).
        success: whether it reached its goal.
        score: how well it went, 0 to 1.
    """

    observations: NDArray[np.float64]
    actions: NDArray[np.float64]
    success: bool
    score: float


def rollouts(
    policy: Policy, make: Callable[[], Environment], seeds: Sequence[int], *, first: int = 0
) -> list[Rollout]:
    """Episodes side by side, one for each seed; plans are made for all of them at once.

    Args:
        policy: it is reset.
        make: an environment for an episode.
        seeds: of the episodes.
        first: number of the first episode for the policy's own chance.
    """
    environments = [make() for _ in seeds]
    policy.reset(first)
    seen = [e.reset(seed) for e, seed in zip(environments, seeds, strict=True)]
    observations, actions = [[o["observation"]] for o in seen], [[] for _ in seeds]  # type: ignore[var-annotated]
    over, success = [False] * len(seeds), [False] * len(seeds)
    while not all(over):
        chosen = policy.act_many(seen)
        for i, environment in enumerate(environments):
            if over[i]:
                continue
            seen[i], over[i], success[i] = environment.step(chosen[i])
            observations[i].append(seen[i]["observation"])
            actions[i].append(chosen[i])
    return [
        Rollout(np.array(o, dtype=np.float64), np.array(a, dtype=np.float64), s, e.score)
        for o, a, s, e in zip(observations, actions, success, environments, strict=True)
    ]
