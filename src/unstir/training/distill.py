r"""Distillation: a student that jumps from any noise level to the data at the end of the teacher's path.

The probability flow takes a state x_t to one data point f(x_t, t), the consistency function of the teacher
(Song et al. 2023, "Consistency models", section 3). For a Gaussian N(m, s^2) it is, in closed form,

.. math:: f(x, t) = m + (x - \alpha m)\, s / \sqrt{\alpha^2 s^2 + \sigma^2}

Nothing is bootstrapped: the teacher's solver makes every jump, and the student regresses on where it ends
(Luhman & Luhman 2021, "Knowledge distillation", for all noise levels). The jumps start where the student's
own will: at noise, and at the ends of earlier jumps with fresh noise, as `samplers.Consistency` adds it.
States on the paths of the flow itself would not do: a student of digits that learned from them got worse
with every step of that sampler.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from unstir import noise
from unstir.denoisers import Denoiser, Network, Posterior
from unstir.samplers import Consistency, arctan, sample
from unstir.settings import Settings
from unstir.training.data import ArrayData, drop_at_random
from unstir.training.ema import PowerEMA
from unstir.training.noise_levels import GOLDEN
from unstir.training.objective import weighted_error
from unstir.training.settings import Positive, Share
from unstir.training.trainer import Progress, rate_factor
from unstir.training.weighting import EDMWeighting


class DistillationSettings(Settings):
    """A distillation: budget, teacher, optimizer, averaging; names as in `TrainingSettings`."""

    samples: Annotated[int, Field(gt=0)] | None = Field(
        default=None, description="budget: jumps seen; this or seconds, or both (the first to end)"
    )
    seconds: Positive | None = Field(default=None, description="budget: wall-clock seconds")
    teacher_steps: Annotated[int, Field(ge=1)] = Field(
        default=8, description="evaluations of the teacher from noise to data"
    )
    jumps: Annotated[int, Field(gt=0)] = Field(
        default=4, description="jumps of a chain: evaluations that the student is meant to be sampled with"
    )
    chains: Annotated[int, Field(gt=0)] = Field(default=512, description="chains solved at once")
    repeats: Annotated[int, Field(gt=0)] = Field(default=2, description="times that a jump is learned from")
    batch: Annotated[int, Field(gt=0)] = 128
    learning_rate: Positive = 1e-3
    betas: tuple[Share, Share] = (0.9, 0.99)
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.0
    warm_up: Share = Field(default=0.05, description="share of the budget in which the rate rises")
    decay: Literal["linear", "cosine", "none"] = "cosine"
    clip: Positive | None = Field(default=1.0, description="largest norm of the gradient; null for none")
    drop_condition: Share = Field(default=0.1, description="share of chains without their condition")
    ema_width: Annotated[float, Field(gt=0.0, lt=0.28)] = Field(
        default=0.1, description="relative width of the average that becomes the student"
    )
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0

    @model_validator(mode="after")
    def _check(self) -> DistillationSettings:
        if self.samples is None and self.seconds is None:
            raise ValueError("a distillation needs a budget: samples, seconds or both")
        if self.chains % self.batch:
            raise ValueError(
                f"{self.chains} chains cannot be split into batches of {self.batch}; choose a multiple"
            )
        return self


@dataclass(frozen=True)
class Jumps:
    """Jumps of the teacher from noise levels to data.

    Attributes:
        x_t: (n, *event), where they start.
        t: (n,) float64, when they start.
        x_0: (n, *event), where they end.
        condition: (n, ...) tensors by name.
    """

    x_t: Tensor
    t: Tensor
    x_0: Tensor
    condition: dict[str, Tensor]

    def __len__(self) -> int:
        return len(self.t)

    def rows(self, rows: Tensor) -> Jumps:
        """Some of them, (n,) int64."""
        condition = {name: value[rows] for name, value in self.condition.items()}
        return Jumps(self.x_t[rows], self.t[rows], self.x_0[rows], condition)

    @staticmethod
    def join(parts: Sequence[Jumps]) -> Jumps:
        """All jumps of several parts, in their order."""
        condition = {name: torch.cat([p.condition[name] for p in parts]) for name in parts[0].condition}
        x_t, t, x_0 = (torch.cat([getattr(p, name) for p in parts]) for name in ("x_t", "t", "x_0"))
        return Jumps(x_t, t, x_0, condition)


def distill(
    student: Network,
    teacher: Denoiser,
    event: Sequence[int],
    settings: DistillationSettings,
    data: ArrayData | None = None,
) -> Iterator[Progress]:
    """Distil a teacher into a network in place; iterate to run.

    Args:
        student: best a copy of the teacher's network; at the end it holds the averaged weights.
        teacher: any denoiser under the student's schedule, exact, learned or guided.
        event: shape of one sample.
        settings: budget, teacher, optimizer.
        data: where conditions are drawn from; None for a teacher without.

    Raises:
        FloatingPointError: if the loss is not finite.
        ValueError: if student and teacher have different schedules.
    """
    distiller = Distiller(student, teacher, event, settings, data)
    yield from distiller.run()
    distiller.finish()


class Distiller:
    """The state of a distillation and the loop that advances it; `distill` is the short form.

    Chains are numbered. The noise and the condition of chain k depend on (seed, k) alone, the order of what
    is learned on the seed; so a budget in samples gives the same student bit for bit.

    Args:
        student: as in `distill`, like the others.
        teacher: stays as it is.
        event: shape of one sample.
        settings: budget, teacher, optimizer.
        data: where conditions are drawn from.

    Raises:
        ValueError: if student and teacher have different schedules.
    """

    def __init__(
        self,
        student: Network,
        teacher: Denoiser,
        event: Sequence[int],
        settings: DistillationSettings,
        data: ArrayData | None = None,
    ) -> None:
        if student.schedule != teacher.schedule:
            raise ValueError(
                f"the student's schedule {student.schedule} is not the teacher's, {teacher.schedule}; "
                "a student is distilled under the schedule of its teacher"
            )
        self.student, self.teacher, self.settings, self.data = student, teacher, settings, data
        self.event = tuple(event)
        self.device = next(student.parameters()).device
        self.sampler = Consistency()
        self.grid = arctan(teacher.schedule, settings.teacher_steps, sigma_data=teacher.sigma_data)
        self.weighting = EDMWeighting(student.sigma_data)
        self.ema = PowerEMA(student.module, (settings.ema_width,))
        self.optimizer = torch.optim.AdamW(
            student.module.parameters(),
            lr=settings.learning_rate,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
            fused=self.device.type in ("cpu", "cuda"),
        )
        self.samples = 0
        self.started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of the run."""
        return time.monotonic() - self.started

    def fraction(self) -> float:
        """The share of the budget used up."""
        s = self.settings
        by_samples = self.samples / s.samples if s.samples else 0.0
        by_time = self.seconds / s.seconds if s.seconds else 0.0
        return min(1.0, max(by_samples, by_time))

    def run(self) -> Iterator[Progress]:
        """Distil until the budget is used up, yielding after every step.

        Raises:
            FloatingPointError: if the loss, or a state of the teacher's, is not finite.
        """
        # Dropout stays off: what is learned is a function, not noisy data.
        self.student.eval()
        s, number = self.settings, 0
        while True:
            jumps = self.solve(number)
            for repeat in range(s.repeats):
                step = (number * s.repeats + repeat) % 2**24
                order = noise.permutation(
                    len(jumps), seed=s.seed, stream=noise.Stream.DISTILL_ORDER, step=step
                )
                for rows in order.to(self.device).split(s.batch):  # type: ignore[no-untyped-call]
                    rate = s.learning_rate * rate_factor(self.fraction(), s.warm_up, s.decay)
                    loss = self._step(jumps.rows(rows), rate)
                    fraction = self.fraction()
                    yield Progress(self.samples, fraction, loss, rate, self.seconds)
                    if fraction >= 1.0:
                        return
            number += 1

    def finish(self) -> None:
        """Give the student the averaged weights."""
        if self.samples:
            self.student.module.load_state_dict(self.ema.state(0), strict=False)
        self.student.eval()

    def solve(self, number: int) -> Jumps:
        """Round ``number`` of the teacher's jumps: settings.chains times settings.jumps of them."""
        groups = self.settings.chains // self.settings.batch
        return Jumps.join([self._chains(number * groups + group) for group in range(groups)])

    @torch.no_grad()
    def _chains(self, group: int) -> Jumps:
        """The jumps of one batch of chains, all at the same noise levels."""
        s, schedule = self.settings, self.teacher.schedule
        index = torch.arange(group * s.batch, (group + 1) * s.batch, device=self.device)
        condition = self._conditions(index)
        x_0: Tensor | None = None
        jumps = []
        for jump, t in enumerate(self._starts(group)):
            z = noise.normal(
                self.event, seed=s.seed, index=index, stream=noise.Stream.DISTILL_NOISE, step=jump
            )
            x_t = z * float(schedule.sigma(t))
            if x_0 is not None:
                x_t = x_t + schedule.marginal(x_0, t)[0]
            grid = torch.cat([self.grid.new_tensor([t]), self.grid[self.grid < t]])
            x_0 = sample(self.teacher, x_T=x_t, grid=grid, condition=condition).x
            when = torch.full((s.batch,), t, dtype=torch.float64, device=self.device)
            jumps.append(Jumps(x_t, when, x_0, condition))
        return Jumps.join(jumps)

    def _starts(self, group: int) -> list[float]:
        """When the jumps of a group start: t = 1, then a falling level from each of equal shares.

        Neighbouring groups spread evenly over the shares, as `NoiseLevels` does.
        """
        inner = self.settings.jumps - 1
        place = (0.5 + group * GOLDEN) % 1.0
        shares = (torch.arange(inner - 1, -1, -1, dtype=torch.float64) + place) / max(inner, 1)
        times = self.sampler.times(
            self.teacher.schedule, shares.clamp(1e-6, 1.0 - 1e-6), self.teacher.sigma_data
        )
        return [1.0, *times.tolist()]

    def _conditions(self, index: Tensor) -> dict[str, Tensor]:
        """The conditions of the chains of these numbers: those of random rows of the data, or none."""
        data = self.data
        if data is None or (data.labels is None and data.vectors is None and not data.conditions):
            return {}
        s = self.settings
        count = 2 + len(data.conditions)
        draws = noise.uniform((count,), seed=s.seed, index=index.cpu(), stream=noise.Stream.DISTILL_CONDITION)
        condition = data.batch((draws[:, 0] * len(data)).long())[1]
        condition = drop_at_random(data, condition, draws[:, 1:], s.drop_condition)
        return {name: value.to(self.device) for name, value in condition.items()}

    def _step(self, jumps: Jumps, rate: float) -> Tensor:
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        posterior: Posterior = self.student(jumps.x_t, jumps.t, **jumps.condition)
        losses = weighted_error(self.weighting, self.student.schedule, posterior.mean - jumps.x_0, jumps.t)
        loss = losses.mean()
        if not bool(torch.isfinite(loss)):
            raise FloatingPointError(
                f"the loss is not finite after {self.samples} samples; lower the learning rate, or check "
                "the teacher's samples"
            )
        loss.backward()  # type: ignore[no-untyped-call]
        if self.settings.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.student.module.parameters(), self.settings.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.samples += len(jumps)
        self.ema.update(self.student.module.parameters(), self.samples, len(jumps))
        return loss.detach()
