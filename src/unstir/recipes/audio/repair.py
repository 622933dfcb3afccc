"""Sounds with a gap, and sounds of too few samples or frames: a model's posterior, beside interpolation."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unstir.guidance.measurements import downsample, mask
from unstir.model import Condition, Model
from unstir.recipes.audio.metrics import log_spectral_distance
from unstir.recipes.audio.options import AudioOptions
from unstir.recipes.measured import Measured
from unstir.recipes.numbers import Number, bootstrap_mean
from unstir.recipes.restore import Method, Restoration, restore
from unstir.recipes.splits import Splits, evenly

NOISE = 0.02
"""What is known is trusted to this share of the data's deviation, unless told otherwise."""
METHOD = "mmps"
"""Of `recipes.restore.METHODS`: cells of a sound depend on each other, and MMPS takes their covariance."""


def inpaint(
    model: Model,
    events: Tensor,
    gap: tuple[int, int],
    *,
    n: int = 4,
    method: str | Method = METHOD,
    steps: int | None = None,
    noise: float | None = None,
    condition: Condition | None = None,
    seed: int = 0,
) -> Restoration:
    """Fill a gap in sounds: samples given all that is outside of it.

    Args:
        model: of waves (channels, samples) or spectrograms (..., frames).
        events: (m, *event) in data units; what they hold in the gap is ignored and may be NaN.
        gap: first cell and the one after the last, along the last axis: samples of waves, frames of
            spectrograms.
        n: samples of each sound, at least 2.
        method: a name of `recipes.restore.METHODS`, or a method.
        steps: of the solver; the method's own by default.
        noise: deviation of what is known, in data units; by default `NOISE` of the data's.
        condition: one for all, as in `Model.solve`.
        seed: of the samples.

    Raises:
        ValueError: for events of another shape, values outside of the gap that are not finite, or a gap that
            is empty, not inside the event, or all of it; and as `recipes.restore.restore`.
        FloatingPointError: if a state is not finite.
    """
    events = _checked(model, events)
    known = known_outside(model.config.event, gap)
    whole = torch.where(known, events, 0.0)
    if not bool(whole.isfinite().all()):
        raise ValueError("a sound holds values outside of the gap that are not finite")
    operator = mask(known)
    part = Measured(operator(whole), operator, torch.where(known, events, torch.nan), "mask")
    return restore(
        model,
        [part],
        _noise(model, noise),
        n=n,
        method=method,
        steps=steps,
        condition=condition,
        seed=seed,
    )


def upsample(
    model: Model,
    coarse: Tensor,
    *,
    n: int = 4,
    method: str | Method = METHOD,
    steps: int | None = None,
    noise: float | None = None,
    condition: Condition | None = None,
    seed: int = 0,
) -> Restoration:
    """Super-resolution in time: samples given the means of blocks of neighbours along the last axis.

    Args:
        model: of waves (channels, samples) or spectrograms (..., frames).
        coarse: (m, *event but for the last axis, cells / factor) block means in data units, the factor a
            whole number of at least 2.
        n: samples of each sound, at least 2.
        method: a name of `recipes.restore.METHODS`, or a method.
        steps: of the solver; the method's own by default.
        noise: deviation of the means, in data units; by default `NOISE` of the data's.
        condition: one for all, as in `Model.solve`.
        seed: of the samples.

    Raises:
        ValueError: for means of another shape or that are not finite; and as `recipes.restore.restore`.
        FloatingPointError: if a state is not finite.
    """
    operator = coarser(model.config.event, coarse)
    if not bool(coarse.isfinite().all()):
        raise ValueError("a sound holds values that are not finite")
    part = Measured(coarse.float(), operator, coarse.float(), "downsample")
    return restore(
        model,
        [part],
        _noise(model, noise),
        n=n,
        method=method,
        steps=steps,
        condition=condition,
        seed=seed,
    )


def known_outside(event: tuple[int, ...], gap: tuple[int, int]) -> Tensor:
    """True outside of a gap along the last axis, (*event).

    Raises:
        ValueError: for a gap that is empty, not inside the event, or all of it.
    """
    start, stop = gap
    cells = event[-1]
    if not 0 <= start < stop <= cells or stop - start == cells:
        raise ValueError(
            f"a gap lies within the {cells} cells of the last axis and leaves some of them, got "
            f"{start} to {stop}"
        )
    known = torch.ones(event, dtype=torch.bool)
    known[..., start:stop] = False
    return known


def coarser(event: tuple[int, ...], coarse: Tensor) -> Any:
    """The operator from events to block means of the shape of ``coarse``.

    Raises:
        ValueError: if there is none.
    """
    shape = tuple(coarse.shape[1:])
    cells = shape[-1] if shape else 0
    if shape[:-1] != event[:-1] or cells < 1 or event[-1] % cells or cells == event[-1]:
        raise ValueError(
            f"means of neighbours along the last axis of events {event} have shape "
            f"(n, {', '.join(map(str, event[:-1]))}, {event[-1]} / factor), got {tuple(coarse.shape)}"
        )
    return downsample((event[-1] // cells,), event)


def bridged(events: Tensor, gap: tuple[int, int]) -> Tensor:
    """The baseline for gaps: a straight line from the last cell before it to the first one after it.

    Args:
        events: (m, ..., cells).
        gap: as in `inpaint`; at an end of the event the one neighbour is repeated.
    """
    start, stop = gap
    cells = events.shape[-1]
    before = events[..., max(start - 1, 0) if start else min(stop, cells - 1)]
    after = events[..., stop if stop < cells else start - 1]
    share = torch.arange(1, stop - start + 1, dtype=events.dtype) / (stop - start + 1)
    result = events.clone()
    result[..., start:stop] = torch.lerp(before[..., None], after[..., None], share)
    return result


def splined(coarse: Tensor, cells: int) -> Tensor:
    """The baseline for super-resolution: a cubic spline through the means, at the centres of their blocks.

    Args:
        coarse: (m, ..., cells / factor).
        cells: of the result along the last axis.
    """
    from scipy.interpolate import CubicSpline

    factor = cells // coarse.shape[-1]
    centres = (np.arange(coarse.shape[-1]) + 0.5) * factor - 0.5
    spline = CubicSpline(centres, coarse.double().numpy(), axis=-1, bc_type="natural")
    return torch.from_numpy(spline(np.arange(cells, dtype=np.float64))).to(coarse.dtype)


def repair_numbers(
    model: Model,
    splits: Splits,
    options: AudioOptions,
    *,
    sounds: int = 16,
    n: int = 4,
    factor: int = 2,
    method: str | Method = METHOD,
    seed: int = 0,
) -> dict[str, Number]:
    """Held-out sounds with an eighth missing, and with means of neighbours only: how well they come back.

    The gap begins after a quarter of the sound. Distances are `metrics.log_spectral_distance`, of the frames
    in the gap, or of all; of single samples, and of the mean of ``n`` of them, which is the better guess in
    decibels. The labels are not told.

    Args:
        model: trained on sound.
        splits: its data.
        options: of the data.
        sounds: held-out sounds, at most.
        n: samples of each, at least 2.
        factor: neighbours of a mean.
        method: see `inpaint`.
        seed: of the samples.
    """
    rows = evenly(sounds, len(splits.heldout))
    x = torch.from_numpy(np.asarray(splits.heldout.x, dtype=np.float32)[rows])
    cells = x.shape[-1]
    gap = (cells // 4, cells // 4 + cells // 8)
    filled = inpaint(model, x, gap, n=n, method=method, seed=seed)
    frames = range(gap[0] * options.mel.frames // cells, gap[1] * options.mel.frames // cells)
    result = _distances("gap", options, x, filled, bridged(x, gap), list(frames))
    means = coarser(model.config.event, torch.empty(1, *x.shape[1:-1], cells // factor))(x)
    finer = upsample(model, means, n=n, method=method, seed=seed)
    return result | _distances(f"finer_{factor}", options, x, finer, splined(means, cells), None)


def _distances(
    name: str,
    options: AudioOptions,
    x: Tensor,
    found: Restoration,
    baseline: Tensor,
    frames: list[int] | None,
) -> dict[str, Number]:
    """Distances of samples, their mean and a baseline from the truth, in dB."""
    n = found.samples.shape[1]

    def distance(guess: Tensor, truth: Tensor) -> NDArray[np.float64]:
        a, b = (_bands(options, events) for events in (truth, guess))
        keep = slice(None) if frames is None else frames
        return log_spectral_distance(a[..., keep], b[..., keep], options.mel.floor)

    single = distance(found.samples.flatten(0, 1), x.repeat_interleave(n, 0)).reshape(-1, n).mean(axis=1)
    mean, other = distance(found.mean, x), distance(baseline, x)
    heard = np.isfinite(other)
    about = f"dB, log-spectral distance of {int(heard.sum())} held-out sounds"
    return {
        f"{name}_{kind}_db": Number(value, "", float(other[heard].mean()), 0.0, ends, f"{about}, {what}")
        for kind, what, (value, ends) in (
            ("sample", "single samples", bootstrap_mean(single[heard].tolist())),
            ("mean", f"means of {n} samples", bootstrap_mean(mean[heard].tolist())),
        )
    }


def _bands(options: AudioOptions, events: Tensor) -> NDArray[np.float32]:
    """Spectrograms (n, bands, frames) of events of any form."""
    if options.form == "wave":
        return options.mel.analyse(events[:, 0].numpy())
    whole = events.numpy().clip(options.mel.floor, None)
    return np.asarray(whole[:, 0] if options.form == "image" else whole)


def _checked(model: Model, events: Tensor) -> Tensor:
    event = model.config.event
    if tuple(events.shape[1:]) != event or len(events) == 0:
        raise ValueError(
            f"the model's sounds have shape (n, {', '.join(map(str, event))}), got {tuple(events.shape)}"
        )
    return events.float()


def _noise(model: Model, noise: float | None) -> float:
    """The deviation of what is known, in data units."""
    if noise is not None:
        return noise
    return NOISE * model.config.sigma_data * float(np.mean(model.config.scale))
