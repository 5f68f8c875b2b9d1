"""Fixtures shared by the tests of the command line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gankit.cli import main
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
