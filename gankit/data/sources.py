"""Names of data sets, as ``--data`` takes them, to image sets."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, overload

import torch

from gankit.data.digits import load_digits
from gankit.data.fields import FieldData
from gankit.data.idx import load_idx
from gankit.data.images import ImageData
from gankit.data.mnist import load_mnist
from gankit.data.pairs import load_pairs
from gankit.data.toy import TOYS, load_toy
from gankit.data.toy_images import IMAGE_TOYS
from gankit.data.unpaired import load_unpaired
from gankit.errors import DataError, shortened

NAMES = ("digits", "mnist", "fashion-mnist", "idx:PATH", "pairs:PATH", "unpaired:PATH", "toy:NAME")
SPLITS = ("train", "test", "all")
_ALL_TOYS = (*TOYS, *IMAGE_TOYS)


@overload
def load(
    name: Literal["digits", "mnist", "fashion-mnist"],
    *,
    root: str | Path | None = None,
    image_size: int | None = 28,
    device: str | torch.device = "cpu",
    split: str = "train",
) -> ImageData: ...


@overload
def load(
    name: str,
    *,
    root: str | Path | None = None,
    image_size: int | None = 28,
    device: str | torch.device = "cpu",
    split: str = "train",
) -> FieldData: ...


def load(
    name: str,
    *,
    root: str | Path | None = None,
    image_size: int | None = 28,
    device: str | torch.device = "cpu",
    split: str = "train",
) -> FieldData:
    """Loads a data set by name, resizes it once and puts it on ``device`` as uint8.

    Training uses split ``"train"`` unless told otherwise, so that ``"test"`` stays unseen and can
    serve to judge samples.

    Args:
        name: ``"digits"``, ``"mnist"``, ``"fashion-mnist"``, ``"idx:PATH"``, PATH being a folder
            of idx files or one images file, or ``"toy:NAME"``, points of a known distribution
            (``gankit.data.load_toy``), which have no image size, are an ``ImageData``.
            ``"pairs:PATH"`` and ``"toy:edges"`` are a ``PairData``, ``"unpaired:PATH"`` and
            ``"toy:discs"`` an ``UnpairedData`` (``gankit.data.load_pairs``, ``load_unpaired``).
        root: folder of downloaded sets; by default ``$GANKIT_DATA`` or ``~/.cache/gankit/data``.
        image_size: height and width of the result; None keeps the set's own size, which is 64 for
            ``"toy:edges"`` and ``"toy:discs"``.
        device: where the images shall live.
        split: ``"train"``, ``"test"`` or ``"all"``.

    Raises:
        DataError: unknown name or split, or missing, damaged or empty data.
        MissingExtra: the set needs a package that is not installed.
    """
    if split not in SPLITS:
        raise DataError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    if image_size is not None and image_size < 1:
        raise DataError(f"image_size must be at least 1, got {image_size}")
    kind, colon, path = name.partition(":")
    if colon and not path and kind in ("idx", "pairs", "unpaired"):
        expected = "idx:FOLDER or idx:FILE" if kind == "idx" else f"{kind}:FOLDER"
        raise DataError(f"data {name!r} lacks a path, expected {expected}")
    data: FieldData
    if kind == "pairs" and colon:
        data = load_pairs(path, image_size=image_size, split=split)
    elif kind == "unpaired" and colon:
        data = load_unpaired(path, image_size=image_size, split=split)
    elif kind == "toy" and path in IMAGE_TOYS:
        data = IMAGE_TOYS[path](image_size=image_size or 64, split=split)
    else:
        images = _load_images(name, root, image_size, split)
        data = images if image_size is None else images.resize(image_size)
    return data.to(device)


def _load_images(
    name: str, root: str | Path | None, image_size: int | None, split: str
) -> ImageData:
    kind, colon, path = name.partition(":")
    if name == "digits":
        return load_digits(image_size=image_size, split=split)
    if name in ("mnist", "fashion-mnist"):
        return load_mnist(name, root=root, split=split)
    if kind == "idx" and colon:
        return load_idx(path, split=split)
    if kind == "toy" and path in TOYS:
        return load_toy(path, split=split)
    if kind == "toy" and colon:
        what = f"unknown toy data {shortened(path)}" if path else "data 'toy:' lacks a name"
        raise DataError(f"{what}, allowed are toy:{', toy:'.join(_ALL_TOYS)}")
    raise DataError(
        f"unknown data {shortened(name)}, allowed are {', '.join(NAMES)}, or in a run the "
        "import path of a callable that returns an ImageData, such as my_data.faces"
    )
