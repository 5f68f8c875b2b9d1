"""Generators as files that other programs read."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gankit.errors import ConfigError, MissingExtra
from gankit.plain import plain_copy
from gankit.saved import SavedRun, load_run
from gankit.training.atomic import atomic_write
from gankit.weights_file import write_weights

SUFFIXES = {"safetensors": ".safetensors", "torch-export": ".pt2", "onnx": ".onnx"}
# How far a generator with folded batch norm may be from the one that was trained.
TOLERANCE = 1e-5
_BATCH = 3


def export(
    run: str | os.PathLike[str],
    format: str,
    out: str | os.PathLike[str] | None = None,
    *,
    trust: bool = False,
) -> Path:
    """Write the generator of a run, or of one of its checkpoints, to a file.

    The graphs of ``"torch-export"`` and ``"onnx"`` take noise ``[N, z_dim]`` (and int64 labels
    ``[N]`` where G is conditional) for any N from 1 and hold no op of gankit's; batch norm is
    folded into the layers before it. They are checked against the trained generator first.
    ``"safetensors"`` holds the weights under their own names, for ``gankit.load``.

    Args:
        run: folder of a run, or a checkpoint.
        format: ``"safetensors"``, ``"torch-export"`` or ``"onnx"``.
        out: the file; None: ``generator.safetensors``, ``.pt2`` or ``.onnx`` in the run's folder.
        trust: as for ``gankit.load``.

    Returns:
        The file that was written, whole or not at all.

    Raises:
        ConfigError: another format, or a generator that cannot be exported.
        CheckpointError: as ``gankit.load``.
        MissingExtra: the package for the format is not installed.
        OSError: the file cannot be written.
    """
    if format not in SUFFIXES:
        raise ConfigError(f"format is {format!r}; allowed are {', '.join(SUFFIXES)}")
    needed = {"safetensors": ("safetensors",), "onnx": ("onnx", "onnxscript")}
    for package in needed.get(format, ()):
        if find_spec(package) is None:
            raise MissingExtra(package, "export")
    saved = load_run(run, trust=trust)
    path = Path(out) if out is not None else saved.path.with_name("generator" + SUFFIXES[format])
    write = {"safetensors": _safetensors, "torch-export": _torch_export, "onnx": _onnx}[format]
    data = write(saved)
    with atomic_write(path) as file:
        file.write(data)
    return path


def _safetensors(saved: SavedRun) -> bytes:
    keys = ("generator", "image_shape", "draws", "run")
    description = {key: saved.description[key] for key in keys if key in saved.description}
    return write_weights(saved.generator.state_dict(), description)


def _torch_export(saved: SavedRun) -> bytes:
    network, inputs = _checked_copy(saved)
    program = _traced(saved, lambda: torch.export.export(network, inputs, **_any_batch(inputs)))
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def _onnx(saved: SavedRun) -> bytes:
    network, inputs = _checked_copy(saved)
    names = ["z", "labels"][: len(inputs)]
    program = _traced(
        saved,
        lambda: torch.onnx.export(
            network,
            inputs,
            dynamo=True,
            input_names=names,
            output_names=["images"],
            verbose=False,
            **_any_batch(inputs),
        ),
    )
    data: bytes = program.model_proto.SerializeToString()
    return data


def _any_batch(inputs: tuple[Tensor, ...]) -> dict[str, Any]:
    batch = torch.export.Dim("batch", min=1)
    return {"dynamic_shapes": tuple({0: batch} for _ in inputs)}


def _traced(saved: SavedRun, trace: Callable[[], Any]) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return trace()
    except Exception as error:  # a generator of one's own may do anything
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        first = str(cause).strip().split("\n")[0]
        name = type(saved.generator).__name__
        raise ConfigError(f"the generator {name} cannot be exported: {first}") from error


def _checked_copy(saved: SavedRun) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """The generator of torch's layers, and inputs on which it was seen to be the same."""
    G = saved.generator
    random = torch.Generator().manual_seed(0)
    inputs: tuple[Tensor, ...] = (torch.randn(_BATCH, G.z_dim, generator=random),)  # type: ignore
    classes = getattr(G, "n_classes", None)
    if classes is not None:
        inputs += (torch.arange(_BATCH) % classes,)
    network = plain_copy(G)
    with torch.no_grad():
        error = float((network(*inputs) - G(*inputs)).abs().max())
    if not error <= TOLERANCE:
        raise ConfigError(
            f"the generator {type(G).__name__} of torch's layers differs by {error:.2g} from the "
            f"trained one; allowed is {TOLERANCE}"
        )
    return network, inputs
