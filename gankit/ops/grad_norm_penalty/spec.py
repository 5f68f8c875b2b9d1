"""Schemas, shape functions, samples and tolerances of grad_norm_penalty."""

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


def _fake_forward(grad: torch.Tensor, *_: Any) -> tuple[torch.Tensor, torch.Tensor]:
    norms = grad.new_empty((grad.shape[0],), dtype=reference.compute_dtype(grad))
    return grad.new_empty(()), norms


FORWARD = Kernel(
    "grad_norm_penalty",
    "(Tensor grad, float target, int mode) -> (Tensor penalty, Tensor norms)",
    fake=_fake_forward,
    reference=reference.forward,
    triton=_triton("forward"),
)
BACKWARD = Kernel(
    "grad_norm_penalty_backward",
    "(Tensor upstream, Tensor grad, Tensor norms, float target, int mode) -> Tensor",
    fake=lambda upstream, grad, *_: torch.empty_like(grad),
    reference=reference.backward,
    triton=_triton("backward"),
)

_SHAPES = ((1,), (7,), (3, 0, 2), (1, 5), (5, 129), (9, 64), (3, 5, 7, 9), (6, 8, 4, 4), (2, 5000))


def _input(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    generator = torch.Generator().manual_seed(20 + len(shape))
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(device, dtype)


def samples(dtype: torch.dtype, device: torch.device) -> Iterator[Sample]:
    """Calls of the public function: shapes, modes, targets on either side of the norms."""
    for shape in _SHAPES:
        yield Sample((_input(shape, dtype, device),), {"target": 2.5})
    x = _input((11, 19), dtype, device)
    for mode in ("two-sided", "one-sided", "zero-centred"):
        for target in (0.0, 1.0, 4.375, 50.0):
            yield Sample((x,), {"target": target, "mode": mode})
    # Norms of 0.4, 4 and so on, so that one-sided penalties take some samples and leave others.
    spread = x[:4] * torch.tensor([0.1, 1.0, 3.0, 0.5], device=device, dtype=dtype)[:, None]
    yield Sample((spread,), {"target": 3.0, "mode": "one-sided"})


def raw_samples(dtype: torch.dtype, device: torch.device) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Calls of every dispatcher entry."""
    upstream = torch.tensor(0.75, dtype=dtype, device=device)
    for shape in ((5, 129), (2, 3, 4, 5), (2, 0)):
        for mode in (reference.TWO_SIDED, reference.ONE_SIDED, reference.ZERO_CENTRED):
            grad = _input(shape, dtype, device).requires_grad_()
            yield FORWARD.public, (grad, 2.5, mode)
            yield FORWARD.raw, (grad.detach(), 2.5, mode)
            norms = FORWARD(grad.detach(), 2.5, mode)[1]
            yield BACKWARD.public, (upstream.clone().requires_grad_(), grad, norms, 2.5, mode)
            yield BACKWARD.raw, (upstream, grad.detach(), norms, 2.5, mode)


def large_sample() -> Sample:
    """4 G elements, on paper."""
    return Sample((torch.empty((2**17, 2**15), device="meta"),))


SPEC = OpSpec(
    name="grad_norm_penalty",
    kernels=(FORWARD, BACKWARD),
    samples=samples,
    raw_samples=raw_samples,
    large_sample=large_sample,
    tolerances={
        # norm - target cancels where they are close: what is left has the error of the norm.
        torch.float64: (1e-12, 1e-13),
        torch.float32: (1e-5, 2e-6),
        torch.bfloat16: (2e-2, 1e-5),
        torch.float16: (1e-3, 1e-5),
    },
)
