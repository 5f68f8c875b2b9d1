"""Transposed convolution, batch normalisation and activation."""

from __future__ import annotations

import math
from typing import Any

import torch

from ..batch_norm_act import _check_constant, batch_norm_act
from ..batch_norm_act.reference import compute_dtype
from ..conv_transpose2d import conv_transpose2d, is_channels_last, output_size

__all__ = ["conv_transpose2d_bn_act", "fold_batch_norm", "likes_channels_last"]

Pair = tuple[int, int]


def conv_transpose2d_bn_act(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    running_mean: torch.Tensor | None,
    running_var: torch.Tensor | None,
    norm_weight: torch.Tensor | None = None,
    norm_bias: torch.Tensor | None = None,
    training: bool = False,
    momentum: float | None = 0.1,
    eps: float = 1e-5,
    *,
    stride: int | Pair = 1,
    padding: int | Pair = 0,
    output_padding: int | Pair = 0,
    groups: int = 1,
    dilation: int | Pair = 1,
    activation: str = "relu",
    negative_slope: float = 0.2,
    batch_groups: int = 1,
    num_batches_tracked: torch.Tensor | None = None,
    process_group: Any = None,
) -> torch.Tensor:
    """``batch_norm_act(conv_transpose2d(x, weight, bias, ...), ...)``, the layer of a DCGAN.

    In evaluation batch norm is a scale and a shift per channel. Where the weight has fewer elements
    than the result they are multiplied into it (:func:`fold_batch_norm`), and one transposed
    convolution with bias and activation is left. In training the statistics need the convolution's
    result first; on the CPU that convolution runs channels last where the weight lies so.

    Differentiable as :func:`gankit.ops.batch_norm_act` and :func:`gankit.ops.conv_transpose2d` are,
    to any order in reverse mode.

    Args:
        x, weight, bias, stride, padding, output_padding, groups, dilation: as for
            :func:`gankit.ops.conv_transpose2d`.
        running_mean, running_var, training, momentum, eps, activation, negative_slope,
            num_batches_tracked, process_group: as for :func:`gankit.ops.batch_norm_act`.
        norm_weight, norm_bias: ``[Cout]`` or None, batch norm's scale and shift.
        batch_groups: ``groups`` of :func:`gankit.ops.batch_norm_act`: slices of the batch with
            statistics of their own.

    Returns:
        ``[N, Cout, H', W']`` in x's dtype; channels last where the convolution's result is.

    Raises:
        TypeError, ValueError: as the two ops do.
    """
    if x.dim() != 4:
        # Without a batch the channels would not be where batch norm looks for them.
        raise ValueError(f"x: expected [N, Cin, H, W], got shape {tuple(x.shape)}")
    _check_eps(eps)
    _check_constant(running_mean, running_var)
    sizes: Any = (stride, padding, output_padding, groups, dilation)
    if not training and running_mean is not None and running_var is not None:
        if _folding_pays(x, weight, *sizes) and negative_slope >= 0:
            folded = fold_batch_norm(
                weight, bias, running_mean, running_var, norm_weight, norm_bias, eps, groups
            )
            return conv_transpose2d(
                x, *folded, *sizes, activation=activation, negative_slope=negative_slope
            )
    elif likes_channels_last(x, weight):
        x = x.contiguous(memory_format=torch.channels_last)
    return batch_norm_act(
        conv_transpose2d(x, weight, bias, *sizes),
        running_mean,
        running_var,
        norm_weight,
        norm_bias,
        training,
        momentum,
        eps,
        activation=activation,
        negative_slope=negative_slope,
        groups=batch_groups,
        num_batches_tracked=num_batches_tracked,
        process_group=process_group,
    )


def fold_batch_norm(
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    running_mean: torch.Tensor,
    running_var: torch.Tensor,
    norm_weight: torch.Tensor | None,
    norm_bias: torch.Tensor | None,
    eps: float,
    groups: int = 1,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias of the transposed convolution that does the evaluation's batch norm too.

    With ``scale = norm_weight / sqrt(running_var + eps)``: ``weight * scale`` per output channel
    and ``(bias - running_mean) * scale + norm_bias``. Computed in float32 or wider and rounded once
    to weight's dtype; differentiable.

    Args:
        weight: ``[Cin, Cout / groups, kh, kw]``.
        bias: ``[Cout]`` or None.
        running_mean, running_var: ``[Cout]``.
        norm_weight, norm_bias: ``[Cout]`` or None.
        eps: added to the variance.
        groups: of the convolution.

    Returns:
        Weight and bias, in weight's dtype and shape and ``[Cout]``.

    Raises:
        ValueError: a vector is not of Cout values, or eps is negative.
    """
    _check_eps(eps)
    channels = weight.shape[1] * groups
    for name, vector in (
        ("bias", bias),
        ("running_mean", running_mean),
        ("running_var", running_var),
        ("norm_weight", norm_weight),
        ("norm_bias", norm_bias),
    ):
        if vector is not None and tuple(vector.shape) != (channels,):
            raise ValueError(
                f"{name}: expected shape ({channels},) for weight of shape {tuple(weight.shape)} "
                f"and {groups} groups, got {tuple(vector.shape)}"
            )
    wide = compute_dtype(weight)
    scale = (running_var.to(wide) + eps).rsqrt()
    if norm_weight is not None:
        scale = scale * norm_weight.to(wide)
    shift = -running_mean.to(wide) if bias is None else bias.to(wide) - running_mean.to(wide)
    shift = shift * scale
    if norm_bias is not None:
        shift = shift + norm_bias.to(wide)
    per_group = weight.to(wide).unflatten(0, (groups, -1))
    folded = per_group * scale.view(groups, 1, -1, 1, 1)
    return folded.flatten(0, 1).to(weight.dtype), shift.to(weight.dtype)


def _check_eps(eps: float) -> None:
    if not 0.0 <= eps < math.inf:
        raise ValueError(f"eps: expected a finite number >= 0, got {eps}")


def _folding_pays(
    x: torch.Tensor,
    weight: torch.Tensor,
    stride: int | Pair,
    padding: int | Pair,
    output_padding: int | Pair,
    groups: int,
    dilation: int | Pair,
) -> bool:
    """Whether the weight is smaller than the result, so that scaling it is less work."""
    if weight.dim() != 4:
        return False  # the convolution says what is wrong
    input_size, kernel = (x.shape[-2], x.shape[-1]), (weight.shape[2], weight.shape[3])
    size = output_size(input_size, kernel, stride, padding, output_padding, dilation)
    return weight.numel() <= x.shape[0] * weight.shape[1] * groups * math.prod(size)


def likes_channels_last(x: torch.Tensor, weight: torch.Tensor) -> bool:
    """Whether the convolution of ``x`` runs channels last: where its weight lies so, and right.

    A contiguous weight would be copied in each forward and backward. Not where an image is one
    pixel high or wide: torch 2.14 then takes gradients from memory that nobody has written to.
    ``vmap`` knows no memory formats.
    """
    if x.device.type != "cpu" or x.dim() != 4 or torch._C._are_functorch_transforms_active():
        return False
    if weight.dim() != 4 or not is_channels_last(weight):
        return False
    return x.shape[2] > 1 and x.shape[3] > 1
