"""A set made of image files: held in memory or streamed, with what is known of each image."""

from __future__ import annotations

import os
import warnings
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from gankit.data.decoded import (
    decoded,
    digests_as_text,
    digests_of,
    fingerprint,
    one_process_at_a_time,
    place_in,
    stand_ins,
    text_as_digests,
)
from gankit.data.image_files import (
    Fit,
    check_background,
    decode_resized,
    headers,
    warn_of_skipped,
)
from gankit.data.image_set import ImageSet
from gankit.data.images import ImageData
from gankit.data.origin import FileNames, Origin
from gankit.data.paths import cache_root
from gankit.data.residency import Resident, check_resident, in_words, is_resident
from gankit.data.rows import Rows
from gankit.data.streamed import MAX_BROKEN, FileImages, StreamedData, default_workers
from gankit.errors import DataError, GankitWarning, outside_gankit, shortened
from gankit.scalars import is_integer

__all__ = ["Annotations", "Cache", "ImageSize", "file_set"]

ImageSize = int | Sequence[int] | None
Cache = bool | Literal["auto"]
_CHANNELS = {"auto": None, 1: 1, 3: 3, 4: 4}
_FITTED = {"crop": "cropped around the center", "stretch": "stretched", "pad": "padded"}
# Of the free space of the disk, the most that streamed images are kept in.
_DISK = 0.5
_REPLACED = ", so the next is shown in its place"
_KEPT = "What the first epoch decodes is kept in {}."


@dataclass(frozen=True)
class Annotations:
    """What is known of the images that could be read, as of ``ImageData``; ``note`` says it."""

    labels: Tensor | None = None
    class_names: tuple[str, ...] = ()
    attributes: Tensor | None = None
    attribute_names: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class _Settings:
    """The arguments of a set, checked."""

    size: tuple[int, int] | None
    channels: int | None
    fit: Fit
    background: str


def file_set(
    files: Sequence[Path],
    folder: Path,
    name: str,
    annotate: Callable[[list[int]], Annotations],
    *,
    others: Sequence[Path] = (),
    root: str | Path | None,
    image_size: ImageSize,
    channels: object = "auto",
    resize: object = "crop",
    background: str = "white",
    owner: Path | None = None,
    resident: Resident = "auto",
    cache: Cache = "auto",
    workers: int | None = None,
    device: str | torch.device = "cpu",
    progress: bool = False,
) -> ImageSet:
    """The set of ``files`` by the arguments of ``load_folder``, warning of those left out.

    Args:
        files: image files, at least one.
        folder: what their names are told from in messages.
        name: what messages call the set.
        annotate: what is known of the images of the files with some numbers, in their order.
        others: files that are no images.
        owner: what files of the cache belong to, such as a list of files; ``folder`` if None.

    Raises:
        DataError: an argument is not allowed, or more than a quarter of the files cannot be read.
        MissingExtra: Pillow is not installed.
    """
    if not isinstance(channels, (int, str)) or channels is True or channels not in _CHANNELS:
        raise DataError(f"{name}: channels is {shortened(channels)}, expected auto, 1, 3 or 4")
    if not isinstance(resize, str) or resize not in _FITTED:
        raise DataError(f"{name}: resize is {shortened(resize)}, expected {', '.join(_FITTED)}")
    size = height_and_width(image_size, name)
    check_background(background)
    check_resident(cache, name, what="cache")
    if workers is not None and not (is_integer(workers) and workers >= 1):
        raise DataError(f"{name}: workers is {shortened(workers)}, expected an integer from 1")
    fit: Fit = resize  # type: ignore[assignment]
    how = _Settings(size, _CHANNELS[channels], fit, background)
    pixels = size or _first_size(files)
    most = len(files) * (how.channels or 3) * pixels[0] * pixels[1]
    stays, why = is_resident(resident, most, device, name)
    place = cache_root(root)
    if stays:
        made = decoded(
            files,
            folder,
            name,
            cache=place,
            image_size=size,
            channels=how.channels,
            fit=fit,
            background=background,
            owner=owner,
            progress=progress,
        )
        left_out, digests, shape = made.left_out, made.digests, tuple(made.images.shape[1:])
        damaged = made.damaged
        _check_broken(dict(sorted({**left_out, **damaged}.items())), len(files), name)
    else:
        streaming = _Streaming(files, folder, name, how, pixels, owner or folder)
        source, left_out, digests, said = streaming.source(place, cache, progress)
        why, shape, damaged = f"{why} {said}", source.shape, {}
    kept = [number for number in range(len(files)) if number not in left_out]
    reasons = [*left_out.values(), *(f"{each}{_REPLACED}" for each in damaged.values())]
    warn_of_skipped(name, reasons, [file.relative_to(folder) for file in others])
    known = annotate(kept)
    notes = (_note(name, len(kept), shape, how) + known.note, why)
    fields: dict[str, Any] = {key: value for key, value in vars(known).items() if key != "note"}
    names = source.names if not stays else FileNames([files[number] for number in kept], folder)
    fields["origin"] = Origin.of_files(names, digests, known.labels, known.attributes)
    if not stays:
        return StreamedData(
            source, name=name, notes=notes, workers=workers or default_workers(), **fields
        )
    if damaged:
        shown = stand_ins(len(kept), [bisect_left(kept, number) for number in damaged])
        for key in ("labels", "attributes"):
            fields[key] = None if fields[key] is None else fields[key][shown]
    return ImageData(made.images, name=name, notes=notes, **fields)


@dataclass(frozen=True)
class _Streaming:
    """From files to what reads them when they are due."""

    files: Sequence[Path]
    folder: Path
    name: str
    how: _Settings
    pixels: tuple[int, int]
    owner: Path

    def source(
        self, place: Path, cache: Cache, progress: bool
    ) -> tuple[FileImages, dict[int, str], Tensor, str]:
        """It, why files have no readable header, what is in the others, and what is kept where."""
        how = self.how
        path = place_in(place, self.owner, how.size, how.channels, how.fit, how.background, ".rows")
        with one_process_at_a_time(self.folder):
            made_of = fingerprint(self.files, self.folder)
            rows = _kept(path, made_of) if cache is not False else None
            about = rows.about if rows is not None else self._look(made_of, progress)
            digests = text_as_digests(about["digests"])
            errors = {int(number): str(reason) for number, reason in about["errors"].items()}
            _check_broken(errors, len(self.files), self.name)
            said = _KEPT.format(path)
            if rows is None:
                rows, said = self._rows(path, about, cache)
        kept = [number for number in range(len(self.files)) if number not in errors]
        channels, height, width = about["shape"]
        source = FileImages(
            FileNames([self.files[number] for number in kept], self.folder),
            listed=len(self.files),
            image_size=how.size,
            channels=channels,
            fit=how.fit,
            background=how.background,
            shape=(channels, height, width),
            rows=rows,
        )
        return source, errors, digests, said

    def _look(self, made_of: str, progress: bool) -> dict[str, Any]:
        """What the headers of the files say."""
        errors: dict[int, str] = {}
        channels = self.how.channels or 1
        for number, found in enumerate(headers(self.files, self.name, progress=progress)):
            if isinstance(found, DataError):
                errors[number] = str(found).removeprefix(f"{self.folder}{os.sep}")
            elif self.how.channels is None:
                channels = max(channels, found)
        good = [file for number, file in enumerate(self.files) if number not in errors]
        if not good:
            raise DataError(
                f"{self.name}: none of {len(self.files)} images can be read; {errors[0]}"
            )
        return {
            "made_of": made_of,
            "count": len(good),
            "shape": [channels, *self.pixels],
            "errors": errors,
            "digests": digests_as_text(digests_of(good)),
        }

    def _rows(self, path: Path, about: dict[str, Any], cache: Cache) -> tuple[Rows | None, str]:
        if cache is False:
            return None, "Every epoch decodes them again (data.cache=false)."
        size = about["count"] * about["shape"][0] * about["shape"][1] * about["shape"][2]
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            status = os.statvfs(path.parent)
            free = status.f_bavail * status.f_frsize
            if cache == "auto" and size > _DISK * free:
                return None, (
                    f"Every epoch decodes them again: the {in_words(size)} are more than "
                    f"{_DISK:.0%} of the {in_words(free)} of space that are free in {path.parent} "
                    "(data.cache=true keeps them there all the same)."
                )
            return Rows.create(path, about), _KEPT.format(path)
        except (OSError, AttributeError) as error:  # such as a system without statvfs
            reason = getattr(error, "strerror", None) or error
            warnings.warn(
                f"{self.name}: the decoded images cannot be kept in {path.parent} ({reason}), so "
                "every epoch decodes them again",
                GankitWarning,
                stacklevel=outside_gankit(),
            )
            return None, "Every epoch decodes them again."


def _kept(path: Path, made_of: str) -> Rows | None:
    """The file at ``path`` if it is whole and made of the same files."""
    try:
        rows = Rows(path)
        same = rows.about["made_of"] == made_of
        same = same and len(text_as_digests(rows.about["digests"])) == rows.about["count"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return rows if same else None


def _first_size(files: Sequence[Path]) -> tuple[int, int]:
    """Height and width of the first file that can be read; the others have to have them too."""
    for file in files:
        try:
            image = decode_resized(file, None, channels=1)
        except DataError:
            continue
        return int(image.shape[1]), int(image.shape[2])
    return 1, 1  # whoever reads them says why none can be read


def _check_broken(errors: dict[int, str], count: int, name: str) -> None:
    if len(errors) > MAX_BROKEN * count:
        first = "; ".join(list(errors.values())[:3])
        raise DataError(
            f"{name}: {len(errors)} of {count} images cannot be read, which is more than a "
            f"quarter: {first}{'; ...' if len(errors) > 3 else ''}"
        )


def _note(name: str, count: int, shape: Sequence[int], how: _Settings) -> str:
    channels, height, width = shape
    kind = {1: "grey", 3: "RGB", 4: "RGBA"}[channels]
    note = f"{name}: {count} images, {kind}, "
    note += f"{_FITTED[how.fit]} to {width}x{height}" if how.size else f"{width}x{height}"
    if how.size and min(how.size) < 64:
        note += " (--set image_size=64 for larger ones)"
    return f"{note}."


def height_and_width(image_size: object, name: str) -> tuple[int, int] | None:
    """An ``image_size`` as two numbers; raises DataError for what is none."""
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
