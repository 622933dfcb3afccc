"""Damaged, incomplete and hostile files of demonstrations: each is one sentence, none is read as whole."""

import json
import pickle
import shutil
import warnings

import numpy as np
import pytest

from tests.recipes.policy.test_replay import (
    ACTIONS,
    ENDS,
    FEATURES,
    PICTURES,
    STATES,
    STEPS,
    VIDEO,
    check,
    table,
    video3,
    write_info,
    write_minari,
    write_table,
    write_video,
    write_zarr,
)
from unstir.notice import Notice
from unstir.recipes.policy.keys import ReplaySettings
from unstir.recipes.policy.pictures import as_pictures
from unstir.recipes.policy.replay import read_episodes

IMAGE = "observation.image"
UNIT = PICTURES.astype(np.float32) / 255
# Pictures whose first half is so dark that by itself it looks like numbers from 0 to 1.
DUSK = np.where(np.arange(STEPS)[:, None, None, None] < 9, PICTURES % 2, PICTURES).astype(np.float32)


def write_npz(path, **changes):
    arrays = {"observations": STATES, "actions": ACTIONS, "ends": ENDS, "images": PICTURES, **changes}
    np.savez(path, **arrays)
    return path


def write_pictures(folder, form, values):
    """Pictures of any range in a file of a format, and the settings that read them."""
    if form == "npz":
        return write_npz(folder / "x.npz", images=values), ReplaySettings(image="images")
    if form == "zarr":
        return write_zarr(folder / "b.zarr", **{"data/img": values}), ReplaySettings(image="img")
    import h5py

    path = write_minari(folder / "main_data.hdf5")
    with h5py.File(path, "a") as file:
        for number, (start, end) in enumerate(zip([0, *ENDS[:-1]], ENDS, strict=True)):
            del file[f"episode_{number}/observations/camera"]
            file[f"episode_{number}/observations/camera"] = values[start:end]
    return path, ReplaySettings(image="camera")


# Pictures from 0 to 1


@pytest.mark.parametrize("form", ["npz", "zarr", "minari"])
def test_pictures_from_zero_to_one_are_read_from_every_format_and_it_is_said(tmp_path, form):
    path, settings = write_pictures(tmp_path, form, UNIT)
    with pytest.warns(Notice, match="largest number in the pictures is 1, so they are read as from 0 to 1"):
        found = read_episodes(path, settings)
    check(found, pictures=PICTURES)


@pytest.mark.parametrize("form", ["npz", "zarr", "minari"])
def test_dark_pictures_first_do_not_decide_for_all(tmp_path, form, monkeypatch):
    monkeypatch.setattr("unstir.recipes.policy.zarr_buffer._ROWS", 4)
    path, settings = write_pictures(tmp_path, form, DUSK)
    with warnings.catch_warnings():
        warnings.simplefilter("error", Notice)
        found = read_episodes(path, settings)
    check(found, pictures=DUSK)


def test_black_pictures_and_bytes_say_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error", Notice)
        assert as_pictures(np.zeros((2, 4, 4, 3), np.float32)).max() == 0
        assert as_pictures(np.ones((2, 4, 4, 3), np.uint8)).max() == 1


def test_no_pictures_and_pictures_below_zero_are_one_sentence():
    with pytest.raises(ValueError, match=r"there are no pictures: their shape is \(0, 4, 4, 3\)"):
        as_pictures(np.zeros((0, 4, 4, 3), np.float32))
    with (
        pytest.warns(Notice),
        pytest.raises(ValueError, match=r"from 0 to 1, but these go from -0\.5 to 1"),
    ):
        as_pictures(np.linspace(-0.5, 1.0, 48, dtype=np.float32).reshape(1, 4, 4, 3))


# LeRobot: videos and totals


@pytest.mark.parametrize("fps", [None, 0, -10, "ten", float("nan")])
def test_a_shared_video_without_a_frame_rate_is_refused(tmp_path, fps):
    root = video3(tmp_path / "d")
    place = root / "meta" / "info.json"
    info = json.loads(place.read_text())
    place.write_text(json.dumps({**info, "fps": fps}))
    with pytest.raises(ValueError, match=r"fps in .*info\.json is to be a number above 0, but is"):
        read_episodes(root, ReplaySettings(image=IMAGE))


@pytest.mark.parametrize(
    "template",
    [
        "videos/{video_key}.mp4",  # one file for every episode
        "videos/{key}/{episode_index}.mp4",
        "videos/{video_key}/{episode_index:zz}.mp4",
        "videos/{}/{episode_index}.mp4",
        "videos/{video_key}/{file_index}.mp4",
    ],
)
def test_a_video_path_that_names_no_video_is_one_sentence(tmp_path, template):
    root = video3(tmp_path / "d")
    place = root / "meta" / "info.json"
    place.write_text(json.dumps({**json.loads(place.read_text()), "video_path": template}))
    with pytest.raises(ValueError, match=r"video_path .* does not name a video by video_key"):
        read_episodes(root, ReplaySettings(image=IMAGE))


def lerobot(root, episodes=(0, 1, 2), **more):
    """A dataset in files of one episode each, of which only some are there."""
    write_info(root, FEATURES, **more)
    for number in episodes:
        rows = np.arange(*([0, *ENDS][number : number + 2]))
        name = f"data/chunk-000/episode_{number:06d}.parquet"
        write_table(root, name, table(rows, pictures=False))
    return root


def test_a_dataset_that_is_downloaded_in_part_is_refused(tmp_path):
    totals = {"total_episodes": 3, "total_frames": STEPS}
    check(read_episodes(lerobot(tmp_path / "whole", **totals)))
    path = lerobot(tmp_path / "part", (0, 1), **totals)
    with pytest.raises(ValueError, match=r"holds 2 episodes, but its meta/info\.json says 3; is the dataset"):
        read_episodes(path)
    # Who asks for what is there gets it, and no more.
    check(
        read_episodes(path, ReplaySettings(episodes=2)), states=STATES[:9], actions=ACTIONS[:9], ends=ENDS[:2]
    )
    with pytest.raises(ValueError, match="holds 2 episodes"):
        read_episodes(path, ReplaySettings(episodes=3))
    with pytest.raises(ValueError, match="holds 2 episodes"):  # the first two are not these
        read_episodes(lerobot(tmp_path / "later", (1, 2), **totals), ReplaySettings(episodes=2))


def test_frames_that_are_missing_at_the_end_are_noticed(tmp_path):
    root = lerobot(tmp_path / "d", (0, 1), total_episodes=3, total_frames=STEPS)
    write_table(root, "data/chunk-000/episode_000002.parquet", table(np.arange(9, 14), pictures=False))
    with pytest.raises(ValueError, match=r"holds 14 frames, but its meta/info\.json says 16"):
        read_episodes(root)


def test_a_total_that_is_no_number_is_one_sentence(tmp_path):
    with pytest.raises(ValueError, match=r"total_frames in .* is to be a whole number, not 'many'"):
        read_episodes(lerobot(tmp_path / "d", total_frames="many"))


def test_a_feature_that_is_no_mapping_is_no_picture(tmp_path):
    root = tmp_path / "d"
    write_info(root, {**FEATURES, "odd": "float32"})
    write_table(root, "data/chunk-000/episode_000000.parquet", table(np.arange(STEPS)))
    check(read_episodes(root, ReplaySettings(image=IMAGE)), pictures=PICTURES)
    with pytest.raises(ValueError, match="no image named 'odd'"):
        read_episodes(root, ReplaySettings(image="odd"))


def test_tables_of_different_types_are_one_sentence(tmp_path):
    import pyarrow as pa

    root = lerobot(tmp_path / "d", (0, 1))
    content = table(np.arange(9, 16), pictures=False)
    place = content.schema.get_field_index("action")
    words = content.set_column(place, "action", pa.array(["left"] * 7))
    write_table(root, "data/chunk-000/episode_000002.parquet", words)
    with pytest.raises(ValueError, match=r"data cannot be read .* damaged or of another kind"):
        read_episodes(root)


def test_an_index_that_is_no_number_is_one_sentence(tmp_path):
    import pyarrow as pa

    content = table(np.arange(STEPS), pictures=False)
    place = content.schema.get_field_index("episode_index")
    write_info(tmp_path / "d", FEATURES)
    for cells in (["first"] * STEPS, [None] * 5 + [0] * 11):
        changed = content.set_column(place, "episode_index", pa.array(cells))
        write_table(tmp_path / "d", "data/chunk-000/episode_000000.parquet", changed)
        with pytest.raises(ValueError, match=r"'episode_index' in .* is to be a whole number at each step"):
            read_episodes(tmp_path / "d")


def test_a_video_of_one_episode_needs_no_frame_rate(tmp_path):
    """In version 2 a video begins where its episode does."""
    template = "videos/{video_key}/{episode_index}.mp4"
    write_info(tmp_path / "d", VIDEO, video_path=template, fps=None)
    write_table(tmp_path / "d", "data/chunk-000/a.parquet", table(np.arange(5), pictures=False))
    write_video(tmp_path / "d" / "videos" / IMAGE / "0.mp4", PICTURES[:5])
    found = read_episodes(tmp_path / "d", ReplaySettings(image=IMAGE))
    check(found, states=STATES[:5], actions=ACTIONS[:5], ends=ENDS[:1], pictures=PICTURES[:5])


# zarr: missing chunks, hostile codecs, odd stores


@pytest.mark.parametrize(("version", "chunk"), [(2, "1.0"), (3, "c/1/0")])
def test_a_chunk_that_is_not_stored_is_said(tmp_path, version, chunk):
    path = write_zarr(tmp_path / "b.zarr", version)
    with warnings.catch_warnings():
        warnings.simplefilter("error", Notice)
        read_episodes(path)
    (path / "data" / "action" / chunk).unlink()
    with pytest.warns(Notice, match=r"1 of the 3 chunks of 'data/action' in .* are not stored and are read"):
        found = read_episodes(path)
    assert (found.actions[7:14] == 0).all()


class Trap:
    """Unpickling it writes a file."""

    def __init__(self, place):
        self.place = str(place)

    def __reduce__(self):
        return open, (self.place, "w")


HEADERS = {
    "filter": {"filters": [{"id": "pickle", "protocol": 5}]},
    "compressor": {"compressor": {"id": "pickle", "protocol": 5}},
    "objects": {"dtype": "|O", "filters": [{"id": "pickle", "protocol": 5}]},
    "inner": {"filters": [{"id": "chain", "codecs": [{"id": "Pickle"}]}]},
}


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("kind", HEADERS)
def test_a_codec_that_unpickles_is_refused_before_anything_is_read(tmp_path, kind, zipped):
    path = write_zarr(tmp_path / "b.zarr")
    place = path / "data" / "action"
    header = json.loads((place / ".zarray").read_text())
    (place / ".zarray").write_text(json.dumps({**header, "compressor": None, **HEADERS[kind]}))
    for chunk in ("0.0", "1.0", "2.0"):
        (place / chunk).write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    if zipped:
        path = shutil.make_archive(str(path), "zip", path)
    with pytest.raises(ValueError, match=r"'data/action' in .* is kept with the codec pickle, which could"):
        read_episodes(path)
    assert not (tmp_path / "sprung").exists()


def test_a_codec_of_version_3_that_unpickles_is_refused(tmp_path):
    path = write_zarr(tmp_path / "b.zarr", 3)
    place = path / "data" / "action" / "zarr.json"
    header = json.loads(place.read_text())
    header["codecs"] = [{"name": "numcodecs.pickle", "configuration": {}}]
    place.write_text(json.dumps(header))
    with pytest.raises(ValueError, match="kept with the codec pickle"):
        read_episodes(path)


@pytest.mark.parametrize("dtype", ["|O", "<U4", "<c8", [["a", "<f4"]], "nonsense"])
def test_an_array_of_other_than_numbers_is_refused_by_its_header(tmp_path, dtype):
    path = write_zarr(tmp_path / "b.zarr")
    place = path / "data" / "state" / ".zarray"
    place.write_text(json.dumps({**json.loads(place.read_text()), "dtype": dtype}))
    with pytest.raises(ValueError, match=r"'data/state' in .* holds .*; expected real numbers"):
        read_episodes(path)


def test_an_array_with_two_headers_is_refused(tmp_path):
    """Else the harmless one could be checked and the other one followed."""
    path = write_zarr(tmp_path / "b.zarr")
    other = write_zarr(tmp_path / "c.zarr", 3)
    shutil.copy(other / "data" / "action" / "zarr.json", path / "data" / "action")
    with pytest.raises(ValueError, match="'data/action' has two headers"):
        read_episodes(path)


def test_odd_stores_are_one_sentence(tmp_path):
    import zarr

    path = tmp_path / "array.zarr"
    root = zarr.open_group(path, mode="w", zarr_format=2)
    root.create_array("data", data=STATES)
    root.create_array("meta/episode_ends", data=ENDS)
    with pytest.raises(ValueError, match="no group 'data' with arrays"):
        read_episodes(path)
    path = write_zarr(tmp_path / "group.zarr")
    (path / ".zgroup").write_text("{no json")
    with pytest.raises(ValueError, match=r"group\.zarr cannot be read .* damaged or of another kind"):
        read_episodes(path)
    path = write_zarr(tmp_path / "chunk.zarr")
    (path / "data" / "state" / "0.0").write_bytes(b"no blosc")
    with pytest.raises(ValueError, match=r"chunk\.zarr cannot be read .* damaged or of another kind"):
        read_episodes(path)


# .npz and ends


@pytest.mark.parametrize(
    "ends",
    [ENDS[:, None], np.int64(16), np.array(["5", "9", "16"]), np.array([3.7, 9.0, 16.0]), ENDS[:0]],
)
@pytest.mark.parametrize("limit", [None, 2])
def test_ends_that_are_no_whole_numbers_are_refused_and_not_cut(tmp_path, ends, limit):
    path = write_npz(tmp_path / "x.npz", ends=ends)
    with pytest.raises(ValueError, match="ends are whole numbers, one for each episode"):
        read_episodes(path, ReplaySettings(episodes=limit))


def test_unsigned_ends_that_fall_are_refused(tmp_path):
    path = write_npz(tmp_path / "x.npz", ends=np.array([9, 5, 16], np.uint64))
    with pytest.raises(ValueError, match="the ends of the episodes rise"):
        read_episodes(path)
    check(read_episodes(write_npz(tmp_path / "y.npz", ends=ENDS.astype(np.uint8))))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"actions": np.float32(1.0)}, r"'actions' in .* holds float32 of shape \(\); expected real numbers"),
        ({"actions": ACTIONS.astype(np.complex64)}, "'actions' in .* holds complex64"),
        ({"observations": np.array([None] * STEPS)}, "cannot be read .* damaged or of another kind"),
        ({"images": PICTURES[:0]}, "there are no pictures"),
    ],
)
def test_an_npz_of_odd_arrays_is_one_sentence(tmp_path, changes, message):
    path = write_npz(tmp_path / "x.npz", **changes)
    with pytest.raises(ValueError, match=message):
        read_episodes(path, ReplaySettings(image="images"))


def test_an_array_that_is_not_asked_for_does_not_matter(tmp_path):
    check(read_episodes(write_npz(tmp_path / "x.npz", notes=np.array([None, "x"]))))


def test_an_npy_named_npz_is_one_sentence(tmp_path):
    with (tmp_path / "x.npz").open("wb") as file:
        np.save(file, STATES)
    with pytest.raises(ValueError, match=r"cannot be read .* damaged or of another kind"):
        read_episodes(tmp_path / "x.npz")


# Minari


def test_a_damaged_chunk_of_hdf5_is_one_sentence(tmp_path):
    import h5py

    path = tmp_path / "main_data.hdf5"
    values = np.random.default_rng(0).normal(size=(64, 5)).astype(np.float32)
    with h5py.File(path, "w") as file:
        group = file.create_group("episode_0")
        group["actions"] = np.zeros((64, 2), np.float32)
        group.create_dataset("observations", data=values, chunks=(64, 5), fletcher32=True)
        where = group["observations"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[where.byte_offset + 100] ^= 255
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"main_data\.hdf5 cannot be read .* damaged or of another kind"):
        read_episodes(path)


def test_an_episode_that_is_an_array_is_none(tmp_path):
    import h5py

    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        file["episode_0"] = np.zeros(3)
    with pytest.raises(ValueError, match="no groups episode_0"):
        read_episodes(tmp_path / "x.hdf5")


def nested(path, **changes):
    import h5py

    arrays = {
        "actions": ACTIONS,
        "observations/arm/joints": STATES[:, :3],
        "observations/arm/hand/force": STATES[:, 3:],
        **changes,
    }
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            if values is not None:
                file[f"episode_0/{name}"] = values
    return path


def test_observations_in_groups_of_groups_are_read_by_their_paths(tmp_path):
    path = nested(tmp_path / "x.hdf5")
    found = read_episodes(path, ReplaySettings(state=("arm/joints", "arm/hand/force")))
    check(found, ends=ENDS[-1:])
    other = read_episodes(path)  # all of them, in the order of their names
    assert np.array_equal(other.observations, np.concatenate([STATES[:, 3:], STATES[:, :3]], axis=1))


def test_actions_in_a_group_are_named_with_what_it_holds(tmp_path):
    groups = {"actions": None, "actions/hand": ACTIONS, "actions/foot": ACTIONS}
    path = nested(tmp_path / "x.hdf5", **groups)
    with pytest.raises(ValueError, match=r"is a group \(actions/foot, actions/hand\); set data"):
        read_episodes(path)
    assert np.array_equal(read_episodes(path, ReplaySettings(action="actions/hand")).actions, ACTIONS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"actions": ACTIONS[:0], "observations/arm/joints": STATES[:1, :3]}, "episode_0 of .* has no steps"),
        ({"actions": np.float32(0.0)}, r"holds float32 of shape \(\); expected real numbers"),
        ({"observations/camera": PICTURES[:4]}, r"has 16 actions, but 'camera' has shape \(4, 16, 16, 3\)"),
    ],
)
def test_an_odd_episode_is_one_sentence(tmp_path, changes, message):
    image = "camera" if "observations/camera" in changes else None
    with pytest.raises(ValueError, match=message):
        read_episodes(nested(tmp_path / "x.hdf5", **changes), ReplaySettings(image=image))


@pytest.mark.parametrize("what", ["actions", "observations"])
def test_episodes_of_different_widths_are_one_sentence(tmp_path, what):
    import h5py

    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        for number in range(2):
            for name in ("actions", "observations"):
                width = 2 + number * (name == what)
                file[f"episode_{number}/{name}"] = np.zeros((3, width), np.float32)
    with pytest.raises(ValueError, match=r"the episodes of .* of different sizes, \[2, 3\]"):
        read_episodes(tmp_path / "x.hdf5")


def test_pictures_of_different_sizes_are_one_sentence(tmp_path):
    import h5py

    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        for number in range(2):
            file[f"episode_{number}/actions"] = np.zeros((3, 2), np.float32)
            file[f"episode_{number}/observations/state"] = np.zeros((3, 2), np.float32)
            size = 8 + 2 * number
            file[f"episode_{number}/observations/eye"] = np.zeros((3, size, size, 3), np.uint8)
    with pytest.raises(ValueError, match="the pictures differ in shape"):
        read_episodes(tmp_path / "x.hdf5", ReplaySettings(image="eye"))
    found = read_episodes(tmp_path / "x.hdf5", ReplaySettings(image="eye", image_size=(4, 4)))
    assert found.images.shape == (6, 3, 4, 4)
