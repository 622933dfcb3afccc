"""Our solvers inside a pipeline of diffusers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.schedulers.scheduling_utils import KarrasDiffusionSchedulers, SchedulerMixin
from diffusers.utils.outputs import BaseOutput
from torch import Tensor

from unstir.interop.given import Given, check_solver
from unstir.interop.library import with_defaults
from unstir.interop.process import is_flow, read_process
from unstir.processes import expand
from unstir.samplers import Problem, Solver, State, check_grid, find_grid, find_solver, make_grid


@dataclass
class UnstirSchedulerOutput(BaseOutput):  # type: ignore[misc]
    """One step back.

    Attributes:
        prev_sample: the state after the step, (batch, *event).
        pred_original_sample: the posterior mean E[x_0 | x_t] of the step, (batch, *event).
    """

    prev_sample: Tensor
    pred_original_sample: Tensor | None = None


class UnstirScheduler(SchedulerMixin, ConfigMixin):  # type: ignore[misc]
    """A scheduler of diffusers that steps with a solver of this library, on a grid of this library.

    ``pipe.scheduler = UnstirScheduler.from_config(pipe.scheduler.config, solver="multistep")`` keeps the
    process that the pipeline's network was trained for. Assign it like that: the constructor of DDIMPipeline
    turns any scheduler into DDIMScheduler. Timesteps are fractions, t T - 1 (t T for flow matching), since
    grids are continuous; the grid "trailing" keeps to whole ones.

    Only solvers of one evaluation a step fit, since a pipeline evaluates the network once a step.
    A stochastic solver's noise depends on the seed of ``generator`` and the sample's place in the batch; with
    a list of generators, on each one's seed; without any, on ``seed``. It is the same for the same seed,
    however often the generator was used.

    Args:
        num_train_timesteps: T.
        beta_start: as in diffusers' schedulers, like the next five.
        beta_end: the last beta.
        beta_schedule: "linear", "scaled_linear" or "squaredcos_cap_v2".
        trained_betas: the table itself.
        prediction_type: "epsilon", "sample", "v_prediction", or "flow_prediction" for rectified flow.
        rescale_betas_zero_snr: rescale the table to end in pure noise.
        clip_sample: clamp the posterior mean to [-clip_sample_range, clip_sample_range].
        clip_sample_range: see there.
        thresholding: dynamic thresholding, which is refused.
        solver: a solver or its name; only a name can be saved.
        grid: a grid's name (``samplers.GRIDS``); by default the solver's own.
        seed: of the solver's noise if the pipeline gives no generator.

    Raises:
        ValueError: for settings that are not supported, and a solver of more than one evaluation a step.
    """

    order = 1
    _compatibles = [kind.name for kind in KarrasDiffusionSchedulers]  # noqa: RUF012

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        beta_schedule: str = "linear",
        trained_betas: Sequence[float] | None = None,
        prediction_type: str = "epsilon",
        rescale_betas_zero_snr: bool = False,
        clip_sample: bool = False,
        clip_sample_range: float = 1.0,
        thresholding: bool = False,
        solver: str | Solver = "multistep",
        grid: str | None = None,
        seed: int = 0,
    ) -> None:
        if thresholding:
            raise ValueError("dynamic thresholding is not supported; set thresholding=False")
        self.process = read_process(self.config)
        self.solver = find_solver(solver) if isinstance(solver, str) else solver
        check_solver(self.solver)
        self.grid = find_grid(grid) if grid is not None else self.solver.default_grid
        self.given = Given(
            self.process.schedule,
            self.process.target,
            type(self.solver).__name__,
            float(clip_sample_range) if clip_sample else None,
        )
        self.num_inference_steps: int | None = None
        every = torch.arange(self.process.steps, 0, -1, dtype=torch.float64) / self.process.steps
        self._set_times(torch.cat([every, every.new_zeros(1)]), None)

    @classmethod
    def from_config(cls, config: Mapping[str, Any], return_unused_kwargs: bool = False, **kwargs: Any) -> Any:
        """A scheduler with the process of another one's configuration; ``kwargs`` as in the constructor.

        Raises:
            ValueError: for a process that is not supported.
        """
        # diffusers replaces values that were defaults of the other class by those of this one.
        config = {name: value for name, value in config.items() if name != "_use_default_values"}
        config = with_defaults(config)
        read_process({**config, **kwargs})
        if is_flow(config):
            config["prediction_type"] = "flow_prediction"
        return super().from_config(config, return_unused_kwargs, **kwargs)

    def save_config(self, save_directory: Any, push_to_hub: bool = False, **kwargs: Any) -> None:
        """Write the configuration to a folder.

        Raises:
            ValueError: if the solver was given as an object.
        """
        if not isinstance(self.config.solver, str):
            raise ValueError(
                "a scheduler is saved with its solver's name; make it with a name, not an object"
            )
        super().save_config(save_directory, push_to_hub, **kwargs)

    @property
    def init_noise_sigma(self) -> float:
        """Standard deviation of the state to start from."""
        return float(self.process.schedule.sigma(self._times[0]))

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        timesteps: Sequence[float] | Tensor | None = None,
    ) -> None:
        """Choose the grid of a run.

        Args:
            num_inference_steps: intervals of the grid, at least 1.
            device: of ``timesteps``.
            timesteps: the timesteps themselves, strictly decreasing; the last step goes to data.

        Raises:
            ValueError: for neither or both, fewer than 1 step, or timesteps that do not decrease.
        """
        if (num_inference_steps is None) == (timesteps is None):
            raise ValueError("set_timesteps needs either num_inference_steps or timesteps, and not both")
        if timesteps is not None:
            times = self.process.time(torch.as_tensor(timesteps, dtype=torch.float64).cpu())
            times = torch.cat([times, times.new_zeros(1)])
        else:
            times = make_grid(self.grid, self.process.schedule, int(num_inference_steps or 0))
        self._set_times(check_grid(times), device)
        self.num_inference_steps = len(times) - 1

    def _set_times(self, times: Tensor, device: str | torch.device | None) -> None:
        self._times = times
        self.timesteps = self.process.timestep(times[:-1]).to(device=device, dtype=torch.float32)
        self._state: State | None = None

    def scale_model_input(self, sample: Tensor, timestep: Any = None) -> Tensor:
        """The state as the network takes it: as it is."""
        return sample

    def step(
        self,
        model_output: Tensor,
        timestep: float | Tensor,
        sample: Tensor,
        eta: float = 0.0,
        use_clipped_model_output: bool | None = None,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        return_dict: bool = True,
    ) -> UnstirSchedulerOutput | tuple[Tensor, ...]:
        """One step back along the grid.

        Args:
            model_output: the network's prediction, (batch, *event).
            timestep: one of ``timesteps``; the first after `set_timesteps` may be any, then they follow.
            sample: the state at ``timestep``, (batch, *event).
            eta: 0; how much noise a step adds is the solver's setting.
            use_clipped_model_output: accepted because pipelines pass it; clipping is always consistent here.
            generator: its seed decides the noise of a stochastic solver.
            return_dict: an `UnstirSchedulerOutput` instead of a tuple.

        Raises:
            ValueError: for a timestep that is not on the grid, or another eta.
        """
        if eta != 0.0:
            raise ValueError(f"the solver decides how much noise is added, so eta must be 0, got {eta}")
        place = self._place(timestep)
        t, s = self._times[place : place + 2].tolist()
        x = sample.to(torch.promote_types(sample.dtype, torch.float32))
        self.given.give(model_output, t)
        state = self._state
        if state is None or state.t != t or state.x.shape != x.shape:
            state = self.solver.init(self._problem(x, self._times[place:], generator), x, t)
        state = self.solver.step(replace(state, x=x), s)
        self._state = state if s > 0 else None
        mean = self.given.mean
        x_s = state.x.to(sample.dtype)
        if not return_dict:
            return (x_s,)
        return UnstirSchedulerOutput(x_s, None if mean is None else mean.to(sample.dtype))

    def _place(self, timestep: float | Tensor) -> int:
        """Which of ``timesteps`` it is."""
        distance = (self.timesteps - torch.as_tensor(timestep, device=self.timesteps.device)).abs()
        place = int(distance.argmin())
        if float(distance[place]) > 1e-3:
            raise ValueError(f"the timestep {float(timestep):g} is not on the grid; call set_timesteps first")
        return place

    def _problem(
        self, x: Tensor, times: Tensor, generator: torch.Generator | Sequence[torch.Generator] | None
    ) -> Problem:
        seed = self.config.seed
        index = torch.arange(len(x), device=x.device)
        if isinstance(generator, torch.Generator):
            seed = generator.initial_seed()
        elif generator:
            # Each sample has a seed of its own, which numbers it within ours (as 64 bits with a sign).
            seeds = [g.initial_seed() for g in generator]
            index = torch.tensor([(s + 2**63) % 2**64 - 2**63 for s in seeds], device=x.device)
        return Problem(self.given, times, index, seed, {})

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """x_t = alpha x_0 + sigma noise at timesteps, scalar or (batch,); (batch, *event)."""
        times = self.process.time(timesteps).to(original_samples.device)
        times = times.reshape(-1).expand(len(original_samples))
        alpha, sigma = self.process.schedule.alpha(times), self.process.schedule.sigma(times)
        return expand(alpha, original_samples) * original_samples + expand(sigma, noise) * noise

    def __len__(self) -> int:
        return self.process.steps
