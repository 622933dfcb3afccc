"""The settings of sound: how it is analysed, and the form in which a network sees it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from unstir.recipes.audio.mel import Mel, Waves
from unstir.recipes.audio.notes import frequency, key_number
from unstir.settings import Settings, parse_settings

if TYPE_CHECKING:
    from unstir.model import Model
    from unstir.recipes.settings import DataSettings

Form = Literal["bands", "image", "wave"]


class AudioOptions(Settings):
    """``data.options`` of recipes on sound; they are kept with the model, which so knows how to sound.

    Attributes:
        form: of one sound before the network. ``bands``: (bands, frames), each mel band a channel of a signal
            in time; ``image``: (1, bands, frames), a picture; ``wave``: (1, samples), the sound itself.
        mel: the mel spectrogram; of ``wave`` only its rate and length, and what pictures show.
        notes: how many notes are made, where there is no path.
        lowest: the first of their pitches; the classes are the semitones from it to ``highest``.
        highest: the last of them.
        label: regular expression with one group that finds the class in a file's name; null for the
            sub-folder, or the name up to the first "_" or "-".
        trim: remove the silence before and after each recording.
        loudness: level in dB that each recording is brought to (`recordings.at_loudness`); null for none.
        copies: changed copies of each training recording (`recordings.changed`).
        heldout: regular expression that finds the names of recordings that training does not see; null for a
            random share, ``data.heldout``.
    """

    form: Form = "bands"
    mel: Mel = Mel(bands=64, window=512, hop=128, frames=32, low=200.0, floor=-60.0)
    notes: Annotated[int, Field(ge=10)] = 4000
    lowest: str = "E4"
    highest: str = "D#6"
    label: str | None = None
    trim: bool = True
    loudness: Annotated[float, Field(lt=0.0)] | None = None
    copies: Annotated[int, Field(ge=0, lt=4096)] = 0
    heldout: str | None = None

    @model_validator(mode="after")
    def _ordered(self) -> AudioOptions:
        if key_number(self.lowest) > key_number(self.highest):
            raise ValueError(f"lowest is below highest, got {self.lowest} and {self.highest}")
        return self

    @property
    def keys(self) -> tuple[int, ...]:
        """The MIDI keys of the notes."""
        return tuple(range(key_number(self.lowest), key_number(self.highest) + 1))

    @property
    def pitches(self) -> NDArray[np.float64]:
        """Their frequencies in Hz."""
        return frequency(np.array(self.keys))

    def events(self, waves: NDArray[Any]) -> NDArray[np.float32]:
        """Waves (n, samples) in the form that the network sees.

        Raises:
            ValueError: for waves of another length or values that are not finite.
        """
        if self.form == "wave":
            if waves.ndim != 2 or waves.shape[1] != self.mel.samples:
                raise ValueError(f"sounds have shape (n, {self.mel.samples}), got {tuple(waves.shape)}")
            return np.asarray(waves[:, None], dtype=np.float32)
        bands = self.mel.analyse(waves)
        return bands[:, None] if self.form == "image" else bands

    def waves(self, events: NDArray[Any]) -> Waves:
        """Events in that form as waves (n, samples): spectrograms through the vocoder, waves as they are.

        Raises:
            ValueError: for events of another shape or values that are not finite.
        """
        if self.form == "wave":
            return np.asarray(events[:, 0], dtype=np.float32)
        return self.mel.invert(events[:, 0] if self.form == "image" else events)


def options_of(data: DataSettings) -> AudioOptions:
    """The options of data settings.

    Raises:
        ValueError: one sentence for what is wrong, with the nearest name for an unknown one.
    """
    return parse_settings(AudioOptions, data.options)


def options_of_model(model: Model) -> AudioOptions:
    """The options that a model was trained with.

    Raises:
        ValueError: for a model of something else than sound.
    """
    stored = model.about.get("settings")
    data = stored.get("data") if isinstance(stored, Mapping) else None
    if not isinstance(data, Mapping) or data.get("source") != "audio":
        raise ValueError("this model was not trained on sound")
    return parse_settings(AudioOptions, data.get("options") or {})
