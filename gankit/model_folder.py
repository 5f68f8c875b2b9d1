"""Exported generators: a safetensors file, or a folder of one with its settings and its card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from gankit.errors import CheckpointError
from gankit.weights_file import read_weights

# The names that the Hugging Face Hub and its programs look for.
WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
PICTURE = "sample.png"
_SUFFIX = ".safetensors"


def is_exported(path: Path) -> bool:
    """Whether ``path`` is a safetensors file, by its name, or a folder with one and no run."""
    if path.suffix == _SUFFIX and not path.is_dir():
        return True
    return (path / WEIGHTS).is_file() and not (path / "checkpoint.pt").is_file()


def read_exported(path: Path) -> tuple[dict[str, Any] | None, dict[str, Tensor]]:
    """The description and the weights of an exported generator, as ``read_weights`` gives them.

    Raises CheckpointError if a file is absent or damaged, or the folder's ``config.json`` is not
    the one that was written with the weights.
    """
    if not path.is_dir():
        return read_weights(path)
    description, weights = read_weights(path / WEIGHTS)
    file = path / CONFIG
    try:
        config = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}") from error
    if config != description:
        raise CheckpointError(
            f"{file} says something else of the generator than {WEIGHTS} beside it: export the run "
            "again"
        )
    return description, weights
