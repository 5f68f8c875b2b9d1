"""Schemas, shape functions, samples and tolerances of gan_bce."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

from ..bce_label_smoothing import spec as bce
from ..registry import Kernel, OpSpec, Sample
from . import reference


def _triton(name: str) -> Callable[[], Callable[..., Any]]:
    def load() -> Callable[..., Any]:
        from . import triton

        launcher: Callable[..., Any] = getattr(triton, name)
        return launcher

    return load


_LABELS = "float real_label, float fake_label, bool from_logits, bool joint"

FORWARD = Kernel(
    "gan_bce",
    f"(Tensor real, Tensor fake, {_LABELS}) -> Tensor",
    fake=lambda real, *_: real.new_empty(()),
    reference=reference.forward,
    triton=_triton("forward"),
)
BACKWARD = Kernel(
    "gan_bce_backward",
    f"(Tensor grad, Tensor real, Tensor fake, {_LABELS}) -> (Tensor, Tensor)",
    fake=lambda grad, real, fake, *_: (torch.empty_like(real), torch.empty_like(fake)),
    reference=reference.backward,
    triton=_triton("backward"),
)

_SHAPES = ((), (1,), (8,), (5, 129), (60, 64), (3, 5, 7, 9))


def _halves(
    shape: tuple[int, ...], dtype: torch.dtype, device: torch.device, from_logits: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    if from_logits:
        x = bce._logits((2, *shape), dtype, device)
    else:
        x = bce._unit((2, *shape), dtype, device, 44)
    return x[0].clone(), x[1].clone()


def samples(dtype: torch.dtype, device: torch.device) -> Iterator[Sample]:
    """Calls of the public function: shapes, both forms, both reductions, unequal halves."""
    for shape in _SHAPES:
        for from_logits in (True, False):
            halves = _halves(shape, dtype, device, from_logits)
            for reduction in ("sum", "mean"):
                given = {"from_logits": from_logits, "reduction": reduction, "smoothing": 0.1}
                yield Sample(halves, given, grad=(0, 1))
    real, fake = _halves((20011,), dtype, device, True)
    for reduction in ("sum", "mean"):
        given = {"real_label": 0.9, "fake_label": 0.05, "reduction": reduction}
        yield Sample((real, fake[:301].clone()), given, grad=(0, 1))
        yield Sample((real, fake), given, grad=(1,))


def raw_samples(dtype: torch.dtype, device: torch.device) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Calls of every dispatcher entry."""
    for shape in ((5, 129), (2, 3, 4, 5)):
        for from_logits in (True, False):
            for joint in (True, False):
                real, fake = _halves(shape, dtype, device, from_logits)
                rest = (0.9, 0.05, from_logits, joint)
                leaves = real.requires_grad_(), fake.requires_grad_()
                grad = torch.ones((), dtype=dtype, device=device).requires_grad_()
                yield FORWARD.public, (*leaves, *rest)
                yield FORWARD.raw, (real.detach(), fake.detach(), *rest)
                yield BACKWARD.public, (grad, *leaves, *rest)
                yield BACKWARD.raw, (grad.detach(), real.detach(), fake.detach(), *rest)


def large_sample() -> Sample:
    """4 G elements, on paper."""
    x = torch.empty((2**17, 2**15), device="meta")
    return Sample((x, torch.empty_like(x)), grad=(0, 1))


SPEC = OpSpec(
    name="gan_bce",
    kernels=(FORWARD, BACKWARD),
    samples=samples,
    raw_samples=raw_samples,
    large_sample=large_sample,
    tolerances=bce.SPEC.tolerances,  # the same formulas
)
