"""Schemas, shape functions, samples and tolerances of batch_norm_act."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

from ..backends import interpreting
from ..registry import Kernel, OpSpec, Sample
from . import reference
from .reference import compute_dtype, groups_of, per_sample, result_like


def _triton(name: str) -> Callable[[], Callable[..., Any]]:
    def load() -> Callable[..., Any]:
        from . import launchers

        launcher: Callable[..., Any] = getattr(launchers, name)
        return launcher

    return load


def _statistic(x: torch.Tensor, groups: int) -> torch.Tensor:
    return x.new_empty((groups, x.shape[1]), dtype=compute_dtype(x))


def _fake_sums(
    grad: torch.Tensor, x: torch.Tensor, mean: torch.Tensor, var: torch.Tensor, *rest: Any
) -> tuple[torch.Tensor, ...]:
    slices = x.shape[0] if per_sample(*rest[:2]) else groups_of(mean)
    return tuple(mean.new_empty((slices, x.shape[1])) for _ in range(2))


def _fake_backward(grad: torch.Tensor, x: torch.Tensor, *rest: Any) -> tuple[torch.Tensor, ...]:
    need_input, need_parameters = rest[-2:]
    grad_x = result_like(x) if need_input else x.new_empty(0)
    size = (x.shape[:2] if per_sample(*rest[2:4]) else x.shape[1:2]) if need_parameters else (0,)
    parameters = (x.new_empty(size, dtype=compute_dtype(x)) for _ in range(2))
    return grad_x, *parameters


_PARAMETERS = "Tensor? weight, Tensor? bias"
_STATISTICS = f"Tensor mean, Tensor var, {_PARAMETERS}"
_SETTINGS = "float eps, int activation, float negative_slope"

FORWARD = Kernel(
    "batch_norm_act",
    f"(Tensor x, {_PARAMETERS}, int groups, {_SETTINGS}) -> (Tensor, Tensor, Tensor)",
    fake=lambda x, weight, bias, groups, *_: (
        result_like(x),
        _statistic(x, groups),
        _statistic(x, groups),
    ),
    reference=reference.forward,
    triton=_triton("forward"),
)
BACKWARD = Kernel(
    "batch_norm_act_backward",
    f"(Tensor grad, Tensor x, {_STATISTICS}, {_SETTINGS}, bool training, bool need_input,"
    " bool need_parameters) -> (Tensor, Tensor, Tensor)",
    fake=_fake_backward,
    reference=reference.backward,
    triton=_triton("backward"),
)
# The parts of the two above, between which synchronised statistics put their all-reduce.
STATISTICS = Kernel(
    "batch_norm_act_statistics",
    "(Tensor x, int groups) -> (Tensor, Tensor)",
    fake=lambda x, groups: (_statistic(x, groups), _statistic(x, groups)),
    reference=reference.statistics,
    triton=_triton("statistics"),
)
APPLY = Kernel(
    "batch_norm_act_apply",
    f"(Tensor x, {_STATISTICS}, {_SETTINGS}) -> Tensor",
    fake=lambda x, *_: result_like(x),
    reference=reference.apply,
    triton=_triton("apply"),
)
SUMS = Kernel(
    "batch_norm_act_sums",
    f"(Tensor grad, Tensor x, {_STATISTICS}, {_SETTINGS}) -> (Tensor, Tensor)",
    fake=_fake_sums,
    reference=reference.sums,
    triton=_triton("sums"),
)
GRAD_INPUT = Kernel(
    "batch_norm_act_grad_input",
    f"(Tensor grad, Tensor x, {_STATISTICS}, Tensor? mean_q, Tensor? mean_qx, {_SETTINGS})"
    " -> Tensor",
    fake=lambda grad, x, *_: result_like(x),
    reference=reference.grad_input,
    triton=_triton("grad_input"),
)
UPDATE = Kernel(
    "batch_norm_act_update_",
    "(Tensor(a!) running_mean, Tensor(b!) running_var, Tensor mean, Tensor var, Tensor? batches,"
    " float momentum, int count) -> ()",
    fake=lambda *_: None,
    reference=reference.update_,
    triton=_triton("update_"),
    public=False,
)

_SHAPES = (
    (4, 3),
    (6, 1),
    (2, 5, 3),
    (4, 3, 2, 2),
    (0, 2, 3, 3),
    (4, 5, 7, 9),
    (2, 3, 11, 15),
    (70, 40),
)
_INTERPRETED = ((4, 3), (4, 3, 2, 2), (0, 2, 3, 3), (4, 33), (2, 3, 11, 15), (70, 2))
_ACTIVATIONS = ("none", "relu", "leaky_relu", "tanh")


def _random(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def _tensors(
    shape: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> tuple[torch.Tensor, ...]:
    """x, running mean, running variance, weight, bias."""
    x = _random(shape, dtype, 31 + len(shape))
    wide, channels = compute_dtype(x), shape[1]
    rest = (
        _random((channels,), wide, 1),
        _random((channels,), wide, 2).square() + 0.3,
        _random((channels,), wide, 3) + 1,
        _random((channels,), wide, 4),
    )
    return tuple(t.to(device) for t in (x, *rest))


def samples(dtype: torch.dtype, device: torch.device) -> Iterator[Sample]:
    """Calls of the public function: shapes, activations, groups, affine or not, eval."""
    # The interpreter takes seconds for what a GPU does at once: it gets fewer calls, of the
    # shapes that reach another branch of the kernels.
    shapes = _INTERPRETED if interpreting() else _SHAPES
    for number, shape in enumerate(shapes):
        x, mean, var, weight, bias = _tensors(shape, dtype, device)
        activation = _ACTIVATIONS[number % 4]
        settings = {"training": True, "momentum": 0.1, "eps": 1e-5, "activation": activation}
        nowhere = {"running_mean": None, "running_var": None, "bias": bias, **settings}
        every = (x, mean, var, weight, bias)
        if number % 2 == 0:
            yield Sample((x,), {**nowhere, "weight": weight, "groups": 2})
        else:
            yield Sample((x,), {**nowhere, "weight": None})
        if not interpreting():
            yield Sample(every, {**settings, "groups": 2}, grad=(0, 3, 4))
        if number // 2 % 3 == 0:
            yield Sample(every, {**settings, "training": False}, grad=(0, 3, 4))
        elif number // 2 % 3 == 1:
            yield Sample(every, {**settings, "training": False}, grad=(0,))
        else:
            yield Sample(every, settings, grad=(3,))
        # A scale per sample, and with it a shift per sample or one for all.
        own = _random(shape[:2], weight.dtype, 5).to(device)
        shift = bias if number % 3 == 2 else own.flip(0) / 2
        each = (x, mean, var, own + 1, shift)
        if number % 4 == 3:
            yield Sample(each, {**settings, "training": False}, grad=(0, 3, 4))
        else:
            yield Sample(each, {**settings, "groups": 1 + number % 2}, grad=(0, 3, 4))


def raw_samples(dtype: torch.dtype, device: torch.device) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Calls of every dispatcher entry."""
    for shape, activation in (((4, 3), 1), ((4, 3, 5, 2), 3), ((0, 3), 2)):
        x, running_mean, running_var, weight, bias = _tensors(shape, dtype, device)
        grad = _random(shape, dtype, 9).to(device)
        mean, var = STATISTICS(x, 2)
        settings = (1e-5, activation, 0.2)
        public = [t.clone().requires_grad_() for t in (x, weight, bias)]
        yield FORWARD.public, (*public, 2, *settings)
        yield FORWARD.raw, (x, weight, None, 2, *settings)
        own = [_random(shape[:2], weight.dtype, seed).to(device) for seed in (5, 6)]
        yield FORWARD.public, (public[0], *own, 2, *settings)
        yield FORWARD.raw, (x, None, own[1], 1, *settings)
        known = (mean, var, *public[1:], *settings)
        for flags in ((True, True, True), (False, True, False), (True, False, True)):
            yield BACKWARD.public, (grad.clone().requires_grad_(), public[0], *known, *flags)
            yield BACKWARD.raw, (grad, x, mean, var, weight, bias, *settings, *flags)
            yield BACKWARD.raw, (grad, x, mean, var, *own, *settings, *flags)
        yield APPLY.public, (public[0], *known)
        yield APPLY.raw, (x, running_mean, running_var, None, bias, *settings)
        yield APPLY.raw, (x, running_mean, running_var, *own, *settings)
        for op in (SUMS.public, SUMS.raw):
            yield op, (grad, x, mean, var, weight, bias, *settings)
            yield op, (grad, x, mean, var, own[0], None, *settings)
        for op in (GRAD_INPUT.public, GRAD_INPUT.raw):
            yield op, (grad, x, mean, var, weight, bias, mean + 1, var, *settings)
            yield op, (grad, x, mean, var, *own, mean + 1, var, *settings)
            yield op, (grad, x, mean, var, None, None, None, None, *settings)
        yield STATISTICS.public, (x, 2)
        yield STATISTICS.raw, (x, 1)
        batches = torch.tensor(3, device=device)
        yield UPDATE.raw, (running_mean.clone(), running_var.clone(), mean, var, None, 0.1, 8)
        yield UPDATE.raw, (running_mean.clone(), running_var.clone(), mean, var, batches, 0.1, 8)


def large_sample() -> Sample:
    """4 G elements, on paper."""
    settings = {"running_mean": None, "running_var": None, "weight": None, "bias": None}
    x = torch.empty((2**10, 2**10, 2**6, 2**6), device="meta")
    return Sample((x,), {**settings, "training": True, "momentum": 0.1, "eps": 1e-5})


SPEC = OpSpec(
    name="batch_norm_act",
    kernels=(FORWARD, BACKWARD, STATISTICS, APPLY, SUMS, GRAD_INPUT, UPDATE),
    samples=samples,
    raw_samples=raw_samples,
    large_sample=large_sample,
    # Gradients are differences of numbers of order one, and can be small: their error is absolute.
    # The second derivatives of the test run through gradients that were rounded to the dtype.
    tolerances={
        torch.float64: (1e-10, 1e-10),
        torch.float32: (1e-5, 2e-4),
        torch.bfloat16: (2e-2, 2e-1),
        torch.float16: (1e-3, 3e-2),
    },
)
