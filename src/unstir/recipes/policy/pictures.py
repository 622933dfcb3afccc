"""Pictures of any layout as (n, channels, height, width) uint8."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unstir.notice import Notice

_CHANNELS = (1, 3, 4)
_ONE = 1.001
"""The largest number of pictures from 0 to 1, with room for rounding."""


@dataclass(frozen=True)
class Part:
    """Some of the pictures of a file, read when asked for.

    Attributes:
        dtype: of their numbers.
        read: the pictures, of a shape that `as_pictures` takes.
    """

    dtype: np.dtype[np.generic]
    read: Callable[[], NDArray[np.generic]]


def as_pictures(
    values: NDArray[np.generic], *, unit: bool | None = None, size: tuple[int, int] | None = None
) -> NDArray[np.uint8]:
    """Pictures with their channels first, as bytes.

    Args:
        values: (n, height, width, channels), (n, channels, height, width) or (n, height, width), with 1, 3 or
            4 channels; bytes, or floating-point numbers from 0 to 255 or from 0 to 1.
        unit: floating-point numbers are from 0 to 1; None decides it by the largest of all, and says so
            with a `Notice` if it is not above 1.
        size: (height, width) to resize to, by averaging.

    Raises:
        ValueError: if there are none, for another shape or type, or numbers outside the range.
    """
    if values.ndim == 3:
        values = values[..., None]
    if values.ndim != 4 or not {values.shape[1], values.shape[3]} & set(_CHANNELS):
        raise ValueError(
            "pictures have shape (n, height, width, channels) or (n, channels, height, width) with 1, 3 or 4 "
            f"channels, got {values.shape}"
        )
    if values.size == 0:
        raise ValueError(f"there are no pictures: their shape is {values.shape}")
    last = values.shape[3] in _CHANNELS
    bytes_ = _bytes(values, _in_unit([Part(values.dtype, lambda: values)]) if unit is None else unit)
    if size is not None and size != (values.shape[1:3] if last else values.shape[2:]):
        channels_last = bytes_ if last else bytes_.transpose(0, 2, 3, 1)
        bytes_, last = np.stack([_resized(picture, size) for picture in channels_last]), True
    return np.ascontiguousarray(bytes_.transpose(0, 3, 1, 2) if last else bytes_)


def gathered(parts: Sequence[Part], *, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """All pictures of a file as `as_pictures` gives them, converted a part at a time.

    Floating-point pictures take four times the memory of bytes. Whether they are from 0 to 1 is decided from
    all parts together: a part may be dark. For that they are read twice, unless a part shows at once that
    they are not.

    Raises:
        ValueError: if there are none, or they differ in size, or are no pictures.
    """
    unit = _in_unit(parts)
    found = [as_pictures(part.read(), unit=unit, size=size) for part in parts]
    if not found:
        raise ValueError("there are no pictures")
    sizes = sorted({pictures.shape[1:] for pictures in found})
    if len(sizes) > 1:
        raise ValueError(
            f"the pictures differ in shape, {sizes[0]} and {sizes[1]}; give them one size with "
            "data.options.image_size"
        )
    return np.concatenate(found)


def _in_unit(parts: Iterable[Part]) -> bool:
    """Whether floating-point pictures are from 0 to 1, by the largest number of all of them."""
    largest = 0.0
    for part in parts:
        if np.issubdtype(part.dtype, np.floating):
            largest = max(largest, float(np.max(part.read(), initial=0.0)))
        if largest > _ONE:
            return False
    if largest > 0.0:
        warnings.warn(
            f"the largest number in the pictures is {largest:.3g}, so they are read as from 0 to 1, not to "
            "255",
            Notice,
            stacklevel=3,
        )
    return largest > 0.0


def _bytes(values: NDArray[np.generic], unit: bool) -> NDArray[np.uint8]:
    if values.dtype == np.uint8:
        return values.astype(np.uint8, copy=False)
    if not np.issubdtype(values.dtype, np.floating):
        raise ValueError(f"pictures are bytes or floating-point numbers, got {values.dtype}")
    top = 1.0 if unit else 255.0
    numbers = values.astype(np.float32) * np.float32(255.0 / top)
    low, high = float(numbers.min()), float(numbers.max())
    if not (low >= -0.5 and high <= 255.5):
        raise ValueError(
            f"the numbers of pictures are from 0 to {top:g}, but these go from {low * top / 255:g} to "
            f"{high * top / 255:g}"
        )
    return numbers.round().clip(0, 255).astype(np.uint8)


def _resized(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """(height, width, channels) at another size, averaging over what becomes one pixel."""
    from PIL import Image

    grey = picture.shape[2] == 1
    image = Image.fromarray(picture[..., 0] if grey else picture)
    resized = np.asarray(image.resize((size[1], size[0]), Image.Resampling.BOX))
    return resized[..., None] if grey else resized


def decoded(files: Iterable[bytes | Path], *, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """Pictures of PNG, JPEG or any other file that Pillow reads, in colour.

    Args:
        files: contents or paths, at least one.
        size: (height, width) to resize to.

    Raises:
        ValueError: if one cannot be decoded, or they differ in size.
    """
    from PIL import Image

    found = []
    for number, file in enumerate(files):
        try:
            with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file) as image:
                found.append(as_pictures(np.asarray(image.convert("RGB"))[None], size=size)[0])
        except OSError as error:
            raise ValueError(f"picture {number} cannot be decoded; it is damaged or missing") from error
        if found[-1].shape != found[0].shape:
            raise ValueError(
                f"picture {number} has shape {found[-1].shape} and the first {found[0].shape}; give them one "
                "size with data.options.image_size"
            )
    return np.stack(found)
