"""Reader of idx files, the format MNIST comes in (http://yann.lecun.com/exdb/mnist/).

A file is two zero bytes, a type byte, the number of dimensions, each dimension as a big-endian
uint32, then the values in row-major order. Files may be gzip-compressed.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gankit.data.images import ImageData
from gankit.errors import DataError

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
# How the files of each split begin.
PREFIXES = {"train": ("train",), "test": ("t10k",), "all": ("train", "t10k")}


def read_idx(path: str | Path) -> np.ndarray:
    """One idx file, compressed or not, whole and checked, as an array of its own type and shape.

    Raises:
        DataError: not an idx file, or its length is not what its header says.
    """
    path = Path(path)
    content = _read_bytes(path)
    if len(content) < 4:
        raise DataError(f"{path}: {len(content)} bytes, an idx file has at least 4")
    zeros, kind, dims = struct.unpack(">HBB", content[:4])
    if zeros != 0 or kind not in _TYPES or dims == 0:
        raise DataError(
            f"{path}: not an idx file: starts with 0x{content[:4].hex()}, "
            "expected 0x00000803 (images) or 0x00000801 (labels)"
        )
    start = 4 + 4 * dims
    if len(content) < start:
        raise DataError(
            f"{path}: truncated in its header: {len(content)} bytes, {start} are expected"
        )
    shape = struct.unpack(f">{dims}I", content[4:start])
    dtype = np.dtype(_TYPES[kind])
    expected = start + math.prod(shape) * dtype.itemsize
    if len(content) != expected:
        what = "truncated" if len(content) < expected else "longer than its header says"
        raise DataError(
            f"{path}: {what}: {len(content)} bytes, {expected} are expected for shape {list(shape)}"
        )
    return (
        np.frombuffer(content, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))
    )


def read_images(path: str | Path) -> Tensor:
    """Images of an idx file as uint8 ``[N, 1, H, W]``; float files must lie in [-1, 1].

    Raises:
        DataError: as :func:`read_idx`, and for other types and shapes, NaN, or no images.
    """
    array = read_idx(path)
    if array.dtype.kind == "i":
        raise DataError(
            f"{path}: images of type {array.dtype} are not supported, "
            "uint8 or float in [-1, 1] is expected"
        )
    if array.ndim != 3:
        raise DataError(
            f"{path}: shape {list(array.shape)} has {array.ndim} dimensions, "
            "images need 3: count, height, width"
        )
    return ImageData.from_tensor(torch.from_numpy(array), name=str(path)).images


def read_labels(path: str | Path) -> Tensor:
    """Labels of an idx file as int64 ``[N]``.

    Raises:
        DataError: as :func:`read_idx`, and when the file does not hold one integer per image.
    """
    array = read_idx(path)
    if array.ndim != 1 or array.dtype.kind == "f":
        raise DataError(
            f"{path}: {array.dtype} of shape {list(array.shape)}, labels need one integer per image"
        )
    return torch.from_numpy(array.astype(np.int64))


def load_idx(path: str | Path, *, split: str = "train", name: str | None = None) -> ImageData:
    """An image set from a folder of idx files or from one images file.

    In a folder, ``train-images-idx3-ubyte`` serves split ``"train"``, ``t10k-images-idx3-ubyte``
    split ``"test"``, both together ``"all"``; ``.gz`` may follow. A folder with the t10k files
    alone, or a single file, is used whole for ``"train"`` and ``"all"``. Labels are read when the
    file ``...-labels-idx1-ubyte`` lies beside the images.

    Raises:
        DataError: nothing there, or any file that :func:`read_idx` refuses.
    """
    path = Path(path).expanduser()
    name = name or f"idx:{path}"
    if not path.exists():
        raise DataError(f"{name}: {path} does not exist, expected a folder or a file in idx format")
    files = (
        _images_in_folder(path, split, name) if path.is_dir() else _single_file(path, split, name)
    )
    parts = [_with_labels(file) for file in files]
    shapes = {part.shape for part in parts}
    if len(shapes) > 1:
        raise DataError(f"{name}: images of different shapes in one set: {sorted(shapes)}")
    labels = [part.labels for part in parts if part.labels is not None]
    return ImageData(
        torch.cat([part.images for part in parts]),
        torch.cat(labels) if len(labels) == len(parts) else None,
        name,
    )


def find_idx(folder: Path, prefix: str, kind: str) -> Path | None:
    """The file ``{prefix}-images-idx3-ubyte`` or ``{prefix}-labels-idx1-ubyte``, or its ``.gz``."""
    dims = {"images": 3, "labels": 1}[kind]
    for separator in "-.":
        for suffix in ("", ".gz"):
            path = folder / f"{prefix}-{kind}{separator}idx{dims}-ubyte{suffix}"
            if path.is_file():
                return path
    return None


def _images_in_folder(folder: Path, split: str, name: str) -> list[Path]:
    found = {prefix: find_idx(folder, prefix, "images") for prefix in ("train", "t10k")}
    wanted = [path for prefix in PREFIXES[split] if (path := found[prefix]) is not None]
    if not wanted and split == "train" and found["t10k"] is not None:
        wanted = [found["t10k"]]
    if not wanted:
        expected = " or ".join(f"{prefix}-images-idx3-ubyte" for prefix in PREFIXES[split])
        raise DataError(f"{name}: no {expected} (or .gz) in {folder} for split {split!r}")
    return wanted


def _single_file(path: Path, split: str, name: str) -> list[Path]:
    if split == "test" and not path.name.startswith("t10k"):
        raise DataError(
            f"{name}: a single file has no test split, only one named t10k-... counts as such"
        )
    return [path]


def _with_labels(path: Path) -> ImageData:
    images = read_images(path)
    labels_path = _labels_beside(path)
    if labels_path is None:
        return ImageData(images, None, str(path))
    labels = read_labels(labels_path)
    if len(labels) != len(images):
        raise DataError(
            f"{labels_path}: {len(labels)} labels but {path} has {len(images)} images, "
            "the counts must agree"
        )
    return ImageData(images, labels, str(path))


def _labels_beside(images: Path) -> Path | None:
    if "images" not in images.name:
        return None
    base = images.name.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1")
    for name in (base, base + ".gz"):
        path = images.with_name(name)
        if path.is_file():
            return path
    return None


def _read_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            compressed = file.read(2) == b"\x1f\x8b"
        if not compressed:
            return path.read_bytes()
        with gzip.open(path, "rb") as unpacked:
            return unpacked.read()
    except EOFError as error:
        raise DataError(
            f"{path}: truncated: the compressed data ends early, a whole gzip file is expected"
        ) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: damaged gzip file ({error})") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
