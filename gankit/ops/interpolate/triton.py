"""Triton kernels of interpolate: fp32, bf16, fp16 on NVIDIA and AMD GPUs."""

from __future__ import annotations

import contextlib

import torch
import triton
import triton.language as tl

from ..philox_triton import philox_words

_BLOCK = 1024  # elements per program

_RUNTIME = ["stream", "samples", "sample_stride"]


@triton.jit
def _weights(seed_ptr, stream, offset, samples, sample_stride):  # type: ignore[no-untyped-def]
    """float32: the upper 24 bits of word i % 4 of block i // 4 for sample i."""
    sample = (offset // sample_stride.to(tl.int64)) % samples.to(tl.int64)
    w0, w1, w2, w3 = philox_words(tl.load(seed_ptr), sample // 4, stream)
    number = sample % 4
    word = tl.where(number < 2, tl.where(number < 1, w0, w1), tl.where(number < 3, w2, w3))
    return (word >> 8).to(tl.int32).to(tl.float32) * (1.0 / 16777216.0)


@triton.jit(do_not_specialize=_RUNTIME)
def forward_kernel(  # type: ignore[no-untyped-def]
    real_ptr, fake_ptr, out_ptr, seed_ptr, n, stream, samples, sample_stride, BLOCK: tl.constexpr
):
    """One program per BLOCK elements, in memory order."""
    offset = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = offset < n
    e = _weights(seed_ptr, stream, offset, samples, sample_stride)
    real = tl.load(real_ptr + offset, mask=inside)
    fake = tl.load(fake_ptr + offset, mask=inside)
    mixed = e * real.to(tl.float32) + (1.0 - e) * fake.to(tl.float32)
    tl.store(out_ptr + offset, mixed.to(real.dtype), mask=inside)


@triton.jit(do_not_specialize=_RUNTIME)
def backward_kernel(  # type: ignore[no-untyped-def]
    grad_ptr, out_ptr, seed_ptr, n, stream, samples, sample_stride,
    OF_FAKE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The gradient times its sample's weight."""
    offset = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = offset < n
    e = _weights(seed_ptr, stream, offset, samples, sample_stride)
    weight = 1.0 - e if OF_FAKE else e
    grad = tl.load(grad_ptr + offset, mask=inside)
    tl.store(out_ptr + offset, (weight * grad.to(tl.float32)).to(grad.dtype), mask=inside)


def _laid_out_like(x: torch.Tensor, model: torch.Tensor) -> torch.Tensor:
    return x if x.stride() == model.stride() else torch.empty_like(model).copy_(x)


def _on(x: torch.Tensor) -> contextlib.AbstractContextManager[object]:
    """Triton launches on the current device, which need not be the tensor's."""
    return torch.cuda.device(x.device) if x.is_cuda else contextlib.nullcontext()


def _samples(model: torch.Tensor) -> tuple[int, int]:
    """Samples and their stride in a dense tensor; a lone sample may carry any stride."""
    return model.size(0), model.numel() if model.size(0) == 1 else model.stride(0)


def forward(
    real: torch.Tensor, fake: torch.Tensor, seed: torch.Tensor, stream: int
) -> torch.Tensor:
    """As ``reference.forward``."""
    out = torch.empty_like(real)
    n = out.numel()
    if n == 0:
        return out
    with _on(out):
        # Without fused multiply-adds, which round differently from the other backends.
        forward_kernel[(triton.cdiv(n, _BLOCK),)](
            _laid_out_like(real, out), _laid_out_like(fake, out), out, seed, n, stream,
            *_samples(out), BLOCK=_BLOCK, enable_fp_fusion=False,
        )  # fmt: skip
    return out


def backward(grad: torch.Tensor, seed: torch.Tensor, stream: int, of_fake: bool) -> torch.Tensor:
    """As ``reference.backward``."""
    out = torch.empty_like(grad)
    n = out.numel()
    if n == 0:
        return out
    with _on(out):
        backward_kernel[(triton.cdiv(n, _BLOCK),)](
            _laid_out_like(grad, out), out, seed, n, stream, *_samples(out),
            OF_FAKE=of_fake, BLOCK=_BLOCK,
        )  # fmt: skip
    return out
