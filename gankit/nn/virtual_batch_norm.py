"""Virtual batch normalization (Salimans et al., 2016, arXiv:1606.03498, section 3.5)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gankit.errors import ConfigError
from gankit.nn.traits import declares

__all__ = ["VirtualBatchNorm"]


@declares(per_sample=True)
class VirtualBatchNorm(nn.Module):
    """Each sample is normalized by the statistics of a reference batch and of itself.

    What becomes of a sample does not depend on the other samples, in training as in evaluation, and
    nothing is estimated while it runs. The network keeps the reference batch and gives its
    activations along with those of the samples: its statistics follow the weights of the layers
    before, and gradients go through it.

    Args:
        channels: C of the input.
        eps: added to the variance, above 0.

    Raises:
        ConfigError: a setting is not allowed.
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        if channels < 1:
            raise ConfigError(f"channels must be at least 1, got {channels}")
        if not eps > 0:
            raise ConfigError(f"eps must be above 0, got {eps}")
        self.channels, self.eps = int(channels), float(eps)
        self.weight = nn.Parameter(torch.ones(self.channels))
        self.bias = nn.Parameter(torch.zeros(self.channels))

    def forward(self, x: Tensor, references: int) -> Tensor:
        """``x`` ``[references + N, C, L]``, normalized; the reference batch comes first.

        A sample has the weight of one among ``references + 1`` in its statistics; the reference
        batch itself is normalized by its own. Half precision is computed in float32.
        """
        wide = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        var, mean = torch.var_mean(wide[:references], (0, 2), correction=0)
        own_var, own_mean = torch.var_mean(wide[references:], 2, correction=0)
        share = 1.0 / (references + 1)
        both = torch.lerp(mean, own_mean, share)
        # The variance of the union of both: stable where the mean is far from 0.
        spread = torch.lerp(
            var + (mean - both).square(), own_var + (own_mean - both).square(), share
        )
        means = torch.cat([mean.expand(references, -1), both])
        scale = torch.cat([var.expand(references, -1), spread]).add(self.eps).rsqrt() * self.weight
        shift = self.bias - means * scale
        return (wide * scale[:, :, None] + shift[:, :, None]).to(x.dtype)

    def extra_repr(self) -> str:
        return f"{self.channels}, eps={self.eps}"
