"""Triton kernels of batch_norm_act: fp32, bf16, fp16 on NVIDIA and AMD GPUs.

One program sums over one part of one channel in one group; a second kernel joins the parts in
order, without atomics, so the same input gives the same bits.
"""

from __future__ import annotations

import triton
import triton.language as tl


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
