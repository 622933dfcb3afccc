"""The check as a whole, with models that nobody trained: every number is there and can fall short."""

from __future__ import annotations

import math
from importlib import import_module

import pytest

from unstir.recipes.audio import waveforms
from unstir.recipes.audio.data import load, settings
from unstir.recipes.audio.instruments import InstrumentJudge
from unstir.recipes.domain import Plan
from unstir.recipes.run import build_model
from unstir.recipes.settings import RunSettings

pytest.importorskip("librosa")
OPTIONS = {
    "notes": 400,
    "lowest": "A4",
    "highest": "B4",
    "mel": {"bands": 32, "window": 512, "hop": 256, "frames": 8, "low": 200.0, "floor": -60.0},
}


def small(form, network):
    base = settings().model_dump(mode="json")
    base["data"]["options"] = {**OPTIONS, "form": form}
    base["network"] = network
    base["sampling"] |= {"steps": 2}
    return RunSettings.model_validate(base)


@pytest.mark.slow
def test_an_untrained_model_falls_short_where_the_baseline_does_not(monkeypatch, tmp_path):
    notes = small("bands", {"kind": "unet", "width": 16, "multipliers": (1,)})
    wave = small("wave", {"kind": "waveform", "patch": 64, "width": 16, "multipliers": (1,)})
    checking = import_module("unstir.recipes.audio.check")  # the package's face has a function of this name
    monkeypatch.setattr(checking, "settings", lambda: notes)
    monkeypatch.setattr(waveforms, "settings", lambda: wave)
    taught = InstrumentJudge.taught
    monkeypatch.setattr(InstrumentJudge, "taught", lambda options: taught(options, notes=300, steps=20))
    names = []

    def untrained(run, name):
        names.append(name)
        return build_model(run, load(run.data))

    found = checking.check(Plan(untrained, tmp_path, seeds=(0,)))
    assert names == ["notes-0", "waveforms"]
    assert {"gap_mean_db", "finer_2_mean_db", "instrument_clear", "instrument_mmd", "vocoder_error_db"} < set(
        found
    )
    assert all(math.isfinite(number.value) for number in found.values())
    for name in ("pitch_within_quarter_tone", "waveform_pitch"):
        assert not found[name].ok
        assert found[name].reference >= 0.95
    assert found["instrument_mmd"].value > found["instrument_mmd"].baseline
    assert found["vocoder_error_db"].ok
