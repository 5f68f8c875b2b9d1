"""Decides what is built, for which GPUs, and with how many jobs."""

from __future__ import annotations

import os
import re
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .environment import BuildError, Torch, find_torch
from .toolchain import Nvcc, find_cmake, find_compiler, find_ninja, find_nvcc

MODES = ("auto", "reference", "cpu", "cuda")
DEFAULT_ARCHS = "7.5;8.0;9.0+PTX"
# torch's names for TORCH_CUDA_ARCH_LIST.
ARCH_NAMES = {
    "Volta": "7.0+PTX",
    "Turing": "7.5+PTX",
    "Ampere": "8.0;8.6+PTX",
    "Ada": "8.9+PTX",
    "Hopper": "9.0+PTX",
    "Blackwell": "10.0;10.3;12.0+PTX",
}
# What one compiler process was seen to take, rounded up.
CPU_JOB_BYTES = 1 << 30
CUDA_JOB_BYTES = 2 << 30


@dataclass(frozen=True)
class Part:
    """One part of the build: whether it is built, why not, and whether that is an error."""

    name: str
    build: bool
    reason: str
    required: bool


@dataclass(frozen=True)
class Plan:
    """Everything that is decided before CMake runs."""

    mode: str
    torch: Torch | None
    cpu: Part
    cuda: Part
    cmake: str | None
    ninja: str | None
    nvcc: Nvcc | None
    archs: tuple[str, ...]

    @property
    def native(self) -> bool:
        return self.cpu.build or self.cuda.build


def build_mode(environ: Mapping[str, str]) -> str:
    """GANKIT_BUILD: auto (default), reference, cpu or cuda."""
    mode = environ.get("GANKIT_BUILD") or "auto"
    if mode not in MODES:
        raise BuildError(f"GANKIT_BUILD is {mode!r}; allowed are {', '.join(MODES)}.")
    return mode


def cuda_archs(environ: Mapping[str, str]) -> tuple[str, ...]:
    """CMake's architectures from TORCH_CUDA_ARCH_LIST, e.g. ('80-real', '90-virtual')."""
    text = environ.get("TORCH_CUDA_ARCH_LIST") or DEFAULT_ARCHS
    for name, archs in ARCH_NAMES.items():
        text = re.sub(rf"\b{name}\b", archs, text, flags=re.IGNORECASE)
    result: list[str] = []
    for item in re.split(r"[;,\s]+", text.strip()):
        match = re.fullmatch(r"(\d+)\.(\d[af]?)(\+PTX)?", item)
        if match is None:
            raise BuildError(
                f"TORCH_CUDA_ARCH_LIST has {item!r}; allowed are versions such as 8.0, 9.0a or "
                f"9.0+PTX, and the names {', '.join(ARCH_NAMES)}."
            )
        number = match[1] + match[2]
        result.append(f"{number}-real")
        if match[3]:
            result.append(f"{number}-virtual")
    return tuple(dict.fromkeys(result))


def available_memory() -> int | None:
    """Bytes that this process may still take: the smaller of the machine's and the cgroup's."""
    limits: list[int] = []
    try:
        match = re.search(r"MemAvailable:\s*(\d+) kB", Path("/proc/meminfo").read_text())
        limits += [int(match[1]) * 1024] if match else []
    except OSError:
        pass
    try:
        maximum = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        current = int(Path("/sys/fs/cgroup/memory.current").read_text())
        if maximum != "max":
            limits.append(max(0, int(maximum) - current))
    except (OSError, ValueError):
        pass
    return min(limits) if limits else None


def job_count(
    environ: Mapping[str, str], per_job: int, *, cpus: int | None = None, memory: int | None = None
) -> int:
    """Parallel compiler processes: MAX_JOBS or the CPUs, and no more than fit into memory."""
    given = environ.get("MAX_JOBS")
    if given:
        if not given.isdecimal() or int(given) < 1:
            raise BuildError(f"MAX_JOBS is {given!r}; allowed are whole numbers from 1.")
        wanted = int(given)
    elif cpus is not None:
        wanted = cpus
    else:
        affinity = getattr(os, "sched_getaffinity", None)
        wanted = len(affinity(0)) if affinity else os.cpu_count() or 1
    memory = available_memory() if memory is None else memory
    return max(1, min(wanted, memory // per_job)) if memory is not None else wanted


def _why_no_native(
    torch: Torch | None, environ: Mapping[str, str], cmake: str | None, ninja: str | None
) -> str:
    if sys.platform not in ("linux", "darwin"):
        return f"native code is built on Linux and macOS, not on {sys.platform}"
    compiler, reason = find_compiler(environ)
    if compiler is None:
        return reason
    if torch is None:
        return "no torch was found to build against"
    if cmake is None:
        return "CMake 3.25 or later was not found"
    if ninja is None:
        return "Ninja was not found"
    return ""


def make_plan(environ: Mapping[str, str] = os.environ) -> Plan:
    """Looks at the machine and decides; a missing part that is asked for raises BuildError."""
    mode = build_mode(environ)
    archs = cuda_archs(environ)
    job_count(environ, CPU_JOB_BYTES)
    cpu_required, cuda_required = mode in ("cpu", "cuda"), mode == "cuda"
    if mode == "reference":
        why = "GANKIT_BUILD=reference"
        parts = Part("cpu", False, why, False), Part("cuda", False, why, False)
        return Plan(mode, None, *parts, None, None, None, archs)

    torch = find_torch(environ)
    cmake, ninja = find_cmake(environ), find_ninja(environ)
    no_native = _why_no_native(torch, environ, cmake, ninja)
    no_cpu = no_native
    if not no_cpu and not Path(sysconfig.get_paths()["include"], "Python.h").is_file():
        no_cpu = "Python.h was not found (on Debian and Ubuntu it is in python3-dev)"

    nvcc, no_cuda = None, no_native
    if mode == "cpu":
        no_cuda = "GANKIT_BUILD=cpu"
    elif not no_cuda and sys.platform != "linux":
        no_cuda = f"CUDA code is built on Linux, not on {sys.platform}"
    elif not no_cuda and torch is not None:
        if torch.cuda is None and not cuda_required:
            no_cuda = f"torch {torch.version} is built without CUDA"
        else:
            nvcc, no_cuda = find_nvcc(torch, environ)

    cpu = Part("cpu", not no_cpu, no_cpu, cpu_required)
    cuda = Part("cuda", not no_cuda, no_cuda, cuda_required)
    for part in (cpu, cuda):
        if part.required and not part.build:
            raise BuildError(missing_part(mode, part.name, part.reason))
    return Plan(mode, torch, cpu, cuda, cmake, ninja, nvcc, archs)


def missing_part(mode: str, part: str, reason: str) -> str:
    """The sentence for a part that GANKIT_BUILD asks for and that cannot be built."""
    title = {"cpu": "C++", "cuda": "CUDA"}[part]
    return f"GANKIT_BUILD={mode} asks for the {title} part, but {reason}."


def left_out_line(mode: str, cpu: str, cuda: str) -> str:
    """One line on what was left out and why; empty when nothing was that was wanted.

    `cpu` and `cuda` are the reasons, empty for a part that was built.
    """
    if mode == "reference" or (not cpu and (not cuda or mode == "cpu")):
        return ""
    if cpu and cuda and cpu == cuda:
        left_out = f"the C++ and CUDA parts ({cpu})"
    elif cpu and cuda and mode != "cpu":
        left_out = f"the C++ part ({cpu}) and the CUDA part ({cuda})"
    elif cpu:
        left_out = f"the C++ part ({cpu})"
    else:
        left_out = f"the CUDA part ({cuda})"
    return f"gankit: built without {left_out}; Triton and plain PyTorch do that work"
