"""Checkpoints: everything a run needs to go on, written aside and renamed, verified when read."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from unstir.files import read_json, read_tensors, write_json, write_tensors

SCHEMA = 1
KEPT = 2
_REPLACED = ".replaced-"


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run after some number of samples.

    Attributes:
        samples: samples seen.
        tensors: groups of named tensors ("model", "ema-0", "optimizer", ...), a file each.
        state: counters and other small JSON-ready values.
    """

    samples: int
    tensors: dict[str, dict[str, Tensor]]
    state: dict[str, Any]


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint under ``folder`` and remove all but the newest two.

    A process killed at any moment leaves either the whole new checkpoint or none of it.

    Returns:
        The checkpoint's own folder.

    Raises:
        OSError: if it cannot be written; earlier checkpoints are untouched.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _settle(folder)
    for abandoned in folder.glob(".writing-*"):
        shutil.rmtree(abandoned, ignore_errors=True)
    final = folder / f"{checkpoint.samples:012d}"
    aside = Path(tempfile.mkdtemp(dir=folder, prefix=".writing-"))
    try:
        digests = {}
        for name, tensors in checkpoint.tensors.items():
            path = aside / f"{name}.safetensors"
            write_tensors(path, tensors)
            digests[path.name] = _digest(path)
        content = {"schema": SCHEMA, "samples": checkpoint.samples, "sha256": digests}
        content["state"] = checkpoint.state
        write_json(aside / "state.json", {**content, "own_sha256": _own_digest(content)})
        aside.chmod(0o755)
        if final.exists():
            final.rename(folder / f"{_REPLACED}{final.name}")
        aside.rename(final)
        _settle(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    for old in list_checkpoints(folder)[KEPT:]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def _settle(folder: Path) -> None:
    """End a replacement: the new checkpoint if it has its place, else the old one goes back."""
    for old in folder.glob(f"{_REPLACED}*"):
        place = folder / old.name.removeprefix(_REPLACED)
        if place.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.rename(place)


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints' folders, newest first."""
    if not folder.is_dir():
        return []
    return sorted((p for p in folder.iterdir() if p.is_dir() and p.name.isdigit()), reverse=True)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read one checkpoint.

    Raises:
        ValueError: if a file is missing, truncated or changed, naming it.
    """
    try:
        content = read_json(path / "state.json")
        own = content.pop("own_sha256")
        if own != _own_digest(content):
            raise ValueError(f"{path / 'state.json'} is damaged: its content is not what was written")
        digests, samples, state = content["sha256"], int(content["samples"]), content["state"]
        if content["schema"] != SCHEMA:
            raise ValueError(
                f"{path} was written with checkpoint schema {content['schema']}, this is {SCHEMA}"
            )
        tensors = {}
        for name, digest in digests.items():
            file = path / name
            if _digest(file) != digest:
                raise ValueError(f"{file} is damaged: its content is not what was written")
            tensors[file.stem] = read_tensors(file)[0]
    except FileNotFoundError as error:
        raise ValueError(f"{error.filename} is missing from its checkpoint") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path / 'state.json'} is damaged: {error} is missing from it") from error
    return Checkpoint(samples, tensors, state)


def load_newest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint that is whole.

    Returns:
        The checkpoint, or None if there is none that can be read; and a sentence for each damaged one
        that was passed over.
    """
    problems: list[str] = []
    _settle(folder)
    for path in list_checkpoints(folder):
        try:
            return load_checkpoint(path), problems
        except ValueError as error:
            problems.append(str(error))
    return None, problems


def drop_damaged(folder: Path, *, newer_than: int) -> None:
    """Remove checkpoints that were passed over, so that they do not take the places of whole ones."""
    for path in list_checkpoints(folder):
        if int(path.name) > newer_than:
            shutil.rmtree(path, ignore_errors=True)


def _own_digest(content: dict[str, Any]) -> str:
    """The digest of everything else in ``state.json``."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
