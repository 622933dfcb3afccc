"""MNIST and CIFAR-10, and any folder of images: fetched with checksums, or read from a path."""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unstir.recipes.settings import DataSettings, RunSettings
from unstir.recipes.splits import Splits, range_scaling, split, take
from unstir.training import ArrayData

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]

_MNIST_URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"
_MNIST_MD5 = {
    "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
}
_CIFAR_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
_CIFAR_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
CIFAR_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"}


def mnist_settings() -> RunSettings:
    """A U-Net for 28 x 28 digits; half an hour on two cores."""
    return RunSettings.model_validate(
        {
            "recipe": "mnist",
            "data": {"source": "mnist"},
            "schedule": {"name": "vp"},
            "network": {"kind": "unet", "width": 32, "multipliers": (1, 2, 2), "attention": (2,)},
            "training": {"seconds": 1800, "batch": 128, "learning_rate": 1e-3},
            "sampling": {"steps": 16, "guidance": 0.3},
        }
    )


def cifar10_settings() -> RunSettings:
    """A U-Net for 32 x 32 photographs, sized for one GPU."""
    return RunSettings.model_validate(
        {
            "recipe": "cifar10",
            "data": {"source": "cifar10", "flip": True},
            "schedule": {"name": "vp"},
            "network": {
                "kind": "unet",
                "width": 128,
                "multipliers": (1, 2, 2, 2),
                "blocks": 2,
                "attention": (1,),
                "dropout": 0.1,
            },
            "training": {
                "samples": 50_000_000,
                "batch": 256,
                "learning_rate": 5e-4,
                "precision": "auto",
                "snapshots": 16,
                "checkpoint_seconds": 600,
            },
            "sampling": {"steps": 20, "guidance": 0.2},
        }
    )


def load_mnist(data: DataSettings) -> Splits:
    """70,000 digits of 28 x 28 pixels (LeCun, Cortes & Burges 1998).

    Without a path the four files are fetched, with checksums, and the official test set is held out.
    With a path (a folder of idx files, plain or gzipped, or of images) it is held out if both sets are
    there; else a share of what is there.

    Raises:
        FileNotFoundError: if the path does not exist or holds neither, or the files cannot be fetched.
        ValueError: if a file is damaged.
    """
    if data.path is None:
        files = {name: _fetch(_MNIST_URL + name, md5) for name, md5 in _MNIST_MD5.items()}
        folder = next(iter(files.values())).parent
    else:
        folder = _existing(data.path)
        if not list(folder.glob("*-ubyte*")):
            return load_folder(data)
    parts = [_read_mnist(folder, prefix) for prefix in ("train", "t10k")]
    found = [part for part in parts if part is not None]
    if not found:
        raise FileNotFoundError(
            f"{folder} holds no pair of idx files such as train-images-idx3-ubyte.gz and "
            "train-labels-idx1-ubyte.gz"
        )
    names = tuple(str(digit) for digit in range(10))
    return _splits(found, names, data)


def load_cifar10(data: DataSettings) -> Splits:
    """60,000 photographs of 32 x 32 pixels in 10 classes (Krizhevsky 2009).

    Without a path the binary archive is fetched, with its checksum. With a path: that archive or its
    folder of ``.bin`` files, or a folder or tar file of images in one folder a class.

    Raises:
        FileNotFoundError: if the path does not exist or the archive cannot be fetched.
        ValueError: if a file is damaged.
    """
    path = _fetch(_CIFAR_URL, _CIFAR_MD5) if data.path is None else _existing(data.path)
    records = dict(_binary_files(path))
    if not records:
        return load_folder(data)
    train = b"".join(records[name] for name in sorted(records) if name.startswith("data_batch"))
    parts = [_read_cifar(content) for content in (train, records.get("test_batch.bin", b"")) if content]
    return _splits(parts, CIFAR_CLASSES, data)


def load_folder(data: DataSettings) -> Splits:
    """Images of one size from a folder or a tar file; their folders are the classes, if there are several.

    Raises:
        FileNotFoundError: if the path does not exist or holds no images.
        ValueError: if the images differ in size, or one cannot be read.
    """
    path = _existing(data.path or "")
    names, images = [], []
    for name, content in _image_files(path):
        names.append(Path(name).parent.name)
        images.append(_decode(f"{path}/{name}", content))
        if images[-1].shape[1:] != images[0].shape[1:]:
            raise ValueError(
                f"the images in {path} differ in size: {images[0].shape[1:]} and {images[-1].shape[1:]} "
                f"({name}); resize them to one size first"
            )
    if not images:
        raise FileNotFoundError(f"{path} holds no images ({', '.join(sorted(_SUFFIXES))})")
    classes = tuple(sorted(set(names)))
    labels = np.array([classes.index(name) for name in names]) if len(classes) > 1 else None
    if len({len(image) for image in images}) > 1:  # grey ones among coloured ones
        images = [np.broadcast_to(image, (3, *image.shape[1:])) for image in images]
    x = np.stack(images)
    if len(x) > 1 and x.shape[1] == 3 and (x[:, :1] == x).all():
        x = x[:, :1]
    return _splits([(x, labels)], classes if len(classes) > 1 else (), data)


def _splits(
    parts: Sequence[tuple[Images, Labels | None]], classes: tuple[str, ...], data: DataSettings
) -> Splits:
    scaling = range_scaling(0.0, 255.0)
    whole = [ArrayData(x, labels, scaling=scaling, flip=data.flip) for x, labels in parts]
    if data.limit is not None:
        rng = np.random.default_rng(data.seed)
        whole = [take(w, np.sort(rng.permutation(len(w))[: data.limit])) for w in whole]
    train, heldout = whole if len(whole) == 2 else split(whole[0], data.heldout, seed=data.seed)
    return Splits(train, heldout, classes, bounds=(0.0, 255.0), integer=True)


def read_idx(path: Path) -> NDArray[np.uint8]:
    """An idx file of unsigned bytes, plain or gzipped.

    Raises:
        ValueError: if it is not one, or truncated.
    """
    try:
        raw = path.read_bytes()
        content = gzip.decompress(raw) if path.suffix == ".gz" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read ({error}); it is damaged") from error
    if len(content) < 4 or content[:3] != b"\x00\x00\x08" or len(content) < 4 + 4 * content[3]:
        raise ValueError(f"{path} is not an idx file of bytes")
    shape = tuple(int(n) for n in np.frombuffer(content, ">i4", count=content[3], offset=4))
    body = content[4 + 4 * content[3] :]
    if len(body) != int(np.prod(shape)):
        raise ValueError(f"{path} is truncated: {len(body)} bytes for an array of shape {shape}")
    return np.frombuffer(body, np.uint8).reshape(shape)


def _read_mnist(folder: Path, prefix: str) -> tuple[Images, Labels] | None:
    found = []
    for stem in (f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"):
        matches = [p for p in folder.iterdir() if p.name.endswith((stem, f"{stem}.gz"))]
        if not matches:
            return None
        found.append(read_idx(matches[0]))
    images, labels = found
    if len(images) != len(labels):
        raise ValueError(f"{folder} holds {len(images)} {prefix} images but {len(labels)} labels")
    return images[:, None], labels.astype(np.int64)


def _read_cifar(content: bytes) -> tuple[Images, Labels]:
    if len(content) % 3073:
        raise ValueError(f"a CIFAR-10 file is damaged: {len(content)} bytes are not whole records of 3073")
    table = np.frombuffer(content, np.uint8).reshape(-1, 3073)
    return table[:, 1:].reshape(-1, 3, 32, 32), table[:, 0].astype(np.int64)


def _binary_files(path: Path) -> Iterator[tuple[str, bytes]]:
    if path.is_dir():
        for file in sorted(path.glob("*_batch*.bin")):
            yield file.name, file.read_bytes()
        return
    for name, content in _members(path):
        if name.endswith(".bin") and "_batch" in name:
            yield Path(name).name, content


def _image_files(path: Path) -> Iterator[tuple[str, bytes]]:
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.suffix.lower() in _SUFFIXES:
                yield str(file.relative_to(path)), file.read_bytes()
        return
    for name, content in _members(path):
        if Path(name).suffix.lower() in _SUFFIXES:
            yield name, content


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                file = archive.extractfile(member)
                if file is not None:
                    yield member.name, file.read()
            # Python takes a damaged header for the end; a whole archive ends in zeros.
            stream = archive.fileobj
            if stream is not None:
                stream.seek(archive.offset)
                if stream.read(tarfile.BLOCKSIZE).strip(b"\0"):
                    raise tarfile.ReadError("damaged header")
    except (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise ValueError(f"{path} is neither a folder nor a readable tar file; it may be damaged") from error


def _decode(name: str, content: bytes) -> Images:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content)) as image:
            pixels = np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB"))
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise ValueError(f"{name} is not a readable image ({error})") from error
    return pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)


def _existing(path: str) -> Path:
    found = Path(path).expanduser()
    if not path or not found.exists():
        raise FileNotFoundError(f"there is no file or folder {path!r} to read the data from")
    return found


def _fetch(url: str, md5: str) -> Path:
    """Download a file once, with its checksum, into the user's cache folder."""
    import pooch

    name = url.rsplit("/", 1)[1]
    try:
        file = pooch.retrieve(url, known_hash=f"md5:{md5}", fname=name, path=pooch.os_cache("unstir"))
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"{name} could not be fetched from {url} ({type(error).__name__}); fetch it yourself and give "
            "its folder with --data PATH"
        ) from error
    return Path(file)
