"""Schemas, shape functions, samples and tolerances of leaky_relu_dropout."""

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


# threshold, scale and negative_scale are derived from p and the slope once, in double precision,
# by the public function.
_FACTORS = "int threshold, float scale, float negative_scale"

FORWARD = Kernel(
    "leaky_relu_dropout",
    f"(Tensor x, Tensor seed, int stream, {_FACTORS}, bool channelwise) -> Tensor",
    fake=lambda x, *_: torch.empty_like(x),
    reference=reference.forward,
    triton=_triton("forward"),
)
INPLACE = Kernel(
    "leaky_relu_dropout_",
    f"(Tensor(a!) x, Tensor seed, int stream, {_FACTORS}, bool channelwise) -> ()",
    fake=lambda x, *_: None,
    reference=reference.forward_,
    triton=_triton("forward_"),
    public=False,
)
BACKWARD = Kernel(
    "leaky_relu_dropout_backward",
    "(Tensor grad, Tensor y, float scale, float negative_scale) -> Tensor",
    fake=lambda grad, y, *_: torch.empty_like(y),
    reference=reference.backward,
    triton=_triton("backward"),
)
BACKWARD_FROM_INPUT = Kernel(
    "leaky_relu_dropout_backward_from_input",
    f"(Tensor grad, Tensor x, Tensor seed, int stream, {_FACTORS}, bool channelwise) -> Tensor",
    fake=lambda grad, x, *_: torch.empty_like(x),
    reference=reference.backward_from_input,
    triton=_triton("backward_from_input"),
)

_SHAPES = ((), (1,), (7,), (0,), (3, 0, 2), (8,), (5, 129), (60, 64), (3, 5, 7, 9), (2, 8, 4, 4))


def _seed(device: torch.device) -> torch.Tensor:
    return torch.tensor([-7421703487172481123], device=device)


def _input(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    generator = torch.Generator().manual_seed(20 + len(shape))
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(device, dtype)


def samples(dtype: torch.dtype, device: torch.device) -> Iterator[Sample]:
    """Calls of the public function: shapes, channelwise, both ways to save, extremes."""
    seed = _seed(device)
    for shape in _SHAPES:
        x = _input(shape, dtype, device)
        for save in ("output", "input"):
            yield Sample((x,), {"seed": seed, "stream": 3, "save": save})
        if x.dim() >= 2:
            yield Sample((x,), {"p": 0.25, "seed": seed, "stream": 2**40, "channelwise": True})
    x = _input((33, 17), dtype, device)
    for p, slope in ((0.0, 0.2), (1.0, 0.2), (1 - 1e-6, 0.2), (0.3, 0.0), (0.9, 1.0), (2e-5, 3.0)):
        yield Sample((x,), {"p": p, "negative_slope": slope, "seed": seed})
    yield Sample((x,), {"training": False})


def raw_samples(dtype: torch.dtype, device: torch.device) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Calls of every dispatcher entry."""
    seed, factors = _seed(device), (32768, 2.0, 0.4)
    for shape in ((5, 129), (2, 3, 4, 5), (0, 4)):
        x = _input(shape, dtype, device).requires_grad_()
        grad = _input(shape, dtype, device).requires_grad_()
        for channelwise in (False, True):
            draws = (seed, 1, *factors, channelwise)
            yield FORWARD.public, (x, *draws)
            yield FORWARD.raw, (x.detach(), *draws)
            yield INPLACE.raw, (x.detach(), *draws)
            yield BACKWARD_FROM_INPUT.public, (grad, x.detach(), *draws)
            yield BACKWARD_FROM_INPUT.raw, (grad.detach(), x.detach(), *draws)
        y = FORWARD(x.detach(), seed, 1, *factors, False)
        yield BACKWARD.public, (grad, y, 2.0, 0.4)
        yield BACKWARD.raw, (grad.detach(), y, 2.0, 0.4)


def large_sample() -> Sample:
    """4 G elements, on paper."""
    seed = torch.empty(1, dtype=torch.int64, device="meta")
    return Sample((torch.empty((2**17, 2**15), device="meta"),), {"seed": seed})


SPEC = OpSpec(
    name="leaky_relu_dropout",
    kernels=(FORWARD, INPLACE, BACKWARD, BACKWARD_FROM_INPUT),
    samples=samples,
    raw_samples=raw_samples,
    large_sample=large_sample,
    tolerances={
        torch.float64: (1e-12, 0.0),
        torch.float32: (1e-5, 0.0),
        torch.bfloat16: (2e-2, 0.0),
        torch.float16: (1e-3, 1e-7),  # results near the smallest subnormal, 6e-8, round absolutely
    },
)
