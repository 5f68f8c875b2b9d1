"""A folder of pictures of any kind and size."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from gankit.data.decoded import decoded
from gankit.data.image_files import (
    SUFFIXES,
    Fit,
    check_background,
    list_image_files,
    warn_of_skipped,
)
from gankit.data.image_set import UNLABELLED
from gankit.data.images import ImageData
from gankit.data.paths import cache_root, existing_folder, split_folders
from gankit.errors import DataError, shortened
from gankit.scalars import is_integer

__all__ = ["ImageSize", "decode_set", "load_folder"]

ImageSize = int | Sequence[int] | None
# More broken files than this share are no accident.
_MOST_BROKEN = 0.25
_CHANNELS = {"auto": None, 1: 1, 3: 3, 4: 4}
_FITTED = {"crop": "cropped around the center", "stretch": "stretched", "pad": "padded"}
_SPLITS = {"train", "val", "test"}
_NAMED = 12


def load_folder(
    path: str | Path,
    *,
    root: str | Path | None = None,
    image_size: ImageSize = 28,
    split: str = "train",
    labels: Literal["folders", "none"] = "folders",
    channels: Literal["auto", 1, 3, 4] = "auto",
    resize: Fit = "crop",
    background: str = "white",
    progress: bool = False,
) -> ImageData:
    """Every image file below a folder, whatever its format, size and number of channels.

    If all folders at the first level are called ``train``, ``val`` or ``test``, they are the splits
    (``val`` serves as test where there is no ``test``); of any other folder everything is split
    ``"train"``. Hidden files and folders are left out. Files that cannot be read are skipped with a
    warning (GankitWarning) that counts them and names the first. The decoded images are kept in the
    folder ``cache`` of ``root``, from which the next start reads them.

    Args:
        path: the folder.
        root: as for ``load``.
        image_size: height and width, one number for both or two; None keeps the files' own, which
            must then be of one size.
        split: ``"train"``, ``"test"`` or ``"all"``.
        labels: ``"folders"``: the folders at the first level are classes, in the order of their
            names, if there are two or more with images; images beside them are unlabelled.
            ``"none"``: no labels.
        channels: 1 (grey), 3 (RGB) or 4 (RGB and opacity); ``"auto"``: 1 if all files store grey
            values, else 3.
        resize: ``"crop"`` takes the largest part of the right aspect from the center of a picture,
            ``"stretch"`` distorts it, ``"pad"`` keeps all of it and fills the borders. All are
            bicubic, antialiased when shrinking.
        background: the color of such borders and under transparent pixels.
        progress: show on a terminal how far the decoding is.

    Raises:
        DataError: an argument is not allowed, there is no such folder or split, no image in it, or
            more than a quarter of the images cannot be read.
        MissingExtra: Pillow is not installed.
    """
    name = f"folder:{path}"
    if labels not in ("folders", "none"):
        raise DataError(f"{name}: labels is {shortened(labels)}, expected folders or none")
    folder = existing_folder(path, name, "a folder of images")
    items: list[tuple[Path, str | None]] = []
    others: list[Path] = []
    for part in _parts(folder, split, name):
        files, rest = list_image_files(part)
        items += [(file, _class_of(file, part)) for file in files]
        others += rest
    if not items:
        raise DataError(
            f"{name}: no images in {folder}, expected files of type {', '.join(SUFFIXES)}"
        )
    images, kept, note = decode_set(
        [file for file, _ in items],
        folder,
        name,
        others=others,
        root=root,
        image_size=image_size,
        channels=channels,
        resize=resize,
        background=background,
        progress=progress,
    )
    names, numbers = _numbered([items[number][1] for number in kept] if labels != "none" else [])
    return ImageData(images, numbers, name, names, (note + _named(names, numbers),))


def decode_set(
    files: Sequence[Path],
    folder: Path,
    name: str,
    *,
    others: Sequence[Path] = (),
    root: str | Path | None,
    image_size: ImageSize,
    channels: object = "auto",
    resize: object = "crop",
    background: str = "white",
    owner: Path | None = None,
    progress: bool = False,
) -> tuple[Tensor, list[int], str]:
    """Decode ``files`` with the arguments of ``load_folder``, warning of those that are skipped.

    Returns:
        The images uint8 ``[N, C, H, W]``, the numbers of the files that they come from, and a
        sentence on both.

    Raises:
        DataError: an argument is not allowed, or more than a quarter of the files cannot be read.
        MissingExtra: Pillow is not installed.
    """
    if not isinstance(channels, (int, str)) or channels is True or channels not in _CHANNELS:
        raise DataError(f"{name}: channels is {shortened(channels)}, expected auto, 1, 3 or 4")
    if not isinstance(resize, str) or resize not in _FITTED:
        raise DataError(f"{name}: resize is {shortened(resize)}, expected {', '.join(_FITTED)}")
    size = _height_and_width(image_size, name)
    check_background(background)
    fit: Fit = resize  # type: ignore[assignment]
    images, errors = decoded(
        files,
        folder,
        name,
        cache=cache_root(root),
        image_size=size,
        channels=_CHANNELS[channels],
        fit=fit,
        background=background,
        owner=owner,
        progress=progress,
    )
    if len(errors) > _MOST_BROKEN * len(files):
        first = "; ".join(list(errors.values())[:3])
        raise DataError(
            f"{name}: {len(errors)} of {len(files)} images cannot be read, which is more than a "
            f"quarter: {first}{'; ...' if len(errors) > 3 else ''}"
        )
    relative = [file.relative_to(folder) for file in others]
    warn_of_skipped(name, errors.values(), relative)
    channels_of, height, width = images.shape[1:]
    kind = {1: "grey", 3: "RGB", 4: "RGBA"}[channels_of]
    note = f"{name}: {len(images)} images, {kind}, "
    note += f"{_FITTED[resize]} to {width}x{height}" if size else f"{width}x{height}"
    if size and min(size) < 64:
        note += " (--set image_size=64 for larger ones)"
    return images, [n for n in range(len(files)) if n not in errors], f"{note}."


def _parts(folder: Path, split: str, name: str) -> list[Path]:
    """The folders of ``split``; a class may be called as a split is, beside other classes."""
    with os.scandir(folder) as entries:
        visible = {e.name for e in entries if not e.name.startswith(".") and e.is_dir()}
    if visible and visible <= _SPLITS:
        return split_folders(folder, split, name)
    if split == "test":
        raise DataError(f"{name}: no folder test or val in {folder} for split 'test'")
    return [folder]


def _class_of(file: Path, folder: Path) -> str | None:
    """The folder at the first level below ``folder`` in which ``file`` lies."""
    parts = file.relative_to(folder).parts
    # Bytes of no encoding cannot be drawn.
    return os.fsencode(parts[0]).decode(errors="replace") if len(parts) > 1 else None


def _numbered(classes: Sequence[str | None]) -> tuple[tuple[str, ...], Tensor | None]:
    """The names of the classes and the label of each image; no label if they are not two."""
    names = tuple(sorted({each for each in classes if each is not None}))
    if len(names) < 2:
        return (), None
    numbers = {each: number for number, each in enumerate(names)}
    return names, torch.tensor(
        [UNLABELLED if each is None else numbers[each] for each in classes], dtype=torch.int64
    )


def _named(names: Sequence[str], labels: Tensor | None) -> str:
    if labels is None:
        return ""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    alone = int((labels == UNLABELLED).sum())
    beside = f"; {alone} images lie beside them, without a class" if alone else ""
    return f" {len(names)} classes, from the folders: {', '.join(names[:_NAMED])}{more}{beside}."


def _height_and_width(image_size: object, name: str) -> tuple[int, int] | None:
    if image_size is None:
        return None
    sides: list[Any] = (
        [*image_size] if isinstance(image_size, (list, tuple)) else [image_size, image_size]
    )
    if len(sides) != 2 or not all(is_integer(side) and side >= 1 for side in sides):
        raise DataError(
            f"{name}: image_size is {shortened(image_size)}, expected an integer from 1, or two: "
            "[height, width]"
        )
    height, width = sides
    return int(height), int(width)
