"""What the diffusion is compared with: behaviour cloning, the same network taught the mean action."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from unstir.networks import build_network
from unstir.recipes.policy.task import DiffusionPlanner
from unstir.recipes.settings import RunSettings
from unstir.training import ArrayData, Scaling
from unstir.training.trainer import rate_factor


class Cloner:
    r"""The plan of least squared error.

    .. math:: \min_\theta E\,\lVert a - f_\theta(o) \rVert^2, \qquad f_\theta(o) \to E[a | o]

    The network is the diffusion's own, at a fixed input of zeros and a fixed noise level, so it has the same
    size and sees the same; trained for as many samples with the same optimizer and learning rate. Where
    demonstrations differ it plans their mean, which nobody demonstrated.

    Source: Pomerleau 1989, "ALVINN"; as a baseline of Diffusion Policy (LSTM-GMM apart), Chi et al. 2023,
    section 5.

    Args:
        settings: of the policy that it is compared with.
        data: windows of demonstrations, with the condition ``observation``.
    """

    def __init__(self, settings: RunSettings, data: ArrayData) -> None:
        from unstir.recipes.run import conditions_of  # run knows all domains, so not at the top

        conditions = conditions_of(data)
        self.module = build_network(
            settings.network, data.event, conditions=conditions, seed=settings.training.seed
        )
        self.scaling = data.scaling
        self.scalings: dict[str, Scaling] = {name: c.scaling for name, c in data.conditions.items()}
        self.event = data.event
        self.observed, self.horizon = data.conditions["observation"].shape[1], data.event[1]
        self.evaluations = 1

    def predict(self, conditions: Mapping[str, Tensor]) -> Tensor:
        """(n, action_dim, horizon) from conditions, all in the network's units."""
        n = len(conditions["observation"])
        zeros = torch.zeros(n, *self.event)
        answer: Tensor = self.module(zeros, torch.zeros(n), **conditions)
        return answer.chunk(2, dim=1)[0] if getattr(self.module, "variance", False) else answer

    @torch.no_grad()
    def plan(self, conditions: Mapping[str, Tensor], seed: int, first: int) -> Tensor:
        """The mean plan, in the units of the demonstrations; chance has no part in it."""
        scaled = {name: self.scalings[name].to_internal(value) for name, value in conditions.items()}
        return self.scaling.to_data(self.predict(scaled))


class MeanPlanner:
    """The mean of several plans: an estimate of E[plan | observations], which cloning would learn.

    Args:
        planner: that draws plans.
        draws: plans averaged, at least 1.
    """

    def __init__(self, planner: DiffusionPlanner, draws: int = 32) -> None:
        self.planner, self.draws = planner, draws
        self.observed, self.horizon = planner.observed, planner.horizon
        self.evaluations = 0

    def plan(self, conditions: Mapping[str, Tensor], seed: int, first: int) -> Tensor:
        """(n, action_dim, horizon), in the units of the demonstrations."""
        k = self.draws
        every = {name: value.repeat_interleave(k, dim=0) for name, value in conditions.items()}
        plans = self.planner.plan(every, seed, first * k)
        self.evaluations = self.planner.evaluations * k
        return plans.reshape(-1, k, *plans.shape[1:]).mean(dim=1)


def clone(settings: RunSettings, data: ArrayData, samples: int) -> Cloner:
    """Train a cloner for a number of samples.

    Args:
        settings: batch, learning rate, clipping and seed are theirs.
        data: windows of demonstrations.
        samples: that training sees, at least one batch of.
    """
    cloner = Cloner(settings, data)
    training = settings.training
    parameters = list(cloner.module.parameters())
    optimizer = torch.optim.AdamW(
        parameters, lr=training.learning_rate, betas=training.betas, weight_decay=training.weight_decay
    )
    order = torch.Generator().manual_seed(training.seed)
    steps = max(1, samples // training.batch)
    cloner.module.train()
    for step in range(steps):
        rows = torch.randint(len(data), (training.batch,), generator=order)
        x, conditions = data.batch(rows)
        for group in optimizer.param_groups:
            group["lr"] = training.learning_rate * rate_factor(step / steps, training.warm_up, training.decay)
        loss = (cloner.predict(conditions) - x).square().mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if training.clip is not None:
            torch.nn.utils.clip_grad_norm_(parameters, training.clip)
        optimizer.step()
    cloner.module.eval()
    return cloner
