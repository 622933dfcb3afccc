"""Idx files, CIFAR's binary records, folders and tar files of images."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile

import numpy as np
import pytest
from PIL import Image

from tests.datasets import ROOT, needs
from unstir.recipes import DataSettings, arrays, load_data
from unstir.recipes.images import read_idx

MNIST = ROOT / "mnist_t10k"


def load(source, path, **values):
    return load_data(DataSettings.model_validate({"source": source, "path": str(path)} | values))


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}i", *array.shape) + array.tobytes()


def write_mnist(folder, prefix, images, labels, *, packed=True):
    folder.mkdir(parents=True, exist_ok=True)
    for stem, array in ((f"{prefix}-images-idx3-ubyte", images), (f"{prefix}-labels-idx1-ubyte", labels)):
        content = idx(array)
        (folder / f"{stem}{'.gz' if packed else ''}").write_bytes(
            gzip.compress(content) if packed else content
        )


def pictures(n=40, shape=(6, 5), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, *shape)).astype(np.uint8)


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("shape", [(7,), (4, 3), (5, 2, 3)])
def test_an_idx_file_comes_back_as_written(shape, packed, tmp_path):
    array = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
    file = tmp_path / ("a-idx" + (".gz" if packed else ""))
    file.write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    np.testing.assert_array_equal(read_idx(file), array)


@pytest.mark.parametrize("packed", [True, False])
def test_a_damaged_idx_file_is_named_in_one_sentence(packed, tmp_path):
    file = tmp_path / ("a-idx" + (".gz" if packed else ""))
    content = idx(pictures())
    wrong_type = content[:2] + b"\x0d" + content[3:]
    harms = [b"", content[:3], content[:6], content[:-1], content + b"x", wrong_type]
    if packed:
        whole = gzip.compress(content)
        flipped = whole[:300] + bytes(255 - b for b in whole[300:310]) + whole[310:]
        harms = [gzip.compress(harm) for harm in harms] + [whole[:50], whole[:-3], flipped, content]
    for harm in harms:
        file.write_bytes(harm)
        with pytest.raises(ValueError) as error:  # noqa: PT011, the sentence is compared below
            read_idx(file)
        assert str(file) in str(error.value), harm[:20]
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("packed", [True, False])
def test_mnist_holds_out_its_own_test_set(packed, tmp_path):
    train, test = pictures(30), pictures(12, seed=1)
    write_mnist(tmp_path, "train", train, np.arange(30, dtype=np.uint8) % 10, packed=packed)
    write_mnist(tmp_path, "t10k", test, np.arange(12, dtype=np.uint8) % 10, packed=packed)
    splits = load("mnist", tmp_path)
    np.testing.assert_array_equal(splits.train.x[:, 0], train)
    np.testing.assert_array_equal(splits.heldout.x[:, 0], test)
    assert splits.heldout.labels.tolist() == [k % 10 for k in range(12)]
    assert splits.classes == tuple("0123456789")
    assert (splits.bounds, splits.integer) == ((0.0, 255.0), True)
    x, _ = splits.train.batch(slice(0, 30))
    np.testing.assert_allclose(x[:, 0].numpy(), train / 127.5 - 1.0, atol=1e-6)
    limited = load("mnist", tmp_path, limit=5)
    assert (len(limited.train), len(limited.heldout)) == (5, 5)


def test_mnist_with_one_set_holds_out_a_share_of_it(tmp_path):
    write_mnist(tmp_path, "t10k", pictures(40), np.arange(40, dtype=np.uint8) % 2)
    splits = load("mnist", tmp_path, heldout=0.25)
    assert (len(splits.train), len(splits.heldout)) == (30, 10)
    assert np.bincount(splits.heldout.labels).tolist() == [5, 5]


def test_mnist_files_that_do_not_belong_together_are_refused(tmp_path):
    write_mnist(tmp_path, "train", pictures(30), np.zeros(29, np.uint8))
    with pytest.raises(ValueError, match="30 train images but 29 labels"):
        load("mnist", tmp_path)
    (tmp_path / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match="holds no pair of idx files"):
        load("mnist", tmp_path)


@needs(MNIST)
def test_the_real_mnist_test_set_loads():
    splits = load("mnist", MNIST)
    assert splits.train.event == (1, 28, 28)
    assert len(splits.train) + len(splits.heldout) == 10_000
    labels = np.concatenate([splits.train.labels, splits.heldout.labels])
    assert np.bincount(labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    zeros, ones = (splits.train.x[splits.train.labels == k].mean() for k in (0, 1))
    assert zeros > 2 * ones  # a zero has more ink than a one


def test_cifar_records_load_from_a_folder_and_from_an_archive(tmp_path):
    rng = np.random.default_rng(2)
    files = {}
    for name, n in (("data_batch_1.bin", 8), ("data_batch_2.bin", 8), ("test_batch.bin", 4)):
        table = rng.integers(0, 256, (n, 3073)).astype(np.uint8)
        table[:, 0] %= 10
        files[name] = table
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for name, table in files.items():
        (folder / name).write_bytes(table.tobytes())
    with tarfile.open(tmp_path / "cifar.tar.gz", "w:gz") as archive:
        archive.add(folder, "cifar-10-batches-bin")
    for place in (folder, tmp_path / "cifar.tar.gz"):
        splits = load("cifar10", place)
        train = np.concatenate([files["data_batch_1.bin"], files["data_batch_2.bin"]])
        assert splits.train.event == (3, 32, 32)
        np.testing.assert_array_equal(splits.train.x.reshape(16, -1), train[:, 1:])
        assert splits.train.labels.tolist() == train[:, 0].tolist()
        assert len(splits.heldout) == 4
        assert splits.classes[3] == "cat"
    (folder / "test_batch.bin").write_bytes(b"x" * 3072)
    with pytest.raises(ValueError, match="3072 bytes are not whole records"):
        load("cifar10", folder)


def image_folder(place, shape=(6, 5, 3), n=12):
    found = {}
    for index, pixels in enumerate(pictures(n, shape)):
        name = f"{'cats' if index % 3 else 'dogs'}/{index:03d}.png"
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(png(pixels))
        found[name] = pixels
    return found


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "tar"])
@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 3)], ids=["grey", "colour"])
def test_folders_of_images_are_classes(shape, packed, tmp_path):
    found = image_folder(tmp_path / "mine", shape)
    place = tmp_path / "mine"
    if packed:
        place = tmp_path / "mine.tar"
        with tarfile.open(place, "w") as archive:
            archive.add(tmp_path / "mine", "mine")
    splits = load("images", place, heldout=0.25)
    assert splits.classes == ("cats", "dogs")
    assert splits.train.event == (1 if len(shape) == 2 else 3, 6, 5)
    pixels = {pixels.tobytes(): name.split("/")[0] for name, pixels in found.items()}
    seen = 0
    for part in (splits.train, splits.heldout):
        for x, label in zip(part.x, part.labels, strict=True):
            key = np.moveaxis(x, 0, -1).reshape(shape).tobytes()
            assert pixels[key] == splits.classes[label]
            seen += 1
    assert seen == len(found)
    settings, _ = arrays.settings(str(place), "images")
    assert settings.data.scaling == "range"


def test_a_folder_without_subfolders_has_no_classes(tmp_path):
    for index, pixels in enumerate(pictures(10, (4, 4, 3))):
        (tmp_path / f"{index}.PNG").write_bytes(png(pixels))
    (tmp_path / "notes.txt").write_text("not an image")
    splits = load("images", tmp_path)
    assert splits.classes == ()
    assert splits.train.labels is None
    assert len(splits.train) + len(splits.heldout) == 10


def test_colour_images_that_are_all_grey_have_one_channel(tmp_path):
    for index, pixels in enumerate(pictures(10, (4, 4))):
        (tmp_path / f"{index}.png").write_bytes(png(np.stack([pixels] * 3, -1)))
    assert load("images", tmp_path).train.event == (1, 4, 4)


def test_images_of_different_size_are_refused_with_both_sizes(tmp_path):
    image_folder(tmp_path)
    (tmp_path / "cats" / "zzz.png").write_bytes(png(pictures(1, (9, 5, 3))[0]))
    with pytest.raises(ValueError, match=r"differ in size: \(6, 5\) and \(9, 5\) \(.*zzz.png\)"):
        load("images", tmp_path)


def test_an_image_that_cannot_be_read_is_named(tmp_path):
    image_folder(tmp_path)
    victim = tmp_path / "cats" / "001.png"
    whole = victim.read_bytes()
    harms = [b"", whole[:20], whole[:70], b"GIF89a" + whole, whole[:45] + b"\xff" * 8 + whole[53:]]
    harms += [whole[:place] + b"\xa7" + whole[place + 1 :] for place in range(8, len(whole), 5)]
    sentences = []
    for harm in harms:
        victim.write_bytes(harm)
        try:
            load("images", tmp_path)
        except ValueError as error:
            sentences.append(str(error))
    assert len(sentences) > len(harms) / 2
    assert [s for s in sentences if "001.png" not in s or "\n" in s] == []


@pytest.mark.filterwarnings("ignore")
def test_an_image_that_claims_to_be_huge_is_refused(tmp_path):
    image_folder(tmp_path)
    buffer = io.BytesIO()
    Image.fromarray(pictures(1, (6, 5, 3))[0]).save(buffer, "bmp")
    content = bytearray(buffer.getvalue())
    content[18:26] = struct.pack("<ii", 100_000, 100_000)  # width and height
    (tmp_path / "cats" / "bomb.bmp").write_bytes(content)
    with pytest.raises(ValueError, match=r"bomb\.bmp is not a readable image"):
        load("images", tmp_path)


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
def test_a_damaged_tar_file_is_named_in_one_sentence(name, tmp_path):
    image_folder(tmp_path / "mine")
    with tarfile.open(tmp_path / name, "w:gz" if name.endswith("gz") else "w") as archive:
        archive.add(tmp_path / "mine", "mine")
    whole = (tmp_path / name).read_bytes()
    middle = len(whole) // 2
    for harm in (
        b"",
        b"x" * 2000,
        whole[: len(whole) // 3],
        whole[:middle] + b"\xa7" * 600 + whole[middle + 600 :],
    ):
        (tmp_path / name).write_bytes(harm)
        with pytest.raises((ValueError, FileNotFoundError)) as error:
            load("images", tmp_path / name)
        assert name in str(error.value)
        assert "\n" not in str(error.value)


def test_places_without_images_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file or folder"):
        load("images", tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="holds no images"):
        load("images", tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no file or folder ''"):
        load_data(DataSettings(source="images"))
