"""The settings of the recipe's own: which problem, which pairs, and what the model is told."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from unstir.recipes.fields.known import KINDS
from unstir.settings import Settings

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class FieldOptions(Settings):
    """``data.options`` of a run on fields; set one with ``--set data.options.NAME=VALUE``."""

    problem: Literal["poisson", "darcy", "reaction"] = Field(
        default="poisson", description="the equation; without a meaning for pairs from a file"
    )
    size: Annotated[int, Field(ge=4, le=512)] = Field(default=32, description="cells along each side")
    samples: Annotated[int, Field(ge=20)] = Field(default=8192, description="pairs that are made")
    boundary: Literal["absorb", "reflect", "periodic"] = Field(
        default="absorb", description="of Poisson's equation: u = 0, no flux, or periodic"
    )
    smoothness: float | None = Field(
        default=None, description="alpha of the random field; null for the problem's own"
    )
    inverse_length: float | None = Field(default=None, description="tau of the random field, likewise")
    medium: Literal["lognormal", "two-phase"] = Field(default="lognormal", description="of Darcy flow")
    mode: Literal["joint", "conditional"] = Field(
        default="joint",
        description="joint: both fields, told any part; conditional: the second field, told the first",
    )
    draws: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=16, description="joint: how often each pair comes with other known entries"
    )
    shares: tuple[Share, Share, Share, Share] = Field(
        default=(0.4, 0.3, 0.2, 0.1), description=f"joint: how often what is known is {', '.join(KINDS)}"
    )
    sensors: tuple[int, int] = Field(
        default=(8, 128), description="joint: least and largest number of sensors"
    )
    noise: Annotated[float, Field(gt=0.0)] = Field(
        default=0.1, description="joint: of the sensors, in standard deviations of their field"
    )
    first: str | None = Field(default=None, description="name of the first field in a file")
    second: str | None = Field(default=None, description="name of the second field in a file")

    @field_validator("shares")
    @classmethod
    def _sum_to_one(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if abs(sum(value) - 1.0) > 1e-6:
            raise ValueError(f"the shares of {', '.join(KINDS)} sum to 1, got {sum(value):g}")
        return value

    @model_validator(mode="after")
    def _sensors_fit(self) -> FieldOptions:
        low, high = self.sensors
        if not 1 <= low <= high:
            raise ValueError(f"the numbers of sensors rise from at least 1, got {low} to {high}")
        return self

    def field(self) -> dict[str, float]:
        """The numbers of the random field that were given."""
        given = {"smoothness": self.smoothness, "inverse_length": self.inverse_length}
        return {name: value for name, value in given.items() if value is not None}
