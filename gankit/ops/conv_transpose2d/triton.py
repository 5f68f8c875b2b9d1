"""Triton kernels of conv_transpose2d: fp32, bf16, fp16 on NVIDIA and AMD GPUs."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence

import torch
import triton
import triton.language as tl

_BLOCK = 1024  # elements of the result per program


@triton.jit
def _coordinates(  # type: ignore[no-untyped-def]
    i, channels, height, width, CHANNELS_LAST: tl.constexpr
):
    """(n, c, h, w) of element i of a dense tensor."""
    if CHANNELS_LAST:
        pixel = i // channels
        rest = pixel // width
        return rest // height, i % channels, rest % height, pixel % width
    else:
        row = i // width
        plane = row // height
        return plane // channels, plane % channels, row % height, i % width


@triton.jit
def _tanh(x):  # type: ignore[no-untyped-def]
    # Cephes: a polynomial near zero, where the quotient of exponentials would cancel.
    square = x * x
    near = -5.70498872745e-3 * square + 2.06390887954e-2
    near = near * square - 5.37397155531e-2
    near = near * square + 1.33314422036e-1
    near = near * square - 3.33332819422e-1
    near = near * square * x + x
    magnitude = tl.abs(x)
    far = 1.0 - 2.0 / (tl.exp(2.0 * magnitude) + 1.0)
    return tl.where(magnitude < 0.625, near, tl.where(x < 0, -far, far))


@triton.jit
def fold_kernel(  # type: ignore[no-untyped-def]
    columns_ptr, bias_ptr, y_ptr, n, at_n, at_k, at_h, at_w,
    channels, in_h, in_w, out_h, out_w, pad_h, pad_w, negative_slope,
    KERNEL_H: tl.constexpr, KERNEL_W: tl.constexpr, STRIDE_H: tl.constexpr, STRIDE_W: tl.constexpr,
    HAS_BIAS: tl.constexpr, ACTIVATION: tl.constexpr, CHANNELS_LAST: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Each output element gathers the patches that overlap in it."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = i < n
    sample, c, oy, ox = _coordinates(i, channels, out_h, out_w, CHANNELS_LAST)
    row, first_ki = (oy + pad_h) // STRIDE_H, (oy + pad_h) % STRIDE_H
    column, first_kj = (ox + pad_w) // STRIDE_W, (ox + pad_w) % STRIDE_W
    total = tl.zeros((BLOCK,), tl.float32)
    for m in tl.static_range((KERNEL_H + STRIDE_H - 1) // STRIDE_H):
        ki, iy = first_ki + m * STRIDE_H, row - m
        row_inside = inside & (ki < KERNEL_H) & (iy >= 0) & (iy < in_h)
        for l in tl.static_range((KERNEL_W + STRIDE_W - 1) // STRIDE_W):  # noqa: E741
            kj, ix = first_kj + l * STRIDE_W, column - l
            used = row_inside & (kj < KERNEL_W) & (ix >= 0) & (ix < in_w)
            k = (c * KERNEL_H + ki) * KERNEL_W + kj
            at = sample * at_n + k * at_k + iy * at_h + ix * at_w
            total += tl.load(columns_ptr + at, mask=used, other=0.0).to(tl.float32)
    if HAS_BIAS:
        total += tl.load(bias_ptr + c, mask=inside, other=0.0).to(tl.float32)
    if ACTIVATION == 1:
        total = tl.where(total < 0, 0.0, total)
    elif ACTIVATION == 2:
        total = tl.where(total > 0, total, total * negative_slope)
    elif ACTIVATION == 3:
        total = _tanh(total)
    tl.store(y_ptr + i, total.to(y_ptr.dtype.element_ty), mask=inside)


@triton.jit
def unfold_kernel(  # type: ignore[no-untyped-def]
    grad_ptr, y_ptr, out_ptr, n, grad_n, grad_c, grad_h, grad_w, y_n, y_c, y_h, y_w,
    columns, in_h, in_w, out_h, out_w, pad_h, pad_w, negative_slope,
    KERNEL_H: tl.constexpr, KERNEL_W: tl.constexpr, STRIDE_H: tl.constexpr, STRIDE_W: tl.constexpr,
    ACTIVATION: tl.constexpr, CHANNELS_LAST: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The activation's derivative, cut into patches."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = i < n
    sample, k, iy, ix = _coordinates(i, columns, in_h, in_w, CHANNELS_LAST)
    c = k // (KERNEL_H * KERNEL_W)
    oy = iy * STRIDE_H - pad_h + k // KERNEL_W % KERNEL_H
    ox = ix * STRIDE_W - pad_w + k % KERNEL_W
    used = inside & (oy >= 0) & (oy < out_h) & (ox >= 0) & (ox < out_w)
    grad_at = sample * grad_n + c * grad_c + oy * grad_h + ox * grad_w
    value = tl.load(grad_ptr + grad_at, mask=used, other=0.0).to(tl.float32)
    if ACTIVATION != 0:
        y_at = sample * y_n + c * y_c + oy * y_h + ox * y_w
        y = tl.load(y_ptr + y_at, mask=used, other=0.0).to(tl.float32)
        if ACTIVATION == 1:
            value = tl.where(y > 0, value, 0.0)
        elif ACTIVATION == 2:
            value = tl.where(y > 0, value, value * negative_slope)
        else:
            value = value * (1.0 - y * y)
    value = tl.where(used, value, 0.0)
    tl.store(out_ptr + i, value.to(out_ptr.dtype.element_ty), mask=inside)


def _on(x: torch.Tensor) -> contextlib.AbstractContextManager[object]:
    """Triton launches on the current device, which need not be the tensor's."""
    return torch.cuda.device(x.device) if x.is_cuda else contextlib.nullcontext()


def _empty(model: torch.Tensor, shape: tuple[int, ...], channels_last: bool) -> torch.Tensor:
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    return torch.empty(shape, dtype=model.dtype, device=model.device, memory_format=memory_format)


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
    """As ``reference.fold``."""
    channels = columns.shape[1] // math.prod(kernel_size)
    y = _empty(columns, (columns.shape[0], channels, *output_size), channels_last)
    n = y.numel()
    if n == 0:
        return y
    shift = columns if bias is None else bias.contiguous()
    with _on(y):
        fold_kernel[(triton.cdiv(n, _BLOCK),)](
            columns, shift, y, n, *columns.stride(), channels, *input_size, *output_size,
            *padding, negative_slope, *kernel_size, *stride, HAS_BIAS=bias is not None,
            ACTIVATION=activation, CHANNELS_LAST=channels_last, BLOCK=_BLOCK,
        )  # fmt: skip
    return y


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
    """As ``reference.unfold``."""
    columns = grad.shape[1] * math.prod(kernel_size)
    out = _empty(grad, (grad.shape[0], columns, *input_size), channels_last)
    n = out.numel()
    if n == 0:
        return out
    saved = grad if y is None else y
    with _on(out):
        unfold_kernel[(triton.cdiv(n, _BLOCK),)](
            grad, saved, out, n, *grad.stride(), *saved.stride(), columns, *input_size,
            *output_size, *padding, negative_slope, *kernel_size, *stride,
            ACTIVATION=0 if y is None else activation, CHANNELS_LAST=channels_last, BLOCK=_BLOCK,
        )  # fmt: skip
    return out
