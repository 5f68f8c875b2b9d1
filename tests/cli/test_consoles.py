"""Names that the console cannot print are printed as escapes, and end no command."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gankit import doctor
from gankit.cli import main
from tests.small_runs import environment

pytestmark = pytest.mark.usefixtures("in_a_folder_of_its_own")
NAMES = {"ideograms": "\u5199\u771f", "dash": "a \u2013 \u03a9", "bytes": os.fsdecode(b"b\xff")}


class Console:
    """Both streams of this process, as ``encoding`` has them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, encoding: str, errors: str) -> None:
        self.out, self.err = (
            io.TextIOWrapper(io.BytesIO(), encoding, how) for how in (errors, "backslashreplace")
        )
        monkeypatch.setattr(sys, "stdout", self.out)
        monkeypatch.setattr(sys, "stderr", self.err)

    def text(self) -> str:
        self.out.flush()
        assert isinstance(self.out.buffer, io.BytesIO)
        return self.out.buffer.getvalue().decode(self.out.encoding, "surrogateescape")


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
@pytest.mark.parametrize(
    ("encoding", "errors"),
    [("cp1252", "strict"), ("ascii", "surrogateescape"), ("utf-8", "strict")],
)
def test_paths_of_any_characters(
    name: str, encoding: str, errors: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    console = Console(monkeypatch, encoding, errors)
    assert main(["train", "gan", "--config", "small.yaml", "--steps", "1", "--out", name]) == 0
    assert main(["train", "--resume", "--out", name]) == 0
    assert main(["sample", name, "--n", "1", "--out", f"{name}.png"]) == 0
    assert main(["export", name, "--format", "safetensors"]) == 0
    assert main(["recipes"]) == 0
    assert main(["train", "--resume", "--out", f"no {name}"]) == 2
    said = (
        name if encoding == "utf-8" else name.encode(encoding, "backslashreplace").decode(encoding)
    )
    said = said.encode("utf-8", "backslashreplace").decode()
    for words in ("the run is in ", "1 image is in ", "the generator is in "):
        assert f"{words}{said}" in console.text()
    assert console.out.errors == errors
    assert Path(f"{name}.png").is_file()


def test_the_doctor_of_a_folder_with_an_accent(monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(monkeypatch, "ascii", "strict")
    monkeypatch.setattr(doctor, "__file__", "/caf\u00e9/gankit/doctor.py")
    assert main(["doctor"]) == 0
    assert "/caf\\xe9/gankit" in console.text()


def test_another_process() -> None:
    """As on Windows with output to a pipe: its own streams, from start to end."""
    Path("s.py").write_text("print('\u5199')")
    outcomes = []
    for argv in (
        ["train", "gan", "--config", "small.yaml", "--steps", "1", "--out", "\u5199"],
        ["run", "s.py"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "gankit", *argv],
            env=environment(PYTHONIOENCODING="cp1252"), capture_output=True, check=False,
        )  # fmt: skip
        outcomes.append((done.returncode, b"UnicodeEncodeError" in done.stderr))
    assert outcomes == [(0, False), (1, True)]  # a script is run as Python would run it
