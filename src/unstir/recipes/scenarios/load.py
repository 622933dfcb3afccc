"""What `unstir train` reads for this domain: simulated scenes, or recorded tracks where a path is given."""

from __future__ import annotations

import warnings

from unstir.notice import Notice
from unstir.recipes.scenarios.data import halves
from unstir.recipes.scenarios.default import SimulationSettings, simulated
from unstir.recipes.scenarios.recorded import TrackSettings, read_scenes
from unstir.recipes.scenarios.scenes import Scenes, join
from unstir.recipes.settings import DataSettings
from unstir.recipes.splits import Splits
from unstir.settings import parse_settings


def scenes_for(data: DataSettings) -> tuple[Scenes, Scenes]:
    """Training and held-out scenes of the settings, as they are before any mirroring.

    Raises:
        FileNotFoundError: if there are no tracks at the path.
        ValueError: if they cannot be used, or an option is wrong.
    """
    if data.path is None and data.name != "tracks":
        options = parse_settings(SimulationSettings, data.options)
        if data.limit is not None:
            options = options.model_copy(update={"scenes": min(data.limit, options.scenes)})
        return simulated(options, data.heldout, data.seed)
    train, heldout, gaps = read_scenes(data)
    if gaps is not None:
        warnings.warn(gaps, Notice, stacklevel=2)
    return train, heldout


def load(data: DataSettings) -> Splits:
    """The scenes as training data; errors as in `scenes_for`."""
    train, heldout = scenes_for(data)
    modes = None
    if data.path is not None:
        tracks = parse_settings(TrackSettings, data.options)
        modes = tracks.modes
        if tracks.mirror:
            train = join([train, train.mirrored()])
    return halves(train, heldout, modes=modes)
