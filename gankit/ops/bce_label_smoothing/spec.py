"""Schemas, shape functions, samples and tolerances of bce_label_smoothing."""

from __future__ import annotations

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


# The label is scale * target + shift, from smoothing and mode; without a target it is shift.
_LABELS = "Tensor? target, float scale, float shift, bool from_logits, int reduction"


def _fake(
    input: torch.Tensor,
    target: torch.Tensor | None,
    scale: float,
    shift: float,
    from_logits: bool,
    reduction: int,
) -> torch.Tensor:
    return torch.empty_like(input) if reduction == reference.NONE else input.new_empty(())


FORWARD = Kernel(
    "bce_label_smoothing",
    f"(Tensor input, {_LABELS}) -> Tensor",
    fake=_fake,
    reference=reference.forward,
    triton=_triton("forward"),
)
BACKWARD = Kernel(
    "bce_label_smoothing_backward",
    f"(Tensor grad, Tensor input, {_LABELS}) -> Tensor",
    fake=lambda grad, input, *_: torch.empty_like(input),
    reference=reference.backward,
    triton=_triton("backward"),
)

_SHAPES = ((), (1,), (7,), (0,), (3, 0, 2), (8,), (5, 129), (60, 64), (3, 5, 7, 9), (2, 8, 4, 4))


def _logits(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    generator = torch.Generator().manual_seed(30 + len(shape))
    return (3 * torch.randn(shape, generator=generator, dtype=torch.float64)).to(device, dtype)


def _unit(
    shape: tuple[int, ...], dtype: torch.dtype, device: torch.device, seed: int
) -> torch.Tensor:
    """Away from the ends, where no finite difference finds the slope."""
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(shape, generator=generator, dtype=torch.float64)
    return (0.1 + 0.8 * uniform).to(device, dtype)


def samples(dtype: torch.dtype, device: torch.device) -> Iterator[Sample]:
    """Calls of the public function: shapes, both forms, every kind of target, extremes."""
    for shape in _SHAPES:
        x, p = _logits(shape, dtype, device), _unit(shape, dtype, device, 41)
        t = _unit(shape, dtype, device, 42)
        # The mean of nothing is NaN; the square of a large sum's gradient overflows a half.
        other = "sum" if x.numel() < 200 else "mean"
        for reduction in ("none", other):
            smooth = {"smoothing": 0.1, "reduction": reduction}
            yield Sample((x, t), {**smooth, "mode": "two-sided"})
            yield Sample((p, t), {**smooth, "from_logits": False})
        yield Sample((x, t > 0.5), {"smoothing": 0.2, "reduction": "sum"})
        yield Sample((x,), {"target": True, "smoothing": 0.1, "reduction": "none"})
        yield Sample((p,), {"target": 0.25, "from_logits": False, "reduction": "none"})
    # More than one chunk of a sum, and logits so large that only the tail of exp is left.
    x = _logits((3, 7001), dtype, device)
    yield Sample((x, _unit((3, 7001), dtype, device, 43)), {"smoothing": 0.3})
    steep = torch.tensor([-80.0, -30.0, -9.0, 0.0, 9.0, 30.0, 80.0]).to(device, dtype)
    for target in (False, True):
        yield Sample((steep,), {"target": target, "reduction": "none"})


def raw_samples(dtype: torch.dtype, device: torch.device) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Calls of every dispatcher entry."""
    for shape in ((5, 129), (2, 3, 4, 5), (0, 4)):
        t = _unit(shape, dtype, device, 42)
        # A NaN, the mean of nothing, is not equal to itself.
        mean = () if 0 in shape else (reference.MEAN,)
        for reduction in (reference.NONE, reference.SUM, *mean):
            for target, from_logits in ((t, True), (t > 0.5, False), (None, True)):
                make = _logits(shape, dtype, device) if from_logits else t
                x = make.clone().requires_grad_()
                rest = (target, 0.9, 0.05, from_logits, reduction)
                yield FORWARD.public, (x, *rest)
                yield FORWARD.raw, (x.detach(), *rest)
                grad = torch.ones(shape if reduction == reference.NONE else (), dtype=dtype)
                grad = grad.to(device).requires_grad_()
                yield BACKWARD.public, (grad, x, *rest)
                yield BACKWARD.raw, (grad.detach(), x.detach(), *rest)


def large_sample() -> Sample:
    """4 G elements, on paper."""
    x = torch.empty((2**17, 2**15), device="meta")
    return Sample((x, torch.empty_like(x)), {"reduction": "none"})


SPEC = OpSpec(
    name="bce_label_smoothing",
    kernels=(FORWARD, BACKWARD),
    samples=samples,
    raw_samples=raw_samples,
    large_sample=large_sample,
    tolerances={
        torch.float64: (1e-12, 1e-14),
        # The slopes pass through zero, where their error is that of t, and for probabilities this
        # over p (1 - p).
        torch.float32: (1e-5, 2e-6),
        torch.bfloat16: (2e-2, 2e-6),
        torch.float16: (1e-3, 2e-6),
    },
)
