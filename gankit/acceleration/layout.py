"""Which layers of a chain run channels last, and the change of layout around them.

From contiguous tensors oneDNN reorders the input and the output of a convolution in each of its
three passes. From channels last it does not, but there torch copies the weight in each pass and its
gradient twice, and the tensors that enter and leave are copied too. So the layout is for many
pixels, small weights and several layers in a row: what it saves and costs is counted in elements.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..nn.traits import is_altered
from ..ops.autograd import is_row_major, with_contiguous_gradient
from ..ops.conv_transpose2d import output_size

CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)
# A copy from one layout to the other goes element by element: on AMD and Intel processors it took
# 2 to 4 times as long as oneDNN's reorder. The layout should not lose, so the upper end is taken.
_COPY = 4
# Reorders of elements, about 0.1 ms: with less to save the calls take the time.
MIN_SAVED = 1 << 18
_MIN_SIDE = 4
# From an input of fewer elements a plan takes as long as a layer.
MIN_INPUT = 1 << 13

_Shape = tuple[int, int, int, int]


class Stretch(NamedTuple):
    """Children ``enter`` to ``leave`` - 1 run channels last, and no other before ``end``.

    Where none does, ``enter`` and ``leave`` are -1.
    """

    enter: int
    leave: int
    end: int


class _Estimate(NamedTuple):
    """Reorders of elements that channels last saves from the child ``enter`` on."""

    enter: int
    saved: int


def may_be_channels_last(x: Tensor) -> bool:
    """Whether :func:`plan` is worth its time for this input.

    Without AVX-512 oneDNN's convolutions were measured to be no faster in channels last.
    """
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and x.dim() == 4
        and x.numel() >= MIN_INPUT
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and is_row_major(x)
        and torch._C._get_mkldnn_enabled()
        and not torch.is_autocast_enabled("cpu")
    )


def plan(children: Sequence[nn.Module], start: int, x: Tensor) -> Stretch:
    """The stretch of children from ``start`` on in which channels last saves most.

    Args:
        children: the modules of the ``nn.Sequential``, in order.
        start: index of the first that may be in the stretch.
        x: its input, ``[N, C, H, W]``.
    """
    recording = torch.is_grad_enabled()
    shape: _Shape = (x.shape[0], x.shape[1], x.shape[2], x.shape[3])
    needs_grad = recording and x.requires_grad
    best, leave = _Estimate(-1, MIN_SAVED), -1
    current: _Estimate | None = None
    index = start
    while index < len(children):
        child: Any = children[index]
        shape_after = _SHAPES.get(type(child))
        after = None if shape_after is None or is_altered(child) else shape_after(child, shape)
        if after is None or min(after) < 1:
            break
        trains = recording and _trains(child)
        if type(child) in CONVOLUTIONS:
            current = _extend(current, index, child, shape, after, needs_grad, trains)
        needs_grad = needs_grad or trains
        shape = after
        index += 1
        if current is not None:
            saved = current.saved - _change(shape, needs_grad)
            if saved >= best.saved:
                best, leave = _Estimate(current.enter, saved), index
    return Stretch(best.enter, leave, index if leave < 0 else leave)


def _trains(child: nn.Module) -> bool:
    # Much faster than child.parameters().
    return any(p is not None and p.requires_grad for p in child._parameters.values())


def _extend(
    current: _Estimate | None,
    index: int,
    child: Any,
    shape: _Shape,
    after: _Shape,
    needs_grad: bool,
    trains: bool,
) -> _Estimate | None:
    """The estimate with one more convolution; None where that has to be contiguous."""
    if not _is_ordinary(child, shape, after):
        return None
    entered = _Estimate(index, -_change(shape, needs_grad))
    if current is None or entered.saved > current.saved:
        current = entered
    passes = 1 + needs_grad + trains
    copies = passes + trains  # the gradient of the weight to channels last and back
    reorders = passes * (math.prod(shape) + math.prod(after))
    saved = current.saved + reorders - _COPY * copies * child.weight.numel()
    return _Estimate(current.enter, saved)


def _change(shape: _Shape, needs_grad: bool) -> int:
    """What entering or leaving costs with a tensor of this shape, and with its gradient."""
    return _COPY * (1 + needs_grad) * math.prod(shape)


def _is_ordinary(child: Any, shape: _Shape, after: _Shape) -> bool:
    """Whether torch's convolution is right, and was measured, in channels last.

    In this layout some gradients of images of few columns are wrong, and convolutions that leave
    gaps (a kernel below the stride, more output padding than padding) write past the end of a
    tensor. A dimension of one element does not say which layout a tensor has.
    """
    if min(shape[1], after[1]) < 2 or min(*shape[2:], *after[2:]) < _MIN_SIDE:
        return False
    if any(k < s for k, s in zip(child.kernel_size, child.stride, strict=True)):
        return False
    if any(e > p for e, p in zip(child.output_padding, child.padding, strict=True)):
        return False
    return (
        child.groups == 1
        and child.dilation == (1, 1)
        and child.padding_mode == "zeros"
        and is_row_major(child.weight)
    )


def to_channels_last(x: Tensor) -> Tensor:
    """A copy of ``x``, ``[N, C, H, W]``, in channels last; its gradient is contiguous."""
    if x.requires_grad and torch.is_grad_enabled():
        y: Tensor = _ToChannelsLast.apply(x)
        return y
    return x.contiguous(memory_format=torch.channels_last)


class _ToChannelsLast(torch.autograd.Function):
    """The conversion, whose gradient has its input's strides: a penalty may call ``view`` on it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.contiguous(memory_format=torch.channels_last)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return grad.contiguous()


def convolve(child: Any, x: Tensor) -> Tensor:
    """``child(x)`` for x in channels last; the weight's gradient has plain torch's strides."""
    weight = with_contiguous_gradient(child.weight)
    y: Tensor
    if weight is child.weight:
        y = child(x)
    elif type(child) is nn.Conv2d:
        y = child._conv_forward(x, weight, child.bias)
    else:
        settings = (child.stride, child.padding, child.output_padding, child.groups, child.dilation)
        y = F.conv_transpose2d(x, weight, child.bias, *settings)
    return y


# --- the shapes of a chain ----------------------------------------------------------------------


def _same(child: Any, shape: _Shape) -> _Shape:
    return shape


def _pair(value: Any) -> tuple[Any, Any]:
    return value if isinstance(value, tuple) else (value, value)


def _windows(
    shape: _Shape, channels: int, kernel: Any, stride: Any, padding: Any, dilation: Any
) -> _Shape:
    sizes = zip(
        shape[2:], _pair(kernel), _pair(stride), _pair(padding), _pair(dilation), strict=True
    )
    height, width = ((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in sizes)
    return shape[0], channels, height, width


def _convolution(child: Any, shape: _Shape) -> _Shape | None:
    if shape[1] != child.in_channels or isinstance(child.padding, str):
        return None
    return _windows(
        shape, child.out_channels, child.kernel_size, child.stride, child.padding, child.dilation
    )


def _transposed_convolution(child: Any, shape: _Shape) -> _Shape | None:
    if shape[1] != child.in_channels:
        return None
    height, width = output_size(
        shape[2:], child.kernel_size, child.stride, child.padding, child.output_padding,
        child.dilation,
    )  # fmt: skip
    return shape[0], child.out_channels, height, width


def _pool(child: Any, shape: _Shape) -> _Shape | None:
    if child.ceil_mode or getattr(child, "return_indices", False):
        return None
    dilation = getattr(child, "dilation", 1)
    return _windows(shape, shape[1], child.kernel_size, child.stride, child.padding, dilation)


def _reflection_pad(child: Any, shape: _Shape) -> _Shape:
    left, right, top, bottom = child.padding
    return shape[0], shape[1], shape[2] + top + bottom, shape[3] + left + right


def _upsample(child: Any, shape: _Shape) -> _Shape | None:
    if child.mode != "nearest" or child.scale_factor is None:
        return None
    rows, columns = _pair(child.scale_factor)
    return shape[0], shape[1], int(shape[2] * rows), int(shape[3] * columns)


# Layers that take channels-last tensors as fast as others and pass the layout on.
_SHAPES: dict[type[nn.Module], Callable[[Any, _Shape], _Shape | None]] = {
    **dict.fromkeys((nn.BatchNorm2d, nn.InstanceNorm2d, nn.ReLU, nn.LeakyReLU, nn.ELU), _same),
    **dict.fromkeys((nn.Sigmoid, nn.Tanh, nn.Dropout, nn.Dropout2d, nn.Identity), _same),
    nn.Conv2d: _convolution,
    nn.ConvTranspose2d: _transposed_convolution,
    nn.MaxPool2d: _pool,
    nn.AvgPool2d: _pool,
    nn.ReflectionPad2d: _reflection_pad,
    nn.Upsample: _upsample,
    nn.UpsamplingNearest2d: _upsample,
}
