"""Finds the compiler, CMake, Ninja and nvcc."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import shutil
import subprocess
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .environment import Torch

MINIMUM_CMAKE = (3, 25)


@dataclass(frozen=True)
class Nvcc:
    """An nvcc: its path and its CUDA version, as (major, minor)."""

    path: Path
    version: tuple[int, int]


def find_compiler(environ: Mapping[str, str]) -> tuple[str | None, str]:
    """(path of the C++ compiler or None, reason when None); CXX names one, as for CMake."""
    named = environ.get("CXX")
    if named:
        program = shlex.split(named)[0]
        path = shutil.which(program, path=environ.get("PATH"))
        return path, "" if path else f"CXX is {named!r}, and there is no such program"
    for program in ("c++", "g++", "clang++"):
        path = shutil.which(program, path=environ.get("PATH"))
        if path:
            return path, ""
    return None, "no C++ compiler was found"


def _version(program: str, pattern: str) -> tuple[int, int] | None:
    try:
        text = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=60, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(pattern, text)
    return (int(match[1]), int(match[2])) if match else None


def _find_program(name: str, module: str, attribute: str, environ: Mapping[str, str]) -> list[str]:
    """Places of `name`: PATH, the scripts of this environment, the pip package `module`."""
    found = [
        shutil.which(name, path=environ.get("PATH")),
        shutil.which(name, path=sysconfig.get_path("scripts")),
    ]
    try:
        folder = getattr(importlib.import_module(module), attribute)
        found.append(shutil.which(name, path=str(folder)))
    except (ImportError, AttributeError):
        pass
    return list(dict.fromkeys(path for path in found if path))


def find_cmake(environ: Mapping[str, str]) -> str | None:
    """A CMake that is new enough, or None."""
    for path in _find_program("cmake", "cmake", "CMAKE_BIN_DIR", environ):
        version = _version(path, r"cmake version (\d+)\.(\d+)")
        if version is not None and version >= MINIMUM_CMAKE:
            return path
    return None


def find_ninja(environ: Mapping[str, str]) -> str | None:
    """Ninja, or None."""
    for path in _find_program("ninja", "ninja", "BIN_DIR", environ):
        if _version(path, r"(\d+)\.(\d+)") is not None:
            return path
    return None


def nvcc_candidates(torch: Torch, environ: Mapping[str, str]) -> list[Path]:
    """Where nvcc may lie, best first: CUDA_HOME, PATH, the pip package nvidia-cuda-nvcc."""
    places: list[Path] = []
    home = environ.get("CUDA_HOME")
    if home:
        places.append(Path(home) / "bin" / "nvcc")
    on_path = shutil.which("nvcc", path=environ.get("PATH"))
    if on_path:
        places.append(Path(on_path))
    if torch.cuda_major is not None:
        sites = [torch.folder.parent, Path(sysconfig.get_paths()["purelib"])]
        places += [site / "nvidia" / f"cu{torch.cuda_major}" / "bin" / "nvcc" for site in sites]
    return [place for place in dict.fromkeys(places) if os.access(place, os.X_OK)]


def find_nvcc(torch: Torch, environ: Mapping[str, str]) -> tuple[Nvcc | None, str]:
    """(the nvcc to use or None, reason when None).

    It must be of the CUDA major that torch was built for, because both put one CUDA runtime's
    types on the same stream. A torch without CUDA takes any.
    """
    refused: list[str] = []
    for place in nvcc_candidates(torch, environ):
        version = _version(str(place), r"release (\d+)\.(\d+)")
        if version is None:
            refused.append(f"{place} does not run")
        elif torch.cuda_major is not None and version[0] != torch.cuda_major:
            refused.append(
                f"{place} is CUDA {version[0]}.{version[1]} while torch is built for CUDA "
                f"{torch.cuda}"
            )
        else:
            return Nvcc(place, version), ""
    if refused:
        return None, "; ".join(refused)
    return None, "no nvcc in CUDA_HOME, on PATH or from the pip package nvidia-cuda-nvcc"
