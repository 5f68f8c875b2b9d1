"""Fully connected autoencoders: an encoder, and a discriminator that is one.

The decoder of an autoencoder by itself (Kingma and Welling, 2013, arXiv:1312.6114, for the
variational one) is :class:`gankit.models.mlp.Generator`. The discriminator is that of EBGAN (Zhao
et al., 2016, arXiv:1609.03126) and BEGAN (Berthelot et al., 2017, arXiv:1703.10717).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from gankit.models import mlp
from gankit.models.checks import check_choice, check_image_shape, check_images, check_positive
from gankit.nn import Linear
from gankit.nn.linear_stack import run_linear_stack
from gankit.nn.traits import declares
from gankit.scalars import integers

__all__ = ["Discriminator", "Encoder"]


@declares(per_sample=True, any_layout=True)
class Discriminator(nn.Module):
    """Images to energies: the error of an autoencoder, low on images like those it learnt.

    Args:
        image_shape: ``(C, H, W)`` of the images.
        hidden: widths of the encoder's hidden layers, first to last; the decoder has the same ones
            backwards.
        code: length of a code.
        negative_slope: of LeakyReLU, finite and >= 0.
        error: ``"squared"`` (EBGAN) or ``"absolute"`` (BEGAN); the mean over the pixels.
        dropout: probability of dropping a hidden unit of the encoder, 0 to 1.
        norm: ``"none"``, or ``"batch"``: batch norm before each LeakyReLU of encoder and decoder.

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
        dropout: float = 0.0,
        norm: str = "none",
    ) -> None:
        super().__init__()
        check_choice("error", error, "squared", "absolute")
        check_positive("code", code)
        self.image_shape = integers(image_shape)
        self.error = error
        back = tuple(hidden)[::-1]
        self.encoder = Encoder(code, image_shape, hidden, negative_slope, dropout, norm=norm).main
        self.decoder = mlp.Generator(code, image_shape, back, negative_slope, norm=norm).main

    def reconstruct(self, images: Tensor) -> Tensor:
        """Images ``[N, C, H, W]`` to what the autoencoder makes of them, of the same shape."""
        return self._autoencode(images)[0]

    def with_code(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images ``[N, C, H, W]`` to energies ``[N, 1]``, at least 0, and codes ``[N, code]``."""
        result, code = self._autoencode(images)
        gap = result - images
        errors = gap.square() if self.error == "squared" else gap.abs()
        return errors.flatten(1).mean(dim=1, keepdim=True), code

    def forward(self, images: Tensor) -> Tensor:
        """Images ``[N, C, H, W]`` to energies ``[N, 1]``, at least 0."""
        return self.with_code(images)[0]

    def _autoencode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        check_images(images, self.image_shape)
        code = run_linear_stack(self.encoder, images.flatten(1))
        return run_linear_stack(self.decoder, code).view_as(images), code


@declares(per_sample=True, chain="main", any_layout=True)
class Encoder(nn.Module):
    """Images to codes: Linear layers with LeakyReLU and dropout between.

    Args:
        z_dim: length of a code.
        image_shape: ``(C, H, W)`` of the images.
        hidden: widths of the hidden layers, first to last.
        negative_slope: of LeakyReLU, finite and >= 0.
        dropout: probability of dropping a hidden unit, 0 to 1.
        variational: return a mean and the logarithm of a variance for each number of the code.
        norm: ``"none"``, or ``"batch"``: batch norm before each LeakyReLU.

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
        norm: str = "none",
    ) -> None:
        super().__init__()
        check_positive("z_dim", z_dim)
        check_image_shape(image_shape)
        self.z_dim = int(z_dim)
        self.image_shape = integers(image_shape)
        self.variational = variational
        pixels = math.prod(image_shape)
        layers = mlp.hidden_layers(pixels, hidden, negative_slope, dropout, norm)
        self.main = nn.Sequential(*layers, Linear(hidden[-1], 2 * z_dim if variational else z_dim))

    def forward(self, images: Tensor) -> Tensor:
        """Images ``[N, C, H, W]`` to codes ``[N, z_dim]``.

        Variational: to ``[N, 2 z_dim]``, the means and then the logarithms of the variances.
        """
        check_images(images, self.image_shape)
        return run_linear_stack(self.main, images.flatten(1))
