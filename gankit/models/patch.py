"""The patch discriminator of pix2pix (Isola et al., 2016, arXiv:1611.07004) and CycleGAN.

Its receptive field is a patch of the image, so it says of each patch whether it is real. Keys of
the ``state_dict`` are ``main.0``, ``main.2``, ``main.3``, ... as in a plain ``nn.Sequential`` of
convolution, norm and LeakyReLU.
"""

from __future__ import annotations

from torch import Tensor, nn

from gankit.errors import ConfigError
from gankit.models.checks import check_any_size, check_positive, check_slope
from gankit.models.initialization import Init, initialize, normal
from gankit.models.norms import check_norm, has_bias, norm_act
from gankit.nn.traits import declares
from gankit.scalars import is_integer

__all__ = ["PatchDiscriminator"]

_MAX_LAYERS = 8


@declares(per_sample=True, chain="main", any_layout=True)
class PatchDiscriminator(nn.Module):
    """Images to a map of logits, one for each overlapping patch.

    4x4 convolutions with LeakyReLU: ``layers`` that halve the size, then two of stride 1, the last
    of which makes the logits. The first and the last have no norm. Widths double from ``width`` to
    at most 8 times that. A conditional discriminator takes the two images as channels of one:
    ``in_channels`` is the sum of theirs.

    Args:
        in_channels: C of the images.
        width: feature maps after the first layer.
        layers: convolutions of stride 2, 1 to 8. The receptive field is 16, 34, 70, 142, ... pixels
            wide for 1, 2, 3, 4, ... of them.
        norm: ``"batch"`` (pix2pix); ``"instance"`` (CycleGAN), without parameters, behind
            convolutions with a bias; or ``"none"``, for a critic with a gradient penalty.
        negative_slope: of LeakyReLU, finite and >= 0.
        init: ``"normal"``, N(0, 0.02) on convolutions with zero biases and N(1, 0.02) on batch
            norm's scale; ``"pytorch"``; or a function applied to every submodule.

    Attributes:
        receptive_field: height and width in pixels of what one logit depends on.
        min_size: the least height and width of an image.

    Raises:
        ConfigError: a setting is not allowed.
    """

    def __init__(
        self,
        in_channels: int = 3,
        width: int = 64,
        layers: int = 3,
        norm: str = "batch",
        negative_slope: float = 0.2,
        init: Init = "normal",
    ) -> None:
        super().__init__()
        check_positive("in_channels", in_channels)
        check_positive("width", width)
        check_norm(norm, "none")
        check_slope(negative_slope)
        if not is_integer(layers) or not 1 <= layers <= _MAX_LAYERS:
            raise ConfigError(f"layers must be an integer from 1 to {_MAX_LAYERS}, got {layers}")
        self.in_channels = int(in_channels)
        self.receptive_field = 9 * 2**layers - 2
        self.min_size = 3 * 2**layers
        modules: list[nn.Module] = [
            nn.Conv2d(in_channels, width, 4, 2, 1),
            nn.LeakyReLU(negative_slope, inplace=True),
        ]
        before = width
        for layer in range(1, layers + 1):
            maps, stride = width * min(2**layer, 8), 2 if layer < layers else 1
            modules += [
                nn.Conv2d(before, maps, 4, stride, 1, bias=has_bias(norm)),
                *norm_act(norm, maps, "leaky_relu", negative_slope),
            ]
            before = maps
        self.main = nn.Sequential(*modules, nn.Conv2d(before, 1, 4, 1, 1))
        initialize(self, init, normal=normal)

    def forward(self, images: Tensor) -> Tensor:
        """Images ``[N, in_channels, H, W]`` to logits ``[N, 1, h, w]``.

        ``h`` is ``H // 2^layers - 2``, and so is ``w``. Raises DataError for images of other
        channels, or smaller than ``min_size``.
        """
        check_any_size(images, self.in_channels, self.min_size)
        logits: Tensor = self.main(images)
        return logits
