"""Fully connected autoencoders: an encoder, and a discriminator that is one.

The decoder of an autoencoder by itself (Kingma and Welling, 2013, arXiv:1312.6114, for the
variational one) is :class:`gankit.models.mlp.Generator`. The discriminator is that of EBGAN (Zhao
et al., 2016, arXiv:1609.03126) and BEGAN (Berthelot et al., 2017, arXiv:1703.10717).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from gankit.errors import ConfigError, DataError
from gankit.models import mlp
from gankit.nn import Linear
from gankit.nn.linear_stack import run_linear_stack

__all__ = ["Discriminator", "Encoder"]


class Discriminator(nn.Module):
    """Images to energies: the error of an autoencoder, low on images like those it learnt.

    Args:
        image_shape: ``(C, H, W)`` of the images.
        hidden: widths of the encoder's hidden layers, first to last; the decoder has the same ones
            backwards.
        code: length of a code.
        negative_slope: of LeakyReLU, finite and >= 0.
        error: ``"squared"`` (EBGAN) or ``"absolute"`` (BEGAN); the mean over the pixels.

    Raises:
        ConfigError: a setting is not allowed.
    """

    def __init__(
        self,
        image_shape: Sequence[int] = (1, 28, 28),
        hidden: Sequence[int] = (512, 256),
        code: int = 32,
        negative_slope: float = 0.2,
        error: str = "squared",
    ) -> None:
        super().__init__()
        if error not in ("squared", "absolute"):
            raise ConfigError(f"error must be 'squared' or 'absolute', got {error!r}")
        self.image_shape = tuple(image_shape)
        self.error = error
        self.encoder = Encoder(code, image_shape, hidden, negative_slope).main
        self.decoder = mlp.Generator(code, image_shape, tuple(hidden)[::-1], negative_slope).main

    def reconstruct(self, images: Tensor) -> Tensor:
        """Images ``[N, C, H, W]`` to what the autoencoder makes of them, of the same shape."""
        if images.dim() != 4 or tuple(images.shape[1:]) != self.image_shape:
            expected = ", ".join(map(str, self.image_shape))
            raise DataError(f"images must have shape [N, {expected}], got {list(images.shape)}")
        code = run_linear_stack(self.encoder, images.flatten(1))
        return run_linear_stack(self.decoder, code).view_as(images)

    def forward(self, images: Tensor) -> Tensor:
        """Images ``[N, C, H, W]`` to energies ``[N, 1]``, at least 0."""
        gap = self.reconstruct(images) - images
        errors = gap.square() if self.error == "squared" else gap.abs()
        return errors.flatten(1).mean(dim=1, keepdim=True)


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
