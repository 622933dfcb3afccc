"""Notes to spectrograms and back to sound: what the vocoder loses, and whether the pitch survives."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from unstir.recipes.audio.metrics import log_spectral_distance
from unstir.recipes.audio.notes import INSTRUMENTS, key_name, make_notes
from unstir.recipes.audio.options import AudioOptions
from unstir.recipes.audio.pitch import cents, measured_pitch
from unstir.recipes.audio.show import one_after_the_other, spectrograms
from unstir.recipes.audio.sounds import write_wav

options = AudioOptions()
mel = options.mel
waves, labels, played = make_notes(48, options.keys, mel.samples, mel.rate, seed=0)
bands = mel.analyse(waves)
again = mel.invert(bands)

error = log_spectral_distance(bands, mel.analyse(again), mel.floor)
off = np.abs(cents(measured_pitch(again, mel.rate), options.pitches[labels]))
print("instrument   error in dB   largest error of the pitch in cents")
for i, name in enumerate(INSTRUMENTS):
    print(f"{name:<13}{error[played == i].mean():>11.2f}{off[played == i].max():>12.1f}")

Path("sounds").mkdir(exist_ok=True)
write_wav(Path("sounds/notes.wav"), one_after_the_other(again[:12], mel.rate), mel.rate)
spectrograms(mel, again, [key_name(options.keys[i]) for i in labels[:12]]).save("sounds/notes.png")
print("12 notes after the vocoder: sounds/notes.wav, their spectrograms: sounds/notes.png")
