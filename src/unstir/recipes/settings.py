"""What a recipe is: settings for data, network, schedule, training, sampling and evaluation."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from unstir.model import SamplingSettings
from unstir.networks import NetworkSettings
from unstir.processes import Blurring, schedule_from_dict, schedule_to_dict
from unstir.settings import Settings, nearest
from unstir.training import TrainingSettings


class DataSettings(Settings):
    """Where the samples come from and how they are split."""

    source: str = Field(description="one of `recipes.LOADERS`: digits, array, images, policy, ...")
    path: str | None = Field(default=None, description="file or folder; null for the recipe's own")
    name: str | None = Field(default=None, description="which density: two-moons, pinwheel, ...")
    heldout: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        default=0.1, description="share of the samples that training never sees"
    )
    limit: Annotated[int, Field(gt=1)] | None = Field(default=None, description="use so many samples only")
    flip: bool = Field(default=False, description="mirror a random half of the training images")
    scaling: Literal["range", "standardise"] = Field(
        default="range", description="map the range to -1 ... 1, or each channel to mean 0 and deviation 1"
    )
    seed: int = Field(default=0, description="of the split")
    options: dict[str, Any] = Field(default={}, description="settings of the recipe's own")

    @field_validator("options")
    @classmethod
    def _as_written(cls, value: dict[str, Any]) -> dict[str, Any]:
        # As YAML and JSON hold them, so that settings are the same after a file as before.
        return {key: list(v) if isinstance(v, tuple) else v for key, v in value.items()}

    @field_validator("source")
    @classmethod
    def _known_source(cls, value: str) -> str:
        from unstir.recipes import LOADERS  # whose loaders take these settings

        if value not in LOADERS:
            raise ValueError(f"unknown source {value!r}; {nearest(value, list(LOADERS))}")
        return value


class EvaluationSettings(Settings):
    """What `unstir evaluate` and the report measure."""

    samples: Annotated[int, Field(ge=10)] = Field(default=1000, description="samples to judge")
    seed: int = 0


class RunSettings(Settings):
    """Every setting of a run; this is what a YAML file holds."""

    recipe: str
    data: DataSettings
    schedule: dict[str, Any]
    target: Literal["epsilon", "x0", "v", "score", "velocity"] = "v"
    network: NetworkSettings
    training: TrainingSettings
    sampling: SamplingSettings = SamplingSettings()
    evaluation: EvaluationSettings = EvaluationSettings()

    @field_validator("schedule", mode="before")
    @classmethod
    def _named_schedule(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("schedule")
    @classmethod
    def _known_schedule(cls, value: dict[str, Any]) -> dict[str, Any]:
        return schedule_to_dict(schedule_from_dict(_plain(value)))

    @model_validator(mode="after")
    def _samplable(self) -> RunSettings:
        if self.target in ("epsilon", "score") and float(schedule_from_dict(self.schedule).alpha(1.0)) == 0.0:
            raise ValueError(
                f"a network that predicts {self.target} cannot start from the pure noise of the schedule "
                f"{self.schedule['name']!r}; set target=v"
            )
        return self

    @model_validator(mode="after")
    def _fits_together(self) -> RunSettings:
        if self.training.objective.kind == "hybrid" and not self.network.variance:
            raise ValueError("the hybrid objective teaches a variance: set network.variance=true")
        if self.training.objective.kind != "simple" and self.network.variance and self._blurs():
            raise ValueError(
                "the bound of a schedule that blurs is one of modes, and a learned variance one of entries: "
                "set training.objective.kind=simple"
            )
        if self.sampling.solver == "ddpm-learned" and self._blurs():
            raise ValueError(
                "a schedule that blurs steps in modes, and a learned variance is one of entries: set "
                "sampling.solver=ddpm"
            )
        if self.sampling.solver == "ddpm-learned" and not self.network.variance:
            raise ValueError("the solver ddpm-learned needs a learned variance: set network.variance=true")
        steep = not math.isfinite(float(schedule_from_dict(self.schedule).drift(1.0)))
        if self.sampling.solver == "euler-maruyama" and self.sampling.grid is None and steep:
            raise ValueError(
                f"the SDE of the schedule {self.schedule['name']!r} is infinite at t = 1: set "
                "sampling.grid=karras, which starts later, or another solver"
            )
        return self

    def _blurs(self) -> bool:
        return isinstance(schedule_from_dict(self.schedule), Blurring)


def _plain(value: dict[str, Any]) -> dict[str, Any]:
    """A schedule's description with numbers for what YAML reads as text, the base's too."""
    result: dict[str, Any] = {}
    for key, v in value.items():
        if key == "base" and isinstance(v, dict):
            result[key] = _plain(v)
        else:
            result[key] = _number(key, v) if isinstance(v, str) and key not in ("name", "base") else v
    return result


def _number(key: str, text: str) -> float:
    """YAML reads 1e-3, without a dot, as text."""
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{key} is a number, got {text!r}") from None
