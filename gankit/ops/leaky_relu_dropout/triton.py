"""Triton kernels of leaky_relu_dropout: fp32, bf16, fp16 on NVIDIA and AMD GPUs."""

from __future__ import annotations

import contextlib

import torch
import triton
import triton.language as tl

from ..philox_triton import element_draws, numbered_draws

_BLOCKS = 128  # Philox blocks per program; eight elements each


@triton.jit
def _bits(value):  # type: ignore[no-untyped-def]
    if value.dtype.primitive_bitwidth == 16:
        return value.to(tl.int16, bitcast=True)
    else:
        return value.to(tl.int32, bitcast=True)


@triton.jit
def _draws(  # type: ignore[no-untyped-def]
    seed_ptr, stream, offset, samples, sample_stride, channels, channel_stride,
    CHANNELWISE: tl.constexpr, BLOCKS: tl.constexpr,
):  # fmt: skip
    seed = tl.load(seed_ptr)
    if CHANNELWISE:
        sample = (offset // sample_stride.to(tl.int64)) % samples.to(tl.int64)
        channel = (offset // channel_stride.to(tl.int64)) % channels.to(tl.int64)
        return numbered_draws(seed, stream, sample * channels + channel)
    else:
        first_block = tl.program_id(0).to(tl.int64) * BLOCKS
        return element_draws(seed, stream, first_block, BLOCKS)


_RUNTIME = ["stream", "threshold", "samples", "sample_stride", "channels", "channel_stride"]


@triton.jit(do_not_specialize=_RUNTIME)
def forward_kernel(  # type: ignore[no-untyped-def]
    x_ptr, y_ptr, seed_ptr, n, stream, threshold, scale, negative_scale,
    samples, sample_stride, channels, channel_stride,
    CHANNELWISE: tl.constexpr, BLOCKS: tl.constexpr,
):  # fmt: skip
    """One program per 8 * BLOCKS elements; y may be x."""
    offset = tl.program_id(0).to(tl.int64) * (8 * BLOCKS) + tl.arange(0, 8 * BLOCKS)
    inside = offset < n
    draws = _draws(
        seed_ptr, stream, offset, samples, sample_stride, channels, channel_stride,
        CHANNELWISE, BLOCKS,
    )  # fmt: skip
    x = tl.load(x_ptr + offset, mask=inside)
    positive = x > 0
    value = x.to(tl.float32)
    kept = _bits(tl.where(positive, value * scale, value * negative_scale).to(x.dtype))
    # The sign bit marks the negative branch; zero bits mark what was dropped.
    sign = (tl.full(kept.shape, 1, kept.dtype) << (x.dtype.primitive_bitwidth - 1)).to(kept.dtype)
    marked = tl.where(positive, kept, kept | sign)
    y = tl.where(draws < threshold, tl.zeros_like(marked), marked)
    tl.store(y_ptr + offset, y.to(x.dtype, bitcast=True), mask=inside)


@triton.jit
def backward_kernel(  # type: ignore[no-untyped-def]
    grad_ptr, y_ptr, grad_x_ptr, n, scale, negative_scale, BLOCKS: tl.constexpr
):
    """The mask is read off y: zero bits dropped, sign set negative."""
    offset = tl.program_id(0).to(tl.int64) * (8 * BLOCKS) + tl.arange(0, 8 * BLOCKS)
    inside = offset < n
    grad = tl.load(grad_ptr + offset, mask=inside)
    y = _bits(tl.load(y_ptr + offset, mask=inside))
    value = grad.to(tl.float32)
    kept = tl.where(y < 0, value * negative_scale, value * scale).to(grad.dtype)
    grad_x = tl.where(y == 0, tl.zeros_like(kept), kept)
    tl.store(grad_x_ptr + offset, grad_x, mask=inside)


@triton.jit(do_not_specialize=_RUNTIME)
def backward_from_input_kernel(  # type: ignore[no-untyped-def]
    grad_ptr, x_ptr, grad_x_ptr, seed_ptr, n, stream, threshold, scale, negative_scale,
    samples, sample_stride, channels, channel_stride,
    CHANNELWISE: tl.constexpr, BLOCKS: tl.constexpr,
):  # fmt: skip
    """The mask is drawn again."""
    offset = tl.program_id(0).to(tl.int64) * (8 * BLOCKS) + tl.arange(0, 8 * BLOCKS)
    inside = offset < n
    draws = _draws(
        seed_ptr, stream, offset, samples, sample_stride, channels, channel_stride,
        CHANNELWISE, BLOCKS,
    )  # fmt: skip
    grad = tl.load(grad_ptr + offset, mask=inside)
    x = tl.load(x_ptr + offset, mask=inside)
    value = grad.to(tl.float32)
    kept = tl.where(x > 0, value * scale, value * negative_scale).to(grad.dtype)
    grad_x = tl.where(draws < threshold, tl.zeros_like(kept), kept)
    tl.store(grad_x_ptr + offset, grad_x, mask=inside)


def _laid_out_like(x: torch.Tensor, model: torch.Tensor) -> torch.Tensor:
    return x if x.stride() == model.stride() else torch.empty_like(model).copy_(x)


def _grid(n: int) -> tuple[int]:
    return (triton.cdiv(n, 8 * _BLOCKS),)


def _on(x: torch.Tensor) -> contextlib.AbstractContextManager[object]:
    """Triton launches on the current device, which need not be the tensor's."""
    return torch.cuda.device(x.device) if x.is_cuda else contextlib.nullcontext()


def _channels(model: torch.Tensor, channelwise: bool) -> tuple[int, int, int, int]:
    """samples, sample stride, channels, channel stride of a dense tensor."""
    if not channelwise:
        return 1, 1, 1, 1
    # A dimension of size one may carry any stride; one past the end keeps its coordinate at zero.
    strides = [model.numel() if model.size(d) == 1 else model.stride(d) for d in (0, 1)]
    return model.size(0), strides[0], model.size(1), strides[1]


def _run_forward(
    x: torch.Tensor,
    y: torch.Tensor,
    seed: torch.Tensor,
    stream: int,
    threshold: int,
    scale: float,
    negative_scale: float,
    channelwise: bool,
) -> None:
    n = y.numel()
    if n == 0:
        return
    with _on(y):
        forward_kernel[_grid(n)](
            x, y, seed, n, stream, threshold, scale, negative_scale,
            *_channels(y, channelwise), CHANNELWISE=channelwise, BLOCKS=_BLOCKS,
        )  # fmt: skip


def forward(
    x: torch.Tensor,
    seed: torch.Tensor,
    stream: int,
    threshold: int,
    scale: float,
    negative_scale: float,
    channelwise: bool,
) -> torch.Tensor:
    """As ``reference.forward``."""
    y = torch.empty_like(x)
    factors = (stream, threshold, scale, negative_scale, channelwise)
    _run_forward(_laid_out_like(x, y), y, seed, *factors)
    return y


def forward_(
    x: torch.Tensor,
    seed: torch.Tensor,
    stream: int,
    threshold: int,
    scale: float,
    negative_scale: float,
    channelwise: bool,
) -> None:
    """As ``reference.forward_``."""
    dense = torch.empty_like(x, device="meta")
    y = x if x.stride() == dense.stride() else torch.empty_like(x).copy_(x)
    _run_forward(y, y, seed, stream, threshold, scale, negative_scale, channelwise)
    if y is not x:
        x.copy_(y)


def backward(
    grad: torch.Tensor, y: torch.Tensor, scale: float, negative_scale: float
) -> torch.Tensor:
    """As ``reference.backward``."""
    grad_x = torch.empty_like(y)
    n = grad_x.numel()
    if n == 0:
        return grad_x
    with _on(y):
        backward_kernel[_grid(n)](
            _laid_out_like(grad, grad_x), _laid_out_like(y, grad_x), grad_x, n,
            scale, negative_scale, BLOCKS=_BLOCKS,
        )  # fmt: skip
    return grad_x


def backward_from_input(
    grad: torch.Tensor,
    x: torch.Tensor,
    seed: torch.Tensor,
    stream: int,
    threshold: int,
    scale: float,
    negative_scale: float,
    channelwise: bool,
) -> torch.Tensor:
    """As ``reference.backward_from_input``."""
    grad_x = torch.empty_like(x)
    n = grad_x.numel()
    if n == 0:
        return grad_x
    with _on(x):
        backward_from_input_kernel[_grid(n)](
            _laid_out_like(grad, grad_x), _laid_out_like(x, grad_x), grad_x, seed, n,
            stream, threshold, scale, negative_scale,
            *_channels(grad_x, channelwise), CHANNELWISE=channelwise, BLOCKS=_BLOCKS,
        )  # fmt: skip
    return grad_x
