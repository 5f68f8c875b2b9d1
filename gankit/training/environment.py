"""Where a run computes, and what another place means for going on with it."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch

from gankit._version import __version__
from gankit.data.sources import STORAGE

# Settings that say how long to train, where things lie and what happens beside the training: other
# values leave every step as it would have been.
BESIDE_TRAINING = frozenset(
    {
        *("steps", "epochs", "data_root", "log_every", "tensorboard", "callbacks"),
        *(f"data.{name}" for name in STORAGE),
        *("checkpoint_every", "checkpoint_keep", "checkpoint_best"),
        *("evaluate", "evaluate_every", "evaluate_n", "evaluate_features"),
        *("sample_first", "sample_every", "grid_rows", "grid_columns", "grid_inverted"),
    }
)
_ROUNDING = (
    "the continuation is as good, but not bit for bit the one that the run would have had there"
)
_MEANING = {
    "device": f"random numbers and rounding differ between devices, so {_ROUNDING}",
    "threads": f"sums are taken in another order, so {_ROUNDING}",
    "processes": f"the batch is divided otherwise, so {_ROUNDING}",
    "torch": f"another version may round otherwise, so {_ROUNDING}",
    "gankit": f"another version may round otherwise, so {_ROUNDING}",
}
_WORDS = {
    "device": "on {}",
    "threads": "with {} threads",
    "processes": "in {} processes",
    "torch": "with torch {}",
    "gankit": "with gankit {}",
}


def environment(device: torch.device | str, processes: int = 1) -> dict[str, Any]:
    """What decides the bits of a run beside its settings: plain values for its checkpoints."""
    device = torch.device(device)
    name = device.type
    if name == "cuda":
        name = f"cuda ({torch.cuda.get_device_name(device)})"
    return {
        "device": name,
        "threads": torch.get_num_threads(),
        "processes": processes,
        "torch": str(torch.__version__),
        "gankit": __version__,
        **_source(),
    }


@cache
def _source() -> dict[str, str]:
    """The commit of gankit where it is used out of a git checkout, ``-dirty`` where it differs."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return {}
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]
    command += ["--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):  # no git, or a checkout of somebody else's
        return {}
    return {"commit": done.stdout.strip()}


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """One sentence for each thing that differs between two ``environment``, and what it means."""
    found = []
    for key, meaning in _MEANING.items():
        if key in before and before[key] != now[key]:
            was, here = (_words(key, place[key]) for place in (before, now))
            found.append(f"The run was {was} and goes on {here}: {meaning}.")
    return found


def _words(key: str, value: object) -> str:
    words = _WORDS[key].format(value)
    return (
        words.replace("threads", "thread").replace("processes", "process") if value == 1 else words
    )
