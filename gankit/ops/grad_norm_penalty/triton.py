"""Triton kernels of grad_norm_penalty: fp32, bf16, fp16 on NVIDIA and AMD GPUs."""

from __future__ import annotations

import contextlib

import torch
import triton
import triton.language as tl

_BLOCK = 1024  # elements per program and step


@triton.jit
def norms_kernel(  # type: ignore[no-untyped-def]
    grad_ptr, norms_ptr, length, BLOCK: tl.constexpr
):
    """One program per sample; rows lie one after the other."""
    row = tl.program_id(0).to(tl.int64)
    lanes = tl.zeros([BLOCK], dtype=tl.float32)
    for at in range(0, length, BLOCK):
        column = at + tl.arange(0, BLOCK)
        x = tl.load(grad_ptr + row * length + column, mask=column < length, other=0.0)
        value = x.to(tl.float32)
        lanes += value * value
    tl.store(norms_ptr + row, tl.sqrt(tl.sum(lanes, axis=0)))


@triton.jit(do_not_specialize=["rows"])
def mean_kernel(  # type: ignore[no-untyped-def]
    norms_ptr, penalty_ptr, rows, target, MODE: tl.constexpr, BLOCK: tl.constexpr
):
    """One program in all."""
    lanes = tl.zeros([BLOCK], dtype=tl.float32)
    for at in range(0, rows, BLOCK):
        row = at + tl.arange(0, BLOCK)
        inside = row < rows
        norm = tl.load(norms_ptr + row, mask=inside, other=0.0)
        if MODE == 2:
            penalty = norm * norm
        else:
            excess = norm - target
            penalty = excess * excess
            if MODE == 1:
                penalty = tl.where(excess < 0, 0.0, penalty)
        lanes += tl.where(inside, penalty, 0.0)
    mean = tl.sum(lanes, axis=0) / rows.to(tl.float32)
    tl.store(penalty_ptr, mean.to(penalty_ptr.dtype.element_ty))


@triton.jit(do_not_specialize=["samples", "sample_stride"])
def backward_kernel(  # type: ignore[no-untyped-def]
    upstream_ptr, grad_ptr, norms_ptr, out_ptr, n, samples, sample_stride, target,
    MODE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The gradient times its sample's factor."""
    offset = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = offset < n
    sample = (offset // sample_stride.to(tl.int64)) % samples.to(tl.int64)
    share = tl.load(upstream_ptr).to(tl.float32) / samples.to(tl.float32)
    if MODE == 2:
        factor = tl.full([BLOCK], 2.0, tl.float32)
    else:
        norm = tl.load(norms_ptr + sample, mask=inside, other=1.0)
        safe = tl.where(norm == 0, 1.0, norm)
        factor = tl.where(norm == 0, 0.0, 2 * ((norm - target) / safe))
        if MODE == 1:
            factor = tl.where(norm < target, 0.0, factor)
    grad = tl.load(grad_ptr + offset, mask=inside)
    result = (share * factor) * grad.to(tl.float32)
    tl.store(out_ptr + offset, result.to(grad.dtype), mask=inside)


def _laid_out_like(x: torch.Tensor, model: torch.Tensor) -> torch.Tensor:
    return x if x.stride() == model.stride() else torch.empty_like(model).copy_(x)


def _on(x: torch.Tensor) -> contextlib.AbstractContextManager[object]:
    """Triton launches on the current device, which need not be the tensor's."""
    return torch.cuda.device(x.device) if x.is_cuda else contextlib.nullcontext()


def forward(grad: torch.Tensor, target: float, mode: int) -> tuple[torch.Tensor, torch.Tensor]:
    """As ``reference.forward``."""
    rows = grad.size(0)
    penalty = grad.new_empty(())
    norms = grad.new_empty((rows,), dtype=torch.float32)
    if rows == 0:
        return penalty.fill_(float("nan")), norms
    with _on(grad):
        norms_kernel[(rows,)](grad.contiguous(), norms, grad.numel() // rows, BLOCK=_BLOCK)
        mean_kernel[(1,)](norms, penalty, rows, target, MODE=mode, BLOCK=_BLOCK)
    return penalty, norms


def backward(
    upstream: torch.Tensor, grad: torch.Tensor, norms: torch.Tensor, target: float, mode: int
) -> torch.Tensor:
    """As ``reference.backward``."""
    out = torch.empty_like(grad)
    n = out.numel()
    if n == 0:
        return out
    # A lone sample may carry any stride.
    stride = n if out.size(0) == 1 else out.stride(0)
    with _on(grad):
        backward_kernel[(triton.cdiv(n, _BLOCK),)](
            upstream, _laid_out_like(grad, out), norms.contiguous(), out, n,
            out.size(0), stride, target, MODE=mode, BLOCK=_BLOCK,
        )  # fmt: skip
    return out
