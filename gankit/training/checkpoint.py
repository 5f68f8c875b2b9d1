"""Checkpoints: everything a run needs to go on as if it had never stopped."""

from __future__ import annotations

import io
import os
import pickle
import random
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from gankit.atomic import atomic_write
from gankit.errors import CheckpointError, GankitError
from gankit.training.archive import DAMAGED, NOT_PLAIN, archive_fault
from gankit.training.entries import REQUIRED, check_entries, check_plain

FORMAT = "gankit-checkpoint"
VERSION = 2


def save_checkpoint(path: str | os.PathLike[str], state: dict[str, Any]) -> None:
    """Write ``state`` (tensors and plain Python values, with the keys of ``REQUIRED``) atomically.

    Raises CheckpointError if an entry is missing or holds what could not be read again, OSError if
    the file cannot be written; an older file at ``path`` is then untouched.
    """
    missing = sorted(REQUIRED - state.keys())
    if missing:
        raise CheckpointError(f"a checkpoint needs the entries {', '.join(missing)}")
    for name, value in state.items():
        check_plain(name, value)
    # Through memory, because torch's zip writer turns a full disk into an error of its own kind.
    buffer = io.BytesIO()
    header = {"format": FORMAT, "version": VERSION, "torch": str(torch.__version__)}
    with _checksums():
        torch.save({**header, **state}, buffer)
    with atomic_write(path) as file:
        file.write(buffer.getbuffer())


@contextmanager
def _checksums() -> Iterator[None]:
    """Let torch.save write each record's checksum, also where the program has switched that off."""
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(True)
    try:
        yield
    finally:
        torch.serialization.set_crc32_options(before)


def load_checkpoint(
    path: str | os.PathLike[str], *, map_location: torch.device | str = "cpu"
) -> dict[str, Any]:
    """Read a checkpoint with ``torch.load(weights_only=True)``, its checksums first.

    Raises CheckpointError if the file is absent, truncated or damaged anywhere, not a gankit
    checkpoint, of another format version, or has a damaged entry; where an earlier checkpoint of
    the run beside it is good, it is named.
    """
    path = Path(path)
    with offering_another(path):
        return _read(path, map_location)


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


@contextmanager
def offering_another(
    path: str | os.PathLike[str], check: Callable[[dict[str, Any]], object] | None = None
) -> Iterator[None]:
    """A CheckpointError of the block names the newest good checkpoint beside ``path``, if any.

    ``check`` gets what stands in one, and raises an error of gankit's if that is not good.
    """
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{error}{_offer(Path(path), check)}") from error


def _offer(path: Path, check: Callable[[dict[str, Any]], object] | None) -> str:
    for step, file in earlier_checkpoints(path):
        try:
            state = _read(file, "cpu")
            if check is not None:
                check(state)
        except (GankitError, OSError):
            continue
        return f"; {file} of step {step} is good: copy it to {path} and resume to go on from there"
    return ""


def _read(path: Path, map_location: torch.device | str) -> dict[str, Any]:
    if path.is_dir():
        raise CheckpointError(f"there is no checkpoint at {path}, which is a folder")
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint at {path}")
    data = path.read_bytes()
    fault = archive_fault(data, path.suffix)
    if fault is not None:
        raise CheckpointError(f"{path} cannot be read as a checkpoint: {fault}")
    try:
        state = torch.load(io.BytesIO(data), map_location=map_location, weights_only=True)
    except Exception as error:  # torch raises a dozen kinds on bytes it did not write
        fault = NOT_PLAIN if isinstance(error, pickle.UnpicklingError) else DAMAGED
        raise CheckpointError(f"{path} cannot be read as a checkpoint: {fault}") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is not a gankit checkpoint; allowed are files written by gankit"
        )
    if state.get("version") != VERSION:
        raise CheckpointError(
            f"{path} has format {state.get('version')!r} of checkpoints, and this gankit reads "
            f"format {VERSION}; allowed is the gankit that wrote it, or a new run with gankit "
            "train --config and its config.yaml"
        )
    try:
        check_entries(state)
    except CheckpointError as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
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
