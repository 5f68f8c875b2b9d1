"""On what a benchmark ran: what every published number must be read with."""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import re
import subprocess
from pathlib import Path

import torch

import gankit
from gankit.json_text import json_text
from gankit.ops import backends

ROOT = Path(__file__).resolve().parents[2]
Environment = dict[str, str | int]


def collect(device: torch.device) -> Environment:
    """Device, versions, commit, threads and date, as flat text for a table.

    The commit comes from git, or where the checkout has no history from ``GANKIT_COMMIT``.
    """
    found: Environment = {"device": device_name(device), "CPU": cpu_name()}
    if device.type == "cuda":
        found["GPU"] = torch.cuda.get_device_name(device)
        major, minor = torch.cuda.get_device_capability(device)
        found["compute capability"] = f"{major}.{minor}"
        found["CUDA (torch)"] = str(torch.version.cuda)
        found["driver"] = _output(
            ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        )
    backend, reason = backends.choose(device.type)
    found |= {
        "threads": torch.get_num_threads(),
        "gankit": gankit.__version__,
        "backend": f"{backend} ({reason})",
        "torch": torch.__version__,
        "Python": platform.python_version(),
        "commit": commit(),
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
    }
    if backends.native_cpu().available:
        from gankit import _C

        found["instruction set in use"] = str(_C.build_info()["isa"])
    return found


def device_name(device: torch.device) -> str:
    """The GPU's name, or the CPU's with the number of threads in use."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{cpu_name()}, {threads} thread{'s' if threads > 1 else ''}"


def slug(name: str) -> str:
    """``name`` as a folder: lower-case letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def cpu_name() -> str:
    """The CPU's model and the number of logical cores."""
    model = platform.processor() or platform.machine()
    with_names = Path("/proc/cpuinfo")
    if with_names.exists():
        match = re.search(r"^model name\s*:\s*(.+)$", with_names.read_text(), re.MULTILINE)
        model = match[1] if match else model
    return f"{model} ({os.cpu_count()} cores)"


def commit() -> str:
    """The commit in short form, with a + if files differ from it; "unknown" without any source."""
    # An installed gankit may lie inside somebody else's checkout.
    is_checkout = (ROOT / "csrc").is_dir()
    head = _git("rev-parse", "--short=12", "HEAD") if is_checkout else "unknown"
    if head == "unknown":
        return os.environ.get("GANKIT_COMMIT", "unknown")
    changed = _git("status", "--porcelain", "--untracked-files=no")
    return head if changed == "unknown" else f"{head}+"


def _git(*arguments: str) -> str:
    return _output(["git", "-C", str(ROOT), *arguments])


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    text = done.stdout.strip()
    return text.splitlines()[0] if done.returncode == 0 and text else "unknown"


def main() -> None:
    """Prints the record as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", default=default, choices=("cpu", "cuda"))
    arguments = parser.parse_args()
    print(json_text(collect(torch.device(arguments.device)), indent=2))


if __name__ == "__main__":
    main()
