"""safetensors files of generators: weights, what builds the network, and a digest of both.

They are read here, so that a generator is loaded with torch and numpy alone.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gankit.errors import CheckpointError, ConfigError

_DESCRIPTION, _DIGEST = "gankit", "gankit_sha256"
# The entry of a description that says that float16 in the file is float32 in memory.
HALVED = "halved"
_DTYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
}


def halved(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``weights`` with matrices and kernels rounded to float16; biases and statistics stay.

    Raises ConfigError where a value is too large for that.
    """
    made = {}
    for name, value in weights.items():
        wide = value.dtype == torch.float32 and value.ndim > 1
        made[name] = value.half() if wide else value
        if wide and not made[name].isfinite().all():
            raise ConfigError(f"{name} has values beyond 65504, which half precision cannot hold")
    return made


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

    Raises CheckpointError if the file is absent or damaged. A file of an older gankit has no digest
    to compare.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}")
    try:
        metadata, weights = _contents(path.read_bytes())
        text = metadata.get(_DESCRIPTION)
        description = None if text is None else json.loads(text)
    except MemoryError:
        raise
    except Exception as error:  # torch and json each have their own kinds
        what = " ".join(str(error).split()) or type(error).__name__
        raise CheckpointError(f"{path} cannot be read as safetensors: {what[:200]}") from error
    if _DIGEST in metadata and metadata[_DIGEST] != _digest(weights, text or ""):
        raise CheckpointError(f"{path} is damaged, as its checksum says: export the run again")
    if description is not None and not isinstance(description, dict):
        raise CheckpointError(f"{path} is damaged: it does not say how its generator is built")
    if description is not None and description.get(HALVED) is True:
        half = torch.float16
        weights = {k: v.float() if v.dtype == half else v for k, v in weights.items()}
    return description, weights


def _contents(data: bytes) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Metadata and tensors. Raises an error of any kind if ``data`` is no whole file.

    The format: eight bytes with the length of a JSON header, which gives for each tensor its type,
    its shape and where its bytes stand behind the header; they follow each other without a gap.
    """
    length, view = int.from_bytes(data[:8], "little"), memoryview(data)
    if len(data) < 8 or length > len(data) - 8:
        raise ValueError("the file is shorter than its header")
    header, values = json.loads(data[8 : 8 + length]), view[8 + length :]
    if not isinstance(header, dict):
        raise ValueError("the header is no object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict):
        raise ValueError("the metadata are no object")
    tensors, end = {}, 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        (start, stop), shape = entry["data_offsets"], entry["shape"]
        if entry["dtype"] not in _DTYPES:
            raise ValueError(f"{name} has the unknown type {entry['dtype']}")
        dtype = _DTYPES[entry["dtype"]]
        if any(type(size) is not int or size < 0 for size in shape):
            raise ValueError(f"{name} has a shape that there is not")
        if start != end or stop - start != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"the bytes of {name} are not where they belong")
        whole = bytearray(values[start:stop])
        if len(whole) != stop - start:
            raise ValueError("the file is cut off")
        flat = torch.frombuffer(whole, dtype=dtype) if whole else torch.empty(0, dtype=dtype)
        tensors[name], end = flat.reshape(shape), stop
    if end != len(values):
        raise ValueError("the file is longer than its tensors")
    return metadata, tensors


def _digest(weights: Mapping[str, Tensor], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(weights):
        value = weights[name].contiguous()
        digest.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
