"""Triton kernels of gan_bce: fp32, bf16, fp16 on NVIDIA and AMD GPUs."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from ..bce_label_smoothing.triton import (
    _ELEMENTS,
    _PROGRAMS,
    dense,
    finish_kernel,
    label_numbers,
    loss_of,
    on,
    programs,
    slope_of,
)


@triton.jit
def sum_kernel(  # type: ignore[no-untyped-def]
    real_ptr, fake_ptr, sums_ptr, n_real, n_fake, real_programs, real_steps, fake_steps,
    real_weight, fake_weight, real_label, real_co_label, fake_label, fake_co_label,
    FROM_LOGITS: tl.constexpr, ELEMENTS: tl.constexpr,
):  # fmt: skip
    """The first programs add losses of the real half, the others of the generated one."""
    program = tl.program_id(0)
    total = tl.zeros((ELEMENTS,), tl.float32)
    none = tl.zeros((ELEMENTS,), tl.float32)
    if program < real_programs:
        first = program.to(tl.int64) * real_steps * ELEMENTS
        for step in range(real_steps):
            offset = first + step * ELEMENTS + tl.arange(0, ELEMENTS)
            inside = offset < n_real
            x = tl.load(real_ptr + offset, mask=inside, other=0).to(tl.float32)
            loss = loss_of(x, none, 0.0, real_label, real_co_label, FROM_LOGITS)
            total += tl.where(inside, loss, 0.0)
        tl.store(sums_ptr + program, tl.sum(total, axis=0) * real_weight)
    else:
        first = (program - real_programs).to(tl.int64) * fake_steps * ELEMENTS
        for step in range(fake_steps):
            offset = first + step * ELEMENTS + tl.arange(0, ELEMENTS)
            inside = offset < n_fake
            x = tl.load(fake_ptr + offset, mask=inside, other=0).to(tl.float32)
            loss = loss_of(x, none, 0.0, fake_label, fake_co_label, FROM_LOGITS)
            total += tl.where(inside, loss, 0.0)
        tl.store(sums_ptr + program, tl.sum(total, axis=0) * fake_weight)


@triton.jit
def backward_kernel(  # type: ignore[no-untyped-def]
    grad_ptr, real_ptr, fake_ptr, grad_real_ptr, grad_fake_ptr, n_real, n_fake, real_programs,
    real_weight, fake_weight, real_label, real_co_label, fake_label, fake_co_label,
    FROM_LOGITS: tl.constexpr, ELEMENTS: tl.constexpr,
):  # fmt: skip
    """Likewise for the gradients."""
    program = tl.program_id(0)
    grad = tl.load(grad_ptr).to(tl.float32)
    none = tl.zeros((ELEMENTS,), tl.float32)
    if program < real_programs:
        offset = program.to(tl.int64) * ELEMENTS + tl.arange(0, ELEMENTS)
        inside = offset < n_real
        x = tl.load(real_ptr + offset, mask=inside, other=0).to(tl.float32)
        slope = slope_of(x, none, 0.0, real_label, real_co_label, FROM_LOGITS)
        value = (grad * real_weight * slope).to(grad_real_ptr.dtype.element_ty)
        tl.store(grad_real_ptr + offset, value, mask=inside)
    else:
        offset = (program - real_programs).to(tl.int64) * ELEMENTS + tl.arange(0, ELEMENTS)
        inside = offset < n_fake
        x = tl.load(fake_ptr + offset, mask=inside, other=0).to(tl.float32)
        slope = slope_of(x, none, 0.0, fake_label, fake_co_label, FROM_LOGITS)
        value = (grad * fake_weight * slope).to(grad_fake_ptr.dtype.element_ty)
        tl.store(grad_fake_ptr + offset, value, mask=inside)


def _weights(real: torch.Tensor, fake: torch.Tensor, joint: bool) -> tuple[float, float]:
    counts = (real.numel(), fake.numel())
    if joint:
        counts = (sum(counts), sum(counts))
    first, second = (1 / n if n > 0 else float("nan") for n in counts)
    return first, second


def _labels(real_label: float, fake_label: float) -> tuple[float, ...]:
    return label_numbers(0.0, real_label)[1:] + label_numbers(0.0, fake_label)[1:]


def forward(
    real: torch.Tensor,
    fake: torch.Tensor,
    real_label: float,
    fake_label: float,
    from_logits: bool,
    joint: bool,
) -> torch.Tensor:
    """As ``reference.forward``; probabilities outside [0, 1] give NaN on every device."""
    r, f = dense(real), dense(fake)
    y = r.new_empty(())
    # Half as many programs for each, because one program adds up what both left.
    (real_count, real_steps), (fake_count, fake_steps) = (
        programs(x.numel(), _PROGRAMS // 2) for x in (r, f)
    )
    sums = torch.empty(real_count + fake_count, dtype=torch.float32, device=r.device)
    with on(r):
        sum_kernel[(real_count + fake_count,)](
            r, f, sums, r.numel(), f.numel(), real_count, real_steps, fake_steps,
            *_weights(r, f, joint), *_labels(real_label, fake_label),
            FROM_LOGITS=from_logits, ELEMENTS=_ELEMENTS,
        )  # fmt: skip
        finish_kernel[(1,)](sums, y, real_count + fake_count, 1.0, ELEMENTS=_PROGRAMS)
    return y


def backward(
    grad: torch.Tensor,
    real: torch.Tensor,
    fake: torch.Tensor,
    real_label: float,
    fake_label: float,
    from_logits: bool,
    joint: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """As ``reference.backward``."""
    r, f = dense(real), dense(fake)
    grad_real, grad_fake = torch.empty_like(r), torch.empty_like(f)
    real_count, fake_count = (triton.cdiv(x.numel(), _ELEMENTS) for x in (r, f))
    if real_count + fake_count == 0:
        return grad_real, grad_fake
    with on(r):
        backward_kernel[(real_count + fake_count,)](
            grad, r, f, grad_real, grad_fake, r.numel(), f.numel(), real_count,
            *_weights(r, f, joint), *_labels(real_label, fake_label),
            FROM_LOGITS=from_logits, ELEMENTS=_ELEMENTS,
        )  # fmt: skip
    return grad_real, grad_fake
