"""Whether a set is held in memory or streamed from its files."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Literal

import torch

from gankit.errors import DataError, shortened

__all__ = ["SHARE", "Resident", "check_resident", "free_memory", "in_words", "is_resident"]

Resident = bool | Literal["auto"]
# Of the free memory; networks, activations and the page cache want the rest.
SHARE = 0.5


def check_resident(value: object, name: str, *, what: str = "resident") -> None:
    """Raise DataError unless ``value`` is True, False or ``"auto"``."""
    if not isinstance(value, (bool, str)) or value not in ("auto", True, False):
        raise DataError(f"{name}: {what} is {shortened(value)}, expected auto, true or false")


def is_resident(
    asked: Resident, size: int, device: str | torch.device, name: str
) -> tuple[bool, str]:
    """Whether a set of ``size`` bytes is to be held in memory, and a sentence that says why.

    Args:
        asked: True or False, or ``"auto"``: if the set takes at most the share ``SHARE`` of the
            memory that is free on ``device`` and, where that is another, on the host.
        size: of the decoded images.
        device: where the networks are.
        name: what messages call the set.

    Raises:
        DataError: another value of ``asked``.
    """
    check_resident(asked, name)
    device = torch.device(device)
    free = free_memory(device)
    if device.type == "cuda":
        free = min(free, free_memory(torch.device("cpu")))
    resident = size <= SHARE * free if asked == "auto" else bool(asked)
    how = "held in memory" if resident else "streamed"
    if asked != "auto":
        return resident, f"The images are {how} (data.resident={'true' if asked else 'false'})."
    fits = "at most" if resident else "more than"
    return resident, (
        f"The images are {how}: decoded they take up to {in_words(size)}, which is {fits} "
        f"{SHARE:.0%} of the {in_words(free)} of memory that are free."
    )


def free_memory(device: torch.device) -> int:
    """Bytes that can still be allocated on ``device``: a CUDA device, else the host.

    On the host that is what the system calls available, less if the process or its control group
    has a limit.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    found = [_available()]
    found += _process_limits()
    found += _control_group()
    return min(found)


def _available() -> int:
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    with suppress(OSError, ValueError, AttributeError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    return 2**32  # a system that tells nothing


def _process_limits() -> list[int]:
    """What is left of the limits of the process (``ulimit -v`` and ``-d``) that it has."""
    found = []
    with suppress(ImportError, OSError, ValueError, LookupError):
        import resource

        used = {}
        for line in Path("/proc/self/status").read_text().splitlines():
            name, _, value = line.partition(":")
            used[name] = value
        for kind, name in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
            limit = resource.getrlimit(kind)[0]
            if limit != resource.RLIM_INFINITY:
                found.append(max(0, limit - 1024 * int(used[name].split()[0])))
    return found


def _control_group() -> list[int]:
    """What is left of the limit of each control group (version 2) that the process is in."""
    found = []
    with suppress(OSError, ValueError, IndexError):
        own = Path("/proc/self/cgroup").read_text().splitlines()[-1].split("::", 1)[1]
        place = Path("/sys/fs/cgroup", own.lstrip("/"))
        for group in (place, *place.parents):
            with suppress(OSError, ValueError):  # the root has no limit, a limit may be "max"
                limit = int((group / "memory.max").read_text())
                used = int((group / "memory.current").read_text())
                lines = (group / "memory.stat").read_text().splitlines()
                cached = dict(line.split() for line in lines).get("inactive_file", "0")
                found.append(max(0, limit - used + int(cached)))
    return found


def in_words(size: int) -> str:
    """Bytes as people read them: ``1.2 GB``."""
    number = float(size)
    for unit in ("bytes", "kB", "MB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} GB"
