"""What `gankit doctor` prints: the machine, what was built, which op runs where, and why."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

from ._version import __version__

__all__ = ["collect", "main", "report"]

Section = dict[str, str]


def _compiler() -> str:
    program = os.environ.get("CXX", "").split(" ")[0] or next(
        (name for name in ("c++", "g++", "clang++") if shutil.which(name)), ""
    )
    if not program or not shutil.which(program):
        return f"none found{f' (CXX is {program})' if program else ''}"
    return f"{program}: {_first_line([program, '--version'])}"


def _first_line(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"does not run ({error})"
    lines = done.stdout.strip().splitlines()
    return lines[0] if lines else f"prints nothing (exit status {done.returncode})"


def _nvcc() -> str:
    home = os.environ.get("CUDA_HOME")
    path = shutil.which("nvcc", path=str(Path(home) / "bin")) if home else None
    path = path or shutil.which("nvcc")
    if path is None:
        return "none in CUDA_HOME or on PATH"
    try:
        done = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{path} does not run ({error})"
    match = re.search(r"release ([\d.]+)", done.stdout)
    return f"{match[1] if match else 'unknown version'} ({path})"


def _package(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _machine() -> Section:
    return {
        "gankit": f"{__version__} ({Path(__file__).resolve().parent})",
        "Python": f"{platform.python_version()} ({sys.executable})",
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
        "compiler": _compiler(),
        "nvcc": _nvcc(),
        "Triton": _package("triton"),
    }


def _torch() -> Section:
    try:
        import torch
    except ImportError as error:
        return {"torch": f"does not import ({error})"}
    section = {
        "torch": f"{torch.__version__} ({Path(torch.__file__).parent})",
        "CPU capability": torch.backends.cpu.get_cpu_capability(),
        "threads": str(torch.get_num_threads()),
        "CUDA of torch": str(torch.version.cuda or "none, a CPU build"),
    }
    if not torch.cuda.is_available():
        section["GPU"] = "none that torch can use"
        return section
    for index in range(torch.cuda.device_count()):
        found = torch.cuda.get_device_properties(index)
        section[f"GPU {index}"] = (
            f"{found.name}, compute capability {found.major}.{found.minor}, "
            f"{found.total_memory / 2**30:.0f} GiB"
        )
    return section


def _built() -> Section:
    from .ops import backends

    built = backends.build_report()
    section: Section = {}
    if built:
        torch = built.get("torch")
        section["built against"] = f"torch {torch}" if torch else "no torch: nothing is compiled"
        for part, title in (("cpu", "C++ part"), ("cuda", "CUDA part")):
            state = built.get(part, {})
            if state.get("built"):
                archs = state.get("archs")
                kinds = f" for {', '.join(archs)}" if isinstance(archs, list) and archs else ""
                section[title] = f"built{kinds}"
            else:
                section[title] = f"left out: {state.get('reason')}"
    else:
        section["build"] = "no build report: pip install . builds the native parts"
    if backends.native_cpu().available:
        from gankit import _C

        info = _C.build_info()
        section["compiled by"] = f"{info['compiler']}, C++ {info['cxx_standard']}"
        section["instruction set in use"] = (
            f"{info['isa']} ({'picked at run time' if info['clones'] else 'fixed at build time'})"
        )
    return section


def _ops() -> Section:
    from .ops import backends
    from .ops.linear import why_not_onednn

    section: Section = {}
    for row in backends.describe():
        section[f"{row['op']} on {row['device']}"] = f"{row['backend']}: {row['reason']}"
    reason = why_not_onednn()
    if backends.requested() == "reference":
        reason = "the backend reference was asked for"
    section["linear on cpu"] = (
        f"F.linear: {reason}"
        if reason
        else "our kernel or oneDNN where sizes suit: AVX-512, unused by MKL on AMD"
    )
    section["linear on cuda"] = "F.linear: cuBLAS is fast"
    section["conv_transpose2d_bn_act"] = "made of conv_transpose2d and batch_norm_act"
    return section


def collect() -> dict[str, Section]:
    """The report as section -> name -> text: machine, torch, build, ops.

    A section that cannot be made (gankit does not import with this torch, say) holds the error.
    """
    sections = {"machine": _machine(), "torch": _torch()}
    for title, make in (("build", _built), ("ops", _ops)):
        try:
            sections[title] = make()
        except ImportError as error:
            sections[title] = {"error": str(error)}
    return sections


def report(sections: dict[str, Section] | None = None) -> str:
    """The report as text for people; `sections` is what :func:`collect` gave."""
    lines: list[str] = []
    for title, section in (collect() if sections is None else sections).items():
        width = max(map(len, section), default=0)
        lines += [f"[{title}]", *(f"{name:<{width}}  {text}" for name, text in section.items()), ""]
    return "\n".join(lines).rstrip()


def main() -> int:
    """Prints the report; returns 0, or 2 with the reason on stderr if a section is missing."""
    sections = collect()
    print(report(sections))
    errors = [section["error"] for section in sections.values() if "error" in section]
    if errors:
        print(f"gankit: error: {' '.join(errors[0].split())}", file=sys.stderr)
    return 2 if errors else 0
