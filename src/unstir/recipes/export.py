"""Samples as files: pictures, films, arrays."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from unstir.evaluation.pictures import is_image, picture_of, save_gif, save_image
from unstir.files import write_aside
from unstir.model import Model
from unstir.samplers import Solution

SUFFIXES = (".png", ".gif", ".npy", ".npz")


def check_suffix(path: Path, model: Model) -> None:
    """Check before the work that the file can be written.

    Raises:
        ValueError: for a suffix that is not known, or a film of events that are no images.
    """
    if path.suffix not in SUFFIXES:
        raise ValueError(f"samples are written as {', '.join(SUFFIXES)}, got {path.name!r}")
    if path.suffix == ".gif" and len(model.config.event) == 4:
        raise ValueError("a film of volumes cannot be drawn; write .npz or .png instead")


def save_samples(path: Path, solution: Solution, model: Model, condition: Mapping[str, Any]) -> None:
    """Write samples in data units: a picture, a film of the path, or an array (npz with labels).

    Raises:
        OSError: if the file cannot be written.
    """
    config = model.config
    if path.suffix == ".png":
        save_image(picture_of(solution.x, config.bounds, columns=_columns(model, solution.x)), path)
    elif path.suffix == ".gif":
        _save_film(path, solution, model)
    elif path.suffix == ".npy":
        buffer = io.BytesIO()  # numpy.save into a file does not notice a full disk
        np.save(buffer, as_array(solution.x, model))
        write_aside(path, lambda aside: _write_bytes(aside, buffer.getvalue()))
    else:
        arrays = {"x": as_array(solution.x, model)}
        tensors = model.condition(len(solution.x), condition)
        if "label" in tensors:
            arrays["labels"] = _original_labels(tensors["label"].tolist(), model.config.classes)
        write_aside(path, lambda aside: np.savez_compressed(aside, allow_pickle=False, **arrays))


def _write_bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _original_labels(numbers: list[int], names: tuple[str, ...]) -> np.ndarray[Any, Any]:
    """Labels as the data had them: integers if all were, names otherwise; no class is -1 or ""."""
    if all(name.lstrip("-").isdigit() for name in names):
        return np.array([int(names[k]) if k >= 0 else -1 for k in numbers])
    return np.array([names[k] if k >= 0 else "" for k in numbers])


def as_array(x: Tensor, model: Model) -> np.ndarray[Any, Any]:
    """Samples as a numpy array; integers again if the data were, in the smallest fitting type."""
    array: np.ndarray[Any, Any] = x.numpy()
    if not model.config.integer:
        return array
    low, high = model.config.bounds or (float(array.min()), float(array.max()))
    kind = np.uint8 if low >= 0 and high <= 255 else np.int32
    rounded: np.ndarray[Any, Any] = np.rint(array).astype(kind)
    return rounded


def _columns(model: Model, x: Tensor) -> int | None:
    classes = len(model.config.classes)
    return classes if is_image(model.config.event) and 2 <= classes <= 20 and len(x) % classes == 0 else None


def _save_film(path: Path, solution: Solution, model: Model) -> None:
    if solution.path is None:
        raise ValueError("a film needs the path of the run")
    columns = _columns(model, solution.x)
    frames = [picture_of(state, model.config.bounds, columns=columns) for state in solution.path]
    frames.append(picture_of(solution.x, model.config.bounds, columns=columns))
    save_gif(frames, path, milliseconds=120, hold=2000)
