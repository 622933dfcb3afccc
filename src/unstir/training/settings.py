"""The settings of a training run, checked by pydantic; the names are those of the YAML files."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from unstir.settings import Settings

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]


class NoiseLevelSettings(Settings):
    """How training noise levels are drawn; see `training.noise_levels`."""

    distribution: Literal["uniform", "log-normal"] = "log-normal"
    mean: float = Field(default=-0.4, description="mean of log(sigma / alpha), for log-normal")
    std: Positive = Field(default=1.2, description="standard deviation of log(sigma / alpha), for log-normal")
    stratified: bool = Field(default=True, description="spread the levels evenly over neighbouring samples")
    loss_aware: bool = Field(default=False, description="draw levels of high loss more often, reweighted")


class ObjectiveSettings(Settings):
    """What is minimised; see `training.objective`."""

    kind: Literal["simple", "hybrid", "bound"] = Field(
        default="simple", description="weighted error; plus the bound for the variance; or the bound alone"
    )
    weighting: Literal["uniform", "snr", "min-snr", "edm", "sigmoid"] = "edm"
    gamma: Positive = Field(default=5.0, description="cap of min-snr")
    bias: float = Field(default=0.0, description="shift of sigmoid's log-SNR")
    steps: Annotated[int, Field(ge=2)] = Field(default=1000, description="steps of the bound")
    bound_weight: Positive = Field(default=0.001, description="weight of the bound in hybrid")


class TrainingSettings(Settings):
    """A training run: budget, optimizer, averaging, files."""

    samples: Annotated[int, Field(gt=0)] | None = Field(
        default=None, description="budget: samples seen; this or seconds, or both (the first to end)"
    )
    seconds: Positive | None = Field(default=None, description="budget: wall-clock seconds")
    batch: Annotated[int, Field(gt=0)] = Field(default=128, description="samples a step, over all devices")
    micro_batches: Annotated[int, Field(gt=0)] = Field(default=1, description="pieces that a batch is run in")
    learning_rate: Positive = 1e-3
    betas: tuple[Share, Share] = (0.9, 0.99)
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.0
    warm_up: Share = Field(default=0.02, description="share of the budget in which the rate rises")
    decay: Literal["linear", "cosine", "none"] = Field(
        default="linear", description="how the rate falls to 0"
    )
    clip: Positive | None = Field(default=1.0, description="largest norm of the gradient; null for none")
    drop_condition: Share = Field(default=0.1, description="share of samples trained without their condition")
    noise_levels: NoiseLevelSettings = NoiseLevelSettings()
    objective: ObjectiveSettings = ObjectiveSettings()
    ema: tuple[Annotated[float, Field(gt=0.0, lt=0.28)], ...] = Field(
        default=(0.05, 0.10), description="relative widths of the averages that are tracked"
    )
    ema_width: Annotated[float, Field(gt=0.0, lt=0.28)] | None = Field(
        default=0.05, description="width of the average that becomes the model; null for the last weights"
    )
    snapshots: Annotated[int, Field(ge=0)] = Field(
        default=0, description="stored averages for post-hoc reconstruction of other widths"
    )
    precision: Literal["float32", "bf16", "auto"] = Field(
        "float32", description="of the network's arithmetic; auto takes bf16 on a GPU that has it"
    )
    checkpoint_seconds: Positive = Field(default=60.0, description="seconds between checkpoints")
    checkpoint_samples: Annotated[int, Field(gt=0)] | None = Field(
        default=None, description="samples between checkpoints, instead of seconds"
    )
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0

    @model_validator(mode="after")
    def _check(self) -> TrainingSettings:
        if self.samples is None and self.seconds is None:
            raise ValueError("a training run needs a budget: samples, seconds or both")
        if self.batch % self.micro_batches:
            raise ValueError(
                f"a batch of {self.batch} cannot be split into {self.micro_batches} equal micro-batches"
            )
        if self.objective.kind != "simple" and self.noise_levels.distribution != "uniform":
            raise ValueError(
                f"the objective {self.objective.kind!r} is the bound for equally likely steps only: set "
                "noise_levels.distribution=uniform"
            )
        if self.ema_width is not None and not self.ema:
            raise ValueError("ema_width asks for an average, but none is tracked: list widths in ema")
        tracked = self.ema_width is None or self.ema_width in self.ema
        if not tracked and not self.snapshots:
            raise ValueError(
                f"an average of width {self.ema_width} is neither tracked ({list(self.ema)}) nor can it be "
                "reconstructed afterwards: add it to ema, or store snapshots"
            )
        return self
