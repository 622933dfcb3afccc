"""The settings that a command line stands for, and training with a progress bar."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from unstir.cli.shared import assignment, console

if TYPE_CHECKING:
    from unstir.recipes import RunSettings
    from unstir.recipes.run import Outcome


def settings_for(what: str | None, out: Path | None, resume: bool) -> tuple[RunSettings, list[str]]:
    """The settings that the first argument stands for, and what was chosen for the user."""
    from unstir.recipes import RECIPES, arrays, find_recipe
    from unstir.recipes.run import stored_settings

    if resume:
        if out is None:
            if what is None:
                raise ValueError("--resume needs the run's folder: unstir train --resume --out DIR")
            name = _read_yaml(Path(what)).recipe if what.endswith((".yaml", ".yml")) else Path(what).stem
            out = Path("runs") / name
        return stored_settings(out), []
    if what is None:
        raise ValueError(f"say what to train: a recipe ({', '.join(RECIPES)}), a YAML file, or your data")
    path = Path(what)
    if path.suffix in (".yaml", ".yml"):
        return _read_yaml(path), []
    if path.suffix in (".npy", ".npz"):
        return arrays.settings(what)
    if what not in RECIPES and (path / "config.json").is_file():
        raise ValueError(f"{what} is a run; go on with it by: unstir train --resume --out {what}")
    if what not in RECIPES and (path.is_dir() or what.endswith((".tar", ".tar.gz", ".tgz"))):
        return arrays.settings(what, "images")
    if what not in RECIPES and path.exists():
        raise ValueError(
            f"{what} is no data that can be read; give .npy, .npz, a folder or .tar of images, or a .yaml"
        )
    return find_recipe(what), []


def changed(
    settings: RunSettings,
    changes: list[str],
    seconds: float | None,
    samples: int | None,
    data: str | None,
) -> RunSettings:
    """Settings with the command line's changes."""
    from unstir.recipes import RunSettings
    from unstir.settings import parse_settings, set_key

    values = settings.model_dump(mode="json")
    if seconds is not None or samples is not None:
        values["training"] |= {"seconds": seconds, "samples": samples}
    if data is not None:
        values["data"]["path"] = str(Path(data).expanduser().resolve())
    for change in changes:
        key, value = assignment(change, "--set", "training.batch=256")
        if key == "network.kind" and value != values["network"]["kind"]:
            values["network"] = {}  # the options of one kind are not those of another
        if key == "schedule.name" and value != values["schedule"]["name"]:
            values["schedule"] = {}
        if key == "schedule" and isinstance(value, str):
            value = {"name": value}  # whose parameters the next changes may set
        set_key(values, key, value)
    return parse_settings(RunSettings, values)


def _read_yaml(path: Path) -> RunSettings:
    import yaml

    from unstir.recipes import RunSettings
    from unstir.settings import parse_settings

    if not path.is_file():
        raise FileNotFoundError(f"there is no settings file {path}")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds no settings; start from `unstir recipes digits > {path}`")
    return parse_settings(RunSettings, values)


def to_yaml(settings: RunSettings) -> str:
    """Settings as YAML, in the order in which they are documented."""
    import yaml

    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def train_with_progress(
    settings: RunSettings, folder: Path, *, resume: bool, overwrite: bool, tensorboard: bool
) -> Outcome:
    """Train with a progress bar."""
    from unstir.files import write_text
    from unstir.networks import build_network
    from unstir.recipes import load_data
    from unstir.recipes.progress import training_progress
    from unstir.recipes.run import check_folder, conditions_of, prepare_folder, train_run

    # All that can be wrong with the settings is found before an old run is replaced.
    check_folder(folder, resume=resume, overwrite=overwrite)
    splits = load_data(settings.data)
    build_network(settings.network, splits.train.event, conditions=conditions_of(splits.train))
    prepare_folder(folder, resume=resume, overwrite=overwrite)
    if not resume:
        write_text(folder / "settings.yaml", to_yaml(settings))
    with training_progress(console) as report:
        return train_run(
            settings, folder, resume=resume, splits=splits, report=report, tensorboard=tensorboard
        )
