"""Fixtures shared by the tests of the command line."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gankit.cli import main
from tests.cli.trained import train
from tests.small_runs import SMALL


@pytest.fixture
def in_a_folder_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """The test starts in an empty folder but for small.yaml, which holds SMALL."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("small.yaml").write_text(getattr(request.module, "SMALL", SMALL))


@pytest.fixture
def refused(capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that must fail with exit code 2; return its one sentence."""

    def run(*argv: str) -> str:
        code = main(argv)
        captured = capfd.readouterr()
        assert code == 2, captured
        assert captured.err.startswith("gankit: error: ")
        assert captured.err.count("\n") == 1
        assert "Traceback" not in captured.err
        return captured.err

    return run


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a small run of a recipe, which nobody may change."""
    home = tmp_path_factory.mktemp("trained")

    def folder(kind: str) -> Path:
        if not (home / kind).exists():
            train(kind, home / kind)
        return home / kind

    return folder


@pytest.fixture
def trained(trained_once: Callable[[str], Path], tmp_path: Path) -> Callable[..., Path]:
    """A copy of the folder of a small run of a recipe, of its name or another one."""

    def copied(kind: str, name: str | None = None) -> Path:
        place = tmp_path / (name or kind)
        shutil.copytree(trained_once(kind), place)
        return place

    return copied
