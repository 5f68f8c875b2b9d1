"""Runs CMake for one part: quiet when it works, with the compiler's words when it does not."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from .environment import BuildError
from .plan import CPU_JOB_BYTES, CUDA_JOB_BYTES, Plan, job_count

_ROOT = Path(__file__).resolve().parents[2]


class CompileError(BuildError):
    """CMake or a compiler failed; `output` is all they printed."""

    def __init__(self, step: str, output: str) -> None:
        super().__init__(f"{step} failed: {first_error(output)}")
        self.output = output


# "/usr/bin/ld: cannot find -lx", "ld.lld: error: ...", "x.cpp:(.text+0x5): undefined reference to
# `f'"; no warning, and not the line that says in which function the next one is.
_LINKER = re.compile(
    r"^(\S*[/-])?(ld|mold)(\.\w+)?: (?!warning\b|\S*: warning:)(?!.*: in function )"
    r"|: undefined reference to "
)


def first_error(output: str) -> str:
    """The line of `output` that says most: a compiler's or linker's error, CMake's, or the last."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    for line in lines:
        # collect2 only says that the linker failed; the linker has said why before.
        if re.match(r"(collect2|clang\S*): error: (ld|linker)\b", line):
            return next(filter(_LINKER.search, lines), line)
        if re.search(r"\b(error|fatal)\b[^:]{0,12}:", line):
            return line
    for line, following in itertools.pairwise(lines):
        if line.startswith("CMake Error"):
            return following
    return lines[-1] if lines else "no output"


def pybind11_include() -> str:
    """pybind11's header folder; empty when the package is missing (torch's copy serves then)."""
    try:
        import pybind11
    except ImportError:
        return ""
    return str(pybind11.get_include())


def part_options(part: str, plan: Plan, version: str) -> dict[str, str]:
    """The -D options of the part 'cpu' or 'cuda'."""
    assert plan.torch is not None
    options = {
        "CMAKE_BUILD_TYPE": "Release",
        "CMAKE_MAKE_PROGRAM": str(plan.ninja),
        "GANKIT_VERSION": version,
        "GANKIT_TORCH_DIR": str(plan.torch.folder),
    }
    if part == "cpu":
        options |= {
            "GANKIT_BUILD_CPU": "ON",
            "GANKIT_PYTHON_INCLUDE": sysconfig.get_paths()["include"],
            "GANKIT_PYBIND11_INCLUDE": pybind11_include(),
            "GANKIT_EXT_SUFFIX": str(sysconfig.get_config_var("EXT_SUFFIX")),
        }
    else:
        assert plan.nvcc is not None
        options |= {
            "GANKIT_BUILD_CUDA": "ON",
            "CMAKE_CUDA_COMPILER": str(plan.nvcc.path),
            "CMAKE_CUDA_ARCHITECTURES": ";".join(plan.archs),
        }
    return options


def build_folder(part: str, plan: Plan) -> Path:
    """One folder per part, interpreter and torch, so that a rebuild compiles only what changed."""
    assert plan.torch is not None
    tag = f"{sys.implementation.cache_tag}-torch{plan.torch.version}"
    if part == "cuda" and plan.nvcc is not None:
        tag += "-nvcc{}.{}".format(*plan.nvcc.version)
    return _ROOT / "build" / f"{part}-{tag}"


def _run(step: str, command: list[str], environ: Mapping[str, str]) -> str:
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=dict(environ),
        check=False,
    )
    if done.returncode != 0:
        raise CompileError(step, done.stdout)
    return done.stdout


def build_part(
    part: str, plan: Plan, target: Path, version: str, environ: Mapping[str, str] = os.environ
) -> str:
    """Configures, compiles and installs one part into the folder `target`.

    Returns CMake's output of the configure step. Raises CompileError with all output.
    """
    assert plan.cmake is not None
    folder = build_folder(part, plan)
    configure = [plan.cmake, "-S", str(_ROOT), "-B", str(folder), "-G", "Ninja"]
    configure += [f"-D{name}={value}" for name, value in part_options(part, plan, version).items()]
    jobs = job_count(environ, CUDA_JOB_BYTES if part == "cuda" else CPU_JOB_BYTES)
    output = _run("the configure step", configure, environ)
    _run("compiling", [plan.cmake, "--build", str(folder), "-j", str(jobs)], environ)
    _run("copying", [plan.cmake, "--install", str(folder), "--prefix", str(target)], environ)
    return output
