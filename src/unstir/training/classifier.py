"""Teach a critic of labels at all noise levels, and measure it at some.

As in training a denoiser, progress is counted in samples seen, and sample n of a training has its own row of
the data, noise and time, computed from (seed, n) alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from unstir import noise
from unstir.guidance.label_critic import LabelCritic
from unstir.settings import Settings
from unstir.training.build import build_noise_levels
from unstir.training.data import ArrayData
from unstir.training.ema import PowerEMA
from unstir.training.settings import NoiseLevelSettings, Positive, Share
from unstir.training.trainer import Progress, rate_factor

LEVELS = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Noise levels sigma/alpha, in deviations of the data, at which a critic is measured by default."""


class ClassifierSettings(Settings):
    """The training of a critic: budget, optimizer, averaging; names as in `TrainingSettings`."""

    samples: Annotated[int, Field(gt=0)] | None = Field(
        default=None, description="budget: samples seen; this or seconds, or both (the first to end)"
    )
    seconds: Positive | None = Field(default=None, description="budget: wall-clock seconds")
    batch: Annotated[int, Field(gt=0)] = 128
    learning_rate: Positive = 2e-3
    betas: tuple[Share, Share] = (0.9, 0.99)
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.05
    warm_up: Share = Field(default=0.05, description="share of the budget in which the rate rises")
    clip: Positive | None = Field(default=1.0, description="largest norm of the gradient; null for none")
    noise_levels: NoiseLevelSettings = Field(
        default=NoiseLevelSettings(mean=0.0, std=2.0),
        description="wider than a denoiser's: the gradient is used at all levels",
    )
    ema_width: Annotated[float, Field(gt=0.0, lt=0.28)] | None = Field(
        default=0.1, description="relative width of the average that is kept; null for the last weights"
    )
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0

    @model_validator(mode="after")
    def _check(self) -> ClassifierSettings:
        if self.samples is None and self.seconds is None:
            raise ValueError("the training of a classifier needs a budget: samples, seconds or both")
        return self


def train_classifier(
    critic: LabelCritic, data: ArrayData, settings: ClassifierSettings
) -> Generator[Progress, None, None]:
    r"""Train a critic in place; iterate to run.

    .. math:: \min\ E_{t, x_0, y, \epsilon}\left[-\log p_\theta(y | \alpha_t x_0 + \sigma_t \epsilon)\right]

    whose minimum is the exact p(y | x_t) of every noise level. By AdamW (Loshchilov & Hutter 2019) with a
    warm up and a cosine fall to zero. Wherever the iteration is left, the critic holds the averaged weights.
    With a budget in samples alone the result is the same bit for bit on CPU.

    Source: Dhariwal & Nichol 2021, section 4.1; Song et al. 2021, appendix I.1.

    Args:
        critic: its weights are trained, where they are.
        data: the training split, with labels that are numbers of the critic's classes, scaled as its states.
        settings: budget, optimizer, noise levels.

    Raises:
        ValueError: for data without labels, of another event, or with a label that is no class.
        FloatingPointError: if the loss is not finite.
    """
    _check_data(critic, data)
    device = critic.module.head.weight.device
    critic.requires_grad_(True).train()
    levels = build_noise_levels(settings.noise_levels)
    average = PowerEMA(critic.module, () if settings.ema_width is None else (settings.ema_width,))
    optimizer = torch.optim.AdamW(
        critic.module.parameters(),
        betas=settings.betas,
        weight_decay=settings.weight_decay,
        fused=device.type in ("cpu", "cuda"),
    )
    rows, samples, started, fraction = _Rows(data, settings.seed), 0, time.monotonic(), 0.0
    try:
        while fraction < 1.0:
            rate = settings.learning_rate * rate_factor(fraction, settings.warm_up, "cosine")
            index = torch.arange(samples, samples + settings.batch)
            x_0, label = (value.to(device) for value in rows(index))
            index = index.to(device)
            t, weights, u = levels.draw(critic.schedule, seed=settings.seed, index=index)
            stream = noise.Stream.CLASSIFIER_NOISE
            losses = _losses(critic, x_0, label, t, seed=settings.seed, index=index, stream=stream)
            loss = (losses * weights.to(losses)).mean()
            levels.observe(u, losses.detach())
            if not math.isfinite(float(loss.detach())):
                raise FloatingPointError(
                    f"the classifier's loss is not finite after {samples:,} samples; check the data, or "
                    "lower the learning rate"
                )
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            if settings.clip is not None:
                torch.nn.utils.clip_grad_norm_(critic.module.parameters(), settings.clip)
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            samples += settings.batch
            average.update(critic.module.parameters(), samples, settings.batch)
            seconds = time.monotonic() - started
            by_samples = samples / settings.samples if settings.samples else 0.0
            fraction = min(1.0, max(by_samples, seconds / settings.seconds if settings.seconds else 0.0))
            yield Progress(samples, fraction, loss.detach(), rate, seconds)
    finally:
        if average.widths and samples:
            critic.module.load_state_dict(average.state(0), strict=False)
        critic.requires_grad_(False).eval()


@dataclass(frozen=True)
class LevelScore:
    """How well a critic knows labels at a noise level.

    Attributes:
        level: sigma / alpha.
        accuracy: share of the samples whose most likely class is their own, 0 to 1.
        cross_entropy: mean of -log p(own class | x_t), in nats; log of the number of classes for a guess.
    """

    level: float
    accuracy: float
    cross_entropy: float


@torch.no_grad()
def score_by_level(
    critic: LabelCritic,
    data: ArrayData,
    levels: Sequence[float] = LEVELS,
    *,
    draws: int = 1,
    seed: int = 0,
    batch: int = 512,
) -> list[LevelScore]:
    """Measure a critic on held-out data, every sample with ``draws`` noises at each level.

    Args:
        critic: trained.
        data: what training has not seen, with labels.
        levels: sigma / alpha in deviations of the data (``sigma_data``); those that the schedule does not
            reach are left out.
        draws: noises for each sample, at least 1; the same ones at every level.
        seed: of the noise.
        batch: samples at once.

    Raises:
        ValueError: as in `train_classifier`.
    """
    _check_data(critic, data)
    schedule, device = critic.schedule, critic.module.head.weight.device
    scores = []
    for level in (relative * critic.config.sigma_data for relative in levels):
        log_snr = -2.0 * math.log(level)
        if not float(schedule.log_snr(1.0)) <= log_snr <= float(schedule.log_snr(0.0)):
            continue
        t, right, nats = float(schedule.time(log_snr)), 0, 0.0
        for draw in range(draws):
            for start in range(0, len(data), batch):
                x_0, condition = data.batch(slice(start, start + batch))
                label = condition["label"].to(device)
                index = torch.arange(start, start + len(x_0), device=device)
                x_t = _noisy(critic, x_0.to(device), t, seed, index, noise.Stream.CLASSIFIER_TEST, draw)
                log_p = critic.log_probabilities(x_t, t)
                right += int((log_p.argmax(1) == label).sum())
                nats -= float(log_p.gather(1, label[:, None]).double().sum())
        count = draws * len(data)
        scores.append(LevelScore(level, right / count, nats / count))
    return scores


def _losses(
    critic: LabelCritic,
    x_0: Tensor,
    label: Tensor,
    t: Tensor,
    *,
    seed: int,
    index: Tensor,
    stream: noise.Stream,
) -> Tensor:
    """The cross-entropy of every sample, (batch,)."""
    x_t = _noisy(critic, x_0, t, seed, index, stream)
    return F.nll_loss(critic.log_probabilities(x_t, t), label, reduction="none")


def _noisy(
    critic: LabelCritic,
    x_0: Tensor,
    t: Tensor | float,
    seed: int,
    index: Tensor,
    stream: noise.Stream,
    step: int = 0,
) -> Tensor:
    mean, std = critic.schedule.marginal(x_0, t)
    epsilon = noise.normal(x_0.shape[1:], seed=seed, index=index, stream=stream, step=step, dtype=x_0.dtype)
    return mean + std * epsilon


class _Rows:
    """Samples and labels by number: each epoch is a new order of the rows, mirrored if the data say so."""

    def __init__(self, data: ArrayData, seed: int) -> None:
        self.data, self.seed = data, seed
        self.order: tuple[int, Tensor] = (-1, torch.empty(0, dtype=torch.int64))

    def __call__(self, index: Tensor) -> tuple[Tensor, Tensor]:
        n, stream = len(self.data), noise.Stream.CLASSIFIER_ORDER
        rows = torch.empty_like(index)
        for epoch in torch.unique(index // n).tolist():
            if self.order[0] != epoch:
                order = noise.permutation(n, seed=self.seed, stream=stream, step=epoch % 2**24)
                self.order = (epoch, order)
            inside = index // n == epoch
            rows[inside] = self.order[1][index[inside] % n]
        x, condition = self.data.batch(rows)
        if self.data.flip:
            u = noise.uniform((), seed=self.seed, index=index, stream=noise.Stream.CLASSIFIER_FLIP)
            x = torch.where((u < 0.5).reshape(-1, *[1] * (x.ndim - 1)), x.flip(-1), x)
        return x, condition["label"]


def _check_data(critic: LabelCritic, data: ArrayData) -> None:
    config = critic.config
    if data.labels is None:
        raise ValueError(
            "these data have no labels, so there is nothing that a classifier could learn from them"
        )
    if data.event != config.event:
        raise ValueError(f"the classifier knows events of shape {config.event}, the data have {data.event}")
    low, high = int(data.labels.min()), int(data.labels.max())
    if not 0 <= low <= high < len(config.classes):
        raise ValueError(
            f"labels are numbers of the classes, 0 to {len(config.classes) - 1}, but the data have {low} to "
            f"{high}"
        )
