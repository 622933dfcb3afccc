"""What a user measured: files, the operator that a name stands for, and both in network units."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from unstir.conditions import needs_condition
from unstir.evaluation.pictures import is_image
from unstir.guidance import LinearOperator
from unstir.guidance.measurements import blur, downsample, heat, mask
from unstir.model import Condition, Model, ModelConfig
from unstir.recipes.arrays import read_array
from unstir.settings import nearest

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
OPERATORS = ("heat", "mask", "downsample", "blur")
"""The measurements of ``unstir restore`` by name."""


@dataclass(frozen=True)
class Asked:
    """What was measured, as the command line says it.

    Attributes:
        operator: one of `OPERATORS`.
        time: of heat flow, in cell widths squared (the diffusivity is 1): a blur of sqrt(2 time) cells.
        factor: cells of a block along each axis, for "downsample".
        kernel: a .npy file of the blur's kernel.
        mask: a .npy or image file, true or white where an entry was measured; by default the entries that
            are not NaN.
    """

    operator: str
    time: float | None = None
    factor: int | None = None
    kernel: Path | None = None
    mask: Path | None = None


@dataclass(frozen=True, eq=False)
class Measured:
    """Measurements by one operator, in data units.

    Attributes:
        y: (m, *measured) float32.
        operator: from events in data units.
        shown: (m, *shape) as they were given, NaN where nothing was measured.
        name: one of `OPERATORS`.
    """

    y: Tensor
    operator: LinearOperator
    shown: Tensor
    name: str


def read_measured(files: Sequence[Path], config: ModelConfig, asked: Asked) -> list[Measured]:
    """Read measurements, and join neighbours that share an operator.

    Args:
        files: arrays (.npy, .npz) of shape (*measured) or (m, *measured), or images whose black and white are
            the bounds of the data; a channel axis of 1 may be missing.
        config: of the model that is to restore them.
        asked: what was measured.

    Raises:
        FileNotFoundError: if a file is not there.
        ValueError: for an unknown operator, an option that is missing or not its own, a file of another shape
            or that cannot be read, or a measurement without a value.
    """
    check_asked(asked)
    event = config.event
    if asked.operator == "mask":
        x = read_events(files, config, event, "the mask leaves events as they are")
        if bool(torch.isinf(x).any()):
            raise ValueError("a measurement holds infinite values; missing entries are NaN")
        known = ~torch.isnan(x)
        if asked.mask is not None:
            known = known & _read_mask(asked.mask, event, len(x))
        return _masked(x, known)
    operator = operator_of(asked, event)
    x = read_events(files, config, operator.measured, f"the {asked.operator} of events of {_size(event)}")
    if not bool(torch.isfinite(x).all()):
        raise ValueError(
            f"a measurement holds values that are not finite; --operator {asked.operator} takes whole "
            "measurements, only --operator mask takes NaN for missing entries"
        )
    return [Measured(x, operator, x, asked.operator)]


def check_asked(asked: Asked) -> None:
    """Check the options of an operator before anything is read.

    Raises:
        ValueError: for an unknown operator, or an option that is missing, not its own, or out of its range.
    """
    name = asked.operator
    if name not in OPERATORS:
        raise ValueError(f"unknown operator {name!r}; {nearest(name, list(OPERATORS))}")
    needs = {"heat": "time", "downsample": "factor", "blur": "kernel"}
    example = {"time": "--time 0.5", "factor": "--factor 2", "kernel": "--kernel FILE.npy"}
    for option in ("time", "factor", "kernel", "mask"):
        given = getattr(asked, option) is not None
        own = option == needs.get(name, "mask")
        if given and not own:
            owner = next((k for k, v in needs.items() if v == option), "mask")
            raise ValueError(f"--{option} belongs to --operator {owner}, not to {name}; leave it out")
        if own and not given and option != "mask":
            raise ValueError(f"--operator {name} needs its {option}, such as {example[option]}")
    if asked.time is not None and not (math.isfinite(asked.time) and asked.time > 0):
        raise ValueError(f"the time of heat flow is above 0 (in cell widths squared), got {asked.time}")
    if asked.factor is not None and asked.factor < 2:
        raise ValueError(f"a measurement is coarser by a factor of at least 2, got {asked.factor}")


def operator_of(asked: Asked, event: Sequence[int]) -> LinearOperator:
    """The operator of everything but a mask, on events of a shape (the first of several axes are channels).

    Raises:
        FileNotFoundError: if the kernel's file is not there.
        ValueError: if it does not fit the events.
    """
    if asked.operator == "heat":
        return heat(event, float(asked.time or 0.0))
    if asked.operator == "downsample":
        return downsample(int(asked.factor or 0), event)
    assert asked.kernel is not None
    kernel = torch.from_numpy(read_array(asked.kernel).astype(np.float64))
    if not bool(torch.isfinite(kernel).all()):
        raise ValueError(f"the kernel in {asked.kernel} holds values that are not finite")
    return blur(kernel, event)


def read_events(files: Sequence[Path], config: ModelConfig, shape: Sequence[int], what: str) -> Tensor:
    """Arrays or images as (m, *shape) float32 in data units; NaN is let through.

    Args:
        files: at least one.
        config: of the model, whose bounds are black and white of images.
        shape: of one of them.
        what: has this shape, for the sentence if a file has another.

    Raises:
        FileNotFoundError: if a file is not there.
        ValueError: if a file cannot be read or has another shape.
    """
    if not files:
        raise ValueError("give at least one file of measurements")
    return torch.cat([_read_one(file, config, tuple(shape), what) for file in files])


def _read_one(file: Path, config: ModelConfig, shape: tuple[int, ...], what: str) -> Tensor:
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {file}")
    if file.suffix.lower() in IMAGES:
        x = _read_image(file, config, shape[0])[None]
    else:
        x = torch.from_numpy(read_array(file).astype(np.float32))
    accepted = [shape] if len(shape) < 2 or shape[0] != 1 else [shape, shape[1:]]
    for wanted in accepted:
        if tuple(x.shape) == wanted or tuple(x.shape[1:]) == wanted:
            if x.numel() == 0:
                break
            return x.reshape(-1, *shape)
    raise ValueError(
        f"{file} has shape {tuple(x.shape)}, but {what} has shape {_size(shape)}; give {_size(shape)}, or "
        f"(n, {', '.join(map(str, shape))}) for several"
    )


def _size(shape: Sequence[int]) -> str:
    return str(tuple(shape))


def _read_image(file: Path, config: ModelConfig, channels: int) -> Tensor:
    """An image as (channels, H, W) between the bounds of the data."""
    if not is_image(config.event) or config.bounds is None:
        raise ValueError(
            f"{file} is an image, but this model's data are no images with a range; give .npy or .npz"
        )
    try:
        with Image.open(file) as image:
            grey = channels == 1
            _check_depth(image, file)
            pixels = np.asarray(image.convert("L" if grey else "RGB"), dtype=np.float32) / 255.0
    except OSError as error:
        raise ValueError(f"{file} cannot be read as an image ({error})") from error
    low, high = config.bounds
    x = torch.from_numpy(low + (high - low) * pixels)
    return x[None] if x.ndim == 2 else x.movedim(-1, 0)


def _check_depth(image: Image.Image, file: Path) -> None:
    """Check that the pixels of an image are 8 bits, which is what its conversion keeps."""
    if image.mode[0] in "IF":
        raise ValueError(
            f"{file} has pixels of more than 8 bits (mode {image.mode}), which would be cut off; save its "
            "values in data units as .npy"
        )


def _read_mask(file: Path, event: tuple[int, ...], count: int) -> Tensor:
    """True where an entry was measured, of a shape that fits (count, *event)."""
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {file}")
    if file.suffix.lower() in IMAGES:
        try:
            with Image.open(file) as image:
                _check_depth(image, file)
                values = np.asarray(image.convert("L")) > 127
        except OSError as error:
            raise ValueError(f"{file} cannot be read as an image ({error})") from error
    else:
        values = np.nan_to_num(read_array(file).astype(np.float64)) > 0.5
    known = torch.from_numpy(np.ascontiguousarray(values))
    if known.shape == (count, *event[1:]) and event[0] == 1:
        known = known[:, None]
    try:
        return known.expand(count, *event)
    except RuntimeError:
        raise ValueError(
            f"the mask in {file} has shape {tuple(known.shape)}, but events have shape {_size(event)}; give "
            f"one mask for all, or one for each of {count} measurements"
        ) from None


def _masked(x: Tensor, known: Tensor) -> list[Measured]:
    """Runs of neighbours with the same entries known."""
    try:
        known = known.expand(x.shape)
    except RuntimeError:
        raise ValueError(
            f"there are {len(known)} masks for {len(x)} measurements; give one, or as many"
        ) from None
    if not bool(known.flatten(1).any(1).all()):
        row = int((~known.flatten(1).any(1)).nonzero()[0])
        raise ValueError(f"nothing is known of measurement {row}; a mask keeps at least one entry")
    shown = torch.where(known, x, torch.nan)
    filled = torch.where(known, x, 0.0)
    changes = (known[1:] != known[:-1]).flatten(1).any(1).nonzero()[:, 0] + 1
    parts = []
    starts = [0, *changes.tolist(), len(x)]
    for start, stop in pairwise(starts):
        operator = mask(known[start])
        parts.append(Measured(operator(filled[start:stop]), operator, shown[start:stop], "mask"))
    return parts


def internal(
    model: Model, y: Tensor, operator: LinearOperator, noise: float
) -> tuple[Tensor, LinearOperator, float]:
    r"""A measurement of data as one of what the network sees: y - A(shift) = A(scale x) + noise.

    With one scale for all channels both sides are divided by it, which leaves the operator (and its fast
    singular values) as it is; with several, it becomes A after the scaling.

    Args:
        model: whose `Scaling` lies between.
        y: (m, *measured) in data units.
        operator: from events in data units.
        noise: standard deviation in data units.

    Returns:
        y, operator and noise for events in the network's units.
    """
    scaling, event = model.scaling, operator.event
    zero = torch.zeros(1, *event, dtype=torch.float64)
    shift = scaling.to_data(zero)
    centred = (y.double() - operator(shift)).to(y.dtype)
    scale = scaling.scale[0]
    if all(s == scale for s in scaling.scale):
        return centred / scale, operator, noise / scale
    factor = scaling.to_data(torch.ones_like(zero)) - shift
    scaled = LinearOperator(
        lambda x: operator(x * factor.to(x)),
        lambda v: operator.adjoint(v) * factor.to(v),
        event=event,
        name=operator.name,
    )
    return centred, scaled, noise


def check_noise(noise: float) -> None:
    """Check a noise level.

    Raises:
        ValueError: unless it is finite and above 0.
    """
    if not 0.0 < noise < float("inf"):
        raise ValueError(
            f"the noise of a measurement is a standard deviation above 0, got {noise}; for exact ones give "
            "little, such as 0.01"
        )


def check_condition(model: Model, condition: Condition | None) -> None:
    """Check that a model knows the data as it will be asked.

    Raises:
        ValueError: if there is no condition and it never saw data without theirs.
    """
    if not (condition or model.denoiser.unconditional):
        raise ValueError(
            needs_condition(
                model.config,
                "give one (--class)"
                if model.config.classes
                else "it cannot be given on the command line; use Model.solve(condition=...)",
            )
        )
