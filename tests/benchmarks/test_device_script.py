"""benchmarks/device/run.sh keeps going, keeps its budget, and keeps a record."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "device" / "run.sh"
NEED_A_GPU = (
    "conformance-native", "conformance-triton", "graphs", "memcheck", "racecheck", "bandwidth",
    "benchmark-ops", "benchmark-steps", "report", "memcheck-triton", "benchmark-all",
)  # fmt: skip

pytestmark = pytest.mark.skipif(shutil.which("timeout") is None, reason="needs GNU coreutils")


def run(out: Path, **variables: str) -> tuple[subprocess.CompletedProcess[str], dict[str, str]]:
    """The finished script and the outcome of each part in summary.txt."""
    environ = {
        **os.environ, "PYTHON": sys.executable, "CUDA_VISIBLE_DEVICES": "",
        "GANKIT_COMMIT": "abc123", **variables,
    }  # fmt: skip
    done = subprocess.run(
        ["bash", str(SCRIPT), str(out)],
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    lines = (out / "summary.txt").read_text().splitlines()
    assert "commit abc123" in lines[0]
    assert lines[-1].split(",")[0].endswith("parts failed")
    return done, {line[:20].strip(): line[20:53].strip() for line in lines[2:-1]}


def test_runs_dry_to_the_end_without_a_gpu(tmp_path: Path) -> None:
    parts = " ".join(("environment", *NEED_A_GPU))
    done, outcome = run(tmp_path / "new" / "out", GANKIT_DEVICE_PARTS=parts)
    assert done.returncode == 0, done.stdout + done.stderr
    assert outcome.pop("environment") == "exit 0"
    assert tuple(outcome) == NEED_A_GPU
    assert set(outcome.values()) == {"skipped: no CUDA device"}
    assert "torch" in (tmp_path / "new" / "out" / "log.txt").read_text()


def interpreter(folder: Path, body: str) -> str:
    path = folder / "python"
    path.write_text(f"#!/usr/bin/env bash\n{body}\n")
    path.chmod(0o755)
    return str(path)


def test_goes_on_after_a_failing_part_and_says_so(tmp_path: Path) -> None:
    # An interpreter that claims a GPU and fails at everything else.
    python = interpreter(
        tmp_path, '[[ "$*" == *cuda.is_available* ]] && { echo 1; exit 0; }; echo no luck; exit 7'
    )
    done, outcome = run(tmp_path, PYTHON=python)
    assert done.returncode == 1
    assert tuple(outcome)[2:] == NEED_A_GPU
    for name in ("build", *NEED_A_GPU):
        assert outcome[name].startswith("exit "), (name, outcome[name])
        assert outcome[name] != "exit 0", name
    assert outcome["build"] == "exit 7"
    assert "no luck" in done.stdout


def test_stops_at_its_budget(tmp_path: Path) -> None:
    done, outcome = run(tmp_path, GANKIT_DEVICE_BUDGET="5", GANKIT_DEVICE_PARTS="environment build")
    assert done.returncode == 0
    assert outcome == {"environment": "skipped: out of time", "build": "skipped: out of time"}


def test_asks_for_the_output_folder() -> None:
    done = subprocess.run(["bash", str(SCRIPT)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "OUT_DIR" in done.stderr
