"""Runs the tests that compute as other processors would: instruction sets, threads, an older torch.

Numbers round otherwise there, and a bound that hangs on one processor shows. Each setting is a run
of pytest of its own; one that this processor cannot tell from the plain run is skipped.

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
    "OMP_NUM_THREADS=2",
    "OMP_NUM_THREADS=4",
    "torch==2.13.0",
)
# What the tests of an older torch need besides.
PACKAGES = (
    *("jsonargparse[signatures]>=4.30", "matplotlib", "pillow>=10.1", "pytest-benchmark>=5"),
    *("pytest-timeout>=2.3", "pyyaml", "safetensors", "scikit-learn", "tensorboard", "torchvision"),
    "tqdm",
)
# A test whose numbers can move computes with torch in this process and has a bound. Left out is
# what compares words, bytes or files, starts processes, or compiles.
EXACT = {
    "": ("benchmarks", "build", "cli", "data", "test_atomic.py", "test_plain.py"),
    "accelerate": ("test_run.py", "test_run_module.py"),
    "ops": (
        *("test_backends.py", "test_batch_norm_act_synchronised.py", "test_raw_calls.py"),
        *("test_conv_transpose2d_compile.py", "test_registry_complete.py"),
        *("test_triton_compile.py", "test_triton_compile_batch_norm_act.py"),
        "test_triton_compile_penalties.py",
    ),
    "recipes": (
        *("test_ablations.py", "test_checked_first.py", "test_compare_losses.py"),
        *("test_compare_networks.py", "test_component.py", "test_config.py", "test_demo.py"),
        *("test_gallery.py", "test_labels_with_gaps.py", "test_yaml_text.py"),
    ),
    "training": (
        *("test_callbacks.py", "test_checkpoint.py", "test_checkpointing.py"),
        *("test_distributed.py", "test_dry_run.py", "test_given_data.py", "test_memory.py"),
        *("test_metrics_csv.py", "test_numpy_numbers.py", "test_own_program.py"),
        *("test_pictures.py", "test_point_pictures.py", "test_progress.py"),
        "test_run_pictures.py",
    ),
}
LEFT_OUT = [str(Path("tests", folder, name)) for folder in EXACT for name in EXACT[folder]]


def same_as_plain(setting: str, instructions: str, *, mkl: bool) -> str:
    """Why the plain run does the same as ``setting``; empty where it does not.

    Args:
        setting: an entry of SETTINGS.
        instructions: what torch.backends.cpu.get_cpu_capability() says of the plain run.
        mkl: whether torch has MKL.
    """
    name, _, value = setting.partition("=")
    if name in ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA"):
        # Either variable only ever lowers the choice.
        more = {"avx2": ("AVX512",), "default": ("AVX512", "AVX2")}[value.lower()]
        if instructions not in more:
            return f"this processor runs torch's {instructions} kernels without it too"
    if name == "MKL_CBWR" and not mkl:
        return "this torch has no MKL"
    return ""


def run(setting: str, cache: Path) -> tuple[bool, str]:
    """Whether the tests passed under ``setting``, and pytest's last line."""
    python, variables = Path(sys.executable), dict(os.environ)
    name, _, value = setting.partition("=")
    if name == "torch":
        python = environment(cache, value.lstrip("="), PACKAGES)
        variables["PYTHONPATH"] = str(ROOT)
    else:
        variables[name] = value
    command = [str(python), "-m", "pytest", "tests", "-q", "--timeout", "900"]
    command += ["-m", "not slow", "-k", "not triton and not opcheck", "-p", "no:cacheprovider"]
    command += [f"--ignore={path}" for path in LEFT_OUT]
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
    import torch

    cache = Path(sys.argv[1]).resolve()
    cache.mkdir(parents=True, exist_ok=True)
    instructions, mkl = torch.backends.cpu.get_cpu_capability(), torch.backends.mkl.is_available()
    lines, failed = [], False
    for setting in sys.argv[2:] or SETTINGS:
        print(f"==== {setting}", flush=True)
        reason = same_as_plain(setting, instructions, mkl=mkl)
        if reason:
            lines.append(f"check: {setting}: skipped: {reason}")
            continue
        passed, last = run(setting, cache)
        failed = failed or not passed
        lines.append(f"check: {setting}: {'' if passed else 'FAILED: '}{last.strip('= ')}")
    print("\n".join(lines))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
