"""Minibatch standard deviation (Karras et al., 2017, arXiv:1710.10196, section 3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gankit.nn.traits import declares

_EPS = 1e-8


@declares(grouped=True, any_layout=True)
class MinibatchStdDev(nn.Module):
    """Append a feature map that says how much the samples of a batch differ.

    The standard deviation over the batch, of each feature at each pixel, is averaged over all of
    them to one number, which fills the map. So a discriminator sees a generator that draws one
    image over and over. Samples are mixed: the gradient of one score reaches the others' images.

    Attributes:
        groups: equal slices of a batch, each with a number of its own; 1 but in a pass over two
            batches.

    Shape:
        ``[N, C, H, W]`` to ``[N, C + 1, H, W]``, floating point. For N = 1 the number is 1e-4.
    """

    def __init__(self) -> None:
        super().__init__()
        self.groups = 1

    def forward(self, x: Tensor) -> Tensor:
        """``x`` with the map behind its own."""
        n, _, height, width = x.shape
        each = x.unflatten(0, (self.groups, n // self.groups))
        deviation = ((each - each.mean(1, keepdim=True)).square().mean(1) + _EPS).sqrt()
        of_group = deviation.mean((1, 2, 3)).repeat_interleave(n // self.groups)
        return torch.cat([x, of_group.view(n, 1, 1, 1).expand(n, 1, height, width)], dim=1)
