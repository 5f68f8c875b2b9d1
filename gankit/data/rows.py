"""Decoded images of a streamed set, kept in a file row by row as they are met.

The file begins with what it was made of, as JSON of a known length. Behind that stands a checksum
for each image, 0 while it is not there, and then the images, uint8 ``[N, C, H, W]``. Several
processes, and several runs, may read and write it at once: an image has one content, and one that
was half written when a machine stopped fails its checksum and is decoded again.
"""

from __future__ import annotations

import json
import math
import os
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from gankit.atomic import atomic_write
from gankit.json_text import json_text

__all__ = ["Rows"]

_LENGTH = 8


class Rows:
    """The file at ``path``, opened for reading and writing.

    Args:
        path: a file that ``create`` made.

    Attributes:
        about: what ``create`` was told.

    Raises:
        OSError: it is absent or cannot be written.
        ValueError: it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
        length = int.from_bytes(os.pread(self._file, _LENGTH, 0), "little")
        size = os.fstat(self._file).st_size
        self._sums = _LENGTH + length
        if self._sums > size:
            raise ValueError(f"{path} is damaged")
        self.about: dict[str, Any] = json.loads(os.pread(self._file, length, _LENGTH))
        count, self._bytes = self.about["count"], math.prod(self.about["shape"])
        self._images = self._sums + 4 * count
        if self._images + count * self._bytes != size:
            raise ValueError(f"{path} is damaged")

    @classmethod
    def create(cls, path: Path, about: Mapping[str, Any]) -> Rows:
        """A new file without images in place of what is at ``path``.

        Args:
            path: of the file, whose folder exists.
            about: plain values, among them ``count``, the number of images, and their ``shape``.

        Raises:
            OSError: it cannot be written.
        """
        text = json_text(dict(about)).encode()
        header = len(text).to_bytes(_LENGTH, "little") + text
        size = len(header) + about["count"] * (4 + math.prod(about["shape"]))
        with atomic_write(path) as file:
            file.write(header)
            # Takes no room on the disk before something is written.
            file.truncate(size)
        return cls(path)

    def read(self, number: int, out: np.ndarray) -> bool:
        """Copy image ``number`` into ``out`` if it is there."""
        kept = os.pread(self._file, 4, self._sums + 4 * number)
        if kept == b"\0\0\0\0" or len(kept) < 4:
            return False
        place = self._images + number * self._bytes
        got = os.preadv(self._file, [out.data.cast("B")], place)
        return got == self._bytes and _checksum(out) == kept

    def missing(self) -> int:
        """How many images are not there yet."""
        sums = os.pread(self._file, self._images - self._sums, self._sums)
        return int((np.frombuffer(sums, "<u4") == 0).sum())

    def write(self, number: int, image: np.ndarray) -> None:
        """Keep ``image`` as number ``number``. Raises OSError if it cannot be written."""
        place = self._images + number * self._bytes
        if os.pwrite(self._file, image.data.cast("B"), place) != self._bytes:
            raise OSError(f"{self.path}: no space is left")
        os.pwrite(self._file, _checksum(image), self._sums + 4 * number)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __del__(self) -> None:
        if getattr(self, "_file", -1) >= 0:
            with suppress(OSError):
                os.close(self._file)


def _checksum(image: np.ndarray) -> bytes:
    """Of four bytes, never 0."""
    return (zlib.crc32(image.data.cast("B")) or 1).to_bytes(4, "little")
