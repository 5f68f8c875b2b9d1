"""A folder of pictures of any kind and size."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from gankit.data.file_set import Annotations, Cache, ImageSize, file_set
from gankit.data.image_files import SUFFIXES, Fit, list_image_files
from gankit.data.image_set import UNLABELLED, ImageSet
from gankit.data.paths import existing_folder, split_folders
from gankit.data.residency import Resident
from gankit.errors import DataError, shortened

__all__ = ["load_folder"]

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
    resident: Resident = "auto",
    cache: Cache = "auto",
    workers: int | None = None,
    device: str | torch.device = "cpu",
    progress: bool = False,
) -> ImageSet:
    """Every image file below a folder, whatever its format, size and number of channels.

    If all folders at the first level are called ``train``, ``val`` or ``test``, they are the splits
    (``val`` serves as test where there is no ``test``); of any other folder everything is split
    ``"train"``. Hidden files and folders are left out. Files that cannot be read are skipped with a
    warning (GankitWarning) that counts them and names the first. The decoded images are kept in the
    folder ``cache`` of ``root``, from which the next start, or the next epoch, reads them.

    What fits becomes an ``ImageData``; the rest is streamed, a ``gankit.data.StreamedData``. Both
    give the same batches.

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
        resident: hold all images in memory; ``"auto"``: if they take at most half of the memory
            that is free.
        cache: keep the decoded images of a streamed set; ``"auto"``: if they take at most half of
            the free space of the disk.
        workers: processes that decode a streamed set; None: one per processor, up to 8.
        device: where the images are to be brought, whose memory counts.
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

    def annotate(kept: list[int]) -> Annotations:
        names, numbers = _numbered(
            [items[number][1] for number in kept] if labels != "none" else []
        )
        return Annotations(numbers, names, note=_named(names, numbers))

    return file_set(
        [file for file, _ in items],
        folder,
        name,
        annotate,
        others=others,
        root=root,
        image_size=image_size,
        channels=channels,
        resize=resize,
        background=background,
        resident=resident,
        cache=cache,
        workers=workers,
        device=device,
        progress=progress,
    )


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
