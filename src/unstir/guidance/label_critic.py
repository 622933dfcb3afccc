"""A learned critic of labels, log p(label | x_t): the network, its scaling, and its file."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from unstir.denoisers.denoiser import times
from unstir.denoisers.network import LOG_SNR_LIMIT
from unstir.files import read_tensors, write_tensors
from unstir.networks.classifier import NoisyClassifier
from unstir.processes import Blurring, Schedule, expand, schedule_from_dict
from unstir.settings import Settings, parse_settings

_FORMAT = "unstir classifier 1"


class CriticConfig(Settings):
    """Everything that is needed to rebuild a critic but its weights; names as in `ModelConfig`."""

    event: tuple[Annotated[int, Field(gt=0)], ...]
    classes: Annotated[tuple[str, ...], Field(min_length=2)]
    schedule: dict[str, Any]
    sigma_data: Annotated[float, Field(gt=0.0)] = 1.0
    shift: tuple[float, ...] = (0.0,)
    scale: tuple[float, ...] = (1.0,)
    width: Annotated[int, Field(gt=0, multiple_of=2)] = 32
    layers: Annotated[int, Field(gt=0)] = 1


class LabelCritic(nn.Module):
    r"""log p(label | x_t) by a network that is told the noise level: a critic for `Classifier`.

    As a denoiser's network it sees x_t / n with n = sqrt(alpha^2 sigma_data^2 + sigma^2), that of each mode
    under a schedule that blurs, and the log-SNR; so it serves any schedule, as denoisers do.

    Source: Dhariwal & Nichol 2021, section 4.1; the scaling is Karras et al. 2022, table 1, c_in.

    Args:
        config: see `CriticConfig`; the states are in the units that the denoiser sees.
        seed: of the initial weights; the global random state is left alone.

    Raises:
        ValueError: if the network does not fit the event.
    """

    def __init__(self, config: CriticConfig, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.schedule: Schedule = schedule_from_dict(config.schedule)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.module = NoisyClassifier(
                config.event, len(config.classes), width=config.width, layers=config.layers
            )

    def log_probabilities(self, x_t: Tensor, t: Tensor | float) -> Tensor:
        """log p(label | x_t) of every class, (batch, classes).

        Args:
            x_t: (batch, *event).
            t: scalar or (batch,), in [0, 1].

        Raises:
            ValueError: for events of another shape.
        """
        if tuple(x_t.shape[1:]) != self.config.event:
            raise ValueError(
                f"the classifier knows events of shape {self.config.event}, got {tuple(x_t.shape[1:])}"
            )
        time, process = times(t, len(x_t), x_t.device), self.schedule.modes(self.config.event)
        norm = ((process.alpha(time) * self.config.sigma_data) ** 2 + process.sigma(time) ** 2).sqrt()
        x = self.schedule.from_modes(self.schedule.to_modes(x_t) * expand(1.0 / norm, x_t))
        log_snr = self.schedule.log_snr(time).clamp(-LOG_SNR_LIMIT, LOG_SNR_LIMIT)
        kind = self.module.head.weight.dtype
        return self.module(x.to(kind), log_snr.to(kind)).log_softmax(1)  # type: ignore[no-any-return]

    def forward(
        self, x_t: Tensor, t: Tensor | float, label: Tensor | None = None, **others: Tensor
    ) -> Tensor:
        """log p(label | x_t), (batch,).

        Args:
            x_t: (batch, *event).
            t: scalar or (batch,), in [0, 1].
            label: (batch,) integers; -1 for "any class", whose log-probability is 0.
            **others: further conditions of the model; they tell it nothing.

        Raises:
            ValueError: without a label, or for one that is no class.
        """
        if label is None:
            raise ValueError("a classifier of labels guides towards one: give the condition 'label'")
        count = len(self.config.classes)
        if bool(((label < -1) | (label >= count)).any()):
            raise ValueError(f"the classifier knows the classes 0 to {count - 1}, got {label.tolist()}")
        own = self.log_probabilities(x_t, t).gather(1, label.clamp(min=0)[:, None])[:, 0]
        return own * (label >= 0)

    def under(self, schedule: Schedule) -> LabelCritic:
        """The same critic, same weights, for states of another schedule.

        Raises:
            ValueError: if one of the schedules blurs and the other is not the same.
        """
        if schedule != self.schedule and (
            isinstance(schedule, Blurring) or isinstance(self.schedule, Blurring)
        ):
            raise ValueError(
                f"a classifier that was trained under {type(self.schedule).__name__} cannot judge states of "
                f"{type(schedule).__name__}, which are blurred otherwise; train one under that schedule"
            )
        other = copy.copy(self)
        other.schedule = schedule
        return other

    def save(self, path: str | Path) -> None:
        """Write one safetensors file with the config as JSON in its header; written aside, then renamed.

        Raises:
            OSError: if it cannot be written; an old file is unchanged.
        """
        metadata = {"format": _FORMAT, "classifier": json.dumps(self.config.model_dump(mode="json"))}
        write_tensors(Path(path), self.module.state_dict(), metadata)

    @classmethod
    def load(cls, path: str | Path) -> LabelCritic:
        """Read what `save` wrote, onto the CPU, ready to guide.

        Raises:
            FileNotFoundError: where there is no file.
            ValueError: for a file that is damaged, not a classifier's, or not of this version.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f"there is no classifier at {path}")
        state, metadata = read_tensors(Path(path))
        if metadata.get("format") != _FORMAT:
            raise ValueError(f"{path} does not hold a classifier that this version of unstir can read")
        try:
            critic = cls(parse_settings(CriticConfig, json.loads(metadata["classifier"])))
            critic.module.load_state_dict(state)
        except (KeyError, TypeError, RuntimeError, json.JSONDecodeError) as error:
            raise ValueError(f"{path} is damaged: it does not hold a whole classifier") from error
        bad = next((name for name, value in state.items() if not bool(torch.isfinite(value).all())), None)
        if bad is not None:
            raise ValueError(f"{path} is damaged: the weights {bad!r} are not finite")
        return critic.eval().requires_grad_(False)
