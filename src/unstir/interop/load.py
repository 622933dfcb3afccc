"""Networks saved by diffusers, as denoisers: JSON and safetensors are read, nothing is unpickled."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unstir.denoisers import Denoiser, FromFunction
from unstir.files import read_json
from unstir.interop.library import import_diffusers, with_defaults
from unstir.interop.networks import ADAPTERS
from unstir.interop.process import read_process
from unstir.settings import nearest

SCHEDULER_FILE = "scheduler_config.json"


def from_diffusers(
    folder: str | Path,
    *,
    subfolder: str | None = None,
    scheduler: str | Path | Mapping[str, Any] | None = None,
    variant: str | None = None,
    dtype: torch.dtype | None = None,
    device: str | torch.device = "cpu",
    rounded: bool = False,
    empty: Tensor | None = None,
) -> Denoiser:
    r"""A network saved by diffusers' ``save_pretrained`` and its scheduler's process, as a `Denoiser`.

    The folder is a pipeline's (with ``unet/`` or ``transformer/``, and ``scheduler/``) or the network's own.
    Supported networks are UNet2DModel, UNet2DConditionModel and DiTTransformer2DModel; a second half of
    output channels (learned variance) is dropped. Tables of betas become `from_betas`, where timestep
    i = 0 ... T - 1 is t = (i + 1) / T; flow matching becomes `Flow`, where the timestep is t T. Settings of
    sampling in the scheduler's file (spacing, shift, clipping) are not part of a denoiser.
    States are what the network denoises: latents, if it was trained on latents; no autoencoder is applied.

    Conditions by name: ``label`` (batch,) int64 for networks with classes (-1, or none given, is DiT's "no
    class"); for UNet2DConditionModel ``encoder_hidden_states`` (batch, tokens, width), and
    ``encoder_attention_mask``, ``text_embeds``, ``time_ids`` where the network takes them.

    Args:
        folder: a local folder.
        subfolder: of the network; by default ``unet`` or ``transformer`` if there is one.
        scheduler: a scheduler's configuration: its file, its folder or its content; by default the
            folder's ``scheduler/scheduler_config.json`` or ``scheduler_config.json``.
        variant: part of the weights' file names, such as "fp16".
        dtype: of the network's weights; states keep their own. float32 by default.
        device: where the network goes.
        rounded: with a table of betas, tell the network whole timesteps only.
        empty: (tokens, width), the ``encoder_hidden_states`` of the empty prompt, used where none are given
            (so by `ClassifierFree`).

    Raises:
        ImportError: if diffusers is not installed.
        FileNotFoundError: if there is no such folder.
        ValueError: if the folder holds no such network or scheduler, only pickled weights, or settings
            that are not supported.
    """
    root = Path(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root}")
    diffusers = import_diffusers()
    place = _find_network(root, subfolder)
    process = read_process(with_defaults(_find_scheduler(root, place, scheduler)))
    module = _load_network(diffusers, place, variant, dtype)
    adapter = ADAPTERS[type(module).__name__](module, empty).to(device)
    rounded = rounded or module.config.get("time_embedding_type") == "learned"  # that is a lookup table
    time = "discrete" if process.offset else process.timestep
    return FromFunction(adapter, process.schedule, process.target, time=time, rounded=rounded).eval()


def _find_network(root: Path, subfolder: str | None) -> Path:
    """The folder that holds the network's config.json."""
    names = ["unet", "transformer", ""] if subfolder is None else [subfolder]
    for name in names:
        if (root / name / "config.json").is_file():
            return root / name
    places = " or ".join(str(root / name / "config.json") for name in names)
    raise ValueError(f"{root} holds no network of diffusers: there is no {places}")


def _find_scheduler(
    root: Path, place: Path, scheduler: str | Path | Mapping[str, Any] | None
) -> Mapping[str, Any]:
    if isinstance(scheduler, Mapping):
        return scheduler
    if scheduler is None:
        folders = [root / "scheduler", root, place.parent / "scheduler"]
        files = [folder / SCHEDULER_FILE for folder in folders]
    else:
        files = [Path(scheduler), Path(scheduler) / SCHEDULER_FILE]
    for file in files:
        if file.is_file():
            config = read_json(file)
            if not isinstance(config, dict):
                raise ValueError(f"{file} does not describe a scheduler")
            return config
    raise ValueError(
        f"there is no {files[0]}, which says how the network was trained; name a scheduler's file or "
        "folder with scheduler=..."
    )


def _load_network(diffusers: Any, place: Path, variant: str | None, dtype: torch.dtype | None) -> Any:
    config = read_json(place / "config.json")
    name = str(config.get("_class_name")) if isinstance(config, dict) else "None"
    if name not in ADAPTERS:
        raise ValueError(f"the network {name!r} in {place} is not supported; {nearest(name, list(ADAPTERS))}")
    if not any(place.glob("*.safetensors")):
        raise ValueError(
            f"{place} holds no safetensors; pickled weights (.bin) can run code and are not read, so save "
            "them with safe_serialization=True first"
        )
    options = {} if dtype is None else {"torch_dtype": dtype}
    kind = getattr(diffusers, name)
    module, found = kind.from_pretrained(
        place,
        use_safetensors=True,
        local_files_only=True,
        variant=variant,
        output_loading_info=True,
        **options,
    )
    missing = sorted(found["missing_keys"])
    if missing:  # diffusers would leave them random
        raise ValueError(
            f"the weights in {place} lack {len(missing)} that the network has, such as {missing[0]}"
        )
    return module
