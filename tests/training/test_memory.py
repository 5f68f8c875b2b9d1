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
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        x + 1
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(done, min(faults() for _ in range(8)))
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
    # Ten blocks of 12 MB have some 29,000 pages. The least of some tries, since on a busy system
    # other allocations may take a part of the freed block now and then.
    assert faults < 100


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_what_the_environment_says_stands() -> None:
    assert run(MALLOC_MMAP_THRESHOLD_="131072")[0] == "False"
    assert run(LD_PRELOAD="libjemalloc.so.2")[0] == "False"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_without_it_they_do() -> None:
    said, faults = run(MALLOC_MMAP_THRESHOLD_="131072")
    assert said == "False"
    assert faults > 30  # huge pages are few
