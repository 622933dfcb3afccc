"""Your own array: .npy or .npz, memory-mapped; scaling, network and budget are chosen from its shape."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unstir.recipes.images import load_folder
from unstir.recipes.settings import DataSettings, RunSettings
from unstir.recipes.splits import Splits, range_scaling, split, take
from unstir.training import ArrayData, Scaling
from unstir.training.data import Array

_LAYOUTS = "(N, D), (N, C, L), (N, C, H, W) or (N, C, D, H, W)"


def load(data: DataSettings) -> Splits:
    """The array of a file, with ``labels`` and ``vectors`` if it is an .npz that has them.

    A ``.npy`` file is memory-mapped. In an ``.npz`` the samples are ``x`` or ``data``, or its only other
    array.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, or of the wrong shape or type, or holds a value that is not finite,
            or its labels do not match.
    """
    path = Path(data.path or "").expanduser()
    if not data.path or not path.is_file():
        raise FileNotFoundError(f"there is no file {data.path!r} to read the array from")
    x, labels, vectors = _read(path)
    _check_samples(path, x)
    names: tuple[str, ...] = ()
    if labels is not None:
        labels, names = _check_labels(path, labels, len(x))
    if vectors is not None:
        _check_vectors(path, vectors, len(x))
    integer = bool(np.issubdtype(x.dtype, np.integer) or x.dtype == np.bool_)
    low, high = _check_finite(path, x)
    whole = ArrayData(x, labels, vectors, flip=data.flip)
    if data.limit is not None and data.limit < len(whole):
        rows = np.sort(np.random.default_rng(data.seed).permutation(len(whole))[: data.limit])
        whole = take(whole, rows)
    scaling, bounds = _scaling(data.scaling, whole, low, high, integer=integer)
    train, heldout = split(
        ArrayData(whole.x, whole.labels, whole.vectors, scaling, data.flip), data.heldout, seed=data.seed
    )
    return Splits(train, heldout, names, bounds, integer)


def settings(path: str, source: str = "array") -> tuple[RunSettings, list[str]]:
    """Settings chosen from the data at a path, and what was chosen, a sentence each.

    Args:
        path: an array file, or with the source "images" a folder or tar file of images.
        source: "array" or "images".

    Raises:
        FileNotFoundError: if there is nothing at the path.
        ValueError: if the data cannot be used.
    """
    place = str(Path(path).expanduser().resolve())
    data = DataSettings.model_validate({"source": source, "path": place})
    splits = load(data) if source == "array" else load_folder(data)
    event, n = splits.train.event, len(splits.train)
    scaling = "range" if splits.integer else "standardise"
    network = _network(event)
    seconds = int(np.clip(n * np.prod(event) / 4000.0, 60, 1800))
    values: dict[str, Any] = {
        "recipe": Path(path).stem,
        "data": {"source": source, "path": place, "scaling": scaling},
        "schedule": {"name": "vp"},
        "network": network,
        "training": {"seconds": seconds, "batch": 512 if len(event) == 1 else 128, "learning_rate": 1e-3},
        "evaluation": {"samples": int(np.clip(len(splits.heldout), 100, 1000))},
    }
    shape = " x ".join(str(size) for size in event)
    kind = "a residual MLP" if network["kind"] == "mlp" else f"a U-Net of {len(event) - 1} dimensions"
    how = "its range mapped to -1 ... 1" if splits.integer else "each channel to mean 0 and deviation 1"
    notes = [
        f"data: {n} training and {len(splits.heldout)} held-out samples of {shape}"
        + (f", {len(splits.classes)} classes" if splits.classes else ", no labels"),
        f"scaling: {how}",
        f"network: {kind}, width {network['width']}",
        f"budget: {seconds} seconds of training",
    ]
    if len(event) >= 3 and event[-1] in (1, 3, 4) and event[0] not in (1, 3, 4):
        notes.append(f"note: {shape} is read as (channels, ...); if the channels come last, move them first")
    return RunSettings.model_validate(values), notes


def _network(event: tuple[int, ...]) -> dict[str, Any]:
    if len(event) == 1:
        return {"kind": "mlp", "width": 256 if event[0] > 16 else 128, "layers": 4}
    side = max(event[1:])
    levels = int(np.clip(np.log2(max(side, 4) / 2), 2, 4))
    multipliers = (1, 2, 2, 4)[:levels]
    width = 32 if len(event) < 4 else 16
    return {"kind": "unet", "width": width, "multipliers": multipliers}


def read_array(path: Path) -> NDArray[np.generic]:
    """The samples of a .npy or .npz file, of any shape, in memory.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, or holds no real numbers.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    x, _, _ = _read(path)
    if not (np.issubdtype(x.dtype, np.number) or x.dtype == np.bool_) or np.iscomplexobj(x):
        raise ValueError(f"{path} holds {x.dtype}; expected real numbers")
    return np.array(x)


def _read(path: Path) -> tuple[Array, Array | None, Array | None]:
    if path.suffix not in (".npy", ".npz"):
        raise ValueError(f"{path} is neither .npy nor .npz")
    try:
        packed = path.suffix == ".npz"
        file = np.load(path, mmap_mode=None if packed else "r", allow_pickle=False)
        if packed != isinstance(file, np.lib.npyio.NpzFile):
            raise ValueError(f"its content is not that of a {path.suffix} file")
        if not packed:
            return file, None, None
        with file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} cannot be read as an array ({error}); it is damaged") from error
    except ValueError as error:
        if any(word in str(error) for word in ("pickle", "magic", "Python objects")):
            raise ValueError(f"{path} is not a plain numeric array; save it with numpy.save") from error
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} cannot be read as an array ({reason}); it is damaged") from error
    labels, vectors = arrays.pop("labels", None), arrays.pop("vectors", None)
    name = next((name for name in ("x", "data") if name in arrays), None)
    if name is None and len(arrays) != 1:
        found = ", ".join(sorted(arrays)) or "none"
        raise ValueError(f"{path} needs an array named 'x' (and optionally 'labels'); it holds {found}")
    return arrays[name or next(iter(arrays))], labels, vectors


def _check_samples(path: Path, x: Array) -> None:
    if not (np.issubdtype(x.dtype, np.number) or x.dtype == np.bool_) or np.iscomplexobj(x):
        raise ValueError(f"{path} holds {x.dtype}; expected real numbers")
    if not 2 <= x.ndim <= 5 or 0 in x.shape:
        raise ValueError(f"{path} has shape {x.shape}; expected {_LAYOUTS}")
    if len(x) < 10:
        raise ValueError(f"{path} holds {len(x)} samples; at least 10 are needed to train and hold some out")


def _check_finite(path: Path, x: Array) -> tuple[float, float]:
    """The smallest and largest value."""
    low, high = np.inf, -np.inf
    for start in range(0, len(x), 1024):
        part = np.asarray(x[start : start + 1024], dtype=np.float64)
        bad = ~np.isfinite(part).reshape(len(part), -1).all(axis=1)
        if bad.any():
            raise ValueError(
                f"{path} holds a value that is not finite (NaN or infinity), in sample "
                f"{start + int(bad.argmax())}; remove or fill such values first"
            )
        low, high = min(low, float(part.min())), max(high, float(part.max()))
    if low == high:
        raise ValueError(f"every value in {path} is {low:g}; there is nothing to learn")
    return low, high


def _check_labels(path: Path, labels: Array, n: int) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Labels as 0 ... classes - 1, and the classes' names."""
    if labels.shape != (n,):
        raise ValueError(
            f"the labels in {path} have shape {labels.shape}, which does not match its {n} samples; "
            f"expected ({n},)"
        )
    if not (np.issubdtype(labels.dtype, np.integer) or labels.dtype.kind in "US"):
        raise ValueError(f"the labels in {path} are {labels.dtype}; expected integers or names")
    values, numbers = np.unique(labels, return_inverse=True)
    return numbers.astype(np.int64), tuple(str(value) for value in values)


def _check_vectors(path: Path, vectors: Array, n: int) -> None:
    if vectors.ndim != 2 or len(vectors) != n or not np.isfinite(vectors).all():
        raise ValueError(
            f"the vectors in {path} are a finite array of shape ({n}, length), got {vectors.shape}"
        )


def _scaling(
    kind: str, data: ArrayData, low: float, high: float, *, integer: bool
) -> tuple[Scaling, tuple[float, float] | None]:
    if kind == "range":
        if data.x.dtype == np.uint8:
            low, high = 0.0, 255.0 if high > 16 else high
        return range_scaling(low, high), (low, high)
    count, total, squares = 0, 0.0, 0.0
    axes = (0, *range(2, data.x.ndim))
    for start in range(0, len(data), 1024):
        part = np.asarray(data.x[start : start + 1024], dtype=np.float64)
        count += part.size // part.shape[1]
        total = total + part.sum(axes)
        squares = squares + (part**2).sum(axes)
    mean = np.atleast_1d(total / count)
    std = np.sqrt(np.maximum(np.atleast_1d(squares / count) - mean**2, 0.0))
    std = np.where(std > 1e-8 * max(abs(low), abs(high)), std, 1.0)
    bounds = (low, high) if integer else None
    return Scaling(tuple(mean.tolist()), tuple(std.tolist())), bounds
