"""The derivative of batch_norm_act's backward, in closed form through differentiable torch ops.

The README derives it. Everything is written on [groups, N / groups, C, positions]. Because each
line is an ordinary torch operation, autograd differentiates it further where a third derivative is
asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from .reference import (
    NONE,
    TANH,
    grouped,
    groups_of,
    over_elements,
    over_samples,
    per_sample,
    scaled,
    slope_of,
    statistics,
)

Optional = torch.Tensor | None


def mean_here(v: torch.Tensor) -> torch.Tensor:
    """Mean over a group's samples and positions, kept as [groups, 1, C, 1]."""
    return v.mean((1, 3), keepdim=True)


def second_derivative(
    needs: Sequence[bool],
    cotangents: Sequence[Optional],
    saved: Sequence[Optional],
    settings: Sequence[Any],
    training: bool,
    mean_of: Callable[[torch.Tensor], torch.Tensor] = mean_here,
) -> tuple[Optional, Optional, Optional, Optional]:
    """Gradients with respect to dL/dy, x, weight and bias.

    Args:
        needs: which of these four are wanted.
        cotangents: of dL/dx, dL/dweight and dL/dbias; None where there is none.
        saved: dL/dy, x, mean, var, weight, bias.
        settings: eps, activation and slope, as in the forward pass.
        training: whether mean and var are the statistics of x itself.
        mean_of: mean over a group; over all processes where statistics are synchronised.

    Returns:
        None also where torch's batch norm and activation give none: what nothing flows to. The
        derivative of a piecewise linear activation's slope is a tensor of zeros there, and so it is
        here.
    """
    grad, x, mean, var, weight, bias = saved
    assert grad is not None
    assert x is not None
    assert mean is not None
    assert var is not None
    u, s, t = cotangents
    eps, activation, slope = settings
    groups = groups_of(mean)
    if training and mean_of is mean_here and torch.is_grad_enabled() and x.requires_grad:
        # Saved as constants; a third derivative needs to see how they follow from x.
        mean, var = statistics(x, groups)
    r = over_elements((var + eps).rsqrt())
    xhat = (grouped(x, groups) - over_elements(mean)) * r
    z = scaled(xhat, weight, bias)
    derivative = slope_of(z, activation, slope)
    g = grouped(grad, groups)
    h = g * derivative
    w = None if weight is None else over_samples(weight, groups)
    q = h if w is None else h * w

    def project(v: torch.Tensor) -> torch.Tensor:
        return v - mean_of(v) - xhat * mean_of(v * xhat) if training else v

    def to_parameter(v: torch.Tensor) -> torch.Tensor:
        return v.sum(3).reshape(x.shape[:2]) if per_sample(weight, bias) else v.sum((0, 1, 3))

    # The backward pass is linear in h: its result paired with the cotangents is sum(h * a).
    a = torch.zeros_like(h)
    wide_u = flow = None
    if u is not None:
        wide_u = grouped(u, groups)
        flow = r * project(wide_u)
        a = a + (flow if w is None else flow * w)
    if s is not None:
        a = a + over_samples(s, groups) * xhat
    if t is not None:
        a = a + over_samples(t, groups)
    needs_grad, needs_x, needs_weight, needs_bias = needs
    grad_grad = (a * derivative).reshape(x.shape).to(grad.dtype) if needs_grad else None
    # What flows through the activation's slope: nothing, unless it is curved.
    k = None
    if activation == TANH:
        k = a * g * (-2 * torch.tanh(z) * derivative)
    bent = activation != NONE
    grad_weight = grad_bias = grad_x = None
    if needs_weight and (bent or flow is not None):
        total = torch.zeros_like(h) if k is None else k * xhat
        if flow is not None:
            total = total + h * flow
        grad_weight = to_parameter(total)
    if needs_bias and bent:
        grad_bias = to_parameter(torch.zeros_like(h) if k is None else k)
    if needs_x and (bent or s is not None or (training and wide_u is not None)):
        d = torch.zeros_like(h)
        if s is not None:
            d = d + over_samples(s, groups) * h
        if k is not None:
            d = d + (k if w is None else k * w)
        if training and wide_u is not None:
            d = d - r * (wide_u * mean_of(q * xhat) + q * mean_of(wide_u * xhat))
        wide = r * project(d)
        if training and wide_u is not None:
            wide = wide - r.square() * xhat * mean_of(wide_u * project(q))
        grad_x = wide.reshape(x.shape).to(x.dtype)
    return grad_grad, grad_x, grad_weight, grad_bias
