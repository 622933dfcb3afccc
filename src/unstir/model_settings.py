"""What is written of a model beside its weights: its network, schedule, scaling and how it is sampled."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from unstir.guidance import check_window
from unstir.networks import ConditionSettings, NetworkSettings
from unstir.processes import schedule_from_dict, schedule_to_dict
from unstir.samplers import find_grid, find_solver
from unstir.settings import Settings


class TunedSettings(Settings):
    """A time grid tuned for a number of evaluations, and its solver (see `samplers.tune`)."""

    levels: Annotated[tuple[Annotated[float, Field(gt=0.0)], ...], Field(min_length=1)]
    order: Annotated[int, Field(ge=1, le=4)]
    corrector: Annotated[int, Field(ge=0, le=4)]
    last: Annotated[int, Field(ge=1, le=3)]
    sigma_data: Annotated[float, Field(gt=0.0)]


class SamplingSettings(Settings):
    """How a model is sampled unless told otherwise."""

    solver: str = "multistep"
    steps: Annotated[int, Field(ge=1)] = 20
    grid: str | None = Field(default=None, description="null for the solver's own")
    guidance: Annotated[float, Field(ge=0.0)] = Field(
        default=0.0, description="weight w; 0 is conditional only (1 + w is called guidance_scale elsewhere)"
    )
    window: tuple[float, float] = Field(
        default=(0.0, 1.0), description="share of the log-SNR range in which to guide"
    )
    tuned: tuple[TunedSettings, ...] = Field(
        default=(), description="grids by `unstir tune`, used for their numbers of steps"
    )

    @field_validator("solver")
    @classmethod
    def _known_solver(cls, value: str) -> str:
        find_solver(value)
        return value

    @field_validator("window")
    @classmethod
    def _ordered_window(cls, value: tuple[float, float]) -> tuple[float, float]:
        check_window(value)
        return value

    @field_validator("grid")
    @classmethod
    def _known_grid(cls, value: str | None) -> str | None:
        if value is not None:
            find_grid(value)
        return value


class ModelConfig(Settings):
    """Everything that is needed to rebuild a model but its weights."""

    event: tuple[Annotated[int, Field(gt=0)], ...]
    network: NetworkSettings
    schedule: dict[str, Any]
    target: Literal["epsilon", "x0", "v", "score", "velocity"] = "v"
    sigma_data: Annotated[float, Field(gt=0.0)] = 1.0
    shift: tuple[float, ...] = (0.0,)
    scale: tuple[float, ...] = (1.0,)
    bounds: tuple[float, float] | None = Field(default=None, description="range of the data, to clamp to")
    integer: bool = Field(default=False, description="the data are integers")
    classes: tuple[str, ...] = ()
    vector: int = 0
    conditions: dict[str, ConditionSettings] = Field(default={}, description="further conditions by name")
    sampling: SamplingSettings = SamplingSettings()

    @property
    def conditional(self) -> bool:
        """Whether the model takes a condition of any kind."""
        return bool(self.classes or self.vector or self.conditions)

    @property
    def takes(self) -> tuple[str, ...]:
        """The names of the conditions that the model takes."""
        plain = (("label", bool(self.classes)), ("vector", bool(self.vector)))
        return (*(name for name, has in plain if has), *self.conditions)

    @field_validator("schedule", mode="before")
    @classmethod
    def _named_schedule(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("schedule")
    @classmethod
    def _known_schedule(cls, value: dict[str, Any]) -> dict[str, Any]:
        return schedule_to_dict(schedule_from_dict(value))
