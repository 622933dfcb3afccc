"""Editing a user's data with a trained model: redrawn from a noise level, or morphed into each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unstir import noise
from unstir.denoisers import Denoiser
from unstir.evaluation.pictures import picture_of, save_image
from unstir.files import write_aside
from unstir.guidance import ClassifierFree, check_weight
from unstir.guidance.editing import decode, edit, encode, spherical, start_time
from unstir.model import Condition, Model
from unstir.recipes.export import as_array, save_samples
from unstir.recipes.measured import check_condition, read_events
from unstir.samplers import Solution

SUFFIXES = (".png", ".gif", ".npz")
_COLUMNS = 16


@dataclass(frozen=True, eq=False)
class Edited:
    """Redrawn events, in data units.

    Attributes:
        original: (m, *event).
        x: (m, n, *event).
        first: the time from which they were redrawn.
        ratio: sigma / alpha there, in units of the data's deviation.
        nfe: evaluations of the network a sample.
    """

    original: Tensor
    x: Tensor
    first: float
    ratio: float
    nfe: int


@dataclass(frozen=True, eq=False)
class Morph:
    """A way between two events, in data units.

    Attributes:
        frames: (frames, *event).
        errors: root mean square by which each end missed the file that it came from, None for a seed.
    """

    frames: Tensor
    errors: tuple[float | None, float | None]


def read_data(files: Sequence[Path], model: Model) -> Tensor:
    """Events of files, (m, *event) float32 in data units.

    Raises:
        FileNotFoundError: if a file is not there.
        ValueError: if one cannot be read, has another shape, or holds a value that is not finite.
    """
    x = read_events(files, model.config, model.config.event, "an event of this model")
    if not bool(torch.isfinite(x).all()):
        raise ValueError(
            f"{files[0]} holds values that are not finite; fill them first, such as by `unstir "
            "restore DIR FILE --operator mask`"
        )
    return x


def edit_data(
    model: Model,
    x: Tensor,
    strength: float,
    *,
    n: int = 1,
    steps: int | None = None,
    solver: str | None = None,
    condition: Condition | None = None,
    guidance: float | None = None,
    seed: int = 0,
    batch: int = 256,
) -> Edited:
    """Redraw events from the noise level of a strength; see `guidance.editing.edit`.

    Args:
        model: of the data.
        x: (m, *event) in data units.
        strength: above 0 and at most 1.
        n: variants of each.
        steps: of the whole way from noise; the model's own by default.
        solver: likewise.
        condition: one for all, as in `Model.solve`.
        guidance: weight towards it; the model's own by default.
        seed: variant j of event i is sample i * n + j of the seed.
        batch: samples at once.

    Raises:
        ValueError: for a strength out of its range, fewer than 1 variant, or a condition that the model does
            not take.
        FloatingPointError: if a state is not finite.
    """
    if n < 1:
        raise ValueError(f"the number of variants is at least 1, got {n}")
    defaults = model.config.sampling
    check_condition(model, condition)
    denoiser, schedule = _denoiser(model, guidance, condition), model.schedule
    first = start_time(schedule, strength, denoiser.sigma_data)
    inside = model.scaling.to_internal(x).repeat_interleave(n, 0)
    parts, nfe = [], 0
    for start in range(0, len(inside), batch):
        some = inside[start : start + batch].to(model.device)
        solution = edit(
            denoiser,
            some,
            strength,
            solver=solver or defaults.solver,
            steps=defaults.steps if steps is None else steps,
            grid=None if solver else defaults.grid,
            seed=seed,
            first_index=start,
            condition=model.condition(len(some), condition or {}),
        )
        parts.append(solution.x.cpu())
        nfe = solution.nfe
    ratio = float(schedule.sigma(first) / schedule.alpha(first)) / denoiser.sigma_data
    return Edited(x, _to_data(model, torch.cat(parts)).reshape(len(x), n, *x.shape[1:]), first, ratio, nfe)


def interpolate_data(
    model: Model,
    ends: tuple[str, str],
    frames: int,
    *,
    condition: Condition | None = None,
    tolerance: float | None = None,
) -> Morph:
    """Move between two events through their latents, by the probability flow without guidance.

    Args:
        model: of the data.
        ends: each a file of one event, or ``seed:3`` for the first sample of a seed.
        frames: at least 2; the first and the last are the ends.
        condition: one for all, as in `Model.solve`.
        tolerance: of the integration; see `guidance.editing.encode`.

    Raises:
        FileNotFoundError: if a file is not there.
        ValueError: for fewer than 2 frames, a bad seed, or a file that is not one event.
        FloatingPointError: if the network's answer is not finite.
    """
    if frames < 2:
        raise ValueError(f"a way between two ends has at least 2 frames, got {frames}")
    check_condition(model, condition)
    given = [_end(model, end) for end in ends]
    latents = [
        _latent(model, end, condition or {}, tolerance) if isinstance(end, Tensor) else _noise(model, end)
        for end in given
    ]
    share = torch.linspace(0.0, 1.0, frames, dtype=torch.float64)
    x_1 = spherical(latents[0][0], latents[1][0], share.to(model.device))
    tensors = model.condition(frames, condition or {})
    x = _to_data(model, decode(model.denoiser, x_1, tolerance=tolerance, condition=tensors).cpu())
    errors = [
        float((frame - end[0]).square().mean().sqrt()) if isinstance(end, Tensor) else None
        for frame, end in zip((x[0], x[-1]), given, strict=True)
    ]
    return Morph(x, (errors[0], errors[1]))


def _end(model: Model, text: str) -> Tensor | int:
    """An event (1, *event) of a file, or a seed."""
    if text.startswith("seed:"):
        number = text.removeprefix("seed:")
        if not number.isdecimal():
            raise ValueError(f"an end is a file or a seed such as seed:3, got {text!r}")
        return int(number)
    x = read_data([Path(text)], model)
    if len(x) != 1:
        raise ValueError(f"{text} holds {len(x)} events; a way leads between single ones, so give one")
    return x


def _noise(model: Model, seed: int) -> Tensor:
    """The noise from which `Model.sample` draws the first sample of a seed."""
    index = torch.zeros(1, dtype=torch.int64, device=model.device)
    z = noise.normal(model.config.event, seed=seed, index=index, stream=noise.Stream.START)
    return z * float(model.schedule.sigma(1.0))


def _latent(model: Model, x: Tensor, condition: Condition, tolerance: float | None) -> Tensor:
    inside = model.scaling.to_internal(x).to(model.device)
    return encode(model.denoiser, inside, tolerance=tolerance, condition=model.condition(1, condition))


def _denoiser(model: Model, guidance: float | None, condition: Condition | None) -> Denoiser:
    """The model's denoiser, with classifier-free guidance where there is a condition."""
    weight = model.default_guidance if guidance is None else guidance
    check_weight(weight, "0 means conditional only")
    if not (weight and condition):
        return model.denoiser
    return ClassifierFree(model.denoiser, weight, model.config.sampling.window)


def _to_data(model: Model, x: Tensor) -> Tensor:
    x = model.scaling.to_data(x)
    return x if model.config.bounds is None else x.clamp(*model.config.bounds)


def check_output(path: Path, model: Model, *, film: bool) -> None:
    """Check before the work that a file of this name can be written.

    Raises:
        ValueError: for another suffix, or a film of events that cannot be drawn.
    """
    known = SUFFIXES if film else tuple(suffix for suffix in SUFFIXES if suffix != ".gif")
    if path.suffix not in known:
        raise ValueError(f"this is written as {', '.join(known)}, got {path.name!r}")
    if path.suffix == ".gif" and len(model.config.event) == 4:
        raise ValueError("a film of volumes cannot be drawn; write .npz or .png instead")


def save_edited(path: Path, edited: Edited, model: Model) -> None:
    """Write edits: a picture with the originals above their variants, or arrays ``x`` and ``original``.

    Raises:
        OSError: if the file cannot be written.
    """
    m, n = edited.x.shape[:2]
    if path.suffix == ".npz":
        x, original = (as_array(value, model) for value in (edited.x, edited.original))
        write_aside(path, lambda a: np.savez_compressed(a, allow_pickle=False, x=x, original=original))
        return
    columns = min(m, _COLUMNS)
    lines = []
    for start in range(0, m, columns):
        rows = slice(start, start + columns)
        lines += [_filled(edited.original[rows], columns, model)]
        lines += [_filled(edited.x[rows, k], columns, model) for k in range(n)]
    save_image(picture_of(torch.cat(lines), model.config.bounds, columns=columns), path)


def _filled(x: Tensor, columns: int, model: Model) -> Tensor:
    """A row of a sheet, its empty places filled with the largest value, which is white."""
    bounds = model.config.bounds
    high = bounds[1] if bounds else float(x.max())
    return torch.cat([x, x.new_full((columns - len(x), *x.shape[1:]), high)])


def save_morph(path: Path, morph: Morph, model: Model) -> None:
    """Write a way: a strip of pictures, a film there and back, or an array ``x``.

    Raises:
        OSError: if the file cannot be written.
    """
    x = morph.frames
    if path.suffix == ".npz":
        array = as_array(x, model) if model.config.integer else x.numpy()
        write_aside(path, lambda aside: np.savez_compressed(aside, allow_pickle=False, x=array))
    elif path.suffix == ".gif":
        states = torch.cat([x, x[1:-1].flip(0)])[:, None]
        grid = torch.linspace(1.0, 0.0, len(states), dtype=torch.float64)
        save_samples(path, Solution(x[:1], 0, grid, states), model, {})
    else:
        save_image(picture_of(x, model.config.bounds, columns=len(x)), path)
