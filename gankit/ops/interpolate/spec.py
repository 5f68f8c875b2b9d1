"""Schemas, shape functions, samples and tolerances of interpolate."""

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


FORWARD = Kernel(
    "interpolate",
    "(Tensor real, Tensor fake, Tensor seed, int stream) -> Tensor",
    fake=lambda real, *_: torch.empty_like(real),
    reference=reference.forward,
    triton=_triton("forward"),
)
BACKWARD = Kernel(
    "interpolate_backward",
    "(Tensor grad, Tensor seed, int stream, bool of_fake) -> Tensor",
    fake=lambda grad, *_: torch.empty_like(grad),
    reference=reference.backward,
    triton=_triton("backward"),
)

_SHAPES = ((1,), (7,), (0,), (3, 0, 2), (1, 5), (5, 129), (9, 64), (3, 5, 7, 9), (6, 8, 4, 4))


def _seed(device: torch.device) -> torch.Tensor:
    return torch.tensor([-7421703487172481123], device=device)


def _input(
    shape: tuple[int, ...], dtype: torch.dtype, device: torch.device, number: int
) -> torch.Tensor:
    generator = torch.Generator().manual_seed(20 + 10 * number + len(shape))
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(device, dtype)


def samples(dtype: torch.dtype, device: torch.device) -> Iterator[Sample]:
    """Calls of the public function: shapes, both streams' halves, each side's gradient alone."""
    seed = _seed(device)
    for shape in _SHAPES:
        pair = (_input(shape, dtype, device, 0), _input(shape, dtype, device, 1))
        yield Sample(pair, {"seed": seed, "stream": 3}, grad=(0, 1))
    pair = (_input((33, 17), dtype, device, 0), _input((33, 17), dtype, device, 1))
    for side in (0, 1):
        yield Sample(pair, {"seed": seed, "stream": 2**40}, grad=(side,))


def raw_samples(dtype: torch.dtype, device: torch.device) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Calls of every dispatcher entry."""
    seed = _seed(device)
    for shape in ((5, 129), (2, 3, 4, 5), (0, 4)):
        real = _input(shape, dtype, device, 0).requires_grad_()
        fake = _input(shape, dtype, device, 1).requires_grad_()
        yield FORWARD.public, (real, fake, seed, 1)
        yield FORWARD.raw, (real.detach(), fake.detach(), seed, 1)
        for of_fake in (False, True):
            yield BACKWARD.public, (real, seed, 1, of_fake)
            yield BACKWARD.raw, (real.detach(), seed, 1, of_fake)


def large_sample() -> Sample:
    """4 G elements, on paper."""
    seed = torch.empty(1, dtype=torch.int64, device="meta")
    batch = torch.empty((2**17, 2**15), device="meta")
    return Sample((batch, batch), {"seed": seed})


SPEC = OpSpec(
    name="interpolate",
    kernels=(FORWARD, BACKWARD),
    samples=samples,
    raw_samples=raw_samples,
    large_sample=large_sample,
    tolerances={
        # Where e * real and (1 - e) * fake cancel, what is left has the error of the terms.
        torch.float64: (1e-12, 1e-15),
        torch.float32: (1e-5, 1e-6),
        torch.bfloat16: (2e-2, 1e-6),
        torch.float16: (1e-3, 1e-6),
    },
)
