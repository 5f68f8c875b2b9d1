"""Checkpoints: everything a run needs to go on as if it had never stopped."""

from __future__ import annotations

import io
import os
import random
import re
import shutil
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
    format version; where an earlier checkpoint of the run beside it is good, it is named.
    """
    path = Path(path)
    try:
        return _read(path, map_location)
    except CheckpointError as error:
        raise CheckpointError(f"{error}{_offer(path)}") from error


def earlier_checkpoints(path: str | os.PathLike[str]) -> list[tuple[int, Path]]:
    """Steps and files of the checkpoints that were kept beside ``path``, the newest first."""
    path = Path(path)
    name = re.compile(rf"{re.escape(path.stem)}\.step_(\d{{7,}}){re.escape(path.suffix)}")
    if not path.parent.is_dir():
        return []
    found = [(name.fullmatch(file.name), file) for file in path.parent.iterdir()]
    return sorted(((int(m[1]), file) for m, file in found if m), reverse=True)


def keep_checkpoint(path: str | os.PathLike[str], name: str) -> None:
    """Give the checkpoint at ``path`` a second name beside it, which outlives the next write."""
    path = Path(path)
    other = path.with_name(f"{path.stem}.{name}{path.suffix}")
    temporary = other.with_name(f".{other.name}.{os.getpid()}.tmp")
    try:
        temporary.unlink(missing_ok=True)
        os.link(path, temporary)
    except FileNotFoundError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    except OSError:  # a file system without hard links
        with open(path, "rb") as source, atomic_write(other) as file:
            shutil.copyfileobj(source, file)
        return
    os.replace(temporary, other)
    temporary.unlink(missing_ok=True)  # replacing a link by one to the same file keeps both


def remove_leftovers(path: str | os.PathLike[str]) -> None:
    """Remove half-written files that a killed process left beside ``path``."""
    path = Path(path)
    name = rf"\.{re.escape(path.stem)}(\.step_\d+|\.best)?{re.escape(path.suffix)}\.\d+\.tmp"
    for file in path.parent.iterdir():
        if re.fullmatch(name, file.name):
            file.unlink(missing_ok=True)


def _offer(path: Path) -> str:
    for step, file in earlier_checkpoints(path):
        try:
            _read(file, "cpu")
        except (CheckpointError, OSError):
            continue
        return f"; {file} of step {step} is good: copy it to {path} and resume to go on from there"
    return ""


def _read(path: Path, map_location: torch.device | str) -> dict[str, Any]:
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
