"""Triton kernels of batch_norm_act: fp32, bf16, fp16 on NVIDIA and AMD GPUs.

One program sums over one part of one channel in one group; a second kernel joins the parts in
order, without atomics, so the same input gives the same bits.
"""

from __future__ import annotations

import contextlib

import torch
import triton
import triton.language as tl

from .reference import compute_dtype, result_like

_BLOCK = 1024  # elements per program and step
_PART = 8  # steps per part of a channel
_CHANNELS = 32  # channels per program where programs go along channels

Optional = torch.Tensor | None


@triton.jit
def _tanh(z):  # type: ignore[no-untyped-def]
    # From e^-2|z|, which cannot overflow; near zero a polynomial, where 1 - e would cancel.
    magnitude = tl.abs(z)
    e = tl.exp(-2.0 * magnitude)
    far = (1.0 - e) / (1.0 + e)
    square = z * z
    p = -5.70498872745e-3 * square + 2.06390887954e-2
    p = p * square - 5.37397155531e-2
    p = p * square + 1.33314422036e-1
    p = p * square - 3.33332819422e-1
    near = magnitude + magnitude * square * p
    result = tl.where(magnitude < 0.625, near, far)
    return tl.where(z < 0, -result, result)


@triton.jit
def _activate(z, slope, ACTIVATION: tl.constexpr):  # type: ignore[no-untyped-def]
    if ACTIVATION == 1:
        return tl.where(z <= 0, 0.0, z)
    elif ACTIVATION == 2:
        return tl.where(z > 0, z, z * slope)
    elif ACTIVATION == 3:
        return _tanh(z)
    else:
        return z


@triton.jit
def _grad_z(grad, z, slope, ACTIVATION: tl.constexpr):  # type: ignore[no-untyped-def]
    if ACTIVATION == 1:
        return tl.where(z <= 0, 0.0, grad)
    elif ACTIVATION == 2:
        return tl.where(z > 0, grad, grad * slope)
    elif ACTIVATION == 3:
        y = _tanh(z)
        return grad * (1.0 - y * y)
    else:
        return grad


_SIZES = ["count", "positions", "channels", "parts", "n", "group_size"]


@triton.jit
def _tile(  # type: ignore[no-untyped-def]
    i, group, c, count, positions, channels, group_size, ROWS: tl.constexpr
):
    """Offsets of values i of channels c, [channels, values], and which of them exist."""
    values, across = i[None, :], c[:, None]
    inside = (values < count) & (across < channels)
    if ROWS:
        offset = group * group_size + values * channels + across
    else:
        plane = (values // positions) * channels + across
        offset = group * group_size + plane * positions + values % positions
    return offset, inside


@triton.jit(do_not_specialize=_SIZES)
def moments_kernel(  # type: ignore[no-untyped-def]
    x_ptr, table_ptr, count, positions, channels, parts, group_size, n,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, PART: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Means and sums of squared deviations of one part of CHANNELS channels.

    n is groups * channels; table is [2, n, parts].
    """
    blocks = tl.cdiv(channels, CHANNELS)
    group = (tl.program_id(0) // blocks).to(tl.int64)
    c = (tl.program_id(0) % blocks).to(tl.int64) * CHANNELS + tl.arange(0, CHANNELS)
    part = tl.program_id(1).to(tl.int64)
    mean = tl.zeros([CHANNELS], tl.float32)
    deviations = tl.zeros([CHANNELS], tl.float32)
    done = 0.0
    first = part * (PART * BLOCK)
    for start in range(first, tl.minimum(first + PART * BLOCK, count), BLOCK):
        i = start + tl.arange(0, BLOCK)
        offset, inside = _tile(i, group, c, count, positions, channels, group_size, ROWS)
        x = tl.load(x_ptr + offset, mask=inside, other=0.0).to(tl.float32)
        values = tl.minimum(count - start, BLOCK) * 1.0
        rough = tl.sum(x, axis=1) / values
        centred = tl.where(inside, x - rough[:, None], 0.0)
        # What rounding left in the sum of values far from zero counts against small deviations.
        residual = tl.sum(centred, axis=1) / values
        block_mean = rough + residual
        centred = tl.where(inside, centred - residual[:, None], 0.0)
        # Chan, Golub and LeVeque (1979): no digits are lost to a large mean.
        share = values / (done + values)
        delta = block_mean - mean
        deviations += tl.sum(centred * centred, axis=1) + delta * delta * done * share
        mean += delta * share
        done += values
    entry = (group * channels + c) * parts + part
    tl.store(table_ptr + entry, mean, mask=c < channels)
    tl.store(table_ptr + tl.cast(n, tl.int64) * parts + entry, deviations, mask=c < channels)


@triton.jit(do_not_specialize=_SIZES)
def join_moments_kernel(  # type: ignore[no-untyped-def]
    table_ptr, mean_ptr, var_ptr, count, n, parts, BLOCK: tl.constexpr, PART: tl.constexpr,
    CHANNELS: tl.constexpr,
):  # fmt: skip
    """Joins the parts of CHANNELS channels; n is groups * channels."""
    index = tl.program_id(0).to(tl.int64) * CHANNELS + tl.arange(0, CHANNELS)
    inside = index < n
    mean = tl.zeros([CHANNELS], tl.float32)
    deviations = tl.zeros([CHANNELS], tl.float32)
    entries = n.to(tl.int64) * parts
    done = 0.0
    for part in range(parts):
        values = tl.minimum(count - part * (PART * BLOCK), PART * BLOCK) * 1.0
        other = tl.load(table_ptr + index * parts + part, mask=inside, other=0.0)
        more = tl.load(table_ptr + entries + index * parts + part, mask=inside, other=0.0)
        share = values / (done + values)
        delta = other - mean
        mean += delta * share
        deviations += more + delta * delta * done * share
        done += values
    tl.store(mean_ptr + index, mean, mask=inside)
    tl.store(var_ptr + index, deviations / tl.maximum(done, 1.0), mask=inside)


@triton.jit(do_not_specialize=_SIZES)
def sums_kernel(  # type: ignore[no-untyped-def]
    grad_ptr, x_ptr, mean_ptr, inverse_ptr, scale_ptr, shift_ptr, table_ptr,
    count, positions, channels, parts, group_size, n, slope, ACTIVATION: tl.constexpr,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, PART: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Sums of h and h * xhat over one part of CHANNELS channels; table is [2, n, parts]."""
    blocks = tl.cdiv(channels, CHANNELS)
    group = (tl.program_id(0) // blocks).to(tl.int64)
    c = (tl.program_id(0) % blocks).to(tl.int64) * CHANNELS + tl.arange(0, CHANNELS)
    part = tl.program_id(1).to(tl.int64)
    index, known = group * channels + c, c < channels
    mean = tl.load(mean_ptr + index, mask=known, other=0.0)[:, None]
    inverse = tl.load(inverse_ptr + index, mask=known, other=0.0)[:, None]
    scale = tl.load(scale_ptr + index, mask=known, other=0.0)[:, None]
    shift = tl.load(shift_ptr + index, mask=known, other=0.0)[:, None]
    sums = tl.zeros([CHANNELS, BLOCK], tl.float32)
    products = tl.zeros([CHANNELS, BLOCK], tl.float32)
    first = part * (PART * BLOCK)
    for start in range(first, tl.minimum(first + PART * BLOCK, count), BLOCK):
        i = start + tl.arange(0, BLOCK)
        offset, inside = _tile(i, group, c, count, positions, channels, group_size, ROWS)
        x = tl.load(x_ptr + offset, mask=inside, other=0.0).to(tl.float32) - mean
        grad = tl.load(grad_ptr + offset, mask=inside, other=0.0).to(tl.float32)
        h = _grad_z(grad, x * scale + shift, slope, ACTIVATION)
        sums += tl.where(inside, h, 0.0)
        products += tl.where(inside, h * (x * inverse), 0.0)
    entry = index * parts + part
    tl.store(table_ptr + entry, tl.sum(sums, axis=1), mask=known)
    more = tl.cast(n, tl.int64) * parts + entry
    tl.store(table_ptr + more, tl.sum(products, axis=1), mask=known)


@triton.jit
def _channel_of(offset, positions, channels, group_size, ROWS: tl.constexpr):  # type: ignore[no-untyped-def]
    group = offset // group_size
    if ROWS:
        return group * channels + offset % channels
    else:
        return group * channels + (offset // positions) % channels


@triton.jit(do_not_specialize=_SIZES)
def apply_kernel(  # type: ignore[no-untyped-def]
    x_ptr, y_ptr, mean_ptr, scale_ptr, shift_ptr,
    n, positions, channels, group_size, slope,
    ACTIVATION: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program per BLOCK elements."""
    offset = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = offset < n
    index = _channel_of(offset, positions, channels, group_size, ROWS)
    x = tl.load(x_ptr + offset, mask=inside, other=0.0)
    mean = tl.load(mean_ptr + index, mask=inside, other=0.0)
    scale = tl.load(scale_ptr + index, mask=inside, other=0.0)
    shift = tl.load(shift_ptr + index, mask=inside, other=0.0)
    z = (x.to(tl.float32) - mean) * scale + shift
    tl.store(y_ptr + offset, _activate(z, slope, ACTIVATION).to(x.dtype), mask=inside)


@triton.jit(do_not_specialize=_SIZES)
def grad_input_kernel(  # type: ignore[no-untyped-def]
    grad_ptr, x_ptr, grad_x_ptr, mean_ptr, scale_ptr, shift_ptr, constant_ptr, linear_ptr,
    n, positions, channels, group_size, slope,
    ACTIVATION: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program per BLOCK elements."""
    offset = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = offset < n
    index = _channel_of(offset, positions, channels, group_size, ROWS)
    grad = tl.load(grad_ptr + offset, mask=inside, other=0.0)
    x = tl.load(x_ptr + offset, mask=inside, other=0.0).to(tl.float32)
    x -= tl.load(mean_ptr + index, mask=inside, other=0.0)
    scale = tl.load(scale_ptr + index, mask=inside, other=0.0)
    shift = tl.load(shift_ptr + index, mask=inside, other=0.0)
    constant = tl.load(constant_ptr + index, mask=inside, other=0.0)
    linear = tl.load(linear_ptr + index, mask=inside, other=0.0)
    h = _grad_z(grad.to(tl.float32), x * scale + shift, slope, ACTIVATION)
    # Where the statistics are constants: infinity times zero would make it NaN.
    grad_x = h * scale - constant - tl.where(linear == 0, 0.0, x * linear)
    tl.store(grad_x_ptr + offset, grad_x.to(grad.dtype), mask=inside)


@triton.jit(do_not_specialize=["groups", "channels", "mean_stride", "var_stride"])
def update_kernel(  # type: ignore[no-untyped-def]
    running_mean_ptr, running_var_ptr, mean_ptr, var_ptr, batches_ptr,
    groups, channels, mean_stride, var_stride, momentum, correction,
    CUMULATIVE: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Running statistics of CHANNELS channels, group after group."""
    c = tl.program_id(0).to(tl.int64) * CHANNELS + tl.arange(0, CHANNELS)
    inside = c < channels
    running_mean = tl.load(running_mean_ptr + c * mean_stride, mask=inside)
    running_var = tl.load(running_var_ptr + c * var_stride, mask=inside)
    for group in range(groups):
        if CUMULATIVE:
            step = 1.0 / (tl.load(batches_ptr) + group + 1).to(tl.float32)
        else:
            step = momentum
        mean = tl.load(mean_ptr + group * channels + c, mask=inside)
        var = tl.load(var_ptr + group * channels + c, mask=inside)
        running_mean = (1 - step) * running_mean + step * mean
        running_var = (1 - step) * running_var + step * correction * var
    tl.store(running_mean_ptr + c * mean_stride, running_mean, mask=inside)
    tl.store(running_var_ptr + c * var_stride, running_var, mask=inside)


# --- launchers --------------------------------------------------------------------------------


def _laid_out_like(x: torch.Tensor, model: torch.Tensor) -> torch.Tensor:
    return x if x.stride() == model.stride() else torch.empty_like(model).copy_(x)


def _on(x: torch.Tensor) -> contextlib.AbstractContextManager[object]:
    """Triton launches on the current device, which need not be the tensor's."""
    return torch.cuda.device(x.device) if x.is_cuda else contextlib.nullcontext()


class _Layout:
    """Sizes of a result tensor as the kernels see it."""

    def __init__(self, model: torch.Tensor, groups: int) -> None:
        self.channels = model.shape[1]
        self.positions = model.shape[2:].numel()
        self.rows = self.positions == 1 or not model.is_contiguous()
        self.groups = groups
        self.count = model.shape[0] // groups * self.positions
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


def _groups(x: torch.Tensor, mean: torch.Tensor) -> int:
    return max(mean.numel() // max(x.shape[1], 1), 1)


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
            x, y, mean.contiguous(), scale.contiguous(), _shift(mean, bias),
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
    layout = _Layout(y, _groups(x, mean))
    settings = (weight, bias, eps, activation, slope)
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
    layout, dense = _Layout(y, groups), _laid_out_like(x, y)
    mean, var = _run_statistics(dense, layout)
    _run_apply(dense, y, layout, mean, var, weight, bias, eps, activation, slope)
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
    layout = _Layout(model, _groups(x, mean))
    if x.numel() == 0:
        zeros = torch.zeros((layout.groups, layout.channels), device=x.device)
        return zeros, zeros.clone()
    inverse, scale = _scale(var, eps, weight)
    table = layout.table(x)
    with _on(x):
        sums_kernel[layout.grid](
            _laid_out_like(grad, model), _laid_out_like(x, model),
            mean.contiguous(), inverse.contiguous(), scale.contiguous(), _shift(mean, bias), table,
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
    mean_h: Optional,
    mean_hx: Optional,
    eps: float,
    activation: int,
    slope: float,
) -> torch.Tensor:
    """As ``reference.grad_input``."""
    grad_x = result_like(x)
    if grad_x.numel() == 0:
        return grad_x
    layout = _Layout(grad_x, _groups(x, mean))
    inverse, scale = _scale(var, eps, weight)
    constant = torch.zeros_like(scale) if mean_h is None else scale * mean_h
    linear = torch.zeros_like(scale) if mean_hx is None else scale * inverse * mean_hx
    with _on(x):
        grad_input_kernel[(triton.cdiv(layout.n, _BLOCK),)](
            _laid_out_like(grad, grad_x), _laid_out_like(x, grad_x), grad_x,
            mean.contiguous(), scale.contiguous(), _shift(mean, bias), constant.contiguous(),
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
    mean_h = mean_hx = None
    if training or need_parameters:
        sum_h, sum_hx = sums(*known, *settings)
        if training:
            count = max(x.numel() // max(mean.numel(), 1), 1)
            mean_h, mean_hx = sum_h / count, sum_hx / count
        if need_parameters:
            grad_weight, grad_bias = sum_hx.sum(0), sum_h.sum(0)
    if need_input:
        grad_x = grad_input(*known, mean_h, mean_hx, *settings)
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
