"""Names of data sets, as ``--data`` takes them, to image sets."""

from __future__ import annotations

from pathlib import Path

import torch

from gankit.data.digits import load_digits
from gankit.data.idx import load_idx
from gankit.data.images import ImageData
from gankit.data.mnist import load_mnist
from gankit.data.toy import TOYS, load_toy
from gankit.errors import DataError, shortened

NAMES = ("digits", "mnist", "fashion-mnist", "idx:PATH", "toy:NAME")
SPLITS = ("train", "test", "all")


def load(
    name: str,
    *,
    root: str | Path | None = None,
    image_size: int | None = 28,
    device: str | torch.device = "cpu",
    split: str = "train",
) -> ImageData:
    """Loads an image set by name, resizes it once and puts it on ``device`` as uint8.

    Training uses split ``"train"`` unless told otherwise, so that ``"test"`` stays unseen and can
    serve to judge samples.

    Args:
        name: ``"digits"``, ``"mnist"``, ``"fashion-mnist"``, ``"idx:PATH"``, PATH being a folder
            of idx files or one images file, or ``"toy:NAME"``, points of a known distribution
            (``gankit.data.load_toy``), which have no image size.
        root: folder of downloaded sets; by default ``$GANKIT_DATA`` or ``~/.cache/gankit/data``.
        image_size: height and width of the result (bilinear); None keeps the set's own size.
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
    if name == "digits":
        data = load_digits(image_size=image_size, split=split)
    elif name in ("mnist", "fashion-mnist"):
        data = load_mnist(name, root=root, split=split)
    elif kind == "idx" and colon:
        if not path:
            raise DataError("data 'idx:' lacks a path, expected idx:FOLDER or idx:FILE")
        data = load_idx(path, split=split)
    elif kind == "toy" and colon:
        if not path:
            raise DataError(f"data 'toy:' lacks a name, allowed are toy:{', toy:'.join(TOYS)}")
        data = load_toy(path, split=split)
    else:
        raise DataError(
            f"unknown data {shortened(name)}, allowed are {', '.join(NAMES)}, or in a run the "
            "import path of a callable that returns an ImageData, such as my_data.faces"
        )
    if image_size is not None:
        data = data.resize(image_size)
    return data.to(device)
