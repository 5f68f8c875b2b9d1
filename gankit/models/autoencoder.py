"""Fully connected autoencoders: the encoder. The decoder is :class:`gankit.models.mlp.Generator`.

Kingma and Welling, 2013, arXiv:1312.6114, for the variational one.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from gankit.errors import ConfigError, DataError
from gankit.models import mlp
from gankit.nn import Linear
from gankit.nn.linear_stack import run_linear_stack

__all__ = ["Encoder"]


class Encoder(nn.Module):
    """Images to codes: Linear layers with LeakyReLU and dropout between.

    Args:
        z_dim: length of a code.
        image_shape: ``(C, H, W)`` of the images.
        hidden: widths of the hidden layers, first to last.
        negative_slope: of LeakyReLU, finite and >= 0.
        dropout: probability of dropping a hidden unit, 0 to 1.
        variational: return a mean and the logarithm of a variance for each number of the code.

    Raises:
        ConfigError: a setting is not allowed.
    """

    def __init__(
        self,
        z_dim: int = 32,
        image_shape: Sequence[int] = (1, 28, 28),
        hidden: Sequence[int] = (512, 256),
        negative_slope: float = 0.2,
        dropout: float = 0.0,
        variational: bool = False,
    ) -> None:
        super().__init__()
        if z_dim < 1:
            raise ConfigError(f"z_dim must be at least 1, got {z_dim}")
        self.z_dim = z_dim
        self.image_shape = tuple(image_shape)
        self.variational = variational
        layers = mlp.Discriminator(image_shape, hidden, negative_slope, dropout).main[:-2]
        self.main = nn.Sequential(*layers, Linear(hidden[-1], 2 * z_dim if variational else z_dim))

    def forward(self, images: Tensor) -> Tensor:
        """Images ``[N, C, H, W]`` to codes ``[N, z_dim]``.

        Variational: to ``[N, 2 z_dim]``, the means and then the logarithms of the variances.
        """
        if images.dim() != 4 or tuple(images.shape[1:]) != self.image_shape:
            expected = ", ".join(map(str, self.image_shape))
            raise DataError(f"images must have shape [N, {expected}], got {list(images.shape)}")
        return run_linear_stack(self.main, images.flatten(1))
