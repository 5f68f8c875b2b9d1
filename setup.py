"""Hands the build to build_backend/gankit_build, which drives CMake; the rest is in pyproject."""

from __future__ import annotations

import sys
from pathlib import Path

from setuptools import setup

sys.path.insert(0, str(Path(__file__).resolve().parent / "build_backend"))

from gankit_build.command import setup_arguments

setup(**setup_arguments())
