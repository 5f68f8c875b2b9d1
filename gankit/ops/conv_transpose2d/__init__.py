"""Transposed convolution with an activation, by the algorithm that fits the shape."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from ..autograd import Differentiable, with_contiguous_gradient
from ..linear import linear
from . import spec
from .reference import ACTIVATIONS, LEAKY_RELU, NONE, RELU, TANH, activation_gradient

__all__ = ["conv_transpose2d"]

Pair = tuple[int, int]

_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
# Above this the vendor's kernels keep the machine busy, and the columns outgrow the caches.
_FEW_CHANNELS = 4
# Patches that overlap in one pixel at most: columns per output element.
_MOST_OVERLAP = 16
# The kernels take settings below this, so that no product of them overflows.
_SETTING_LIMIT = 2**16
# Where an argument of the fold kernels stands after the two tensors.
_ACTIVATION = 5


def _wide(x: torch.Tensor) -> torch.Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _before_activation(
    grad: torch.Tensor, y: torch.Tensor, activation: int, negative_slope: float
) -> torch.Tensor:
    """dL/d(input of the activation), by differentiable torch ops and rounded once."""
    first = activation_gradient(_wide(grad), _wide(y), activation, negative_slope)
    if activation != TANH and y.requires_grad and torch.is_grad_enabled():
        # A slope that is constant in pieces has a derivative of zeros, as in torch, and not none:
        # an optimizer tells the two apart.
        first = first + _wide(y).masked_fill(torch.ones_like(y, dtype=torch.bool), 0.0)
    return first.to(grad.dtype)


def _fold_gradient(
    needs: Sequence[bool], grad: torch.Tensor, saved: Any, rest: Sequence[Any]
) -> tuple[torch.Tensor | None, ...]:
    y = saved[0] if saved else None
    *geometry, activation, negative_slope, channels_last = rest
    if not needs[1]:
        return (_unfold(grad, y, *rest), None)
    if y is not None:
        grad = _before_activation(grad, y, activation, negative_slope)
    plain = (*geometry, NONE, negative_slope, channels_last)
    return (_unfold(grad, None, *plain) if needs[0] else None, grad.sum((0, 2, 3)))


def _unfold_gradient(
    needs: Sequence[bool], grad: torch.Tensor, saved: Any, rest: Sequence[Any]
) -> tuple[torch.Tensor | None, ...]:
    *geometry, activation, negative_slope, channels_last = rest
    folded = _fold(grad, None, *geometry, NONE, negative_slope, channels_last)
    if not saved:
        return (folded, None)
    first, y = saved
    grad_first = _before_activation(folded, y, activation, negative_slope) if needs[0] else None
    if not needs[1]:
        return (grad_first, None)
    if activation != TANH:
        return (grad_first, torch.zeros_like(y))  # the others are piecewise linear
    return (grad_first, (-2 * _wide(folded) * _wide(first) * _wide(y)).to(y.dtype))


_fold: Differentiable = Differentiable(
    spec.FOLD,
    tensors=2,
    save=lambda inputs, output: () if inputs[2 + _ACTIVATION] == NONE else (output,),
    gradient=_fold_gradient,
)
_unfold: Differentiable = Differentiable(
    spec.UNFOLD,
    tensors=2,
    save=lambda inputs, output: () if inputs[1] is None else (inputs[0], inputs[1]),
    gradient=_unfold_gradient,
)


def conv_transpose2d(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: int | Pair = 1,
    padding: int | Pair = 0,
    output_padding: int | Pair = 0,
    groups: int = 1,
    dilation: int | Pair = 1,
    *,
    activation: str = "none",
    negative_slope: float = 0.2,
) -> torch.Tensor:
    """``activation(F.conv_transpose2d(x, weight, bias, ...))`` by the algorithm that fits.

    * Input 1x1 (a generator's first layer): one matrix product.
    * At most 4 output channels (its last layer): a matrix product, then one pass that adds up the
      overlapping patches, adds the bias and applies the activation. Its backward applies the
      activation's derivative and cuts the patches out again in one pass.
    * All else, with groups or dilation in particular: the vendor's convolution, then the
      activation in place.

    The transposed ("fractionally-strided") convolution of Zeiler et al. (2010), as in DCGAN
    (Radford et al., 2015, arXiv:1511.06434). Differentiable to any order in reverse mode with
    respect to ``x``, ``weight`` and ``bias``; with few output channels there is no forward-mode
    derivative. Under autocast all three are cast to its dtype, as torch does.

    Args:
        x: ``[N, Cin, H, W]`` or ``[Cin, H, W]``, any strides, float32, bfloat16, float16 or
            float64.
        weight: ``[Cin, Cout / groups, kh, kw]``, of x's dtype.
        bias: ``[Cout]``, of x's dtype, or None.
        stride: >= 1, one number or (height, width), like the next three.
        padding: >= 0; what is cut off each side of the full result.
        output_padding: >= 0, less than the stride or the dilation; added at the far sides.
        groups: divides Cin.
        dilation: >= 1.
        activation: ``"none"``, ``"relu"``, ``"leaky_relu"`` or ``"tanh"``.
        negative_slope: of LeakyReLU, finite and >= 0.

    Returns:
        ``[N, Cout, (H - 1) stride - 2 padding + dilation (kh - 1) + output_padding + 1, ...]`` in
        x's dtype, channels_last where x or weight is. Do not modify it in place where it has an
        activation: backward reads it.

    Raises:
        TypeError: an argument is no tensor or of a wrong dtype.
        ValueError: shapes that do not fit or a setting out of range; the message names both.
    """
    for name, tensor in (("x", x), ("weight", weight)):
        if not isinstance(tensor, torch.Tensor):
            raise TypeError(f"{name}: expected a tensor, got {type(tensor).__name__}")
    x, weight, bias = _cast_under_autocast(x, weight, bias)
    _check_tensors(x, weight, bias, groups)
    if activation not in ACTIVATIONS:
        allowed = ", ".join(map(repr, ACTIVATIONS))
        raise ValueError(f"activation: expected one of {allowed}, got {activation!r}")
    if not 0.0 <= negative_slope < math.inf:
        raise ValueError(f"negative_slope: expected a finite number >= 0, got {negative_slope}")
    steps = _pair("stride", stride, 1)
    pads = _pair("padding", padding, 0)
    extra = _pair("output_padding", output_padding, 0)
    spread = _pair("dilation", dilation, 1)
    number = ACTIVATIONS.index(activation)
    if x.dim() == 3:
        settings = (steps, pads, extra, groups, spread, number, negative_slope)
        return _run(x.unsqueeze(0), weight, bias, *settings).squeeze(0)
    return _run(x, weight, bias, steps, pads, extra, groups, spread, number, negative_slope)


def output_size(
    input_size: Pair,
    kernel_size: Pair,
    stride: int | Pair,
    padding: int | Pair,
    output_padding: int | Pair,
    dilation: int | Pair,
) -> list[int]:
    """(height, width) of a transposed convolution's result; below 1 where there is none."""
    return [
        (n - 1) * s - 2 * p + d * (k - 1) + e + 1
        for n, k, s, p, e, d in zip(
            input_size,
            kernel_size,
            _pair("stride", stride, 1),
            _pair("padding", padding, 0),
            _pair("output_padding", output_padding, 0),
            _pair("dilation", dilation, 1),
            strict=True,
        )
    ]


def _cast_under_autocast(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    device_type = x.device.type
    # Autocast knows no meta device, and lets float64 be.
    if device_type == "meta" or x.dtype == torch.float64 or not x.is_floating_point():
        return x, weight, bias
    if not torch.is_autocast_enabled(device_type):
        return x, weight, bias
    dtype = torch.get_autocast_dtype(device_type)
    return x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)


def _run(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: Pair,
    padding: Pair,
    output_padding: Pair,
    groups: int,
    dilation: Pair,
    activation: int,
    negative_slope: float,
) -> torch.Tensor:
    height, width = x.shape[2:]
    kernel: Pair = (weight.shape[2], weight.shape[3])
    size = output_size((height, width), kernel, stride, padding, output_padding, dilation)
    for e, s, d in zip(output_padding, stride, dilation, strict=True):
        if e >= max(s, d):
            raise ValueError(
                f"output_padding: expected less than stride {stride} or dilation {dilation}, "
                f"got {output_padding}"
            )
    if min(size) < 1:
        raise ValueError(
            f"x: a {height}x{width} input with kernel {kernel}, stride {stride} and padding "
            f"{padding} gives an output of {size[0]}x{size[1]}"
        )
    plain = groups == 1 and dilation == (1, 1) and x.numel() > 0 and weight.numel() > 0
    if plain and (height, width) == (1, 1) and padding == output_padding == (0, 0):
        return _from_one_pixel(x, weight, bias, activation, negative_slope)
    x, weight = _safe(x), _safe(weight)
    overlap = -(-kernel[0] // stride[0]) * -(-kernel[1] // stride[1])
    small = max(*kernel, *stride, *padding) < _SETTING_LIMIT
    if plain and small and weight.shape[1] <= _FEW_CHANNELS and overlap <= _MOST_OVERLAP:
        channels_last = is_channels_last(x)
        if not channels_last:
            x = x.contiguous()
        # As a 1x1 convolution, because the vendor then takes either layout as it lies.
        taps = with_contiguous_gradient(weight).flatten(1).t().contiguous()[:, :, None, None]
        return _fold(
            F.conv2d(x, taps), bias, (height, width), tuple(size), kernel, stride, padding,
            activation, negative_slope, channels_last,
        )  # fmt: skip
    y = F.conv_transpose2d(x, weight, bias, stride, padding, output_padding, groups, dilation)
    return _activate_in_place(y, activation, negative_slope)


def _from_one_pixel(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    activation: int,
    negative_slope: float,
) -> torch.Tensor:
    inputs, channels, *kernel = weight.shape
    area = math.prod(kernel)
    rows = x.reshape(-1, inputs)
    channels_last = is_channels_last(weight)
    if channels_last:
        matrix = weight.permute(0, 2, 3, 1).reshape(inputs, area * channels)
    else:
        matrix = weight.reshape(inputs, channels * area)
    shift = bias
    if bias is not None:
        shift = bias.repeat(area) if channels_last else bias.repeat_interleave(area)
    y = linear(rows, matrix.t(), shift)
    y = _activate_in_place(y, activation, negative_slope)
    if channels_last:
        return y.view(-1, *kernel, channels).permute(0, 3, 1, 2)
    return y.view(-1, channels, *kernel)


def _activate_in_place(y: torch.Tensor, activation: int, negative_slope: float) -> torch.Tensor:
    if activation == RELU:
        return y.relu_()
    if activation == LEAKY_RELU:
        return F.leaky_relu(y, negative_slope, inplace=True)
    if activation == TANH:
        return y.tanh_()
    return y


def _safe(x: torch.Tensor) -> torch.Tensor:
    """x in a layout that torch's convolutions take, which is nearly always x itself.

    In torch 2.14 on the CPU channels-last tensors that are one pixel high or wide give gradients
    from memory that nobody has written to, and permuted weights whose dimensions of size one carry
    strides of their own give wrong results.
    """
    if x.device.type != "cpu":
        return x
    strides = x.stride()
    _, c, h, w = x.shape
    if strides == (c * h * w, h * w, w, 1):
        return x
    if h > 1 and w > 1 and strides == (c * h * w, 1, w * c, c):
        return x
    # The last two steps copy nothing: they give a dimension of size one the stride it should have.
    return x.contiguous().flatten().view(x.shape)


def is_channels_last(x: torch.Tensor) -> bool:
    """By the strides, which unlike ``is_contiguous`` can be asked for under ``vmap`` too."""
    _, c, h, w = x.shape
    wanted = (h * w * c, 1, w * c, c)
    fits = all(size == 1 or s == t for size, s, t in zip(x.shape, x.stride(), wanted, strict=True))
    return fits and c > 1 and h * w > 1


def _is_index(value: Any) -> bool:
    """Whether ``value`` is an integer, NumPy's too; its arrays have ``__index__`` and refuse it."""
    try:
        operator.index(value)
    except TypeError:
        return False
    return True


def _pair(name: str, value: int | Pair, least: int) -> Pair:
    pair: Any = value
    if _is_index(value):
        pair = (value, value)
    elif isinstance(value, Sequence) and len(value) == 1:
        pair = (value[0], value[0])
    if not isinstance(pair, Sequence) or not all(map(_is_index, pair)):
        raise TypeError(f"{name}: expected one or two integers, got {value!r}")
    if len(pair) != 2 or min(pair) < least:
        raise ValueError(f"{name}: expected one or two numbers >= {least}, got {value}")
    return int(pair[0]), int(pair[1])


def _check_tensors(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, groups: int
) -> None:
    if x.dtype not in _DTYPES:
        raise TypeError(f"x: expected dtype float32, bfloat16, float16 or float64, got {x.dtype}")
    if x.dim() not in (3, 4):
        raise ValueError(f"x: expected [N, Cin, H, W] or [Cin, H, W], got shape {tuple(x.shape)}")
    if weight.dim() != 4:
        raise ValueError(
            f"weight: expected [Cin, Cout / groups, kh, kw], got shape {tuple(weight.shape)}"
        )
    if weight.dtype != x.dtype:
        raise TypeError(f"weight: expected x's dtype {x.dtype}, got {weight.dtype}")
    channels = x.shape[-3]
    if channels != weight.shape[0]:
        raise ValueError(
            f"weight: expected {channels} input channels for x of shape {tuple(x.shape)}, got "
            f"shape {tuple(weight.shape)}"
        )
    if groups < 1 or channels % groups != 0:
        raise ValueError(f"groups: expected a divisor of the {channels} channels, got {groups}")
    if bias is not None:
        if bias.dtype != x.dtype:
            raise TypeError(f"bias: expected x's dtype {x.dtype}, got {bias.dtype}")
        if tuple(bias.shape) != (weight.shape[1] * groups,):
            raise ValueError(
                f"bias: expected shape ({weight.shape[1] * groups},) for weight of shape "
                f"{tuple(weight.shape)} and {groups} groups, got {tuple(bias.shape)}"
            )
