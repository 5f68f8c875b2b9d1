"""The setuptools commands: build_ext through CMake, and a wheel tag that fits what was built."""

from __future__ import annotations

import functools
import json
import os
import sys
from pathlib import Path
from typing import Any

from setuptools import Distribution, Extension
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError as SetupError

from . import cmake
from .environment import BuildError
from .plan import Plan, left_out_line, make_plan, missing_part

_ROOT = Path(__file__).resolve().parents[2]
REPORT = "_build_report.json"


@functools.cache
def current_plan() -> Plan:
    """The plan for this process; a BuildError becomes setuptools' one-line error."""
    try:
        return make_plan()
    except BuildError as error:
        raise SetupError(str(error)) from None


def built_files(folder: Path) -> list[Path]:
    """What an earlier build left in the package folder `folder`."""
    patterns = ("_C.*.so", "_C.so", "_C_cuda.so", REPORT)
    return sorted(path for pattern in patterns for path in folder.glob(pattern))


def build_native(plan: Plan, target: Path, version: str) -> list[Path]:
    """Builds the plan's parts into the package folder `target`, reports, returns the files."""
    target.mkdir(parents=True, exist_ok=True)
    for stale in built_files(target):
        # The file may be mapped into a running process: replacing the name keeps that one whole.
        stale.unlink()
    reasons: dict[str, str] = {}
    for part in (plan.cpu, plan.cuda):
        reasons[part.name] = part.reason
        if not part.build:
            continue
        try:
            cmake.build_part(part.name, plan, target, version)
        except cmake.CompileError as error:
            print(error.output, file=sys.stderr)
            reasons[part.name] = str(error)
            if part.required:
                raise SetupError(missing_part(plan.mode, part.name, str(error))) from None
    write_report(plan, target, version, reasons)
    line = left_out_line(plan.mode, reasons["cpu"], reasons["cuda"])
    if line:
        print(line, file=sys.stderr)
    return built_files(target)


def write_report(plan: Plan, target: Path, version: str, reasons: dict[str, str]) -> None:
    """Writes what was built into `target`/_build_report.json (read by gankit.ops.backends)."""
    report: dict[str, Any] = {
        "gankit": version,
        "torch": plan.torch.version if plan.torch else None,
        "mode": plan.mode,
        "cpu": {"built": not reasons["cpu"], "reason": reasons["cpu"]},
        "cuda": {"built": not reasons["cuda"], "reason": reasons["cuda"], "archs": []},
    }
    if not reasons["cuda"]:
        assert plan.nvcc is not None
        report["cuda"]["archs"] = list(plan.archs)
        report["cuda"]["nvcc"] = "{}.{}".format(*plan.nvcc.version)
    (target / REPORT).write_text(json.dumps(report, indent=2) + "\n")


class CMakeBuild(build_ext):
    """build_ext that runs CMake; the extension it is given only marks that there is something."""

    def _in_place(self) -> bool:
        return bool(self.inplace or getattr(self, "editable_mode", False))

    def _target(self) -> Path:
        return (_ROOT if self._in_place() else Path(self.build_lib).resolve()) / "gankit"

    def run(self) -> None:
        build_native(current_plan(), self._target(), self.distribution.get_version())

    def get_outputs(self) -> list[str]:
        return [os.fspath(path) for path in built_files(self._target())]

    def get_output_mapping(self) -> dict[str, str]:
        return {}

    def get_source_files(self) -> list[str]:
        return []


class Wheel(bdist_wheel):
    """bdist_wheel that makes a pure wheel when there is nothing to compile."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.root_is_pure = not current_plan().native


class NativeDistribution(Distribution):
    """A distribution that always runs build_ext, which decides and reports."""

    def has_ext_modules(self) -> bool:
        return True


def setup_arguments() -> dict[str, Any]:
    """Arguments for setuptools.setup."""
    return {
        "distclass": NativeDistribution,
        "ext_modules": [Extension("gankit._C", sources=[])],
        "cmdclass": {"build_ext": CMakeBuild, "bdist_wheel": Wheel},
    }
