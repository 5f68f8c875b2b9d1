"""The fold of conv_transpose2d and its derivative in plain PyTorch: the definition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

NONE, RELU, LEAKY_RELU, TANH = range(4)
ACTIVATIONS = ("none", "relu", "leaky_relu", "tanh")


def _compute_dtype(x: torch.Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _laid_out(x: torch.Tensor, dtype: torch.dtype, channels_last: bool) -> torch.Tensor:
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    return torch.empty_like(x, dtype=dtype, memory_format=memory_format).copy_(x)


def _settings(
    kernel_size: Sequence[int], stride: Sequence[int], padding: Sequence[int]
) -> dict[str, Any]:
    settings = {"kernel_size": kernel_size, "stride": stride, "padding": padding}
    return {name: tuple(pair) for name, pair in settings.items()}


def activate(x: torch.Tensor, activation: int, negative_slope: float) -> torch.Tensor:
    """The activation with that number."""
    if activation == RELU:
        return x.relu()
    if activation == LEAKY_RELU:
        return torch.where(x > 0, x, x * negative_slope)
    if activation == TANH:
        return x.tanh()
    return x


def activation_gradient(
    grad: torch.Tensor, y: torch.Tensor, activation: int, negative_slope: float
) -> torch.Tensor:
    """dL/d(input of the activation) from dL/dy and y, its output."""
    if activation == RELU:
        return torch.where(y > 0, grad, torch.zeros_like(grad))
    if activation == LEAKY_RELU:
        return torch.where(y > 0, grad, grad * negative_slope)
    if activation == TANH:
        return grad * (1 - y * y)
    return grad


def fold(
    columns: torch.Tensor,
    bias: torch.Tensor | None,
    input_size: Sequence[int],
    output_size: Sequence[int],
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    activation: int,
    negative_slope: float,
    channels_last: bool,
) -> torch.Tensor:
    """y from the columns: patches added up where they overlap, plus bias, activated."""
    value = columns.to(_compute_dtype(columns)).flatten(2)
    y = F.fold(value, **_settings(kernel_size, stride, padding), output_size=tuple(output_size))
    if bias is not None:
        y = y + bias.to(y.dtype).view(-1, 1, 1)
    return _laid_out(activate(y, activation, negative_slope), columns.dtype, channels_last)


def unfold(
    grad: torch.Tensor,
    y: torch.Tensor | None,
    input_size: Sequence[int],
    output_size: Sequence[int],
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    activation: int,
    negative_slope: float,
    channels_last: bool,
) -> torch.Tensor:
    """dL/dcolumns from dL/dy and y; without y the activation is passed over."""
    value = grad.to(_compute_dtype(grad))
    if y is not None:
        value = activation_gradient(value, y.to(value.dtype), activation, negative_slope)
    columns = F.unfold(value, **_settings(kernel_size, stride, padding))
    columns = columns.unflatten(2, tuple(input_size))
    return _laid_out(columns, grad.dtype, channels_last)
