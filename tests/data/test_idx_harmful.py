"""idx files that were made, or damaged, so that a reader fails or takes all memory."""

from __future__ import annotations

import gzip
import os
import random
import struct
import tracemalloc
import zlib
from pathlib import Path

import pytest

from gankit.data import load
from gankit.data.idx import load_idx, read_idx
from gankit.errors import DataError

IMAGES = struct.pack(">HBB3I", 0, 8, 3, 6, 4, 4) + bytes(range(96))


def header(kind: int, *shape: int) -> bytes:
    return struct.pack(f">HBB{len(shape)}I", 0, kind, len(shape), *shape)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (header(8, *[1] * 65) + b"x", "65 dimensions"),
        (header(8, *[1] * 255) + b"x", "255 dimensions"),
        (header(8, *[2**32 - 1] * 255), "255 dimensions"),
        (header(8, 0, 2**32 - 1, 2**32 - 1), r"the set is empty \(shape \[0, 4294967295"),
        (header(14, 2**32 - 1, 0, 2**32 - 1), "the set is empty"),
        (header(8, 0, 4, 4), "empty"),
        (header(8, *[2**31] * 60), "truncated"),
        (header(8, 1, 2**31, 2**31) + bytes(9), "truncated"),
        (header(8, 2, 2, 2) + bytes(2**22), "longer than its header says"),
        (header(14, 6, 4) + bytes(2), "truncated"),
        (IMAGES[:3], "3 bytes"),
    ],
)
def test_headers_of_any_kind_get_a_sentence(
    tmp_path: Path, content: bytes, words: str, packed: bool
) -> None:
    path = tmp_path / "images"
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(DataError, match=words) as caught:
        load(f"idx:{path}")
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 1000


def zeros_packed(count: int, start: bytes) -> bytes:
    """``start`` and ``count`` MiB of zeros, compressed without having them in memory."""
    pack = zlib.compressobj(9, wbits=31)
    parts = [pack.compress(start), *(pack.compress(bytes(2**20)) for _ in range(count))]
    return b"".join([*parts, pack.flush()])


def test_a_gzip_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gankit.data.idx._LARGE", 2**26)
    path = tmp_path / "images.gz"
    for shape, words in (
        ((10, 28, 28), "longer than its header says: 73392 bytes, or more"),
        ((100, 1024, 1024), "unpacks to 104857616 bytes, .* unpack it first"),
        ((2000, 1024, 1024), "truncated: "),
    ):
        path.write_bytes(zeros_packed(100, header(8, *shape)))
        tracemalloc.start()
        with pytest.raises(DataError, match=words):
            read_idx(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 8 * 2**20


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with a name")
def test_what_has_no_end_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/zero")
    for path in ("/dev/zero", "/dev/null", str(tmp_path / "pipe"), str(tmp_path / "link")):
        with pytest.raises(DataError, match="not a regular file"):
            load(f"idx:{path}")


@pytest.mark.parametrize("path", ["a\0b", "x" * 5000, "~no-such-user-here/x"], ids=range(3))
def test_what_is_no_path_gets_a_sentence(path: str) -> None:
    with pytest.raises(DataError, match=r"not a path|does not exist"):
        load_idx(path)


def test_flipped_bits_of_gzip_are_said_or_change_nothing(tmp_path: Path) -> None:
    path, data, pick = tmp_path / "images.gz", gzip.compress(IMAGES), random.Random(0)
    path.write_bytes(data)
    whole = read_idx(path)
    refusals = 0
    for place in range(8 * len(data)):
        changed = bytearray(data)
        changed[place // 8] ^= 1 << place % 8
        if pick.random() < 0.1:
            changed = changed[: pick.randrange(len(changed))]
        path.write_bytes(changed)
        try:
            assert (read_idx(path) == whole).all()
        except DataError:
            refusals += 1
    assert refusals > 4 * len(data)
