"""Settings shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Several checks run at a time, so threads would only wait for each other. Tests of threads set
# their number themselves, and tools/test_under_settings.py runs the others with more of them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Threads that wait by spinning make small operations many times slower where something else runs.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


@pytest.fixture(scope="session")
def mnist_folder() -> Path:
    """Folder of real MNIST t10k files; the test is skipped where there is none."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data" / "mnist"
    folder = Path(os.environ.get("GANKIT_TEST_MNIST", default))
    if not (folder / "t10k-images-idx3-ubyte.gz").is_file():
        pytest.skip(f"no real MNIST in {folder}: set GANKIT_TEST_MNIST to a folder of t10k files")
    return folder
