"""DCGAN, the convolutional GAN of Radford, Metz and Chintala (2015), arXiv:1511.06434.

At 28x28 the layers are those of the PyTorch tutorial that the MLP follows too. Keys of the
``state_dict`` are ``main.0``, ``main.1``, ``main.3``, ... as in its plain ``nn.Sequential`` of
convolution, batch norm and activation, so files saved from such networks load unchanged. Both
networks take and give what those of :mod:`gankit.models.mlp` do: swapping G and D is all it takes.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from gankit.errors import ConfigError
from gankit.models.checks import (
    check_choice,
    check_image_shape,
    check_images,
    check_noise,
    check_positive,
    check_slope,
)
from gankit.models.initialization import Init, initialize, normal_weights
from gankit.nn import BatchNormAct2d, ConvTransposeAct2d
from gankit.nn.traits import declares
from gankit.scalars import integers

__all__ = ["Discriminator", "Generator"]

# Image size to the size of the smallest feature map; every layer between doubles it.
_SMALLEST = {28: 7, 32: 4, 64: 4, 128: 4}


@declares(per_sample=True, chain="main", any_layout=True)
class Generator(nn.Module):
    """Noise to images: a first layer to 7x7 or 4x4, then layers that double the size.

    Transposed convolutions without bias, each but the last followed by batch norm and ReLU, the
    last by Tanh. At 28x28 with the default width: 100 -> 224 -> 112 -> 1 channels.

    Args:
        z_dim: length of a noise vector.
        image_shape: ``(C, H, W)``; H = W is 28, 32, 64 or 128, C is any.
        width: feature maps before the last layer (the most detailed ones); each layer towards the
            noise has twice as many. None: 4 per pixel of the image's edge at 28 (112), 64 above, as
            in the paper's code.
        init: ``"pytorch"``; ``"dcgan"``, the paper's N(0, 0.02) on convolutions and N(1, 0.02) on
            batch norm's scale; or a function applied to every submodule.

    Raises:
        ConfigError: a setting is not allowed.
    """

    def __init__(
        self,
        z_dim: int = 100,
        image_shape: Sequence[int] = (1, 28, 28),
        width: int | None = None,
        init: Init = "pytorch",
    ) -> None:
        super().__init__()
        check_positive("z_dim", z_dim)
        smallest, widths = _plan(image_shape, width)
        self.z_dim = int(z_dim)
        self.image_shape = integers(image_shape)
        layers: list[nn.Module] = []
        before = z_dim
        for index, maps in enumerate(reversed(widths)):
            grow = (smallest, 1, 0) if index == 0 else (4, 2, 1)
            layers += [
                ConvTransposeAct2d(before, maps, *grow, bias=False),
                BatchNormAct2d(maps, activation="relu"),
                nn.Identity(),
            ]
            before = maps
        # Identity stands where plain PyTorch has the activation that runs within the layer before.
        layers += [
            ConvTransposeAct2d(before, image_shape[0], 4, 2, 1, bias=False, activation="tanh"),
            nn.Identity(),
        ]
        self.main = nn.Sequential(*layers)
        initialize(self, init, dcgan=normal_weights)

    def forward(self, z: Tensor) -> Tensor:
        """``z`` ``[N, z_dim]`` to images ``[N, C, H, W]`` in [-1, 1]."""
        check_noise(z, self.z_dim)
        images: Tensor = self.main(z.view(-1, self.z_dim, 1, 1))
        return images


@declares(per_sample=True, chain="main", any_layout=True)
class Discriminator(nn.Module):
    """Images to the probability of being real: layers that halve the size, then one to 1x1.

    Convolutions without bias, each but the last followed by batch norm and LeakyReLU. The first has
    batch norm too, as in the tutorial; the paper leaves it out there.

    As a critic with a gradient penalty it needs ``norm="none"`` and ``output="logit"``: batch norm
    mixes samples, and the penalty is on the gradient of each (Gulrajani et al., 2017,
    arXiv:1704.00028, section 4).

    Args:
        image_shape: as for :class:`Generator`.
        width: feature maps after the first layer; each further layer has twice as many. None: as
            for :class:`Generator`.
        negative_slope: of LeakyReLU, finite and >= 0.
        init: as for :class:`Generator`.
        output: ``"probability"`` (Sigmoid at the end) or ``"logit"`` (the same layers without it).
        norm: ``"batch"``, or ``"none"``: convolutions with a bias and no batch norm.

    Raises:
        ConfigError: a setting is not allowed.
    """

    def __init__(
        self,
        image_shape: Sequence[int] = (1, 28, 28),
        width: int | None = None,
        negative_slope: float = 0.2,
        init: Init = "pytorch",
        output: str = "probability",
        norm: str = "batch",
    ) -> None:
        super().__init__()
        check_slope(negative_slope)
        check_choice("output", output, "probability", "logit")
        check_choice("norm", norm, "batch", "none")
        smallest, widths = _plan(image_shape, width)
        self.image_shape = integers(image_shape)
        self.output = output
        bias = norm == "none"
        layers: list[nn.Module] = []
        before = image_shape[0]
        for maps in widths:
            layers.append(nn.Conv2d(before, maps, 4, 2, 1, bias=bias))
            if norm == "batch":
                act = BatchNormAct2d(maps, activation="leaky_relu", negative_slope=negative_slope)
                layers += [act, nn.Identity()]
            else:
                layers += [nn.Identity(), nn.LeakyReLU(negative_slope, inplace=True)]
            before = maps
        layers += [
            nn.Conv2d(before, 1, smallest, 1, 0, bias=bias),
            nn.Sigmoid() if output == "probability" else nn.Identity(),
        ]
        self.main = nn.Sequential(*layers)
        initialize(self, init, dcgan=normal_weights)

    def forward(self, images: Tensor) -> Tensor:
        """Images ``[N, C, H, W]`` to ``[N, 1]``."""
        check_images(images, self.image_shape)
        scores: Tensor = self.main(images)
        return scores.view(-1, 1)


def _plan(image_shape: Sequence[int], width: int | None) -> tuple[int, list[int]]:
    """The size of the smallest feature map, and the widths from the image inwards."""
    check_image_shape(image_shape)
    _, height, columns = integers(image_shape)
    if height != columns or height not in _SMALLEST:
        allowed = ", ".join(f"{size}x{size}" for size in _SMALLEST)
        raise ConfigError(
            f"image_shape must be square, one of {allowed}, got {height}x{columns} in "
            f"{tuple(image_shape)}"
        )
    if width is None:
        width = 4 * height if height == 28 else 64
    check_positive("width", width)
    smallest = _SMALLEST[height]
    doublings = (height // smallest).bit_length() - 1
    return smallest, [width * 2**layer for layer in range(doublings)]
