"""benchmarks/device/run.sh keeps going, keeps its budget, and keeps a record."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gankit.ops.backends import native_cpu

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "device" / "run.sh"
NEED_A_GPU = (
    "sample-native", "sample-triton", "graphs", "bandwidth", "benchmark-ops", "benchmark-steps",
    "report", "memcheck", "racecheck", "profile", "conformance-native", "conformance-triton",
    "memcheck-triton", "benchmark-all",
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
        timeout=850,
        check=False,
    )
    lines = (out / "summary.txt").read_text().splitlines()
    assert "commit abc123" in lines[0]
    assert lines[-1].split(",")[0].endswith("parts failed")
    parts = [line for line in lines[2:-1] if not line.startswith("to mend: ")]
    return done, {line[:20].strip(): line[20:53].strip() for line in parts}


@pytest.mark.skipif(
    importlib.util.find_spec("triton") is None or not native_cpu().available,
    reason="needs Triton and the compiled kernels",
)
@pytest.mark.parametrize(
    "left_out",
    [
        pytest.param((), marks=pytest.mark.slow),
        # What they run without a GPU, other parts run too.
        ("memcheck", "racecheck", "memcheck-triton", "benchmark-all"),
    ],
)
def test_every_part_starts_in_a_dry_run(left_out: tuple[str, ...], tmp_path: Path) -> None:
    parts = [each for each in ("environment", "build", *NEED_A_GPU) if each not in left_out]
    done, outcome = run(tmp_path, GANKIT_DEVICE_DRY="1", GANKIT_DEVICE_PARTS=" ".join(parts))
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert outcome == dict.fromkeys(parts, "exit 0")
    log = (tmp_path / "log.txt").read_text()
    assert not re.search(
        r"no tests (ran|collected)| 0 tests? collected|^0 calls", log, re.MULTILINE
    )
    assert "launched leaky_relu_dropout" in log
    for name in ("ops.json", "steps.json", "environment.json", "report.md", "chart.png"):
        assert (tmp_path / name).stat().st_size > 0


def test_the_benchmarks_are_reached_within_the_default_budget() -> None:
    """Each part up to the report of the benchmarks may take its whole limit."""
    limits = re.findall(r"^run_part (\S+) (\d+) ", SCRIPT.read_text(), re.MULTILINE)
    names = [name for name, _ in limits]
    assert names == ["environment", "build", *NEED_A_GPU]
    assert sum(int(seconds) for _, seconds in limits[: names.index("report") + 1]) <= 540


def test_without_a_gpu_it_skips_what_needs_one(tmp_path: Path) -> None:
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
    assert "to mend: build: no luck" in done.stdout


def test_stops_at_its_budget(tmp_path: Path) -> None:
    done, outcome = run(tmp_path, GANKIT_DEVICE_BUDGET="5", GANKIT_DEVICE_PARTS="environment build")
    assert done.returncode == 0
    assert outcome == {"environment": "skipped: out of time", "build": "skipped: out of time"}


def test_asks_for_the_output_folder() -> None:
    done = subprocess.run(["bash", str(SCRIPT)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "OUT_DIR" in done.stderr
