"""LeakyReLU followed by dropout in one pass, forward and backward."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from ..autograd import Differentiable, InplaceDifferentiable
from ..philox import as_stream, draw_seed
from . import spec

__all__ = ["leaky_relu_dropout"]

_transforming = torch._C._are_functorch_transforms_active
_LARGEST_FLOAT = torch.finfo(torch.float32).max
_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def _gradient_from_output(
    needs: Sequence[bool], grad: torch.Tensor, saved: Any, rest: Sequence[Any]
) -> tuple[torch.Tensor | None, ...]:
    _stream, _threshold, scale, negative_scale, _channelwise = rest
    return (_backward(grad, saved[0], scale, negative_scale) if needs[0] else None, None)


def _gradient_from_input(
    needs: Sequence[bool], grad: torch.Tensor, saved: Any, rest: Sequence[Any]
) -> tuple[torch.Tensor | None, ...]:
    x, seed = saved
    return (_backward_from_input(grad, x, seed, *rest) if needs[0] else None, None)


def _flat(needed: bool, x: torch.Tensor, scale: float, negative_scale: float) -> Any:
    """The derivative by what the slopes are read from: zeros, as in torch, or none (dropout alone).

    An optimizer tells the two apart.
    """
    return torch.zeros_like(x) if needed and scale != negative_scale else None


# The backward kernels are linear in the gradient: each is its own derivative. y and x enter them
# only through signs and zeros, so their derivative is zero almost everywhere.
_backward: Differentiable = Differentiable(
    spec.BACKWARD,
    tensors=2,
    save=lambda inputs, output: (inputs[1],),
    gradient=lambda needs, grad, saved, rest: (
        _backward(grad, saved[0], *rest) if needs[0] else None,
        _flat(needs[1], saved[0], *rest),
    ),
)
_backward_from_input: Differentiable = Differentiable(
    spec.BACKWARD_FROM_INPUT,
    tensors=3,
    save=lambda inputs, output: (inputs[1], inputs[2]),
    gradient=lambda needs, grad, saved, rest: (
        _backward_from_input(grad, *saved, *rest) if needs[0] else None,
        _flat(needs[1], saved[0], *rest[2:4]),
        None,
    ),
)
_forward = Differentiable(
    spec.FORWARD,
    tensors=2,
    save=lambda inputs, output: (output,),
    gradient=_gradient_from_output,
)


def _layout_or_input(inputs: Sequence[Any], output: Any) -> tuple[torch.Tensor, ...]:
    x, seed, *_rest, scale, negative_scale, _channelwise = inputs
    # The gradient of dropout alone reads how x lies in memory, and none of its numbers: they may
    # be modified before the backward, as with torch's dropout, which keeps its mask.
    if scale == negative_scale and not torch.compiler.is_compiling() and not _transforming():
        x = x.data
    return (x, seed)


_forward_saving_input = Differentiable(
    spec.FORWARD,
    tensors=2,
    save=_layout_or_input,
    gradient=_gradient_from_input,
    register=False,
)
_inplace = InplaceDifferentiable(_forward, spec.INPLACE, _gradient_from_output)


def leaky_relu_dropout(
    x: torch.Tensor,
    negative_slope: float = 0.2,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    seed: torch.Tensor | None = None,
    stream: int = 0,
    channelwise: bool = False,
    save: str = "output",
) -> torch.Tensor:
    r"""``dropout(leaky_relu(x, negative_slope), p)`` in one pass, with one tensor saved.

    Dropout is that of Srivastava et al. (2014, JMLR 15; Hinton et al., 2012, arXiv:1207.0580),
    LeakyReLU that of Maas et al. (2013). Elements are dropped with probability ``p`` rounded to a
    multiple of 1/65536, the others scaled by the exact inverse of the rounded keep probability.

    The output carries its own mask: dropped elements are +0, elements that took the negative branch
    have the sign set (x = 0 gives -0, NaN keeps being NaN). Backward reads the gradient and the
    output, so nothing else is stored. Differentiable to any order in reverse mode, with respect to
    ``x``; there is no forward-mode derivative.

    Differs from ``F.dropout(F.leaky_relu(x))`` in three things: the random stream (same seed, same
    mask on every device and backend, but not torch's mask), the sign of zeros, and dropped NaN or
    infinity, which give 0 here and NaN there.

    Args:
        x: any shape and strides, float32, bfloat16, float16 or float64.
        negative_slope: finite, >= 0.
        p: probability of dropping, in [0, 1].
        training: False gives plain ``F.leaky_relu``, as does p = 0 (after rounding).
        inplace: overwrite ``x`` and return it. Not on a leaf that requires grad.
        seed: int64, one element, on ``x``'s device. None draws one from torch's generator of that
            device, so ``torch.manual_seed`` governs it.
        stream: selects one of 2**64 independent streams of a seed (0 to 2**64 - 1; a negative
            int64 stands for its bits); lets the layers of a network share one seed.
        channelwise: drop whole channels, one draw per (sample, channel), as ``nn.Dropout2d``; x is
            then ``[N, C, ...]``.
        save: what backward keeps: ``"output"``, which the next layer keeps anyway and which must
            not be modified in place, or ``"input"`` (x and the seed; the mask is drawn again),
            after which the output may be modified, and with a slope of 1 x too. In-place calls have
            only ``"output"``.

    Returns:
        A tensor with the shape, dtype and strides of ``torch.empty_like(x)``; ``x`` if in place.

    Raises:
        TypeError: ``x`` is no strided tensor or of another dtype, ``seed`` is not int64, or a
            number is none.
        ValueError: an argument out of range; the message names it.
        RuntimeError: in place on a leaf that requires grad, or a backend asked for by name is
            missing.
    """
    if not isinstance(x, torch.Tensor):
        raise TypeError(f"x: expected a tensor, got {type(x).__name__}")
    if x.dtype not in _DTYPES:
        raise TypeError(f"x: expected dtype float32, bfloat16, float16 or float64, got {x.dtype}")
    if x.layout is not torch.strided:
        raise TypeError(f"x: expected a strided tensor, got layout {x.layout}")
    check_slope_and_p(negative_slope, p)
    if stream:
        stream = as_stream(stream)
    if channelwise and x.dim() < 2:
        raise ValueError(f"x: channelwise dropout needs [N, C, ...], got shape {tuple(x.shape)}")
    if save != "output" and (save != "input" or inplace):
        allowed = "'output' when inplace=True" if inplace else "'output' or 'input'"
        raise ValueError(f"save: expected {allowed}, got {save!r}")
    if seed is not None:
        _check_seed(seed, x)
    # In double precision, once: every backend rounds the same two factors to its compute type.
    threshold = _threshold(p)
    if not training or threshold == 0:
        return F.leaky_relu(x, negative_slope, inplace)
    scale = dropout_scale(p)
    negative_scale = scale * negative_slope
    if negative_scale > _LARGEST_FLOAT and x.dtype != torch.float64:
        raise ValueError(
            f"negative_slope: {negative_slope} times the dropout scale {scale} overflows float32"
        )
    if seed is None:
        seed = draw_seed(x.device)
    arguments = (x, seed, stream, threshold, scale, negative_scale, channelwise)
    if inplace:
        return _inplace(*arguments)
    if save == "input":
        return _forward_saving_input(*arguments)
    return _forward(*arguments)


def _threshold(p: float) -> int:
    return math.floor(p * 65536 + 0.5)


def dropout_scale(p: float) -> float:
    """What the elements that stay are multiplied by: 1 where ``p`` rounds to 0, 0 where to 1."""
    threshold = _threshold(p)
    return 65536 / (65536 - threshold) if threshold < 65536 else 0.0


def check_slope_and_p(negative_slope: float, p: float) -> None:
    """Raises TypeError or ValueError, naming the argument, unless both can be used."""
    try:
        slope_is_right = 0.0 <= negative_slope < math.inf
    except TypeError as error:
        came = type(negative_slope).__name__
        raise TypeError(f"negative_slope: expected a number, got {came}") from error
    if not slope_is_right:
        raise ValueError(f"negative_slope: expected a finite number >= 0, got {negative_slope}")
    try:
        p_is_right = 0.0 <= p <= 1.0
    except TypeError as error:
        raise TypeError(f"p: expected a number, got {type(p).__name__}") from error
    if not p_is_right:
        raise ValueError(f"p: expected a probability in [0, 1], got {p}")


def _check_seed(seed: torch.Tensor, x: torch.Tensor) -> None:
    if not isinstance(seed, torch.Tensor) or seed.dtype != torch.int64:
        came = seed.dtype if isinstance(seed, torch.Tensor) else type(seed).__name__
        raise TypeError(f"seed: expected an int64 tensor with one element, got {came}")
    if seed.numel() != 1:
        raise ValueError(f"seed: expected one element, got shape {tuple(seed.shape)}")
    if seed.device != x.device:
        raise ValueError(f"seed: expected a tensor on x's device {x.device}, got {seed.device}")
