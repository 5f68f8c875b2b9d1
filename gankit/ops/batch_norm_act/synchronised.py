"""batch_norm_act with statistics over all processes of a group.

The same kernels, with collectives between the halves: statistics, gather, apply; and backward:
sums, all-reduce, dL/dx. Only sums and counts travel, so gloo and NCCL both serve. As in
``nn.SyncBatchNorm``, gradients of weight and bias are those of this process's samples; whoever
averages gradients over processes (DDP) completes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist

from . import spec
from .reference import parameter_gradients, per_sample, weighted
from .second import second_derivative


def process_group(name: Any) -> Any:
    """The group itself, or the default one for ``"world"``."""
    if not dist.is_available() or not dist.is_initialized():
        raise RuntimeError(
            "process_group: torch.distributed is not initialised; call "
            "torch.distributed.init_process_group first, or leave process_group=None"
        )
    return dist.group.WORLD if isinstance(name, str) else name


def gather_statistics(
    mean: torch.Tensor, var: torch.Tensor, count: int, group: Any
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mean and biased variance over all processes, and the count as a tensor.

    Processes may hold batches of different sizes. Their means and squared deviations are combined
    by the parallel formula of Chan, Golub and LeVeque (1979), which loses no digits to a large
    mean; a plain sum of squares would.
    """
    # Float64 holds counts beyond 2**24 exactly.
    number = torch.full((1,), count, dtype=torch.float64, device=mean.device)
    mine = torch.cat((mean.reshape(-1).double(), var.reshape(-1).double(), number))
    everyone = [torch.empty_like(mine) for _ in range(dist.get_world_size(group))]
    dist.all_gather(everyone, mine, group=group)
    table = torch.stack(everyone)
    means, variances, counts = table.split((mean.numel(), mean.numel(), 1), dim=1)
    total = counts.sum()
    combined = (counts * means).sum(0) / total
    deviations = (counts * (variances + (means - combined).square())).sum(0) / total
    return (
        combined.to(mean.dtype).reshape(mean.shape),
        deviations.to(mean.dtype).reshape(mean.shape),
        total,
    )


class _Backward(torch.autograd.Function):
    """dL/dx over all processes, dL/dweight and dL/dbias of this one."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Any:
        grad, x, mean, var, weight, bias, total, group, settings = inputs
        ctx.save_for_backward(grad, x, mean, var, weight, bias, total)
        ctx.group, ctx.settings = group, settings
        sum_h, sum_hx = spec.SUMS(grad, x, mean, var, weight, bias, *settings)
        everywhere = torch.stack([weighted(s, weight, mean.shape[0]) for s in (sum_h, sum_hx)])
        dist.all_reduce(everywhere, group=group)
        mean_q, mean_qx = (everywhere / total.to(mean.dtype)).unbind()
        grad_x = spec.GRAD_INPUT(grad, x, mean, var, weight, bias, mean_q, mean_qx, *settings)
        return grad_x, *parameter_gradients(sum_h, sum_hx, per_sample(weight, bias))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *cotangents: torch.Tensor) -> Any:
        *saved, total = ctx.saved_tensors

        def mean_of(v: torch.Tensor) -> torch.Tensor:
            everywhere = v.sum((1, 3), keepdim=True)
            dist.all_reduce(everywhere, group=ctx.group)
            return everywhere / total.to(v.dtype)

        needs = ctx.needs_input_grad
        # Every process must take part in the same collectives, whatever it needs itself.
        grad, x, weight, bias = second_derivative(
            (True, True, True, True), cotangents, saved, ctx.settings, True, mean_of
        )
        found = (grad, x, None, None, weight, bias)
        wanted = zip(found, needs, strict=False)
        return (*(g if need else None for g, need in wanted), None, None, None)


class _Apply(torch.autograd.Function):
    """y from statistics that are those of x and of the other processes' inputs."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Any:
        x, weight, bias, mean, var, total, group, settings = inputs
        ctx.save_for_backward(x, mean, var, weight, bias, total)
        ctx.group, ctx.settings = group, settings
        return spec.APPLY(x, mean, var, weight, bias, *settings)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        *saved, total = ctx.saved_tensors
        found = _Backward.apply(grads[0], *saved, total, ctx.group, ctx.settings)
        wanted = zip(found, ctx.needs_input_grad, strict=False)
        return (*(g if need else None for g, need in wanted), None, None, None, None, None)


def apply_synchronised(
    x: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    groups: int,
    settings: Sequence[float],
    group: Any,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """y, mean and *unbiased* variance, the statistics over all processes."""
    with torch.no_grad():
        local_mean, local_var = spec.STATISTICS(x, groups)
        count = x.numel() // max(groups * x.shape[1], 1)
        mean, var, total = gather_statistics(local_mean, local_var, count, group)
    y = _Apply.apply(x, weight, bias, mean, var, total, group, tuple(settings))
    unbiased = var * (total / (total - 1)).to(var.dtype)
    return y, mean, unbiased
