"""safetensors files of generators: weights, what builds the network, and a digest of both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gankit.errors import CheckpointError, MissingExtra

_DESCRIPTION, _DIGEST = "gankit", "gankit_sha256"


def write_weights(
    weights: Mapping[str, Tensor], description: Mapping[str, Any], more: Mapping[str, str]
) -> bytes:
    """The file with ``more`` metadata for other programs. Needs the package safetensors."""
    from safetensors.torch import save

    weights = {name: value.cpu().contiguous().clone() for name, value in weights.items()}
    text = json.dumps(description)
    digest = _digest(weights, text)
    metadata = {**more, "format": "pt", _DESCRIPTION: text, _DIGEST: digest}
    data: bytes = save(weights, metadata)
    return data


def read_weights(path: Path) -> tuple[dict[str, Any] | None, dict[str, Tensor]]:
    """The description, None in a file of another program, and the weights of a file.

    Raises CheckpointError if the file is absent or damaged, and MissingExtra without safetensors. A
    file of an older gankit has no digest to compare.
    """
    try:
        from safetensors import safe_open
    except ImportError as error:
        raise MissingExtra("safetensors", "export") from error
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        text = metadata.get(_DESCRIPTION)
        description = None if text is None else json.loads(text)
    except MemoryError:
        raise
    except Exception as error:  # safetensors, torch and json each have their own kinds
        what = " ".join(str(error).split()) or type(error).__name__
        raise CheckpointError(f"{path} cannot be read as safetensors: {what[:200]}") from error
    if _DIGEST in metadata and metadata[_DIGEST] != _digest(weights, text or ""):
        raise CheckpointError(f"{path} is damaged, as its checksum says: export the run again")
    if description is not None and not isinstance(description, dict):
        raise CheckpointError(f"{path} is damaged: it does not say how its generator is built")
    return description, weights


def _digest(weights: Mapping[str, Tensor], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(weights):
        value = weights[name].contiguous()
        digest.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
