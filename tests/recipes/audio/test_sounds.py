"""Files of sound: any rate, channels and format in, wav out, and one sentence for what cannot be used."""

import io
import sys

import numpy as np
import pytest

from unstir.recipes.audio.options import AudioOptions
from unstir.recipes.audio.recordings import read_recordings
from unstir.recipes.audio.sounds import class_names, fit_length, read_sound, trim_silence, write_wav

soundfile = pytest.importorskip("soundfile")
pytest.importorskip("librosa")


def tone(frequency, rate, seconds=0.5):
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


def test_a_wave_comes_back_from_a_file_to_sixteen_bits(tmp_path):
    wave = tone(440.0, 8000)
    for suffix in ("wav", "flac"):
        write_wav(tmp_path / f"a.{suffix}", wave, 8000)
        sound = read_sound(tmp_path / f"a.{suffix}", 8000)
        assert (sound.rate, sound.channels) == (8000, 1)
        assert np.abs(sound.wave - wave).max() < 2.0**-14


def test_a_wave_louder_than_full_scale_is_scaled_and_not_clipped(tmp_path):
    wave = 4.0 * tone(440.0, 8000)
    write_wav(tmp_path / "a.wav", wave, 8000)
    assert np.abs(read_sound(tmp_path / "a.wav", 8000).wave - wave / np.abs(wave).max()).max() < 2.0**-14


def test_another_rate_is_resampled_without_moving_the_pitch(tmp_path):
    write_wav(tmp_path / "a.wav", tone(1000.0, 44100, 1.0), 44100)
    sound = read_sound(tmp_path / "a.wav", 8000)
    assert sound.rate == 44100
    assert len(sound.wave) == 8000
    inner = slice(800, -800)
    assert np.abs(sound.wave - tone(1000.0, 8000, 1.0))[inner].max() < 1e-3


def test_what_lies_above_half_the_new_rate_is_not_folded_down(tmp_path):
    write_wav(tmp_path / "a.wav", tone(5000.0, 16000, 1.0), 16000)
    assert np.abs(read_sound(tmp_path / "a.wav", 8000).wave[400:-400]).max() < 1e-3


def test_channels_are_averaged_and_open_files_are_read():
    stereo = np.stack([tone(440.0, 8000), np.zeros(4000)], axis=1)
    buffer = io.BytesIO()
    soundfile.write(buffer, stereo, 8000, format="WAV")
    buffer.seek(0)
    sound = read_sound(buffer, 8000, name="member.wav")
    assert sound.channels == 2
    assert np.abs(sound.wave - 0.5 * stereo[:, 0]).max() < 1e-4


def test_silence_is_trimmed_and_lengths_are_made_equal():
    wave = np.concatenate([np.zeros(1000), tone(440.0, 8000), np.zeros(3000)])
    trimmed = trim_silence(wave)
    assert 4000 <= len(trimmed) <= 4000 + 2 * 128
    assert trim_silence(np.zeros(500)).shape == (500,)
    assert np.array_equal(fit_length(wave, 10), wave[:10])
    assert np.array_equal(fit_length(np.ones(3), 5), [1, 1, 1, 0, 0])


def test_classes_are_sub_folders_or_the_beginning_of_names(tmp_path):
    nested = [tmp_path / "cat" / "a.wav", tmp_path / "dog" / "b.wav"]
    assert class_names(nested, tmp_path, None) == ["cat", "dog"]
    flat = [tmp_path / f"{d}_x_{i}.wav" for d in (3, 7) for i in (0, 1)]
    assert class_names(flat, tmp_path, None) == ["3", "3", "7", "7"]
    assert class_names(flat[1:], tmp_path, None) == []  # a class of one sound is rather no class
    assert class_names(flat, tmp_path, r"_(\d)\.wav$") == ["0", "1", "0", "1"]


@pytest.mark.parametrize(
    ("label", "sentence"),
    [("(", "no regular expression"), (r"\d", "has one group"), ("^(x)", "finds no class in the name 3_x_0")],
)
def test_expressions_that_find_no_class_are_one_sentence(tmp_path, label, sentence):
    with pytest.raises(ValueError, match=sentence):
        class_names([tmp_path / "3_x_0.wav"], tmp_path, label)


def test_what_was_changed_is_said(tmp_path):
    write_wav(tmp_path / "a_1.wav", tone(440.0, 16000, 1.0), 16000)
    write_wav(tmp_path / "a_2.wav", tone(440.0, 8000, 0.2), 8000)
    soundfile.write(tmp_path / "b_1.wav", np.stack([tone(300.0, 8000)] * 2, axis=1), 8000)
    write_wav(tmp_path / "b_2.wav", tone(300.0, 8000), 8000)
    said = "\n".join(read_recordings(tmp_path, AudioOptions()).said)
    assert "1 of 4 sounds were resampled from 16,000 Hz to 8,000 Hz" in said
    assert "the channels of 1 of 4 sounds were averaged to one" in said
    assert "1 of 4 sounds were cut to 0.512 s" in said
    assert "3 of 4 sounds are shorter than 0.512 s and end in silence" in said


def test_files_that_are_no_sound_are_named(tmp_path):
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"not a sound")
    with pytest.raises(ValueError, match=r"bad\.wav is not a sound that can be read"):
        read_sound(bad, 8000)
    soundfile.write(bad, np.zeros(0), 8000)
    with pytest.raises(ValueError, match="holds no samples"):
        read_sound(bad, 8000)
    soundfile.write(bad, np.array([0.0, np.nan]), 8000, subtype="FLOAT")
    with pytest.raises(ValueError, match="not finite"):
        read_sound(bad, 8000)


def test_waves_that_cannot_be_written_are_refused_and_leave_nothing(tmp_path):
    for wave in (np.zeros((2, 3)), np.zeros(0), np.array([np.inf])):
        with pytest.raises(ValueError, match=r"shape \(samples,\)"):
            write_wav(tmp_path / "a.wav", wave, 8000)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_library_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'unstir\[audio\]'"):
        read_sound(tmp_path / "a.wav", 8000)
