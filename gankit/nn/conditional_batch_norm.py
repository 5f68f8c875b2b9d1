"""Batch normalization with a scale and a shift per sample."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .batch_norm_act import BatchNormAct2d
from .traits import declares


@declares(per_sample=True, any_layout=True)
class ConditionalBatchNorm2d(nn.Module):
    """``relu(scale * normalized(x) + shift)`` (Dumoulin et al., 2016, arXiv:1610.07629).

    The scale and the shift belong to a sample, as its class or its noise decides them; the
    statistics, of the batch in training and running ones in eval mode, are those of ``norm``.

    Args:
        num_features: C of the input.
    """

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.norm = BatchNormAct2d(num_features, affine=False, activation="none")

    def forward(self, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """x ``[N, C, H, W]``, scale and shift ``[N, C]``, to ``[N, C, H, W]``."""
        normalized = self.norm(x)
        return F.relu(torch.addcmul(shift[:, :, None, None], normalized, scale[:, :, None, None]))
