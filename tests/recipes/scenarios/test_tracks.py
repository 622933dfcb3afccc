"""Recorded tracks: files, gaps, windows, neighbourhoods, and what is held out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.datasets import ROOT, needs
from unstir.notice import Notice
from unstir.recipes.scenarios.heldout import ALIASES, split_recordings
from unstir.recipes.scenarios.load import load, scenes_for
from unstir.recipes.scenarios.recorded import settings
from unstir.recipes.scenarios.scenes import join
from unstir.recipes.scenarios.simulate import simulate
from unstir.recipes.scenarios.tracks import gaps_sentence, read_recordings
from unstir.recipes.scenarios.windows import neighbourhoods, scenes_of, windows
from unstir.recipes.settings import DataSettings

ETH_UCY = ROOT / "eth_ucy"
needs_eth_ucy = needs(ETH_UCY)


def write(path: Path, agents: dict[int, range], *, step: int = 10) -> Path:
    """Straight walks, agent i at y = i, in the frames of its range."""
    rows = [f"{step * k}\t{i}\t{0.5 * k}\t{i}" for i, frames in agents.items() for k in frames]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def test_a_window_holds_the_agents_seen_in_all_of_its_frames(tmp_path):
    file = write(tmp_path / "a.txt", {1: range(22), 2: range(1, 21), 3: range(19)})
    scenes = windows(read_recordings(file)[0])
    assert scenes.present.sum(axis=1).tolist() == [1, 2, 1]
    np.testing.assert_allclose(scenes.tracks[1, 0, :, 0], 0.5 * np.arange(1, 21))
    assert scenes.future == 12


def test_the_frame_step_is_found(tmp_path):
    by_one = windows(read_recordings(write(tmp_path / "a.txt", {1: range(25)}, step=1))[0])
    by_six = windows(read_recordings(write(tmp_path / "b.txt", {1: range(25)}, step=6))[0])
    np.testing.assert_array_equal(by_one.tracks, by_six.tracks)


def test_short_gaps_are_filled_and_long_ones_cut(tmp_path):
    file = write(tmp_path / "a.txt", {1: [*range(10), *range(12, 30), *range(40, 65)], 2: range(3)})
    (recording,) = read_recordings(file, gap=2)
    assert (recording.filled, recording.cut) == (2, 1)
    assert [len(t.positions) for t in recording.tracks] == [30, 25, 3]
    np.testing.assert_allclose(recording.tracks[0].positions[:, 0], 0.5 * np.arange(30))
    assert "2 positions were interpolated, and tracks were cut at 1" in gaps_sentence([recording])
    (strict,) = read_recordings(file, gap=0)
    assert (strict.filled, strict.cut) == (0, 2)


def test_gaps_are_said_when_the_data_are_loaded(tmp_path):
    file = write(tmp_path / "a.txt", {1: [*range(10), *range(12, 400)]})
    with pytest.warns(Notice, match="tracks had gaps: 2 positions were interpolated"):
        scenes_for(DataSettings(source="scenarios", path=str(file)))


def test_a_csv_may_order_its_columns_and_name_scenes_and_kinds(tmp_path):
    file = tmp_path / "a.csv"
    rows = [f"{k},{0.5 * k},car,north,7,vehicle" for k in range(20)]
    rows += [f"{k},{-0.5 * k},walker,south,1,Pedestrian" for k in range(20)]
    file.write_text("\n".join(["Frame, x, id, scene, y, kind", *rows]), encoding="utf-8")
    north, south = read_recordings(file)
    assert (north.name, south.name) == ("north", "south")
    assert [r.tracks[0].kind for r in (north, south)] == [1, 0]
    np.testing.assert_allclose(north.tracks[0].positions[3], [1.5, 7.0])


def test_a_csv_without_scenes_is_one_recording_and_its_gaps_are_filled(tmp_path):
    rows = ["y,x,id,frame"]
    rows += [f"{0.1 * k:.2f},{0.5 * k:.2f},p1,{2 * k}" for k in range(60) if k not in (9, 10, 30)]
    rows += [f"3.0,{-0.4 * k:.2f},p2,{2 * k}" for k in reversed(range(60))]
    file = tmp_path / "yard.csv"
    file.write_text("\n".join(rows), encoding="utf-8")
    (recording,) = read_recordings(file)
    assert (recording.name, recording.filled, recording.cut) == ("yard", 3, 0)
    options = {"agents": 3, "mirror": False}
    data = DataSettings(source="scenarios", path=str(file), heldout=0.4, options=options)
    with pytest.warns(Notice, match="3 positions were interpolated"):
        splits = load(data)
    train, heldout = splits.train.conditions["past"].values, splits.heldout.conditions["past"].values
    assert (train.shape[1:], len(train), heldout.shape[1:]) == ((3, 8, 2), 17, (3, 8, 2))
    first = train[2, 0]  # the window that starts in the third frame: k = 2 to 9, of which 9 was a gap
    np.testing.assert_allclose(first[:, 0], 0.5 * np.arange(2, 10), atol=1e-5)
    np.testing.assert_allclose(first[:, 1], 0.1 * np.arange(2, 10), atol=1e-5)
    assert np.isnan(train[:, 2]).all()


def test_everyone_of_a_large_window_is_in_one_neighbourhood():
    places = np.random.default_rng(0).normal(size=(37, 2))
    groups = neighbourhoods(places, 8)
    assert sorted(np.concatenate(groups).tolist()) == list(range(37))
    assert max(map(len, groups)) <= 8
    assert min(map(len, groups)) >= 4


def test_neighbourhoods_split_the_widest_axis():
    places = np.array([[0.0, 0.0], [10.0, 0.1], [0.2, 0.3], [10.1, 0.4]])
    assert [sorted(g.tolist()) for g in neighbourhoods(places, 2)] in ([[0, 2], [1, 3]], [[1, 3], [0, 2]])


def test_the_end_of_a_recording_is_held_out_without_overlap(tmp_path):
    write(tmp_path / "a.txt", {i: range(400) for i in range(1, 30)})
    train, heldout = scenes_for(DataSettings(source="scenarios", path=str(tmp_path)))
    assert np.nanmax(train.tracks[..., 0]) == 0.5 * 359
    assert np.nanmin(heldout.tracks[..., 0]) == 0.5 * 360
    assert (train.present.sum(), heldout.present.sum()) == (29 * 341, 29 * 21)


def test_a_recording_is_held_out_by_name(tmp_path):
    write(tmp_path / "crowds_zara01.txt", {1: range(22)})
    write(tmp_path / "other.txt", {1: range(30)})
    data = DataSettings(source="scenarios", path=str(tmp_path), options={"heldout": "zara1", "mirror": False})
    splits = load(data)
    assert (len(splits.train), len(splits.heldout)) == (11, 3)
    mirrored = load(data.model_copy(update={"options": {"heldout": "zara1"}}))
    assert len(mirrored.train) == 22


@pytest.mark.parametrize(
    ("text", "name", "sentence"),
    [
        ("0 1 2.0\n", "a.txt", "a.txt, line 1: a row is frame id x y, but it has 3 values"),
        ("0 1 2.0 far\n", "a.txt", "line 1: 'far' is not a number"),
        ("\n", "a.txt", "holds no tracks"),
        ("0 1 2 3\n0 1 2 4\n", "a.txt", "agent 1 has two positions in frame 0"),
        ("frame,id,x\n0,1,2\n", "a.csv", "has no column 'y'"),
        ("frame,id,x,y\n0,1,,2\n", "a.csv", "line 2: '' is not a number"),
        ("frame,id,x,y,kind\n0,1,1,2,tram\n", "a.csv", "pedestrian or vehicle, got 'tram'"),
    ],
)
def test_bad_files_are_one_sentence(tmp_path, text, name, sentence):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=sentence):
        read_recordings(tmp_path / name)


def test_an_end_too_short_to_hold_out_is_said(tmp_path):
    file = write(tmp_path / "a.txt", {1: range(60)})
    with pytest.raises(ValueError, match=r"in the held-out part.*larger data\.heldout than 0\.1"):
        scenes_for(DataSettings(source="scenarios", path=str(file)))


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file or folder"):
        read_recordings(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="holds no tracks"):
        read_recordings(tmp_path)
    recordings = read_recordings(write(tmp_path / "a.txt", {1: range(9)}))
    with pytest.raises(ValueError, match="no agent is seen long enough"):
        scenes_of(recordings)
    with pytest.raises(ValueError, match="there is no recording 'zara9'; there are a"):
        split_recordings(recordings, "zara9", ALIASES)
    with pytest.raises(ValueError, match="the only recording"):
        split_recordings(recordings, "a")
    with pytest.raises(ValueError, match="give a folder"):
        scenes_for(settings().data)
    with pytest.raises(ValueError, match="did you mean 'heldout'"):
        scenes_for(DataSettings(source="scenarios", path=str(tmp_path), options={"held": "a"}))


@needs_eth_ucy
def test_zara1_has_the_pedestrians_of_the_protocol():
    recordings = read_recordings(ETH_UCY)
    assert len(recordings) == 8  # SOURCE.txt is no recording
    _, heldout = split_recordings(recordings, "zara1", ALIASES)
    counts = windows(heldout[0]).present.sum(axis=1)
    # Gupta et al. 2018 leave windows of a single pedestrian out, and have 2253 pedestrians in 602 windows.
    assert (counts[counts > 1].sum(), (counts > 1).sum()) == (2253, 602)
    assert (counts.sum(), len(counts)) == (2356, 705)


def test_a_frame_between_two_is_not_moved_to_either(tmp_path):
    file = write(tmp_path / "a.txt", {1: range(10)})
    file.write_text(file.read_text() + "14\t2\t0.0\t0.0\n")
    with pytest.raises(ValueError, match="frames are 10 apart, but frame 14 lies between two"):
        read_recordings(file)


@pytest.mark.parametrize("row", ["0,1,0.5", "0"])
def test_a_row_that_is_cut_short_is_said(tmp_path, row):
    file = tmp_path / "a.csv"
    file.write_text(f"frame,x,y,id,kind\n0,1.0,2.0,7,pedestrian\n{row}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"line 3: the row has fewer values"):
        read_recordings(file)


def test_a_file_that_is_no_text_is_said(tmp_path):
    file = tmp_path / "a.csv"
    file.write_bytes(b"frame,x,y,id\n\xff\xfe,1,2,3\n")
    with pytest.raises(ValueError, match="is not a number"):
        read_recordings(file)


def test_a_cell_that_is_far_too_long_and_an_agent_of_two_kinds_are_one_sentence(tmp_path):
    header = "frame,id,x,y,kind\n"
    (tmp_path / "long.csv").write_text(header + f"0,1,0,0,{'p' * 200_000}\n")
    with pytest.raises(ValueError, match=r"long\.csv cannot be read as CSV \(field larger than"):
        read_recordings(tmp_path / "long.csv")
    (tmp_path / "two.csv").write_text(header + "0,1,0,0,pedestrian\n1,1,0,0,vehicle\n")
    with pytest.raises(ValueError, match="two: an agent is pedestrian and vehicle at once"):
        read_recordings(tmp_path / "two.csv")


def test_windows_know_the_stretch_they_begin_in(tmp_path):
    """Windows of 20 frames: those that begin within the same 20 are one stretch, in each recording."""
    for name, people in (("a", 1), ("b", 15)):
        rows = [f"{f} {p} {f} {p}" for f in range(50) for p in range(people)]
        (tmp_path / f"{name}.txt").write_text("\n".join(rows))
    a, b = (windows(r, past=8, future=12, agents=12) for r in read_recordings(tmp_path))
    assert np.unique(a.stretches, return_counts=True)[1].tolist() == [20, 11]
    assert np.unique(b.stretches, return_counts=True)[1].tolist() == [40, 22]  # two neighbourhoods a window
    both = join([a, b, a.mirrored()])
    assert np.unique(both.stretches, return_counts=True)[1].tolist() == [20, 11, 40, 22, 20, 11]
    assert np.array_equal(both.take(slice(40, 60)).stretches, both.stretches[40:60])
    assert np.array_equal(simulate(3, seed=0).stretches, [0, 1, 2])
    with pytest.raises(ValueError, match=r"a start for each of 31 scenes, got shape \(2,\)"):
        replace(a, start=np.arange(2))
