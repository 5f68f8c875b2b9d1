"""Decoded image files, kept in a folder so that the next start maps them instead of decoding.

A file of the cache is an .npy of all images, uint8 ``[N, C, H, W]``, and behind it what it was made
of. It belongs to one folder or list of pictures and one set of settings, so it is replaced when a
picture changes, and does not pile up.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import warnings
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gankit.atomic import atomic_write
from gankit.data.image_files import Fit, decode_all, in_threads, resize, stored_channels
from gankit.data.origin import file_digest
from gankit.errors import DataError, GankitWarning, outside_gankit
from gankit.json_text import json_text

__all__ = [
    "Decoded",
    "decoded",
    "digests_as_text",
    "digests_of",
    "fingerprint",
    "one_process_at_a_time",
    "place_in",
    "stand_ins",
    "text_as_digests",
]

# Files made by other code are decoded again.
_VERSION = 2
_LENGTH = 8


@dataclass(frozen=True)
class Decoded:
    """What was made of some files.

    Args:
        images: uint8 ``[N, C, H, W]``, of the files with a readable header, in their order. In the
            place of a damaged one stands the next that is not.
        left_out: why a file has no readable header, by its number among all.
        damaged: why an image cannot be decoded although its header can be read, by its number.
        digests: int64 ``[N]``, the content of those files.
    """

    images: Tensor
    left_out: dict[int, str]
    damaged: dict[int, str]
    digests: Tensor


def decoded(
    files: Sequence[Path],
    folder: Path,
    name: str,
    *,
    cache: Path,
    image_size: tuple[int, int] | None,
    channels: int | None,
    fit: Fit,
    background: str,
    owner: Path | None = None,
    progress: bool = False,
) -> Decoded:
    """The images of ``files``, read from the cache if nothing has changed.

    A file counts as unchanged while its name, size and time of change are the same.

    Args:
        files: image files, at least one.
        folder: what their names are told from in messages.
        name: what messages call the set.
        cache: the folder of the cache, which is made. Where it cannot be written, a GankitWarning
            says so.
        image_size: height and width of all images, or None for those of the files.
        channels: as ``decode_all``.
        fit: as ``resize``.
        background: the color under transparent pixels and around padded images.
        owner: what the file of the cache belongs to, such as a list of files; ``folder`` if None.
        progress: show on a terminal how far it is.

    Raises:
        DataError: no file can be read, or the images are not all of one size.
        MissingExtra: Pillow is not installed.
    """
    place = place_in(cache, owner or folder, image_size, channels, fit, background, ".npy")
    made_of = fingerprint(files, folder)

    def arrange(images: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        if image_size is None:
            return images
        return (resize(images[0], image_size, fit, background),)

    with one_process_at_a_time(folder):
        kept = _kept(place, made_of)
        if kept is not None:
            return kept
        (images,), errors = decode_all(
            [(file,) for file in files],
            arrange,
            name,
            channels=channels,
            background=background,
            progress=progress,
        )
        left_out: dict[int, str] = {}
        damaged: dict[int, str] = {}
        for number, error in errors.items():
            reason = str(error).removeprefix(f"{folder}{os.sep}")
            (damaged if _has_header(files[number]) else left_out)[number] = reason
        kept_files = [number for number in range(len(files)) if number not in left_out]
        if damaged:
            bad = [bisect_left(kept_files, number) for number in damaged]
            rows = torch.ones(len(kept_files), dtype=torch.int64)
            rows[bad] = 0
            images = images[(rows.cumsum(0) - 1)[stand_ins(len(kept_files), bad)]]
        digests = digests_of([files[number] for number in kept_files])
        made = Decoded(images, left_out, damaged, digests)
        about = {
            "made_of": made_of,
            "left_out": left_out,
            "damaged": damaged,
            "digests": digests_as_text(digests),
        }
        try:
            _keep(place, images, about)
        except OSError as error:
            warnings.warn(
                f"{name}: the decoded images cannot be kept in {cache} "
                f"({error.strerror or error}), so the next start decodes them again",
                GankitWarning,
                stacklevel=outside_gankit(),
            )
            return made
    # Of the file too, so that this start and the next one hold the same memory.
    return _kept(place, made_of) or made


def stand_ins(count: int, damaged: Sequence[int]) -> Tensor:
    """For each of ``count`` images the one shown in its place: the next that is not ``damaged``."""
    bad = torch.tensor(list(damaged), dtype=torch.int64)
    found = torch.arange(2 * count)  # beyond the last one stands the first
    found[bad] = found[bad + count] = 2 * count
    return found.flip(0).cummin(0).values.flip(0)[:count] % count


def digests_of(files: Sequence[Path]) -> Tensor:
    """``file_digest`` of each file, int64 ``[N]``."""
    return torch.tensor([*in_threads(file_digest, files)], dtype=torch.int64)


def digests_as_text(digests: Tensor) -> str:
    """Digests in a form that JSON takes."""
    return base64.b64encode(digests.numpy().astype("<u4").tobytes()).decode()


def text_as_digests(text: str) -> Tensor:
    """What ``digests_as_text`` was given. Raises ValueError for another text."""
    values = np.frombuffer(base64.b64decode(text, validate=True), "<u4")
    return torch.from_numpy(values.astype(np.int64))


def _has_header(file: Path) -> bool:
    try:
        stored_channels(file)
    except DataError:
        return False
    return True


def place_in(
    cache: Path,
    owner: Path,
    image_size: tuple[int, int] | None,
    channels: int | None,
    fit: Fit,
    background: str,
    suffix: str,
) -> Path:
    """The file of the cache that belongs to ``owner`` and to these settings of its images."""
    owner = owner.resolve()
    settings = {
        "version": _VERSION,
        "folder": os.fsencode(owner).hex(),
        "image_size": image_size,
        "channels": channels,
        "fit": fit,
        "background": background,
    }
    key = hashlib.sha256(json_text(settings).encode()).hexdigest()[:16]
    stem = re.sub(r"[^A-Za-z0-9-]", "_", owner.name)[:40]
    return cache / f"{stem}-{key}{suffix}"


def fingerprint(files: Sequence[Path], folder: Path) -> str:
    """What changes when a file is added, removed or changed (by its name, size or time)."""
    from PIL import __version__ as pillow

    found = hashlib.sha256(f"Pillow {pillow}\n".encode())
    for file in files:
        try:
            status = os.stat(file)
            about = f"{status.st_size} {status.st_mtime_ns}"
        except OSError:  # a link to nothing
            about = "absent"
        name = file.relative_to(folder) if file.is_relative_to(folder) else file
        found.update(os.fsencode(name) + f"\0{about}\0".encode())
    return found.hexdigest()


def _keep(place: Path, images: Tensor, about: Mapping[str, Any]) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    text = json_text(about).encode()
    with atomic_write(place) as file:
        np.lib.format.write_array(file, images.numpy(), allow_pickle=False)
        file.write(text + len(text).to_bytes(_LENGTH, "little"))


def _kept(place: Path, made_of: str) -> Decoded | None:
    """What was kept in ``place``, or None if that is absent, damaged or made of other files."""
    try:
        with open(place, "rb") as file:
            end = file.seek(-_LENGTH, os.SEEK_END)
            length = int.from_bytes(file.read(_LENGTH), "little")
            file.seek(end - length)
            about = json.loads(file.read(length))
        if about["made_of"] != made_of:
            return None
        # Copied on writing, as torch takes no array that cannot be written.
        images = np.load(place, mmap_mode="c", allow_pickle=False)
        digests = text_as_digests(about["digests"])
        if images.dtype != np.uint8 or images.ndim != 4 or len(digests) != len(images):
            return None
        left_out, damaged = (
            {int(number): str(reason) for number, reason in about[key].items()}
            for key in ("left_out", "damaged")
        )
        return Decoded(torch.from_numpy(images), left_out, damaged, digests)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


@contextmanager
def one_process_at_a_time(folder: Path) -> Iterator[None]:
    """The others of a run wait, and then find what the first has kept."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror})") from error
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
