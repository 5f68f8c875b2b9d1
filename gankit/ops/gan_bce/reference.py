"""gan_bce in pure PyTorch: what every other backend is checked against."""

from __future__ import annotations

import torch

from ..bce_label_smoothing.reference import compute, losses, slopes


def _mean(total: torch.Tensor, count: int) -> torch.Tensor:
    return total / count if count > 0 else total * float("nan")


def forward(
    real: torch.Tensor,
    fake: torch.Tensor,
    real_label: float,
    fake_label: float,
    from_logits: bool,
    joint: bool,
) -> torch.Tensor:
    """Both halves' means added, or one mean over both (``joint``)."""
    sum_real = losses(real, None, 0.0, real_label, from_logits).sum()
    sum_fake = losses(fake, None, 0.0, fake_label, from_logits).sum()
    if joint:
        return _mean(sum_real + sum_fake, real.numel() + fake.numel()).to(real.dtype)
    return (_mean(sum_real, real.numel()) + _mean(sum_fake, fake.numel())).to(real.dtype)


def backward(
    grad: torch.Tensor,
    real: torch.Tensor,
    fake: torch.Tensor,
    real_label: float,
    fake_label: float,
    from_logits: bool,
    joint: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """dL/dreal and dL/dfake from dL/dloss."""
    counts = [max(x.numel(), 1) for x in (real, fake)]
    if joint:
        counts = [max(real.numel() + fake.numel(), 1)] * 2
    by_real = compute(grad) / counts[0] * slopes(real, None, 0.0, real_label, from_logits)
    by_fake = compute(grad) / counts[1] * slopes(fake, None, 0.0, fake_label, from_logits)
    return torch.empty_like(real).copy_(by_real), torch.empty_like(fake).copy_(by_fake)
