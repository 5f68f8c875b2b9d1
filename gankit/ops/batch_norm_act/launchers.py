"""The launches of batch_norm_act's Triton kernels.

The kernels know one scale and shift for each channel of each slice of the batch. Where each sample
has its own, a slice is one sample, with the statistics of its group.
"""

from __future__ import annotations

import contextlib

import torch
import triton

from .reference import (
    compute_dtype,
    groups_of,
    parameter_gradients,
    per_sample,
    result_like,
    weighted,
)
from .triton import (
    apply_kernel,
    grad_input_kernel,
    join_moments_kernel,
    moments_kernel,
    sums_kernel,
    update_kernel,
)

_BLOCK = 1024  # elements per program and step
_PART = 8  # steps per part of a channel
_CHANNELS = 32  # channels per program where programs go along channels

Optional = torch.Tensor | None


def _laid_out_like(x: torch.Tensor, model: torch.Tensor) -> torch.Tensor:
    return x if x.stride() == model.stride() else torch.empty_like(model).copy_(x)


def _on(x: torch.Tensor) -> contextlib.AbstractContextManager[object]:
    """Triton launches on the current device, which need not be the tensor's."""
    return torch.cuda.device(x.device) if x.is_cuda else contextlib.nullcontext()


class _Layout:
    """Sizes of a result tensor as the kernels see it; ``groups`` is the number of slices."""

    def __init__(self, model: torch.Tensor, groups: int) -> None:
        self.channels = model.shape[1]
        self.positions = model.shape[2:].numel()
        self.rows = self.positions == 1 or not model.is_contiguous()
        self.groups = groups
        self.count = model.shape[0] // max(groups, 1) * self.positions  # 0: of an empty batch
        self.group_size = self.count * self.channels
        self.n = model.numel()
        # A program takes one channel along planes, and a tile of several along rows.
        self.tile = _CHANNELS if self.rows else 1
        self.block = _BLOCK // self.tile
        self.parts = max(triton.cdiv(self.count, self.block * _PART), 1)
        self.grid = (groups * triton.cdiv(self.channels, self.tile), self.parts)

    def table(self, x: torch.Tensor) -> torch.Tensor:
        shape = (2, self.groups * self.channels, self.parts)
        return torch.empty(shape, device=x.device, dtype=torch.float32)


def _of_slices(
    x: torch.Tensor, weight: Optional, bias: Optional, *statistics: torch.Tensor
) -> list[torch.Tensor]:
    """Statistics of groups, [groups, C] or [C], as [slices, C] in one stretch of memory."""
    groups = groups_of(statistics[0])
    slices = x.shape[0] if per_sample(weight, bias) else groups
    channels = x.shape[1]
    shape = (groups, slices // groups, channels)
    return [
        s.reshape(groups, 1, channels).expand(shape).reshape(slices, channels).contiguous()
        for s in statistics
    ]


def _run_statistics(x: torch.Tensor, layout: _Layout) -> tuple[torch.Tensor, torch.Tensor]:
    mean, var = (
        torch.zeros((layout.groups, layout.channels), device=x.device, dtype=compute_dtype(x))
        for _ in range(2)
    )
    if x.numel() == 0:
        return mean, var
    table, entries = layout.table(x), mean.numel()
    with _on(x):
        moments_kernel[layout.grid](
            x, table, layout.count, layout.positions, layout.channels, layout.parts,
            layout.group_size, entries,
            ROWS=layout.rows, BLOCK=layout.block, PART=_PART, CHANNELS=layout.tile,
        )  # fmt: skip
        join_moments_kernel[(triton.cdiv(entries, _CHANNELS),)](
            table, mean, var, layout.count, entries, layout.parts,
            BLOCK=layout.block, PART=_PART, CHANNELS=_CHANNELS,
        )  # fmt: skip
    return mean, var


def _scale(var: torch.Tensor, eps: float, weight: Optional) -> tuple[torch.Tensor, torch.Tensor]:
    """1 / sqrt(var + eps) and the same times weight."""
    inverse = (var + eps).rsqrt()
    return inverse, inverse if weight is None else inverse * weight


def _shift(mean: torch.Tensor, bias: Optional) -> torch.Tensor:
    return torch.zeros_like(mean) if bias is None else bias.expand_as(mean).contiguous()


def _run_apply(
    x: torch.Tensor,
    y: torch.Tensor,
    layout: _Layout,
    mean: torch.Tensor,
    var: torch.Tensor,
    weight: Optional,
    bias: Optional,
    eps: float,
    activation: int,
    slope: float,
) -> torch.Tensor:
    if y.numel() == 0:
        return y
    _, scale = _scale(var, eps, weight)
    with _on(x):
        apply_kernel[(triton.cdiv(layout.n, _BLOCK),)](
            x, y, mean, scale.contiguous(), _shift(mean, bias),
            layout.n, layout.positions, layout.channels, layout.group_size, slope,
            ACTIVATION=activation, ROWS=layout.rows, BLOCK=_BLOCK,
        )  # fmt: skip
    return y


def statistics(x: torch.Tensor, groups: int) -> tuple[torch.Tensor, torch.Tensor]:
    """As ``reference.statistics``."""
    model = result_like(x)
    return _run_statistics(_laid_out_like(x, model), _Layout(model, groups))


def apply(
    x: torch.Tensor,
    mean: torch.Tensor,
    var: torch.Tensor,
    weight: Optional,
    bias: Optional,
    eps: float,
    activation: int,
    slope: float,
) -> torch.Tensor:
    """As ``reference.apply``."""
    y = result_like(x)
    mean, var = _of_slices(x, weight, bias, mean, var)
    layout, settings = _Layout(y, mean.shape[0]), (weight, bias, eps, activation, slope)
    return _run_apply(_laid_out_like(x, y), y, layout, mean, var, *settings)


def forward(
    x: torch.Tensor,
    weight: Optional,
    bias: Optional,
    groups: int,
    eps: float,
    activation: int,
    slope: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """As ``reference.forward``."""
    y = result_like(x)
    dense = _laid_out_like(x, y)
    mean, var = _run_statistics(dense, _Layout(y, groups))
    own_mean, own_var = _of_slices(x, weight, bias, mean, var)
    layout, settings = _Layout(y, own_mean.shape[0]), (weight, bias, eps, activation, slope)
    _run_apply(dense, y, layout, own_mean, own_var, *settings)
    return y, mean, var


def sums(
    grad: torch.Tensor,
    x: torch.Tensor,
    mean: torch.Tensor,
    var: torch.Tensor,
    weight: Optional,
    bias: Optional,
    eps: float,
    activation: int,
    slope: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """As ``reference.sums``."""
    model = result_like(x)
    mean, var = _of_slices(x, weight, bias, mean, var)
    layout = _Layout(model, mean.shape[0])
    if x.numel() == 0:
        zeros = torch.zeros((layout.groups, layout.channels), device=x.device)
        return zeros, zeros.clone()
    inverse, scale = _scale(var, eps, weight)
    table = layout.table(x)
    with _on(x):
        sums_kernel[layout.grid](
            _laid_out_like(grad, model), _laid_out_like(x, model),
            mean, inverse.contiguous(), scale.contiguous(), _shift(mean, bias), table,
            layout.count, layout.positions, layout.channels, layout.parts, layout.group_size,
            layout.groups * layout.channels, slope, ACTIVATION=activation,
            ROWS=layout.rows, BLOCK=layout.block, PART=_PART, CHANNELS=layout.tile,
        )  # fmt: skip
    sum_h, sum_hx = table.sum(2).reshape(2, layout.groups, layout.channels).unbind()
    return sum_h, sum_hx.clone()


def grad_input(
    grad: torch.Tensor,
    x: torch.Tensor,
    mean: torch.Tensor,
    var: torch.Tensor,
    weight: Optional,
    bias: Optional,
    mean_q: Optional,
    mean_qx: Optional,
    eps: float,
    activation: int,
    slope: float,
) -> torch.Tensor:
    """As ``reference.grad_input``."""
    grad_x = result_like(x)
    if grad_x.numel() == 0:
        return grad_x
    mean, var = _of_slices(x, weight, bias, mean, var)
    layout = _Layout(grad_x, mean.shape[0])
    inverse, scale = _scale(var, eps, weight)
    constant = linear = torch.zeros_like(scale)
    if mean_q is not None and mean_qx is not None:
        mean_q, mean_qx = _of_slices(x, weight, bias, mean_q, mean_qx)
        constant, linear = inverse * mean_q, inverse.square() * mean_qx
    with _on(x):
        grad_input_kernel[(triton.cdiv(layout.n, _BLOCK),)](
            _laid_out_like(grad, grad_x), _laid_out_like(x, grad_x), grad_x,
            mean, scale.contiguous(), _shift(mean, bias), constant.contiguous(),
            linear.contiguous(), layout.n, layout.positions, layout.channels, layout.group_size,
            slope, ACTIVATION=activation, ROWS=layout.rows, BLOCK=_BLOCK,
        )  # fmt: skip
    return grad_x


def backward(
    grad: torch.Tensor,
    x: torch.Tensor,
    mean: torch.Tensor,
    var: torch.Tensor,
    weight: Optional,
    bias: Optional,
    eps: float,
    activation: int,
    slope: float,
    training: bool,
    need_input: bool,
    need_parameters: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """As ``reference.backward``."""
    known = (grad, x, mean, var, weight, bias)
    settings = (eps, activation, slope)
    grad_x = mean.new_empty(0, dtype=x.dtype)
    grad_weight, grad_bias = mean.new_empty(0), mean.new_empty(0)
    mean_q = mean_qx = None
    if training or need_parameters:
        sum_h, sum_hx = sums(*known, *settings)
        if training:
            groups, count = groups_of(mean), max(x.numel() // max(mean.numel(), 1), 1)
            mean_q, mean_qx = (weighted(s, weight, groups) / count for s in (sum_h, sum_hx))
        if need_parameters:
            grad_weight, grad_bias = parameter_gradients(sum_h, sum_hx, per_sample(weight, bias))
    if need_input:
        grad_x = grad_input(*known, mean_q, mean_qx, *settings)
    return grad_x, grad_weight, grad_bias


def update_(
    running_mean: torch.Tensor,
    running_var: torch.Tensor,
    mean: torch.Tensor,
    var: torch.Tensor,
    batches: Optional,
    momentum: float,
    count: int,
) -> None:
    """As ``reference.update_``."""
    groups, channels = mean.shape
    correction = count / (count - 1) if count > 1 else 1.0
    with _on(mean):
        update_kernel[(triton.cdiv(channels, _CHANNELS),)](
            running_mean, running_var, mean, var, mean if batches is None else batches,
            groups, channels, running_mean.stride(0), running_var.stride(0), momentum, correction,
            CUMULATIVE=batches is not None, CHANNELS=_CHANNELS,
        )  # fmt: skip
