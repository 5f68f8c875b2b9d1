"""The networks of DiscoGAN (Kim, Cha, Kim, Lee and Kim, 2017, arXiv:1703.05192).

Keys of the ``state_dict`` are ``main.0``, ``main.2``, ``main.3``, ... as in a plain
``nn.Sequential`` of convolution, norm and activation.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from gankit.errors import ConfigError
from gankit.models.checks import check_any_size, check_images, check_positive, check_slope
from gankit.models.initialization import Init, initialize, normal
from gankit.models.norms import norm_act
from gankit.nn import ConvTransposeAct2d
from gankit.nn.traits import declares
from gankit.scalars import is_integer

__all__ = ["Discriminator", "Generator"]

_MAX_LEVELS = 10


@declares(per_sample=True, chain="main", any_layout=True)
class Generator(nn.Module):
    """Images to images of the same size: an encoder that halves the size, a decoder that doubles.

    4x4 convolutions without bias; batch norm and LeakyReLU behind those of the encoder, except that
    the first has no norm; batch norm and ReLU behind those of the decoder, and Tanh at the end.
    With a ``code`` two more layers lead to a vector and back, so that no pixel has a way of its own
    through the network. At 64 pixels they are the layers of the authors' code, which makes images
    in [0, 1] by a sigmoid.

    Args:
        in_channels, out_channels: C of the images that come in and go out.
        image_size: height and width.
        width: feature maps after the first layer; each further one has twice as many, at most 8
            times as many.
        levels: how often the size is halved, 1 to 10. None: as often as leaves the smallest map an
            edge of 4 to 7, or an odd one: 4 times at 64.
        code: length of the vector, 100 in the authors' code; None leaves these layers out, and the
            network then takes images of any size that ``size_multiple`` allows.
        negative_slope: of LeakyReLU, finite and >= 0.
        init: ``"pytorch"``, as in the authors' code; ``"normal"``, N(0, 0.02) on convolutions and
            N(1, 0.02) on batch norm's scale; or a function applied to every submodule.

    Attributes:
        in_channels, out_channels: as given.
        fixed_size: with a ``code``, the one height and width of an image, else None.
        size_multiple, min_size: without, what height and width are multiples of, and the least.

    Raises:
        ConfigError: a setting is not allowed.
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        image_size: int = 64,
        width: int = 64,
        levels: int | None = None,
        code: int | None = None,
        negative_slope: float = 0.2,
        init: Init = "pytorch",
    ) -> None:
        super().__init__()
        check_positive("in_channels", in_channels)
        check_positive("out_channels", out_channels)
        check_slope(negative_slope)
        smallest, widths = _plan(image_size, width, levels)
        self.in_channels = int(in_channels)
        self.out_channels = int(out_channels)
        layers = _encoder(in_channels, widths, negative_slope)
        self.fixed_size: int | None = None
        if code is None:
            # In training a map of one pixel has no variance where the batch is one image.
            self.size_multiple = self.min_size = 2 ** len(widths)
        else:
            check_positive("code", code)
            self.fixed_size = int(image_size)
            layers += [
                nn.Conv2d(widths[-1], code, smallest, bias=False),
                *norm_act("batch", code, "leaky_relu", negative_slope),
                ConvTransposeAct2d(code, widths[-1], smallest, bias=False),
                *norm_act("batch", widths[-1], "relu"),
            ]
        for before, maps in zip(widths[:0:-1], widths[-2::-1], strict=True):
            layers += [
                ConvTransposeAct2d(before, maps, 4, 2, 1, bias=False),
                *norm_act("batch", maps, "relu"),
            ]
        last = ConvTransposeAct2d(widths[0], out_channels, 4, 2, 1, bias=False, activation="tanh")
        self.main = nn.Sequential(*layers, last, nn.Identity())
        initialize(self, init, normal=normal)

    def forward(self, images: Tensor) -> Tensor:
        """Images ``[N, in_channels, H, W]`` to images ``[N, out_channels, H, W]`` in [-1, 1].

        Raises DataError for images of other channels, or of a size that the network does not take.
        """
        if self.fixed_size is None:
            check_any_size(images, self.in_channels, self.min_size, self.size_multiple)
        else:
            check_images(images, (self.in_channels, self.fixed_size, self.fixed_size))
        result: Tensor = self.main(images)
        return result


@declares(per_sample=True, any_layout=True)
class Discriminator(nn.Module):
    """Images to a logit each, and to the features that DiscoGAN compares.

    The layers of the encoder of :class:`Generator`, and a convolution over its smallest map.

    Args:
        in_channels, image_size, width, levels, negative_slope, init: as for :class:`Generator`.

    Raises:
        ConfigError: a setting is not allowed.
    """

    def __init__(
        self,
        in_channels: int = 3,
        image_size: int = 64,
        width: int = 64,
        levels: int | None = None,
        negative_slope: float = 0.2,
        init: Init = "pytorch",
    ) -> None:
        super().__init__()
        check_positive("in_channels", in_channels)
        check_slope(negative_slope)
        smallest, widths = _plan(image_size, width, levels)
        self.in_channels, self.image_size = int(in_channels), int(image_size)
        encoder = _encoder(in_channels, widths, negative_slope)
        self.main = nn.Sequential(*encoder, nn.Conv2d(widths[-1], 1, smallest, bias=False))
        # Behind the activation of each layer but the first, and but the last, which is the logit.
        self._taken = frozenset(range(4, len(encoder), 3))
        initialize(self, init, normal=normal)

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Images ``[N, C, H, W]`` to logits ``[N, 1]`` and to features ``[N, ..., h, w]``.

        The features are those behind each activation but the first. Raises DataError for images of
        another shape.
        """
        check_images(images, (self.in_channels, self.image_size, self.image_size))
        x, features = images, []
        for place, layer in enumerate(self.main):
            x = layer(x)
            if place in self._taken:
                features.append(x)
        return x.flatten(1), features


def _encoder(channels: int, widths: list[int], negative_slope: float) -> list[nn.Module]:
    layers: list[nn.Module] = [
        nn.Conv2d(channels, widths[0], 4, 2, 1, bias=False),
        nn.LeakyReLU(negative_slope, inplace=True),
    ]
    for before, maps in pairwise(widths):
        layers += [
            nn.Conv2d(before, maps, 4, 2, 1, bias=False),
            *norm_act("batch", maps, "leaky_relu", negative_slope),
        ]
    return layers


def _plan(image_size: int, width: int, levels: int | None) -> tuple[int, list[int]]:
    """The size of the smallest map, and the feature maps of the levels from the image inwards."""
    check_positive("image_size", image_size)
    check_positive("width", width)
    if levels is None:
        levels = 0
        while image_size >> levels >= 8 and image_size % 2 ** (levels + 1) == 0:
            levels += 1
    if not is_integer(levels) or not 1 <= levels <= _MAX_LEVELS or image_size % 2**levels:
        raise ConfigError(
            f"levels must be an integer from 1 to {_MAX_LEVELS}, and image_size a multiple of "
            f"2^levels, got levels {levels} and image_size {image_size}"
        )
    return image_size >> levels, [width * min(2**level, 8) for level in range(levels)]
