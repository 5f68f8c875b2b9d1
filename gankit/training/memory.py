"""Freed memory that stays with the process, so that the next step need not ask for it again."""

from __future__ import annotations

import ctypes
import os
import sys

# mallopt's names for its settings (malloc.h).
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
# glibc takes no more: above it every block is mapped, and unmapped when freed.
_LARGEST_KEPT = 32 * 2**20
_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed blocks up to 32 MiB in place of returning them to the system.

    A training step frees tensors that the next one allocates anew. glibc returns the larger ones,
    and then every page of theirs faults once per step: 10,000 faults in a DCGAN step of batch 60.
    The process goes on holding the most memory that it needed; results do not change. For the whole
    process, so it is for programs (``gankit train`` and ``gankit run`` call it) rather than for
    libraries.

    Returns whether it was done: not without glibc, not where the environment sets
    ``MALLOC_TRIM_THRESHOLD_``, ``MALLOC_MMAP_THRESHOLD_`` or ``GLIBC_TUNABLES``, and not where
    ``LD_PRELOAD`` brings an allocator of its own (jemalloc, tcmalloc, mimalloc).
    """
    chosen = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")
    preloaded = os.environ.get("LD_PRELOAD", "")
    if sys.platform != "linux" or "malloc" in preloaded or any(n in os.environ for n in chosen):
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return False
    settings = ((_MMAP_THRESHOLD, _LARGEST_KEPT), (_TRIM_THRESHOLD, _NEVER))
    return all(libc.mallopt(name, value) == 1 for name, value in settings)
