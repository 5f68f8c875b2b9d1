"""bce_label_smoothing in pure PyTorch: what every other backend is checked against."""

from __future__ import annotations

import torch

NONE, MEAN, SUM = 0, 1, 2  # torch's own numbers for reductions


def compute(x: torch.Tensor) -> torch.Tensor:
    """``x`` in the type that losses are computed in."""
    return x if x.dtype == torch.float64 else x.float()


def check_unit_interval(*tensors: torch.Tensor | None) -> None:
    """As torch: an error on the CPU. Elsewhere the loss is NaN, because an error would wait."""
    if torch._C._are_functorch_transforms_active():  # an assertion has no batching rule
        return
    for x in tensors:
        if x is not None and x.is_cpu and x.is_floating_point():
            inside = ((x >= 0) & (x <= 1)).all()
            torch._assert_async(
                inside,
                "input, target: expected probabilities between 0 and 1, got one outside or NaN",
            )


def labels(
    x: torch.Tensor, target: torch.Tensor | None, scale: float, shift: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The smoothed label and its complement, each a sum of its own: 1 - label would cancel."""
    t = torch.zeros_like(x) if target is None else target.to(x.dtype)
    return scale * t + shift, scale * (1 - t) + ((1 - scale) - shift)


def reduced(loss: torch.Tensor, reduction: int) -> torch.Tensor:
    """The mean, the sum or the losses themselves."""
    if reduction == NONE:
        return loss
    return loss.mean() if reduction == MEAN else loss.sum()


def losses(
    input: torch.Tensor,
    target: torch.Tensor | None,
    scale: float,
    shift: float,
    from_logits: bool,
) -> torch.Tensor:
    """One loss per element, in the type that losses are computed in."""
    x = compute(input)
    label, complement = labels(x, target, scale, shift)
    if from_logits:
        weight = torch.where(x < 0, label, complement)
        return x.abs() * weight + torch.log1p(torch.exp(-x.abs()))
    check_unit_interval(input, target)
    value = -(label * x.log().clamp(min=-100) + complement * (-x).log1p().clamp(min=-100))
    outside = ~((x >= 0) & (x <= 1))
    if target is not None:
        outside = outside | ~((target >= 0) & (target <= 1))
    return value.masked_fill(outside, float("nan"))


def slopes(
    input: torch.Tensor,
    target: torch.Tensor | None,
    scale: float,
    shift: float,
    from_logits: bool,
) -> torch.Tensor:
    """The derivative of each loss by its input."""
    x = compute(input)
    label, complement = labels(x, target, scale, shift)
    if from_logits:
        return torch.where(x < 0, torch.sigmoid(x) - label, complement - torch.sigmoid(-x))
    return (x - label) / (x * (1 - x)).clamp(min=1e-12)


def curvatures(
    input: torch.Tensor,
    target: torch.Tensor | None,
    scale: float,
    shift: float,
    from_logits: bool,
) -> torch.Tensor:
    """The second derivative of each loss by its input."""
    x = compute(input)
    if from_logits:
        return torch.sigmoid(x) * torch.sigmoid(-x)
    label, _ = labels(x, target, scale, shift)
    # torch's formula: finite at 0 and 1, where the exact one is not.
    return (x * x - 2 * x * label + label) / ((x + 1e-12) * (1 - x + 1e-12)).square()


def forward(
    input: torch.Tensor,
    target: torch.Tensor | None,
    scale: float,
    shift: float,
    from_logits: bool,
    reduction: int,
) -> torch.Tensor:
    """The loss against the labels ``scale * target + shift`` (``shift`` without a target)."""
    loss = losses(input, target, scale, shift, from_logits)
    if reduction == NONE:
        return torch.empty_like(input).copy_(loss)
    return reduced(loss, reduction).to(input.dtype)


def backward(
    grad: torch.Tensor,
    input: torch.Tensor,
    target: torch.Tensor | None,
    scale: float,
    shift: float,
    from_logits: bool,
    reduction: int,
) -> torch.Tensor:
    """dL/dinput from dL/dloss."""
    slope = slopes(input, target, scale, shift, from_logits)
    share = compute(grad) / max(input.numel(), 1) if reduction == MEAN else compute(grad)
    return torch.empty_like(input).copy_(share * slope)
