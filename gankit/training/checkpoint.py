"""Checkpoints: everything a run needs to go on as if it had never stopped."""

from __future__ import annotations

import io
import os
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from gankit.errors import CheckpointError
from gankit.training.atomic import atomic_write

FORMAT = "gankit-checkpoint"
VERSION = 1
REQUIRED = frozenset(
    {
        "generator",
        "discriminator",
        "g_optimizer",
        "d_optimizer",
        "gan_step",
        "sampler",
        "rng",
        "step",
        "epoch",
        "config",
    }
)


def save_checkpoint(path: str | os.PathLike[str], state: dict[str, Any]) -> None:
    """Write ``state`` (tensors and plain Python values, with the keys of ``REQUIRED``) atomically.

    Raises OSError if the file cannot be written; an older file at ``path`` is then untouched.
    """
    missing = sorted(REQUIRED - state.keys())
    if missing:
        raise CheckpointError(f"a checkpoint needs the entries {', '.join(missing)}")
    # Through memory, because torch's zip writer turns a full disk into an error of its own kind.
    buffer = io.BytesIO()
    header = {"format": FORMAT, "version": VERSION, "torch": str(torch.__version__)}
    torch.save({**header, **state}, buffer)
    with atomic_write(path) as file:
        file.write(buffer.getbuffer())


def load_checkpoint(
    path: str | os.PathLike[str], *, map_location: torch.device | str = "cpu"
) -> dict[str, Any]:
    """Read a checkpoint with ``torch.load(weights_only=True)``.

    Raises CheckpointError if the file is absent, truncated, not a gankit checkpoint, or of another
    format version.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint at {path}")
    data = path.read_bytes()
    try:
        state = torch.load(io.BytesIO(data), map_location=map_location, weights_only=True)
    except Exception as error:  # torch raises a dozen kinds on bytes it did not write
        raise CheckpointError(
            f"{path} cannot be read as a checkpoint: it is truncated, damaged or holds more than "
            "tensors and plain values"
        ) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is not a gankit checkpoint; allowed are files written by gankit"
        )
    if state.get("version") != VERSION:
        raise CheckpointError(
            f"{path} has checkpoint format version {state.get('version')!r}; this gankit reads "
            f"version {VERSION}"
        )
    missing = sorted(REQUIRED - state.keys())
    if missing:
        raise CheckpointError(f"{path} is incomplete: it lacks {', '.join(missing)}")
    return state


def rng_state() -> dict[str, Any]:
    """The states of every global random generator a training step can draw from."""
    state: dict[str, Any] = {"torch": torch.get_rng_state(), "python": random.getstate()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    if torch.backends.mps.is_available():
        state["mps"] = torch.mps.get_rng_state()
    if "numpy" in sys.modules:
        import numpy as np

        # The legacy generator is the one that is global state.
        kind, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002
        words = torch.from_numpy(np.asarray(keys, dtype=np.int64))
        state["numpy"] = [str(kind), words, *map(float, rest)]
    return state


@contextmanager
def rng_kept() -> Iterator[None]:
    """Put the global random generators back, at the end, to where they stood before."""
    state = rng_state()
    try:
        yield
    finally:
        set_rng_state(state)


def set_rng_state(state: dict[str, Any]) -> None:
    """Put back what ``rng_state`` returned. Devices that this machine lacks are passed over."""
    torch.set_rng_state(state["torch"].cpu())
    random.setstate(state["python"])
    if "cuda" in state and torch.cuda.is_available():
        for index, device_state in enumerate(state["cuda"][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(device_state.cpu(), index)
    if "mps" in state and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["mps"].cpu())
    if "numpy" in state:
        import numpy as np

        kind, keys, position, has_gauss, cached = state["numpy"]
        words = keys.cpu().numpy().astype(np.uint32)
        np.random.set_state((kind, words, int(position), int(has_gauss), float(cached)))  # noqa: NPY002
