"""Sound: notes, spoken words or any recordings, as mel spectrograms with a vocoder or as raw waves."""

from unstir.recipes.audio import speech, waveforms
from unstir.recipes.audio.check import check, measure
from unstir.recipes.audio.data import load, settings
from unstir.recipes.audio.show import panels, write_picture, write_sound
from unstir.recipes.domain import Domain

DOMAIN = Domain(
    recipes={"audio": settings, "spoken-digits": speech.settings, "waveforms": waveforms.settings},
    load=load,
    check=check,
    on_data=True,
    measure=measure,
    panels=panels,
    files={".wav": write_sound, ".flac": write_sound, ".png": write_picture},
    follows=frozenset({"solver", "guidance", "label"}),
)
"""What the command line knows of sound."""
