"""Whether a graph for programs without gankit is being recorded."""

from __future__ import annotations

from typing import NoReturn

import torch
import torch.nn.functional as F
from torch import nn


def records_graph() -> bool:
    """True inside ``torch.export``, ``torch.onnx.export`` and ``torch.jit.trace``.

    Their graphs are for programs that do not know gankit's ops: its layers then run as the layers
    of torch that they stand for.
    """
    if torch.compiler.is_exporting():
        return True
    return not torch.compiler.is_compiling() and torch._C._get_tracing_state() is not None


def activated(x: torch.Tensor, activation: str, negative_slope: float) -> torch.Tensor:
    """``x`` behind the activation of that name, by torch's functions."""
    if activation == "relu":
        return F.relu(x)
    if activation == "leaky_relu":
        return F.leaky_relu(x, negative_slope)
    return x.tanh() if activation == "tanh" else x


def refuse_scripting(layer: nn.Module) -> NoReturn:
    """Raise TypeError where ``torch.jit.script``, which compiles the source, meets ``layer``."""
    raise TypeError(
        f"torch.jit.script does not know gankit.nn.{type(layer).__name__}; script "
        "gankit.plain_copy(network), or take torch.jit.trace or torch.export"
    )
