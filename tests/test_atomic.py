"""Whole files or nothing."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from gankit.atomic import atomic_write
from gankit.training.callbacks import append_line


def test_the_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with atomic_write(path) as file:
        file.write(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_an_error_keeps_the_old_file_and_leaves_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(TypeError), atomic_write(path) as file:
        file.write("text is refused")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_a_full_disk_is_an_error_about_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device") as caught, atomic_write(path) as f:
        f.write(b"new")
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_a_missing_folder_is_an_error_about_the_file(tmp_path: Path) -> None:
    path = tmp_path / "absent" / "a.bin"
    with pytest.raises(FileNotFoundError) as caught, atomic_write(path):
        pass
    assert caught.value.filename == str(path)


def test_append_line_names_a_full_disk() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(OSError, match="No space left on device") as caught:
        append_line(Path("/dev/full"), "1,2,3")
    assert caught.value.filename == "/dev/full"


def test_append_line_adds_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    append_line(path, "1,2")
    append_line(path, "3,4")
    assert path.read_text() == "1,2\n3,4\n"
