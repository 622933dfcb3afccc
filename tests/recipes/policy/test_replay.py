"""Demonstrations from files: each format is written by its own library and read back exactly."""

import io
import json
import sys

import numpy as np
import pytest

from unstir.notice import Notice
from unstir.recipes.policy.keys import ReplaySettings
from unstir.recipes.policy.pictures import as_pictures
from unstir.recipes.policy.replay import read_episodes

ENDS = np.array([5, 9, 16])
STEPS = int(ENDS[-1])
RNG = np.random.default_rng(0)
STATES = RNG.normal(size=(STEPS, 5)).astype(np.float32)
ACTIONS = RNG.normal(size=(STEPS, 2)).astype(np.float32)
PICTURES = RNG.integers(0, 256, (STEPS, 16, 16, 3), dtype=np.uint8)
EPISODES = np.searchsorted(ENDS, np.arange(STEPS), side="right")
FRAMES = np.arange(STEPS) - np.concatenate([[0], ENDS[:-1]])[EPISODES]


def check(found, *, states=STATES, actions=ACTIONS, ends=ENDS, pictures=None):
    assert np.array_equal(found.observations, states)
    assert np.array_equal(found.actions, actions)
    assert np.array_equal(found.ends, ends)
    if pictures is None:
        assert found.images is None
    else:
        assert np.array_equal(found.images[:], pictures.transpose(0, 3, 1, 2))


# Diffusion Policy's zarr


def write_zarr(store, version=2, **changes):
    import zarr

    root = zarr.open_group(store, mode="w", zarr_format=version)
    arrays = {"data/state": STATES, "data/action": ACTIONS, "data/img": PICTURES.astype(np.float32)}
    for name, values in {**arrays, "meta/episode_ends": ENDS, **changes}.items():
        if values is not None:
            root.create_array(name, data=values, chunks=(7, *values.shape[1:]))
    return store


@pytest.mark.parametrize("version", [2, 3])
def test_a_zarr_replay_buffer_is_read_back(tmp_path, version):
    path = write_zarr(tmp_path / "buffer.zarr", version)
    check(read_episodes(path))
    check(read_episodes(path, ReplaySettings(image="img")), pictures=PICTURES)


def test_a_zipped_one_is_read_back(tmp_path):
    from zarr.storage import ZipStore

    path = tmp_path / "buffer.zarr.zip"
    with ZipStore(path, mode="w") as store:
        write_zarr(store)
    check(read_episodes(path, ReplaySettings(image="img")), pictures=PICTURES)


def test_a_store_as_zarr_2_wrote_it_on_disk_is_read_back(tmp_path):
    """Files by hand: version 2 of the format, Blosc as zarr 2 chose by default, one chunk an array."""
    from numcodecs import Blosc

    codec = Blosc(cname="lz4", clevel=5, shuffle=1, blocksize=0)
    root = tmp_path / "old.zarr"
    arrays = {"data/state": STATES, "data/action": ACTIONS, "meta/episode_ends": ENDS.astype(np.int64)}
    for group in (root, root / "data", root / "meta"):
        group.mkdir(parents=True, exist_ok=True)
        (group / ".zgroup").write_text(json.dumps({"zarr_format": 2}))
    for name, values in arrays.items():
        (root / name).mkdir()
        header = {
            "chunks": values.shape, "compressor": codec.get_config(), "dtype": values.dtype.str,
            "fill_value": 0, "filters": None, "order": "C", "shape": values.shape, "zarr_format": 2,
        }  # fmt: skip
        (root / name / ".zarray").write_text(json.dumps(header))
        (root / name / ".".join("0" * values.ndim)).write_bytes(codec.encode(values))
    check(read_episodes(root))


def test_only_some_episodes_dimensions_and_a_smaller_picture(tmp_path):
    path = write_zarr(tmp_path / "buffer.zarr")
    settings = ReplaySettings(image="img", image_size=(8, 8), dimensions=2, episodes=2)
    found = read_episodes(path, settings)
    averaged = PICTURES[:9].reshape(9, 8, 2, 8, 2, 3).astype(np.float64).mean((2, 4))
    assert np.array_equal(found.observations, STATES[:9, :2])
    assert np.array_equal(found.ends, ENDS[:2])
    # Pillow averages one axis after the other and rounds each time, so by at most 1 together.
    assert np.abs(found.images.transpose(0, 2, 3, 1) - averaged).max() <= 1.0


def test_pictures_from_zero_to_one_are_read_too(tmp_path):
    path = write_zarr(tmp_path / "buffer.zarr", **{"data/img": PICTURES.astype(np.float32) / 255})
    with pytest.warns(Notice, match="they are read as from 0 to 1"):
        check(read_episodes(path, ReplaySettings(image="img")), pictures=PICTURES)


def test_several_observations_are_joined(tmp_path):
    path = write_zarr(tmp_path / "buffer.zarr", **{"data/keypoint": STATES.reshape(STEPS, 5, 1)[:, :4]})
    found = read_episodes(path, ReplaySettings(state=("keypoint", "state")))
    assert np.array_equal(found.observations, np.concatenate([STATES[:, :4], STATES], axis=1))


# LeRobot

FEATURES = {
    "observation.state": {"dtype": "float32", "shape": [5]},
    "action": {"dtype": "float32", "shape": [2]},
    "observation.image": {"dtype": "image", "shape": [16, 16, 3]},
    "next.success": {"dtype": "bool", "shape": [1]},
}
VIDEO = {**FEATURES, "observation.image": {"dtype": "video", "shape": [16, 16, 3]}}


def png(picture):
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


def table(rows, *, pictures=True):
    import pyarrow as pa

    columns = {
        "observation.state": pa.array(list(STATES[rows]), pa.list_(pa.float32())),
        "action": pa.array(list(ACTIONS[rows]), pa.list_(pa.float32(), 2)),
        "episode_index": EPISODES[rows],
        "frame_index": FRAMES[rows],
        "timestamp": (FRAMES[rows] / 10).astype(np.float32),
        "next.success": (EPISODES[rows] == 1) & (FRAMES[rows] == 3),
    }
    if pictures:
        columns["observation.image"] = [png(picture) for picture in PICTURES[rows]]
    return pa.table(columns)


def write_info(root, features, **more):
    (root / "meta").mkdir(parents=True)
    info = {"codebase_version": "v2.1", "fps": 10, "chunks_size": 1000, "features": features, **more}
    (root / "meta" / "info.json").write_text(json.dumps(info))


def write_table(root, name, content):
    import pyarrow.parquet as pq

    (root / name).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(content, root / name)


def write_video(path, pictures):
    import imageio_ffmpeg

    path.parent.mkdir(parents=True, exist_ok=True)
    writer = imageio_ffmpeg.write_frames(
        str(path), (16, 16), fps=10, codec="libx264rgb", pix_fmt_out="rgb24", quality=None,
        output_params=["-crf", "0", "-g", "4"],
    )  # fmt: skip
    writer.send(None)
    for picture in pictures:
        writer.send(np.ascontiguousarray(picture))
    writer.close()


@pytest.fixture
def lerobot2(tmp_path):
    root = tmp_path / "v2"
    write_info(root, FEATURES)
    for episode in range(3):
        rows = np.flatnonzero(episode == EPISODES)
        write_table(root, f"data/chunk-000/episode_{episode:06d}.parquet", table(rows))
    return root


@pytest.fixture
def lerobot3(tmp_path):
    """Two files, the second with the first episodes and its rows in disorder."""
    root = tmp_path / "v3"
    write_info(root, FEATURES, codebase_version="v3.0")
    write_table(root, "data/chunk-000/file-000.parquet", table(np.arange(9, 16)))
    write_table(root, "data/chunk-000/file-001.parquet", table(np.array([5, 8, 7, 6, 4, 3, 2, 0, 1])))
    return root


@pytest.mark.parametrize("version", ["lerobot2", "lerobot3"])
def test_a_lerobot_dataset_is_read_back(request, version):
    path = request.getfixturevalue(version)
    found = read_episodes(path)
    check(found)
    assert found.success.tolist() == [False, True, False]
    check(read_episodes(path, ReplaySettings(image="observation.image")), pictures=PICTURES)
    check(
        read_episodes(path, ReplaySettings(episodes=1)), states=STATES[:5], actions=ACTIONS[:5], ends=ENDS[:1]
    )


def test_videos_of_one_episode_each_are_read_back(tmp_path):
    template = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
    write_info(tmp_path / "d", VIDEO, video_path=template)
    write_table(
        tmp_path / "d", "data/chunk-000/episode_000000.parquet", table(np.arange(STEPS), pictures=False)
    )
    for episode in range(3):
        file = f"videos/chunk-000/observation.image/episode_{episode:06d}.mp4"
        write_video(tmp_path / "d" / file, PICTURES[episode == EPISODES])
    check(read_episodes(tmp_path / "d", ReplaySettings(image="observation.image")), pictures=PICTURES)


def video3(root, *, written=9):
    """Version 3: two episodes in the first file, one in the second."""
    import pyarrow as pa

    name = "observation.image"
    write_info(root, VIDEO, codebase_version="v3.0")
    write_table(root, "data/chunk-000/file-000.parquet", table(np.arange(STEPS), pictures=False))
    places = {
        "episode_index": [0, 1, 2],
        f"videos/{name}/chunk_index": [0, 0, 0],
        f"videos/{name}/file_index": [0, 0, 1],
        f"videos/{name}/from_timestamp": [0.0, 0.5, 0.0],
    }
    write_table(root, "meta/episodes/chunk-000/file-000.parquet", pa.table(places))
    write_video(root / f"videos/{name}/chunk-000/file-000.mp4", PICTURES[:written])
    write_video(root / f"videos/{name}/chunk-000/file-001.mp4", PICTURES[9:])
    return root


def test_videos_that_episodes_share_are_read_back(tmp_path):
    found = read_episodes(video3(tmp_path / "d"), ReplaySettings(image="observation.image"))
    check(found, pictures=PICTURES)


def test_a_video_that_is_short_missing_or_damaged_is_one_sentence(tmp_path):
    settings = ReplaySettings(image="observation.image")
    with pytest.raises(ValueError, match=r"ends after 7 frames, but its episodes have 9"):
        read_episodes(video3(tmp_path / "short", written=7), settings)
    root = video3(tmp_path / "d")
    file = root / "videos/observation.image/chunk-000/file-001.mp4"
    file.write_bytes(b"no video at all")
    with pytest.raises(ValueError, match=r"file-001\.mp4 cannot be decoded as a video"):
        read_episodes(root, settings)
    file.unlink()
    with pytest.raises(ValueError, match=r"there is no video .*file-001\.mp4"):
        read_episodes(root, settings)


def test_a_missing_frame_is_named(tmp_path):
    write_info(tmp_path / "d", FEATURES)
    rows = np.delete(np.arange(STEPS), 7)
    write_table(tmp_path / "d", "data/chunk-000/episode_000000.parquet", table(rows, pictures=False))
    with pytest.raises(ValueError, match=r"episode 1 .* has frame 3 where frame 2 is due"):
        read_episodes(tmp_path / "d")


def test_rows_of_different_lengths_and_empty_cells_are_named(tmp_path):
    import pyarrow as pa

    write_info(tmp_path / "d", FEATURES)
    content = table(np.arange(STEPS), pictures=False)
    place = content.schema.get_field_index("observation.state")
    for cells, message in (
        ([[1.0]] + [[1.0, 2.0]] * (STEPS - 1), "rows of different lengths, 1 to 2"),
        ([None] + [[1.0, 2.0]] * (STEPS - 1), "has no value at 1 of 16 steps"),
    ):
        column = pa.array(cells, pa.list_(pa.float32()))
        changed = content.set_column(place, "observation.state", column)
        write_table(tmp_path / "d", "data/chunk-000/episode_000000.parquet", changed)
        with pytest.raises(ValueError, match=message):
            read_episodes(tmp_path / "d")


# Minari


def write_minari(path, *, grouped=True, extra=1, success=True):
    import h5py

    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for number, (start, end) in enumerate(zip([0, *ENDS[:-1]], ENDS, strict=True)):
            episode = file.create_group(f"episode_{number}")
            episode["actions"] = ACTIONS[start:end]
            after = np.zeros((extra, 5), np.float32)
            states = np.concatenate([STATES[start:end], after])
            if grouped:
                episode["observations/observation"] = states[:, :3]
                episode["observations/achieved_goal"] = states[:, :2]
                episode["observations/desired_goal"] = states[:, 3:]
                rows = np.concatenate([PICTURES[start:end], PICTURES[:extra]])
                episode["observations/camera"] = rows
            else:
                episode["observations"] = states
            if success:
                episode["infos/success"] = np.arange(end - start + 1) == (end - start if number else 99)
    return path


def test_a_minari_dataset_is_read_back(tmp_path):
    path = write_minari(tmp_path / "data" / "main_data.hdf5")
    found = read_episodes(path, ReplaySettings(image="camera"))
    check(found, pictures=PICTURES)
    assert found.success.tolist() == [False, True, True]
    check(read_episodes(tmp_path))
    named = read_episodes(path, ReplaySettings(state="achieved_goal"))
    assert np.array_equal(named.observations, STATES[:, :2])


def test_observations_that_are_one_array_are_read_back(tmp_path):
    path = write_minari(tmp_path / "main_data.hdf5", grouped=False, success=False)
    found = read_episodes(path)
    check(found)
    assert found.success is None


def test_episodes_are_in_the_order_of_their_numbers(tmp_path):
    import h5py

    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        for number in range(12):
            file[f"episode_{number}/actions"] = np.full((2, 1), number, np.float32)
            file[f"episode_{number}/observations"] = np.zeros((3, 1), np.float32)
    assert read_episodes(tmp_path / "x.hdf5").actions[::2, 0].tolist() == list(range(12))


def test_a_minari_episode_of_the_wrong_length_is_named(tmp_path):
    path = write_minari(tmp_path / "main_data.hdf5", grouped=False, extra=3)
    with pytest.raises(ValueError, match=r"episode_0 of .* has 5 actions and 8 observations"):
        read_episodes(path)


# Any program's


def test_an_npz_is_read_back(tmp_path):
    np.savez(tmp_path / "x.npz", observations=STATES, actions=ACTIONS, ends=ENDS, images=PICTURES)
    check(read_episodes(tmp_path / "x.npz"))
    check(read_episodes(tmp_path / "x.npz", ReplaySettings(image="images")), pictures=PICTURES)
    two = ReplaySettings(episodes=2)
    check(read_episodes(tmp_path / "x.npz", two), states=STATES[:9], actions=ACTIONS[:9], ends=ENDS[:2])


# What goes wrong


def test_nothing_there_and_an_unknown_format_are_one_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file or folder"):
        read_episodes(tmp_path / "nothing")
    (tmp_path / "notes.txt").write_text("hello")
    for path in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(ValueError, match="no demonstrations in a known format: expected a zarr replay"):
            read_episodes(path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"state": "stat"},
            r"has no state named 'stat'; did you mean 'state'\? \(set data\.options\.state\)",
        ),
        ({"action": "acton"}, r"has no action named 'acton'; did you mean 'action'\?"),
        ({"image": "imgs"}, r"has no image named 'imgs'; did you mean 'img'\?"),
        ({"dimensions": 6}, "6 dimensions of the observations are asked for, but those in .* have 5"),
    ],
)
def test_a_name_that_is_not_there_is_answered_by_the_nearest(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        read_episodes(write_zarr(tmp_path / "b.zarr"), ReplaySettings(**settings))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data/action": ACTIONS[:-1]}, "there are 15 actions but 16 observations"),
        ({"meta/episode_ends": ENDS[:-1]}, "the last episode ends at step 9, but there are 16 steps"),
        ({"meta/episode_ends": None, "meta/other": ENDS}, "no array meta/episode_ends"),
        ({"meta/episode_ends": None}, "no group 'meta'"),
        (
            {"data/state": np.where(STATES > 1, np.nan, STATES)},
            "observations hold a value that is not finite",
        ),
    ],
)
def test_a_replay_buffer_that_does_not_fit_together_is_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        read_episodes(write_zarr(tmp_path / "b.zarr", **changes))


@pytest.mark.parametrize("name", ["x.npz", "x.hdf5", "x.zarr.zip"])
def test_a_damaged_file_is_one_sentence(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x00" * 64)
    with pytest.raises(ValueError, match=r"cannot be read .* damaged or of another kind"):
        read_episodes(tmp_path / name)


@pytest.mark.parametrize(
    ("module", "library", "name"), [("zarr", "zarr", "b.zarr"), ("h5py", "h5py", "main_data.hdf5")]
)
def test_a_library_that_is_not_installed_is_named_with_its_extra(
    tmp_path, monkeypatch, module, library, name
):
    path = write_zarr(tmp_path / name) if module == "zarr" else write_minari(tmp_path / name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        ModuleNotFoundError, match=rf"needs {library}; install it with: pip install 'unstir\[formats"
    ):
        read_episodes(path)


def test_a_missing_pyarrow_is_named_with_its_extra(lerobot2, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        ModuleNotFoundError, match=r"needs pyarrow; install it with: pip install 'unstir\[formats"
    ):
        read_episodes(lerobot2)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((2, 5, 5, 7), np.uint8), "1, 3 or 4 channels"),
        (np.zeros((2, 5, 5, 3), np.int64), "bytes or floating-point numbers, got int64"),
        (np.full((2, 5, 5, 3), 300.0), "from 0 to 255, but these go from 300 to 300"),
        (np.full((2, 5, 5, 3), np.nan), "from 0 to 255"),
    ],
)
def test_what_is_no_picture_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        as_pictures(values)


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_of_either_layout_are_the_same(channels):
    values = RNG.integers(0, 256, (4, 9, 8, channels), dtype=np.uint8)
    assert np.array_equal(as_pictures(values), as_pictures(values.transpose(0, 3, 1, 2)))
