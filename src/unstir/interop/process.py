"""What a scheduler's configuration of diffusers says of the forward process: schedule, target and time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unstir.processes import (
    EPSILON,
    V_PREDICTION,
    VELOCITY,
    X0,
    Flow,
    Schedule,
    Target,
    cosine_betas,
    from_betas,
    linear_betas,
    zero_terminal_betas,
)
from unstir.settings import nearest

PREDICTIONS: dict[str, Target] = {
    "epsilon": EPSILON,
    "sample": X0,
    "v_prediction": V_PREDICTION,
    "flow_prediction": VELOCITY,
}
"""The targets by the names that diffusers gives them."""


@dataclass(frozen=True)
class Process:
    """A forward process as diffusers numbers its times.

    Attributes:
        schedule: a `Table` of betas, or `Flow`.
        target: what the network predicts.
        steps: num_train_timesteps, T.
        offset: 1 for a table (timestep i is t = (i + 1) / T), 0 for a flow (timestep t T).
    """

    schedule: Schedule
    target: Target
    steps: int
    offset: int

    def timestep(self, t: Tensor) -> Tensor:
        """The timestep that the network is told for times t in [0, 1], never below 0; float64."""
        return (t * self.steps - self.offset).clamp(min=0.0)

    def time(self, timestep: Tensor) -> Tensor:
        """The times t of timesteps, float64."""
        return (timestep.double() + self.offset) / self.steps


def is_flow(config: Mapping[str, Any]) -> bool:
    """Whether a scheduler's configuration describes rectified flow, not a table of betas."""
    # The classes named FlowMatch... have a shift and no betas; their configuration may lack the name.
    straight = "shift" in config and "beta_schedule" not in config
    flow_prediction = config.get("prediction_type") == "flow_prediction"
    return straight or flow_prediction or bool(config.get("use_flow_sigmas"))


def read_process(config: Mapping[str, Any]) -> Process:
    """The forward process of a scheduler's configuration, all of whose values are given.

    Settings of sampling (spacing, ``shift``, order, clipping) are not part of it.

    Raises:
        ValueError: for a process, prediction or table of betas that is not supported.
    """
    _refuse_others(config)
    steps = int(config.get("num_train_timesteps", 1000))
    if is_flow(config):
        return Process(Flow(), VELOCITY, steps, 0)
    prediction = config.get("prediction_type", "epsilon")
    if prediction not in PREDICTIONS:
        raise ValueError(
            f"unknown prediction_type {prediction!r}; {nearest(str(prediction), [*PREDICTIONS])}"
        )
    betas = _betas(config, steps)
    return Process(from_betas(betas), PREDICTIONS[prediction], len(betas), 1)


_UNSUPPORTED: dict[str, Callable[[Any], bool]] = {
    "invert_sigmas": bool,
    "snr_shift_scale": lambda scale: scale is not None and scale != 1.0,
    "timestep_type": lambda kind: kind == "continuous",
    "sigma_data": lambda _: True,
}
"""Settings that change the process or what the network is told, and which of their values do."""


def _refuse_others(config: Mapping[str, Any]) -> None:
    for name, changes in _UNSUPPORTED.items():
        if name in config and changes(config[name]):
            raise ValueError(
                f"the scheduler's setting {name} = {config[name]!r} is not supported; tables of betas and "
                "rectified flow are"
            )
    if not is_flow(config) and not {"trained_betas", "beta_schedule"} & set(config):
        name = config.get("_class_name", "this configuration")
        raise ValueError(
            f"{name} has no betas; schedulers with a table of betas or rectified flow are supported"
        )


def _scaled_linear(steps: int, first: float, last: float) -> Tensor:
    """Linear in the square root of beta (Rombach et al. 2022, the configuration of latent diffusion)."""
    return torch.linspace(first**0.5, last**0.5, steps, dtype=torch.float64) ** 2


_TABLES: dict[str, Callable[[int, float, float], Tensor]] = {
    "linear": linear_betas,
    "scaled_linear": _scaled_linear,
    "squaredcos_cap_v2": lambda steps, first, last: cosine_betas(steps),
}


def _betas(config: Mapping[str, Any], steps: int) -> Tensor:
    """The table in float64; diffusers rounds its own to float32."""
    if config.get("trained_betas") is not None:
        betas = torch.as_tensor(config["trained_betas"], dtype=torch.float64)
    else:
        name = config.get("beta_schedule", "linear")
        if name not in _TABLES:
            raise ValueError(f"unknown beta_schedule {name!r}; {nearest(str(name), list(_TABLES))}")
        first, last = float(config.get("beta_start", 1e-4)), float(config.get("beta_end", 0.02))
        betas = _TABLES[name](steps, first, last)
    return zero_terminal_betas(betas) if config.get("rescale_betas_zero_snr") else betas
