"""Recovery curves are read from every usual table, corrected, and refused with the line that is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from unstir.physics.frap_data import make_curve, read_curve

TIME = np.arange(40) * 0.5
CLEAN = np.where(TIME < 5.0, 200.0, 200.0 * (1 - 0.6 * np.exp(-(TIME - 5.0) / 3)))


def write(path, columns, mark=",", header=None, comma=False):
    lines = [] if header is None else [mark.join(header)]
    for row in zip(*columns, strict=True):
        cells = [repr(float(x)) for x in row]
        lines.append(mark.join(cell.replace(".", ",") if comma else cell for cell in cells))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("mark", [",", ";", "\t", " "])
@pytest.mark.parametrize("header", [None, ("time", "intensity")])
def test_separators_and_headers_do_not_change_a_curve(tmp_path, mark, header):
    curve = read_curve(write(tmp_path / "a.csv", (TIME, CLEAN), mark, header))
    assert curve.bleach == 10
    assert curve.scale == pytest.approx(200.0)
    np.testing.assert_allclose(curve.time, TIME - 5.0)
    np.testing.assert_allclose(curve.intensity, CLEAN / 200.0)


def test_decimal_commas_comments_blank_lines_and_other_columns_are_understood(tmp_path):
    path = write(tmp_path / "a.csv", (CLEAN, CLEAN * 7, TIME), ";", ("Mean", "Area", "Time (s)"), comma=True)
    path.write_text("\ufeff" + path.read_text().replace("\n", "\n\n", 1) + "# end\n", encoding="utf-8")
    np.testing.assert_allclose(read_curve(path).intensity, CLEAN / 200.0)


def test_fading_and_background_are_corrected(tmp_path):
    fade = np.exp(-TIME / 30)
    columns = (TIME, CLEAN * fade + 20, 500 * fade + 20, np.full(40, 20.0))
    names = ("time", "intensity", "reference", "background")
    for header in (None, names):
        curve = read_curve(write(tmp_path / "a.csv", columns, header=header))
        np.testing.assert_allclose(curve.intensity, CLEAN / 200.0, rtol=0.001)


def test_frames_need_an_interval_and_get_seconds_from_it(tmp_path):
    for header in (None, ("frame", "intensity")):
        path = write(tmp_path / "a.csv", (np.arange(1, 41), CLEAN), header=header)
        with pytest.raises(ValueError, match="give the seconds between two frames"):
            read_curve(path)
        np.testing.assert_allclose(read_curve(path, interval=0.5).time, TIME - 5.0)


def test_an_interval_for_times_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds times, not frames"):
        read_curve(write(tmp_path / "a.csv", (TIME, CLEAN)), interval=0.5)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("\n2.0,200.0", "\n2.0,", "line 6: the intensity is missing"),
        ("\n2.0,200.0", "\n2.0", "line 6: the intensity is missing"),
        ("\n2.0,200.0", "\n2.0,nan", "line 6: the intensity is 'nan'"),
        ("\n2.0,200.0", "\n1.5,200.0", "line 6: the time 1.5 does not come after 1.5"),
        ("time,intensity", "time,stuff", "no column is called intensity"),
    ],
)
def test_what_is_wrong_is_one_sentence_with_its_line(tmp_path, old, new, sentence):
    path = write(tmp_path / "a.csv", (TIME, CLEAN), header=("time", "intensity"))
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ValueError, match=sentence):
        read_curve(path)


def test_a_bleach_without_images_around_it_or_without_a_drop_is_refused():
    with pytest.raises(ValueError, match="at least 1 image before it"):
        make_curve(TIME, CLEAN, bleach=38)
    with pytest.raises(ValueError, match="does not drop at image 5"):
        make_curve(TIME, CLEAN, bleach=5)


def test_the_noise_is_found_beneath_the_recovery():
    draws = np.random.default_rng(0).normal(size=4000) * 0.03
    t = np.arange(4000) * 0.01
    curve = make_curve(t, np.where(t < 5, 1.0, 1 - 0.6 * np.exp(-(t - 5) / 3)) + draws, bleach=500)
    assert curve.noise == pytest.approx(0.03, rel=0.06)
