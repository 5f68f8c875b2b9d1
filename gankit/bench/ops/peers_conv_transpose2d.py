"""Transposed convolution and activation without gankit, from the textbook's way to an expert's."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def _activated(y: Tensor, activation: str) -> Tensor:
    return torch.tanh(y) if activation == "tanh" else y


def plain(x: Tensor, weight: Tensor, *, stride: int, padding: int, activation: str) -> Tensor:
    """The vendor's layer, then the activation."""
    return _activated(F.conv_transpose2d(x, weight, None, stride, padding), activation)


def product_and_fold(
    x: Tensor, weight: Tensor, *, stride: int, padding: int, activation: str
) -> Tensor:
    """A matrix product, then ``F.fold``: the better way where there are few output channels."""
    kernel = weight.shape[2:]
    sizes = zip(x.shape[2:], kernel, strict=True)
    size = tuple((n - 1) * stride - 2 * padding + k for n, k in sizes)
    columns = weight.flatten(1).t() @ x.flatten(2)
    return _activated(F.fold(columns, size, kernel, padding=padding, stride=stride), activation)


def one_product(x: Tensor, weight: Tensor, *, stride: int, padding: int, activation: str) -> Tensor:
    """For a 1x1 input without padding: the whole layer is one matrix product."""
    y = (x.flatten(1) @ weight.flatten(1)).view(-1, *weight.shape[1:])
    return _activated(y, activation)


def check(
    y: Tensor, x: Tensor, weight: Tensor, *, stride: int, padding: int, activation: str
) -> None:
    """Raises AssertionError unless ``y`` is what the plain layer gives."""
    expected = plain(
        x.detach(), weight.detach(), stride=stride, padding=padding, activation=activation
    )
    # The vendor's convolution on a GPU may use TensorFloat-32.
    tolerance = 5e-3 if y.is_cuda else 1e-4
    torch.testing.assert_close(y.detach(), expected, rtol=tolerance, atol=tolerance)
