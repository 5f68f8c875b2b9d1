"""Schemas, shape functions, samples and tolerances of conv_transpose2d."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch

from ..registry import Kernel, OpSpec, Sample
from . import reference


def _triton(name: str) -> Callable[[], Callable[..., Any]]:
    def load() -> Callable[..., Any]:
        from . import triton

        launcher: Callable[..., Any] = getattr(triton, name)
        return launcher

    return load


# Sizes are (height, width). `channels_last` is the layout of the result.
_REST = (
    "int[2] input_size, int[2] output_size, int[2] kernel_size, int[2] stride, int[2] padding, "
    "int activation, float negative_slope, bool channels_last"
)


def _empty(model: torch.Tensor, shape: tuple[Any, ...], channels_last: bool) -> torch.Tensor:
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    return torch.empty(shape, dtype=model.dtype, device=model.device, memory_format=memory_format)


def _fake_fold(columns: torch.Tensor, bias: Any, *rest: Any) -> torch.Tensor:
    _input_size, output_size, kernel_size, *_, channels_last = rest
    channels = columns.shape[1] // math.prod(kernel_size)
    return _empty(columns, (columns.shape[0], channels, *output_size), channels_last)


def _fake_unfold(grad: torch.Tensor, y: Any, *rest: Any) -> torch.Tensor:
    input_size, _output_size, kernel_size, *_, channels_last = rest
    columns = grad.shape[1] * math.prod(kernel_size)
    return _empty(grad, (grad.shape[0], columns, *input_size), channels_last)


FOLD = Kernel(
    "conv_transpose2d_fold",
    f"(Tensor columns, Tensor? bias, {_REST}) -> Tensor",
    fake=_fake_fold,
    reference=reference.fold,
    triton=_triton("fold"),
)
UNFOLD = Kernel(
    "conv_transpose2d_unfold",
    f"(Tensor grad, Tensor? y, {_REST}) -> Tensor",
    fake=_fake_unfold,
    reference=reference.unfold,
    triton=_triton("unfold"),
)

# x, output channels, kernel, settings: few channels, with and without overlap, gaps between taps,
# uneven sizes, wide padding; then the 1x1 input; then what goes to the vendor.
_CASES: tuple[tuple[tuple[int, ...], int, tuple[int, int], dict[str, Any]], ...] = (
    ((3, 4, 5, 6), 2, (4, 4), {"stride": 2, "padding": 1, "activation": "leaky_relu"}),
    ((2, 3, 4, 3), 1, (3, 4), {"stride": (2, 1), "padding": (1, 0), "output_padding": (1, 0)}),
    ((1, 4, 3, 5), 3, (3, 3), {"stride": 1, "padding": 2, "activation": "relu"}),
    ((2, 2, 2, 3), 1, (2, 2), {"stride": 3, "output_padding": 1, "activation": "tanh"}),
    ((2, 2, 3, 2), 4, (5, 3), {"stride": (3, 2), "padding": 1, "activation": "leaky_relu"}),
    ((5, 4, 1, 1), 3, (3, 2), {"activation": "leaky_relu"}),
    ((2, 4, 1, 1), 6, (4, 4), {"stride": 2, "activation": "tanh"}),
    ((2, 4, 3, 3), 4, (3, 3), {"groups": 2, "dilation": 2, "activation": "relu"}),
    ((2, 2, 3, 3), 6, (4, 4), {"stride": 2, "padding": 1, "activation": "tanh"}),
)


def _grid(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Multiples of 1/4 in [-1/2, 1/2]: sums of their products are exact in every dtype.

    So a ReLU takes the same branch everywhere.
    """
    generator = torch.Generator().manual_seed(math.prod(shape))
    return (torch.randint(-2, 3, shape, generator=generator) / 4).to(device, dtype)


def _tensors(
    shape: tuple[int, ...],
    channels: int,
    kernel: tuple[int, int],
    groups: int,
    dtype: torch.dtype,
    device: torch.device,
) -> tuple[torch.Tensor, ...]:
    x = _grid(shape, dtype, device)
    weight = _grid((shape[1], channels // groups, *kernel), dtype, device)
    # Sums of products are multiples of 1/16: half a step more and no pre-activation is zero,
    # where the derivative jumps.
    return x, weight, _grid((channels,), dtype, device) + 1 / 32


def samples(dtype: torch.dtype, device: torch.device) -> Iterator[Sample]:
    """Calls of the public function: all three algorithms, all activations."""
    for shape, channels, kernel, settings in _CASES:
        tensors = _tensors(shape, channels, kernel, settings.get("groups", 1), dtype, device)
        yield Sample(tensors, settings, grad=(0, 1, 2))
        if settings.get("activation", "none") in ("none", "tanh"):
            yield Sample(tensors[:2], settings, grad=(0, 1))


def raw_samples(dtype: torch.dtype, device: torch.device) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Calls of every dispatcher entry."""
    for activation in (reference.NONE, reference.LEAKY_RELU, reference.TANH):
        for channels_last in (False, True):
            columns = _grid((2, 32, 3, 5), dtype, device).requires_grad_()
            bias = (_grid((2,), dtype, device) + 1 / 32).requires_grad_()
            rest = ((3, 5), (6, 10), (4, 4), (2, 2), (1, 1), activation, 0.2, channels_last)
            yield FOLD.public, (columns, bias, *rest)
            yield FOLD.raw, (columns.detach(), None, *rest)
            grad = _grid((2, 2, 6, 10), dtype, device).requires_grad_()
            y = FOLD(columns.detach(), bias.detach(), *rest)
            yield UNFOLD.public, (grad, y.requires_grad_(), *rest)
            yield UNFOLD.raw, (grad.detach(), None, *rest)


def large_sample() -> Sample:
    """4 G elements of x, on paper."""
    x = torch.empty((2**8, 4, 2**11, 2**11), device="meta")
    return Sample((x, torch.empty((4, 1, 4, 4), device="meta")), {"stride": 2, "padding": 1})


SPEC = OpSpec(
    name="conv_transpose2d",
    kernels=(FOLD, UNFOLD),
    samples=samples,
    raw_samples=raw_samples,
    large_sample=large_sample,
    # The absolute terms: gradients are sums of products with both signs, so where they cancel
    # the error is relative to the terms, which are of order one (ten in second derivatives). The
    # kernels alone are held to the tight bounds in tests/ops/test_conv_transpose2d.py. float16 has
    # 3e-3: a second derivative passes through six results that are rounded to it, 5e-4 each.
    tolerances={
        torch.float64: (1e-12, 1e-12),
        torch.float32: (1e-5, 2e-5),
        torch.bfloat16: (2e-2, 1e-1),
        torch.float16: (3e-3, 2e-2),
    },
)
