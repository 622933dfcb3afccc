"""The likelihood that a trained run gives to held-out data: `unstir likelihood`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unstir import noise
from unstir.evaluation import variational_bound
from unstir.evaluation.bits import standard_error
from unstir.evaluation.data_likelihood import EXACT_SIZE, Likelihood
from unstir.evaluation.divergence import find_divergence
from unstir.model import Model, load
from unstir.recipes import load_data
from unstir.recipes.run import stored_settings
from unstir.samplers import grids
from unstir.training import ArrayData

BOUND_STEPS = 250


@dataclass(frozen=True, eq=False)
class RunLikelihood:
    """What a run's model says of held-out samples.

    Attributes:
        recipe: name of the run's recipe.
        likelihood: of each sample, in data units.
        given: names of the conditions that the samples came with.
        options: how it was computed, JSON-ready.
        bound: mean and standard error of the variational bound in the same unit, if it was asked for.
    """

    recipe: str
    likelihood: Likelihood
    given: tuple[str, ...]
    options: dict[str, Any]
    bound: tuple[float, float] | None = None

    @property
    def unit(self) -> str:
        """Of all values."""
        return "bits per dimension" if self.likelihood.integer else "nats"

    def to_dict(self) -> dict[str, Any]:
        """All values and how they came about, JSON-ready."""
        found = self.likelihood
        content: dict[str, Any] = {
            "recipe": self.recipe,
            "unit": self.unit,
            "value": found.value,
            "standard_error": _number(found.standard_error),
            "samples": len(found.nats),
            "dimensions": found.dimensions,
            "given": list(self.given),
            "nfe": found.nfe,
            **self.options,
        }
        if found.importance_bits is not None:
            content["importance"] = float(found.importance_bits.mean())
        if self.bound is not None:
            content["bound"] = {
                "value": self.bound[0],
                "standard_error": _number(self.bound[1]),
                "steps": BOUND_STEPS,
            }
        return content

    def lines(self) -> list[str]:
        """The values for people, a sentence a line."""
        found = self.likelihood
        given = f", each given its {' and '.join(self.given)}" if self.given else ""
        what = "bits per dimension" if found.integer else "nats of log-density"
        mean = _with_error(found.value, found.standard_error)
        lines = [f"{mean} {what}, the mean of {len(found.nats)} held-out samples{given}"]
        if found.importance_bits is not None:
            tighter = float(found.importance_bits.mean())
            lines.append(f"{tighter:.4f} by the importance-weighted bound of {self.options['draws']} draws")
        if self.bound is not None:
            side = "at most" if found.integer else "at least"
            lines.append(f"{side} {_with_error(*self.bound)} by the variational bound of {BOUND_STEPS} steps")
        return lines


def _number(value: float) -> float | None:
    """A value for JSON, which has no NaN."""
    return value if math.isfinite(value) else None


def _with_error(value: float, error: float) -> str:
    return f"{value:.4f} ± {error:.4f}" if math.isfinite(error) else f"{value:.4f}"


def likelihood_run(
    folder: Path,
    *,
    n: int = 64,
    divergence: str | None = None,
    probes: int = 2,
    draws: int = 2,
    bound: bool = False,
    seed: int = 0,
    device: str = "cpu",
) -> RunLikelihood:
    """The likelihood of a run's held-out data, each sample under its own condition.

    Args:
        folder: a finished run with its settings.
        n: held-out samples, drawn by ``seed``; all if there are fewer.
        divergence: "exact", "hutchinson" or "hutch++"; by default exact for events of at most 32 entries,
            else "hutchinson".
        probes: random vectors for each sample.
        draws: dequantisations of each sample of integers.
        bound: also the variational bound.
        seed: of the choice of samples and of all random numbers.
        device: where the network runs.

    Raises:
        FileNotFoundError: if there is no such folder, or its data are gone.
        ValueError: if the folder is not a run, n is below 1, or as in `Model.log_likelihood`.
        FloatingPointError: if the network's answer is not finite.
    """
    if n < 1:
        raise ValueError(f"the number of samples is at least 1, got {n}")
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}; a likelihood needs a run's folder")
    model = load(folder, device=device)
    settings = stored_settings(folder)
    if divergence is None:
        size = torch.Size(model.config.event).numel()
        divergence = "exact" if size <= EXACT_SIZE else "hutchinson"
    find_divergence(divergence, probes)
    heldout = load_data(settings.data).heldout
    x, condition = choose(heldout, n, seed)
    found = model.log_likelihood(
        x, condition=condition, divergence=divergence, probes=probes, draws=draws, seed=seed
    )
    options: dict[str, Any] = {"divergence": divergence, "seed": seed}
    options |= {} if divergence == "exact" else {"probes": probes}
    options |= {"draws": draws} if found.integer else {}
    limit = _bound(model, x, condition, seed) if bound else None
    return RunLikelihood(settings.recipe, found, tuple(condition), options, limit)


def choose(data: ArrayData, n: int, seed: int) -> tuple[Tensor, dict[str, Tensor]]:
    """At most n random rows and their conditions, both in data units, in the order of the data."""
    order = noise.permutation(len(data), seed=seed, stream=noise.Stream.SPLIT)
    return data.unscaled().batch(order[:n].sort().values)


def _bound(model: Model, x: Tensor, condition: dict[str, Tensor], seed: int) -> tuple[float, float]:
    """Mean and standard error of the variational bound, in bits per dimension or nats of log-density."""
    config = model.config
    size = torch.Size(config.event).numel()
    bins = None
    if config.integer and config.bounds is not None:
        low, high = config.bounds
        ends = model.scaling.to_internal(torch.tensor([[low], [high]], dtype=torch.float64))
        if not torch.allclose(ends.flatten(), torch.tensor([-1.0, 1.0], dtype=torch.float64)):
            raise ValueError(
                "the variational bound of integers needs data scaled to [-1, 1]; leave --bound out, or train "
                "with --set data.scaling=range"
            )
        bins = round(high - low) + 1
    grid = grids.uniform(model.schedule, BOUND_STEPS)
    result = variational_bound(
        model.denoiser,
        model.scaling.to_internal(x).to(model.device),
        grid,
        seed=seed,
        bins=bins,
        condition=model.condition(len(x), condition),
    )
    total = result.total.cpu()
    if bins is not None:
        values = total / (size * math.log(2.0))
    else:
        values = model.scaling.log_volume(config.event) - total
    return float(values.mean()), standard_error(values)
