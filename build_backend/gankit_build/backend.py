"""PEP 517 and PEP 660 hooks: setuptools', with build requirements that fit the machine.

torch is asked for only when the environment that is installed into has none, so that
`pip install .` with build isolation downloads no second torch. CMake and Ninja are asked for only
when the machine has none.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import (
    build_sdist,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

from .environment import MINIMUM_TORCH, BuildError, find_torch
from .plan import build_mode
from .toolchain import MINIMUM_CMAKE, find_cmake, find_compiler, find_ninja

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

_ROOT = Path(__file__).resolve().parents[2]
ConfigSettings = Mapping[str, Any] | None


def native_requirements(environ: Mapping[str, str] = os.environ) -> list[str]:
    """What the machine lacks for a native build, as requirements. Raises BuildError."""
    mode = build_mode(environ)
    if mode == "reference" or (mode == "auto" and find_compiler(environ)[0] is None):
        return []
    requirements = []
    if find_torch(environ) is None:
        requirements.append("torch>={}.{}".format(*MINIMUM_TORCH))
    if find_cmake(environ) is None:
        requirements.append("cmake>={}.{}".format(*MINIMUM_CMAKE))
    if find_ninja(environ) is None:
        requirements.append("ninja")
    return requirements


def _native_requirements() -> list[str]:
    try:
        return native_requirements()
    except BuildError as error:
        # The front end prints this line alone; an exception would come with its traceback.
        raise SystemExit(f"gankit: {error}") from None


def get_requires_for_build_wheel(config_settings: ConfigSettings = None) -> list[str]:
    """setuptools' requirements and those of the native build."""
    own: list[str] = build_meta.get_requires_for_build_wheel(config_settings)
    return own + _native_requirements()


def get_requires_for_build_editable(config_settings: ConfigSettings = None) -> list[str]:
    """As for a wheel."""
    own: list[str] = build_meta.get_requires_for_build_editable(config_settings)
    return own + _native_requirements()


def _forget_packaged_files() -> None:
    """setuptools never removes a deleted module from build/lib*, and would ship it."""
    for folder in (_ROOT / "build").glob("lib*"):
        shutil.rmtree(folder)


def build_wheel(
    wheel_directory: str,
    config_settings: ConfigSettings = None,
    metadata_directory: str | None = None,
) -> str:
    """Builds the wheel and returns its file name."""
    _forget_packaged_files()
    name: str = build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)
    return name


def build_editable(
    wheel_directory: str,
    config_settings: ConfigSettings = None,
    metadata_directory: str | None = None,
) -> str:
    """Builds the native parts into gankit/ and returns the editable wheel's file name."""
    name: str = build_meta.build_editable(wheel_directory, config_settings, metadata_directory)
    return name
