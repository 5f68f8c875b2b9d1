"""Triton kernels of bce_label_smoothing: fp32, bf16, fp16 on NVIDIA and AMD GPUs."""

from __future__ import annotations

import contextlib

import torch
import triton
import triton.language as tl

from .reference import MEAN, NONE

_ELEMENTS = 1024  # per step of a program
_PROGRAMS = 2048  # at most, for a sum


@triton.jit
def log1p_unit(e):  # type: ignore[no-untyped-def]
    """log(1 + e) for e in [0, 1]: the polynomial of csrc/common/explog.h."""
    p = -0.003244020976126194 * e + 0.01985144428908825
    p = p * e - 0.056959498673677444
    p = p * e + 0.10603651404380798
    p = p * e - 0.15305590629577637
    p = p * e + 0.1967593878507614
    p = p * e - 0.24954134225845337
    p = p * e + 0.3332996368408203
    p = p * e - 0.4999990165233612
    return p * (e * e) + e


@triton.jit
def log1p_negative(p):  # type: ignore[no-untyped-def]
    """log(1 - p). What 1 - p loses in rounding is put back by the ratio of p to what is left."""
    q = 1 - p
    lost = 1 - q
    small = lost == 0
    return tl.where(small, -p, tl.log(q) * (p / tl.where(small, 1.0, lost)))


@triton.jit
def loss_of(x, t, scale, shift, co_shift, FROM_LOGITS: tl.constexpr):  # type: ignore[no-untyped-def]
    """x and t in float32; t is the raw label."""
    label = scale * t + shift
    complement = scale * (1 - t) + co_shift
    if FROM_LOGITS:
        magnitude = tl.abs(x)
        return magnitude * tl.where(x < 0, label, complement) + log1p_unit(tl.exp(-magnitude))
    else:
        inside = (x >= 0) & (x <= 1) & (t >= 0) & (t <= 1)
        p = tl.where(inside, x, 0.5)
        log_p, log_q = tl.log(p), log1p_negative(p)
        hit = tl.where(log_p < -100, -100.0, log_p)
        miss = tl.where(log_q < -100, -100.0, log_q)
        return tl.where(inside, -(label * hit + complement * miss), float("nan"))


@triton.jit
def slope_of(x, t, scale, shift, co_shift, FROM_LOGITS: tl.constexpr):  # type: ignore[no-untyped-def]
    """The derivative of :func:`loss_of` by x."""
    label = scale * t + shift
    complement = scale * (1 - t) + co_shift
    if FROM_LOGITS:
        e = tl.exp(-tl.abs(x))
        tail = e / (1 + e)
        return tl.where(x < 0, tail - label, complement - tail)
    else:
        variance = x * (1 - x)
        return (x - label) / tl.where(variance < 1e-12, 1e-12, variance)


@triton.jit
def _target(target_ptr, offset, inside, HAS_TARGET: tl.constexpr):  # type: ignore[no-untyped-def]
    if HAS_TARGET:
        return tl.load(target_ptr + offset, mask=inside, other=0).to(tl.float32)
    else:
        return tl.zeros(offset.shape, tl.float32)


@triton.jit
def sum_kernel(  # type: ignore[no-untyped-def]
    x_ptr, target_ptr, sums_ptr, n, steps, scale, shift, co_shift,
    HAS_TARGET: tl.constexpr, FROM_LOGITS: tl.constexpr, ELEMENTS: tl.constexpr,
):  # fmt: skip
    """Every program adds `steps` consecutive stretches of ELEMENTS losses."""
    first = tl.program_id(0).to(tl.int64) * steps * ELEMENTS
    total = tl.zeros((ELEMENTS,), tl.float32)
    for step in range(steps):
        offset = first + step * ELEMENTS + tl.arange(0, ELEMENTS)
        inside = offset < n
        x = tl.load(x_ptr + offset, mask=inside, other=0).to(tl.float32)
        t = _target(target_ptr, offset, inside, HAS_TARGET)
        total += tl.where(inside, loss_of(x, t, scale, shift, co_shift, FROM_LOGITS), 0.0)
    tl.store(sums_ptr + tl.program_id(0), tl.sum(total, axis=0))


@triton.jit
def finish_kernel(sums_ptr, y_ptr, count, factor, ELEMENTS: tl.constexpr):  # type: ignore[no-untyped-def]
    """One program adds what the others left."""
    index = tl.arange(0, ELEMENTS)
    sums = tl.load(sums_ptr + index, mask=index < count, other=0.0)
    tl.store(y_ptr, (tl.sum(sums, axis=0) * factor).to(y_ptr.dtype.element_ty))


@triton.jit
def each_kernel(  # type: ignore[no-untyped-def]
    x_ptr, target_ptr, y_ptr, n, scale, shift, co_shift,
    HAS_TARGET: tl.constexpr, FROM_LOGITS: tl.constexpr, ELEMENTS: tl.constexpr,
):  # fmt: skip
    """One loss per element."""
    offset = tl.program_id(0).to(tl.int64) * ELEMENTS + tl.arange(0, ELEMENTS)
    inside = offset < n
    x = tl.load(x_ptr + offset, mask=inside, other=0).to(tl.float32)
    t = _target(target_ptr, offset, inside, HAS_TARGET)
    loss = loss_of(x, t, scale, shift, co_shift, FROM_LOGITS)
    tl.store(y_ptr + offset, loss.to(y_ptr.dtype.element_ty), mask=inside)


@triton.jit
def backward_kernel(  # type: ignore[no-untyped-def]
    grad_ptr, x_ptr, target_ptr, grad_x_ptr, n, scale, shift, co_shift, factor,
    SHARED: tl.constexpr, HAS_TARGET: tl.constexpr, FROM_LOGITS: tl.constexpr,
    ELEMENTS: tl.constexpr,
):  # fmt: skip
    """SHARED: one gradient for all elements, times factor; else one each."""
    offset = tl.program_id(0).to(tl.int64) * ELEMENTS + tl.arange(0, ELEMENTS)
    inside = offset < n
    x = tl.load(x_ptr + offset, mask=inside, other=0).to(tl.float32)
    t = _target(target_ptr, offset, inside, HAS_TARGET)
    if SHARED:
        grad = tl.load(grad_ptr).to(tl.float32) * factor
    else:
        grad = tl.load(grad_ptr + offset, mask=inside, other=0).to(tl.float32)
    slope = grad * slope_of(x, t, scale, shift, co_shift, FROM_LOGITS)
    tl.store(grad_x_ptr + offset, slope.to(grad_x_ptr.dtype.element_ty), mask=inside)


def on(x: torch.Tensor) -> contextlib.AbstractContextManager[object]:
    """Triton launches on the current device, which need not be the tensor's."""
    return torch.cuda.device(x.device) if x.is_cuda else contextlib.nullcontext()


def laid_out_like(x: torch.Tensor, model: torch.Tensor) -> torch.Tensor:
    """``x`` or a copy, with the strides of a dense ``model``."""
    return x if x.stride() == model.stride() else torch.empty_like(model, dtype=x.dtype).copy_(x)


def dense(x: torch.Tensor) -> torch.Tensor:
    """``x`` or a copy that fills its memory."""
    return laid_out_like(x, torch.empty_like(x))


def programs(n: int, most: int = _PROGRAMS) -> tuple[int, int]:
    """How many programs a sum of n takes, and how many steps each."""
    stretches = triton.cdiv(max(n, 1), _ELEMENTS)
    steps = triton.cdiv(stretches, most)
    return triton.cdiv(stretches, steps), steps


def label_numbers(scale: float, shift: float) -> tuple[float, float, float]:
    """Scale, shift and the shift of the complement, from double precision."""
    return scale, shift, (1 - scale) - shift


def forward(
    input: torch.Tensor,
    target: torch.Tensor | None,
    scale: float,
    shift: float,
    from_logits: bool,
    reduction: int,
) -> torch.Tensor:
    """As ``reference.forward``; probabilities outside [0, 1] give NaN on every device."""
    x = dense(input)
    t = None if target is None else laid_out_like(target, x)
    labels, n = label_numbers(scale, shift), x.numel()
    if reduction == NONE:
        y = torch.empty_like(x)
        if n == 0:
            return y
        with on(x):
            each_kernel[(triton.cdiv(n, _ELEMENTS),)](
                x, x if t is None else t, y, n, *labels,
                HAS_TARGET=t is not None, FROM_LOGITS=from_logits, ELEMENTS=_ELEMENTS,
            )  # fmt: skip
        return y
    y = x.new_empty(())
    count, steps = programs(n)
    sums = torch.empty(count, dtype=torch.float32, device=x.device)
    factor = 1.0 if reduction != MEAN else 1 / n if n > 0 else float("nan")
    with on(x):
        sum_kernel[(count,)](
            x, x if t is None else t, sums, n, steps, *labels,
            HAS_TARGET=t is not None, FROM_LOGITS=from_logits, ELEMENTS=_ELEMENTS,
        )  # fmt: skip
        finish_kernel[(1,)](sums, y, count, factor, ELEMENTS=_PROGRAMS)
    return y


def backward(
    grad: torch.Tensor,
    input: torch.Tensor,
    target: torch.Tensor | None,
    scale: float,
    shift: float,
    from_logits: bool,
    reduction: int,
) -> torch.Tensor:
    """As ``reference.backward``."""
    x = dense(input)
    t = None if target is None else laid_out_like(target, x)
    grad_x, n = torch.empty_like(x), x.numel()
    if n == 0:
        return grad_x
    shared = reduction != NONE
    g = grad if shared else laid_out_like(grad, grad_x)
    with on(x):
        backward_kernel[(triton.cdiv(n, _ELEMENTS),)](
            g, x, x if t is None else t, grad_x, n, *label_numbers(scale, shift),
            1 / n if reduction == MEAN else 1.0,
            SHARED=shared, HAS_TARGET=t is not None, FROM_LOGITS=from_logits, ELEMENTS=_ELEMENTS,
        )  # fmt: skip
    return grad_x
