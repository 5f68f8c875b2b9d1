from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "build_backend"))

MakeTorch = Callable[..., Path]
MakeProgram = Callable[..., Path]


@pytest.fixture
def make_torch(tmp_path: Path) -> MakeTorch:
    """Makes a folder that looks like an installed torch, and returns it."""

    def make(site: str, version: str = "2.15.0+cu132", cuda: str | None = "13.2") -> Path:
        folder = tmp_path / site / "torch"
        (folder / "include").mkdir(parents=True)
        (folder / "version.py").write_text(
            "from typing import Optional\n"
            f"__version__ = {version!r}\n"
            "debug = False\n"
            f"cuda: Optional[str] = {cuda!r}\n"
            "hip: Optional[str] = None\n"
        )
        return folder

    return make


@pytest.fixture
def make_program(tmp_path: Path) -> MakeProgram:
    """Makes an executable that prints `text`, and returns its path."""

    def make(path: str, text: str) -> Path:
        program = tmp_path / path
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(f"#!/bin/sh\necho '{text}'\n")
        program.chmod(0o755)
        return program

    return make
