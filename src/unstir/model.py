"""What a user holds: a trained diffusion, saved, loaded, sampled and described.

A model is a folder with ``config.json`` and ``model.safetensors``; nothing in it is ever executed.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unstir import __version__
from unstir.conditions import Condition, class_number, needs_condition, tensors_of
from unstir.denoisers import Denoiser, Network, Rescheduled
from unstir.files import read_json, read_tensors, write_json, write_tensors
from unstir.guidance import Composed, check_weight
from unstir.guided import Weights, guidance_of, knows_unconditional
from unstir.model_settings import ModelConfig, SamplingSettings, TunedSettings
from unstir.networks import build_network
from unstir.processes import TARGETS, Schedule, schedule_from_dict
from unstir.samplers import Progress, Solution, Solver, sample
from unstir.samplers.grids import GridFunction
from unstir.samplers.tune import TunedGrid
from unstir.settings import parse_settings
from unstir.training import Scaling

if TYPE_CHECKING:
    from unstir.evaluation import Divergence, Likelihood

SCHEMA = 1


class Model:
    """A denoising network with all that is needed to use it.

    Args:
        config: see `ModelConfig`.
        seed: of the initial weights.
        about: further JSON-ready values that `save` keeps in ``config.json`` (recipe, settings, timings).

    Raises:
        ValueError: if the network does not fit the event.
    """

    def __init__(self, config: ModelConfig, *, seed: int = 0, about: Mapping[str, Any] | None = None) -> None:
        self.config = config
        self.about = dict(about or {})
        self.scaling = Scaling(config.shift, config.scale)
        module = build_network(
            config.network,
            config.event,
            classes=len(config.classes),
            vector=config.vector,
            conditions=config.conditions,
            seed=seed,
        )
        schedule = schedule_from_dict(config.schedule)
        self.denoiser = Network(module, schedule, TARGETS[config.target], config.sigma_data)
        self.denoiser.unconditional = knows_unconditional(self.about) or not config.conditional
        self.denoiser.eval()

    @property
    def schedule(self) -> Schedule:
        """The schedule that the model was trained under."""
        return self.denoiser.schedule

    @property
    def default_guidance(self) -> float:
        """The guidance weight of the settings; 0 for a model that was trained without condition dropout."""
        return self.config.sampling.guidance if self.denoiser.unconditional else 0.0

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.denoiser.parameters()).device

    def to(self, device: str | torch.device) -> Model:
        """Move the weights; returns the model itself."""
        self.denoiser.to(device)
        return self

    def sample(self, n: int, **options: Any) -> Tensor:
        """Draw samples; the options are those of `solve`.

        Returns:
            (n, *event) float32 on the CPU, in the units of the data, clamped to its bounds if it has any.
        """
        return self.solve(n, **options).x

    def solve(
        self,
        n: int,
        *,
        steps: int | None = None,
        solver: str | Solver | None = None,
        grid: str | GridFunction | Tensor | None = None,
        condition: Condition | None = None,
        guidance: Weights | None = None,
        window: tuple[float, float] | None = None,
        negative: Condition | None = None,
        rescale: float = 0.0,
        guidance_from: Model | None = None,
        guide: Callable[[Denoiser], Denoiser] | None = None,
        schedule: Schedule | None = None,
        seed: int = 0,
        first_index: int = 0,
        batch: int = 256,
        path: bool = False,
        on_step: Callable[[Progress], None] | None = None,
    ) -> Solution:
        """Run the diffusion backwards from noise.

        Args:
            n: number of samples, at least 1.
            steps: intervals of the grid; the model's own setting by default, like the next three.
            solver: a solver or its name.
            grid: a grid or its name.
            condition: ``label`` as a position in ``config.classes`` (an integer; -1 for none) or a class's
                name (a string), or one for each sample;
                ``vector`` as (length,) or (n, length), and each named condition as its shape or
                (n, *shape), in its own units, NaN for what is not given. Nothing for the unconditional model.
            guidance: weight w of classifier-free guidance, at least 0, or one for each sample; acts on a run
                with a condition or a negative one.
            window: share of the log-SNR range in which to guide.
            negative: a condition to push away from instead of "no condition"; as ``condition``.
            rescale: share, 0 to 1, in which the deviation that guidance changed is restored
                (`guidance.ClassifierFree`).
            guidance_from: push away from the prediction of this weaker model of the same data instead
                (`guidance.Autoguidance`).
            guide: makes a denoiser of the model's own, such as ``lambda d: MMPS(d, y, operator, noise)``;
                states are in the units that the network sees (`Model.scaling`), ``batch`` of them at once,
                so a measurement for each sample needs a batch of at least ``n``.
            schedule: sample under another schedule than the one of training.
            seed: sample i of a seed is the same whatever ``n`` and ``batch``.
            first_index: number of the first sample within the seed.
            batch: samples run at once.
            path: keep all states.
            on_step: called after every step of every batch.

        Returns:
            A `Solution` in the units of the data, on the CPU.

        Raises:
            ValueError: for fewer than 1 sample or step, an unknown name or class, a condition that the model
                does not take, no condition (and no ``guide``) for a model that was trained without condition
                dropout, or guidance that is none or that the model was not trained for.
            FloatingPointError: if a state is not finite.
        """
        if n < 1:
            raise ValueError(f"the number of samples is at least 1, got {n}")
        if batch < 1:
            raise ValueError(f"a batch holds at least 1 sample, got {batch}")
        defaults = self.config.sampling
        tensors = self.condition(n, condition or {})
        if not guide:
            self._check_given(tensors)
        denoiser: Denoiser = self.denoiser
        if schedule is not None:
            denoiser = Rescheduled(denoiser, schedule)
        if guidance_from is not None:
            self._check_weaker(guidance_from)
        plan = guidance_of(
            n,
            weight=guidance,
            default=defaults.guidance if negative else self.default_guidance,
            window=window or defaults.window,
            conditional=bool(tensors),
            negative=self.condition(n, negative or {}),
            rescale=rescale,
            weaker=None if guidance_from is None else guidance_from.denoiser,
        )

        def steer(rows: slice) -> Denoiser:
            guided = plan.rows(rows).round(denoiser)
            if guide is None:
                return guided
            result = guide(guided)
            if not isinstance(result, Denoiser):
                raise ValueError(
                    "guide makes a denoiser of a denoiser, such as ClassifierFree(denoiser, 1.0), and this "
                    f"one gave {type(result).__name__}"
                )
            return result

        steered = steer(slice(0, batch))
        steps = defaults.steps if steps is None else steps
        if solver is None and grid is None and defaults.solver == "multistep" and defaults.grid is None:
            solver, grid = self._tuned(steps, steered.schedule)
        parts = []
        for start in range(0, n, batch):
            count = min(batch, n - start)
            if start > 0 and not plan.common:
                steered = steer(slice(start, start + count))
            part = sample(
                steered,
                (count, *self.config.event),
                solver=solver or defaults.solver,
                steps=steps,
                grid=defaults.grid if grid is None else grid,
                seed=seed,
                first_index=first_index + start,
                condition={name: value[start : start + count] for name, value in tensors.items()},
                on_step=on_step,
                path=path,
            )
            parts.append(part)
        x = self._to_data(torch.cat([part.x for part in parts]).cpu(), clamp=True)
        states = None
        if path:
            joined = torch.cat([part.path for part in parts if part.path is not None], dim=1).cpu()
            states = torch.stack([self._to_data(state, clamp=False) for state in joined])
        return Solution(x, parts[0].nfe, parts[0].grid, states)

    def log_likelihood(
        self,
        x: Tensor,
        *,
        condition: Condition | None = None,
        divergence: str | Divergence | None = None,
        probes: int = 8,
        draws: int = 4,
        seed: int = 0,
        first_index: int = 0,
        tolerance: float | None = None,
        level: float | None = None,
        batch: int = 64,
    ) -> Likelihood:
        """The log-likelihood of samples in the units of the data, by the probability flow without guidance.

        Args:
            x: (n, *event); for a model of integers, integers within its bounds.
            condition: as in `solve`; nothing for the unconditional model.
            divergence: "exact", "hutchinson", "hutch++" or a `Divergence`; by default exact for events of at
                most 32 entries, else "hutchinson".
            probes: random vectors for each sample, at least 1.
            draws: for integers, dequantisations of each sample, at least 1.
            seed: of probes and dequantisation; sample i of a seed has the same whatever ``n`` and ``batch``.
            first_index: number of the first sample within the seed.
            tolerance: of the integration; see `evaluation.log_density`.
            level: noise level from which the network is asked; see there.
            batch: samples at once.

        Returns:
            A `Likelihood` on the CPU: ``.nats`` of each sample (log-density, or for integers the bound on the
            log-probability) and ``.bits`` per dimension of integers.

        Raises:
            ValueError: for samples of another shape, integers out of the bounds, an unknown divergence, fewer
                than 1 probe, draw or sample, a condition that the model does not take, or none for a model
                that was trained without condition dropout.
            FloatingPointError: if the network's answer is not finite, with the time and the log-SNR.
        """
        from unstir.evaluation import likelihood_of_data

        config = self.config
        if tuple(x.shape[1:]) != config.event:
            raise ValueError(
                f"the model's samples have shape (n, {', '.join(map(str, config.event))}), "
                f"got {tuple(x.shape)}"
            )
        tensors = self.condition(len(x), condition or {})
        self._check_given(tensors)
        low, high = config.bounds or (0.0, 0.0)
        return likelihood_of_data(
            self.denoiser,
            x.to(self.device),
            self.scaling,
            bins=round(high - low) + 1 if config.integer and config.bounds else None,
            low=round(low),
            divergence=divergence,
            probes=probes,
            draws=draws,
            seed=seed,
            first_index=first_index,
            tolerance=tolerance,
            level=level,
            batch=batch,
            dtype=next(self.denoiser.parameters()).dtype,
            condition=tensors,
        )

    def _check_given(self, condition: Mapping[str, Tensor]) -> None:
        """Check that a model that was trained without condition dropout is given a condition."""
        if condition or self.denoiser.unconditional:
            return
        names = ", ".join(f"{name!r}: ..." for name in self.config.takes)
        raise ValueError(needs_condition(self.config, f"give condition={{{names}}}"))

    def _tuned(self, steps: int, schedule: Schedule) -> tuple[Solver | None, Tensor | None]:
        """The solver and grid tuned for that many steps, or nothing."""
        for tuned in self.config.sampling.tuned:
            if len(tuned.levels) + 1 == steps:
                found = TunedGrid(**tuned.model_dump())
                return found.solver(), found.grid(schedule)
        return None, None

    def all_of(
        self, classes: Sequence[int | str], guidance: float | None = None
    ) -> Callable[[Denoiser], Denoiser]:
        """The ``guide`` of `solve` for samples of several classes at once (see `guidance.Composed`).

        Args:
            classes: numbers or names, at least one.
            guidance: each class has the weight 1 + guidance; the model's own setting by default.

        Raises:
            ValueError: for no class or one that does not exist, or a negative weight.
        """
        weight = self.default_guidance if guidance is None else guidance
        check_weight(weight, "0 means conditional only")
        if not classes:
            raise ValueError("samples of several classes at once need at least one class")
        conditions = [self.condition(1, {"label": name}) for name in classes]
        return lambda denoiser: Composed(denoiser, conditions, 1.0 + weight)

    def _check_weaker(self, weaker: Model) -> None:
        """Check that another model is one of the same data and conditions."""
        ours, theirs = self.config, weaker.config
        for what, mine, other in (
            ("events of shape", ours.event, theirs.event),
            ("the classes", ours.classes, theirs.classes),
            ("condition vectors of length", ours.vector, theirs.vector),
            ("the conditions", ours.conditions, theirs.conditions),
            ("the shift and scale", (ours.shift, ours.scale), (theirs.shift, theirs.scale)),
        ):
            if mine != other:
                raise ValueError(
                    "a weaker model to guide by is one of the same data, but it has "
                    f"{what} {other}, and this one {mine}"
                )

    def condition(self, n: int, condition: Condition) -> dict[str, Tensor]:
        """Conditions as tensors of ``n`` rows on the model's device; errors as in `conditions.tensors_of`."""
        return tensors_of(self.config, n, condition, self.device)

    def class_number(self, value: int | str | Tensor) -> int:
        """The number of a class given by number or name; -1 is "no class".

        Raises:
            ValueError: for a class that does not exist.
        """
        return class_number(self.config.classes, value)

    def _to_data(self, x: Tensor, *, clamp: bool) -> Tensor:
        x = self.scaling.to_data(x)
        if clamp and self.config.bounds is not None:
            x = x.clamp(*self.config.bounds)
        return x

    def describe(self) -> dict[str, Any]:
        """The model in a few plain values, for people."""
        config = self.config
        return {
            "event": " x ".join(str(size) for size in config.event),
            "network": config.network.kind,
            "parameters": sum(p.numel() for p in self.denoiser.parameters()),
            "schedule": config.schedule["name"],
            "target": config.target,
            "sigma_data": round(config.sigma_data, 4),
            "classes": len(config.classes),
            "conditions": ", ".join(
                f"{name} {'x'.join(map(str, c.shape))} ({c.how})" for name, c in config.conditions.items()
            )
            or "none",
            "solver": f"{config.sampling.solver}, {config.sampling.steps} steps",
            "guidance": config.sampling.guidance,
            "trained_samples": self.about.get("samples"),
        }

    def save(self, folder: str | Path) -> None:
        """Write ``config.json`` and ``model.safetensors``, each whole.

        Raises:
            OSError: if the folder cannot be written.
        """
        folder = Path(folder)
        write_tensors(folder / "model.safetensors", self.denoiser.module.state_dict())
        versions = {"unstir": __version__, "torch": torch.__version__, "python": platform.python_version()}
        content = {"schema": SCHEMA, "versions": versions, **self.about}
        write_json(folder / "config.json", {**content, "model": self.config.model_dump(mode="json")})


def load(name: str | Path, *, device: str | torch.device = "cpu") -> Model:
    """Load a model from a folder, or from the Hugging Face Hub by its id (``owner/name``).

    Raises:
        FileNotFoundError: if there is neither such a folder nor such a Hub model.
        ValueError: if the folder is not a model, or a file in it is damaged or of another version.
    """
    folder = Path(name)
    if not folder.exists():
        folder = _download(str(name))
    config_file, weights_file = folder / "config.json", folder / "model.safetensors"
    if (folder / "model_index.json").is_file():
        raise ValueError(f"{folder} is a pipeline of diffusers; load it with unstir.from_diffusers")
    if not config_file.is_file():
        raise ValueError(f"{folder} is not a run: it has no config.json; train one with `unstir train`")
    content = read_json(config_file)
    if not isinstance(content, dict) or "model" not in content:
        raise ValueError(f"{config_file} does not describe an unstir model")
    if content.get("schema") != SCHEMA:
        raise ValueError(
            f"{config_file} has schema {content.get('schema')!r}, but this version of unstir reads "
            f"{SCHEMA}; use the version that wrote it"
        )
    if not weights_file.is_file():
        raise ValueError(
            f"{folder} holds no trained weights yet; finish it with `unstir train --resume --out {folder}`"
        )
    config = parse_settings(ModelConfig, content["model"])
    about = {k: v for k, v in content.items() if k not in ("schema", "versions", "model")}
    model = Model(config, about=about)
    tensors, _ = read_tensors(weights_file)
    try:
        model.denoiser.module.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(
            f"{weights_file} does not fit the network that {config_file.name} describes"
        ) from error
    bad = next((key for key, value in tensors.items() if not bool(torch.isfinite(value).all())), None)
    if bad is not None:
        raise ValueError(f"{weights_file} is damaged: the weights {bad!r} are not finite")
    return model.to(device)


def _download(name: str) -> Path:
    """The local copy of a Hub model."""
    parts = name.split("/")
    local = Path(parts[0]).is_dir()  # nobody means the Hub by a place in a folder that is here
    if len(parts) != 2 or not all(parts) or name.startswith((".", "~")) or local:
        raise FileNotFoundError(f"there is no folder {name}")
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled
    from huggingface_hub.utils import logging

    logging.set_verbosity(40)  # its retries would fill the screen; the sentence below says it all
    try:
        config = Path(hf_hub_download(name, "config.json"))
        hf_hub_download(name, "model.safetensors")
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        raise FileNotFoundError(
            f"there is no folder {name}, and no model of that name could be fetched from the Hugging Face "
            "Hub; check the name and the network"
        ) from error
    return config.parent


__all__ = ["SCHEMA", "Condition", "Model", "ModelConfig", "SamplingSettings", "TunedSettings", "load"]
