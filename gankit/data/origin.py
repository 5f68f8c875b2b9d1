"""Which files a set was made of, and what was in them: what a run that goes on is to find again."""

from __future__ import annotations

import os
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gankit.errors import CheckpointError

__all__ = ["FileNames", "Origin", "file_digest"]

# Of a larger file than four blocks, three are read: decoding is what reads the whole of it.
_BLOCK = 2**14
_NAMED = 3
# Longer paths no system has.
_LONGEST = 4096


class FileNames:
    """The paths of files relative to a folder, in two arrays.

    A list of a million objects would be copied into each process that decodes.

    Args:
        files: paths; of those outside ``folder`` the whole is kept.
        folder: what they are told from.
    """

    def __init__(self, files: Sequence[Path], folder: Path) -> None:
        self.folder = folder
        names = [
            os.fsencode(file.relative_to(folder) if file.is_relative_to(folder) else file) + b"\0"
            for file in files
        ]
        self._ends = np.cumsum([len(name) for name in names])
        self._bytes = np.frombuffer(b"".join(names), np.uint8)

    def __len__(self) -> int:
        return len(self._ends)

    def path(self, number: int) -> Path:
        """File ``number``."""
        start = self._ends[number - 1] if number else 0
        return self.folder / os.fsdecode(self._bytes[start : self._ends[number] - 1].tobytes())

    def packed(self) -> bytes:
        """All of them, each with a NUL behind it."""
        return self._bytes.tobytes()


@dataclass(frozen=True, eq=False)
class Origin:
    """The files of a set in its order, with a digest of each file and of what is known of it.

    Args:
        names: N files.
        digests: int64 ``[N]`` on the CPU, such as ``of_files`` makes.
    """

    names: FileNames
    digests: Tensor

    @classmethod
    def of_files(
        cls,
        names: FileNames,
        contents: Tensor,
        labels: Tensor | None = None,
        attributes: Tensor | None = None,
    ) -> Origin:
        """The origin of files with digests ``contents`` (int64 ``[N]``), classes and attributes."""
        digests = contents.clone()
        columns = [] if labels is None else [labels]
        columns += [] if attributes is None else [*attributes.long().unbind(1)]
        for column in columns:
            digests = (31 * digests + column + 1) % 2**32
        return cls(names, digests)

    def state_dict(self) -> dict[str, Tensor]:
        """What a checkpoint keeps, and ``compare`` takes: the names compressed, and the digests."""
        return {"names": self._compressed, "digests": self.digests}

    @cached_property
    def _compressed(self) -> Tensor:
        """The names, uint8; each checkpoint has them."""
        names = np.frombuffer(zlib.compress(self.names.packed()), np.uint8)
        return torch.from_numpy(names.copy())

    def compare(self, state: Mapping[str, Any], name: str) -> str | None:
        """What has changed in the set ``name`` since its origin gave ``state``.

        Returns:
            A sentence that names files of another content, class or attributes; or None.

        Raises:
            CheckpointError: there are other files, or they are in another order; or ``state`` is
                damaged.
        """
        old, digests = _unpacked(state)
        new = _split(self.names.packed())
        if old != new:
            removed, added = Counter(old) - Counter(new), Counter(new) - Counter(old)
            what = [
                f"{sum(each.values())} {verb} ({_first([*each])})"
                for each, verb in ((removed, "removed"), (added, "added"))
                if each
            ]
            raise CheckpointError(
                f"the images of {name} are others than when it was written, "
                f"{' and '.join(what) or 'in another order'}; undo that, or start a new run"
            )
        changed = (digests != self.digests).nonzero().flatten().tolist()
        if not changed:
            return None
        files = _first([new[number] for number in changed])
        return (
            f"Of the images of {name}, {len(changed)} changed since the checkpoint was written, in "
            f"content, class or attributes ({files}): the continuation is not bit for bit the one "
            "that the run would have had."
        )


def file_digest(file: Path) -> int:
    """32 bits of the size and the content of ``file``: of all bytes up to 64 kB, else of some.

    0 if it cannot be read.
    """
    try:
        with open(file, "rb") as opened:
            size = os.fstat(opened.fileno()).st_size
            digest = zlib.crc32(size.to_bytes(8, "little"))
            if size <= 4 * _BLOCK:
                return zlib.crc32(opened.read(), digest)
            for start in (0, (size - _BLOCK) // 2, size - _BLOCK):
                opened.seek(start)
                digest = zlib.crc32(opened.read(_BLOCK), digest)
            return digest
    except OSError:
        return 0


def _unpacked(state: Mapping[str, Any]) -> tuple[list[bytes], Tensor]:
    packed, digests = (
        _row(state.get(key), dtype)
        for key, dtype in (("names", torch.uint8), ("digests", torch.int64))
    )
    most = _LONGEST * max(1, len(digests))  # 0 would be no bound
    try:
        text = zlib.decompressobj().decompress(packed.numpy().tobytes(), most)
    except zlib.error as error:
        raise CheckpointError(f"its entry data is damaged ({error})") from error
    names = _split(text)
    if len(names) != len(digests):
        raise CheckpointError(f"its entry data has {len(names)} files and {len(digests)} digests")
    return names, digests


def _row(value: object, dtype: torch.dtype) -> Tensor:
    if not isinstance(value, Tensor) or value.dtype != dtype or value.ndim != 1:
        raise CheckpointError("its entry data is not a list of files")
    return value


def _split(packed: bytes) -> list[bytes]:
    return packed.split(b"\0")[:-1]


def _first(names: Sequence[bytes]) -> str:
    more = ", ..." if len(names) > _NAMED else ""
    return ", ".join(os.fsdecode(each) for each in names[:_NAMED]) + more
