"""Runs the tests that compute as other processors would: instruction sets, threads, an older torch.

Numbers round otherwise there, and a bound that hangs on one processor shows. Each setting is a run
of pytest of its own; an instruction set that this processor lacks too is no other setting, and its
run then repeats the plain one.

Usage: python tools/test_under_settings.py CACHE_FOLDER [SETTING...]
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from check_wheel import ROOT, environment

SETTINGS = (
    "ATEN_CPU_CAPABILITY=avx2",
    "ATEN_CPU_CAPABILITY=default",
    "ONEDNN_MAX_CPU_ISA=AVX2",
    "MKL_CBWR=COMPATIBLE",
    "OMP_NUM_THREADS=1",
    "OMP_NUM_THREADS=4",
    "torch==2.13.0",
)
# What the tests of an older torch need besides: not torchvision, whose releases each fit one torch.
PACKAGES = (
    *("jsonargparse[signatures]>=4.30", "matplotlib", "pillow", "pytest-benchmark>=5"),
    *("pytest-timeout>=2.3", "pyyaml", "safetensors", "scikit-learn", "tensorboard", "tqdm"),
)
# The others start processes, build or read files: nothing there is rounded.
FOLDERS = ("accelerate", "losses", "metrics", "models", "nn", "ops", "recipes", "training")


def run(setting: str, cache: Path) -> tuple[bool, str]:
    """Whether the tests passed under ``setting``, and pytest's last line."""
    python, variables = Path(sys.executable), dict(os.environ)
    name, _, value = setting.partition("=")
    if name == "torch":
        python = environment(cache, value.lstrip("="), PACKAGES)
        variables["PYTHONPATH"] = str(ROOT)
    else:
        variables[name] = value
    tests = [f"tests/{folder}" for folder in FOLDERS]
    command = [str(python), "-m", "pytest", *tests, "-q", "-m", "not slow", "--timeout", "900"]
    command += ["-p", "no:cacheprovider"]
    lines = []
    with subprocess.Popen(
        command, cwd=ROOT, env=variables, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line.strip())
    ends = [line for line in lines if re.search(r"\d+ (passed|failed|error)", line)]
    return process.returncode == 0, ends[-1] if ends else "no test ran"


def main() -> int:
    """Prints a line for each setting; returns 1 if the tests failed under one."""
    cache = Path(sys.argv[1]).resolve()
    cache.mkdir(parents=True, exist_ok=True)
    lines = []
    for setting in sys.argv[2:] or SETTINGS:
        print(f"==== {setting}", flush=True)
        passed, last = run(setting, cache)
        lines.append(f"check: {setting}: {'' if passed else 'FAILED: '}{last.strip('= ')}")
    print("\n".join(lines))
    return 1 if any("FAILED" in line for line in lines) else 0


if __name__ == "__main__":
    sys.exit(main())
