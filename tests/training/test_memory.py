"""Freed blocks stay with the process, where glibc can be told so."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

COUNT_FAULTS = """
import resource, torch
from gankit.training import keep_freed_memory
done = keep_freed_memory()
x = torch.zeros(3_000_000)
for _ in range(3):
    x + 1
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    x + 1
print(done, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def run(**environment: str) -> tuple[str, int]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", COUNT_FAULTS],
        env={**clean, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    said, faults = done.stdout.split()
    return said, int(faults)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_pages_do_not_fault_again() -> None:
    said, faults = run()
    assert said == "True"
    # Ten blocks of 12 MB have some 29,000 pages; a system short of memory may take a block back.
    assert faults < 10_000


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_what_the_environment_says_stands() -> None:
    assert run(MALLOC_MMAP_THRESHOLD_="131072")[0] == "False"
    assert run(LD_PRELOAD="libjemalloc.so.2")[0] == "False"
