"""The generator of CycleGAN (Zhu, Park, Isola and Efros, 2017, arXiv:1703.10593).

Its layers are those of Johnson, Alahi and Fei-Fei (2016, arXiv:1603.08155) with reflection padding.
Keys of the ``state_dict`` are those of a plain ``nn.Sequential`` called ``main``, with padding,
convolution, norm and activation as modules of their own: ``main.1`` is the first convolution, a
residual block has its layers in a ``main`` too. :func:`from_public` brings the released files of
the authors' PyTorch code into this form.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from gankit.errors import ConfigError
from gankit.models.checks import check_any_size, check_choice, check_positive, check_probability
from gankit.models.initialization import Init, initialize, normal
from gankit.models.norms import check_norm, has_bias, norm_act
from gankit.models.public import without_leftovers
from gankit.nn import ConvTransposeAct2d
from gankit.nn.traits import declares
from gankit.scalars import is_integer

__all__ = ["ResNetGenerator", "from_public"]

_PADDINGS = {"reflect": nn.ReflectionPad2d, "replicate": nn.ReplicationPad2d, "zeros": nn.ZeroPad2d}
_MAX_BLOCKS = 100


@declares(per_sample=True, chain="main", any_layout=True)
class ResNetGenerator(nn.Module):
    """Images to images of the same size.

    In the notation of the paper: ``c7s1-64, d128, d256, R256 x blocks, u128, u64, c7s1-3`` with
    ``width`` 64, norm and ReLU after each convolution but the last, which has Tanh.

    Args:
        in_channels, out_channels: C of the images that come in and go out.
        image_size: of the images to train with; it decides about ``blocks`` alone.
        width: feature maps after the first layer.
        blocks: number of residual blocks, 0 to 100. None: 6 for ``image_size`` below 256, else 9,
            as in the paper.
        norm: ``"instance"``, without parameters, behind convolutions with a bias; or ``"batch"``.
        padding: at the image and within the blocks: ``"reflect"``, ``"replicate"`` or ``"zeros"``.
        dropout: probability of dropping a feature within a block, 0 to 1; 0 leaves no place for it.
        init: ``"normal"``, N(0, 0.02) on convolutions with zero biases and N(1, 0.02) on batch
            norm's scale; ``"pytorch"``; or a function applied to every submodule.

    Attributes:
        in_channels, out_channels: as given.
        size_multiple: height and width of an image are multiples of this number, 4.
        min_size: the least height and width, 8.

    Raises:
        ConfigError: a setting is not allowed.
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        image_size: int = 256,
        width: int = 64,
        blocks: int | None = None,
        norm: str = "instance",
        padding: str = "reflect",
        dropout: float = 0.0,
        init: Init = "normal",
    ) -> None:
        super().__init__()
        for name, value in (
            ("in_channels", in_channels),
            ("out_channels", out_channels),
            ("image_size", image_size),
            ("width", width),
        ):
            check_positive(name, value)
        check_norm(norm)
        check_choice("padding", padding, *_PADDINGS)
        check_probability("dropout", dropout)
        if blocks is None:
            blocks = 6 if image_size < 256 else 9
        if not is_integer(blocks) or not 0 <= blocks <= _MAX_BLOCKS:
            raise ConfigError(f"blocks must be an integer from 0 to {_MAX_BLOCKS}, got {blocks}")
        self.in_channels = int(in_channels)
        self.out_channels = int(out_channels)
        self.size_multiple, self.min_size = 4, 8
        pad, bias = _PADDINGS[padding], has_bias(norm)
        layers: list[nn.Module] = [
            pad(3),
            nn.Conv2d(in_channels, width, 7, bias=bias),
            *norm_act(norm, width, "relu"),
        ]
        for maps in (2 * width, 4 * width):
            layers += [
                nn.Conv2d(maps // 2, maps, 3, 2, 1, bias=bias),
                *norm_act(norm, maps, "relu"),
            ]
        layers += [_Block(4 * width, norm, pad, dropout) for _ in range(blocks)]
        for maps in (2 * width, width):
            layers += [
                ConvTransposeAct2d(2 * maps, maps, 3, 2, 1, 1, bias=bias),
                *norm_act(norm, maps, "relu"),
            ]
        self.main = nn.Sequential(*layers, pad(3), nn.Conv2d(width, out_channels, 7), nn.Tanh())
        initialize(self, init, normal=normal)

    def forward(self, images: Tensor) -> Tensor:
        """Images ``[N, in_channels, H, W]`` to images ``[N, out_channels, H, W]`` in [-1, 1].

        Raises DataError for other channels, for a size below ``min_size``, or where H or W is no
        multiple of ``size_multiple``: the output would have another size.
        """
        check_any_size(images, self.in_channels, self.min_size, self.size_multiple)
        result: Tensor = self.main(images)
        return result


@declares(per_sample=True, any_layout=True)
class _Block(nn.Module):
    """A residual block: its input is added to what two convolutions make of it."""

    def __init__(self, maps: int, norm: str, pad: type[nn.Module], dropout: float) -> None:
        super().__init__()
        bias = has_bias(norm)
        self.main = nn.Sequential(
            pad(1),
            nn.Conv2d(maps, maps, 3, bias=bias),
            *norm_act(norm, maps, "relu"),
            *([nn.Dropout(dropout)] if dropout > 0 else []),
            pad(1),
            nn.Conv2d(maps, maps, 3, bias=bias),
            norm_act(norm, maps, "none")[0],
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.main(x)
        return y


def from_public(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a released file, under the keys of :class:`ResNetGenerator`.

    The files are those of github.com/junyanz/pytorch-CycleGAN-and-pix2pix, of generators
    ``resnet_6blocks`` and ``resnet_9blocks``: load one with ``torch.load(path, weights_only=True)``
    into ``ResNetGenerator(blocks=9)``, or with ``dropout=0.5`` where it was trained with dropout.

    ======================================  ==================================
    ``model.N.weight``                      ``main.N.weight``
    ``model.N.conv_block.M.weight``         ``main.N.main.M.weight``
    ======================================  ==================================

    Other suffixes go the same way. A prefix ``module.``, of ``DataParallel``, is taken off. Running
    statistics of instance norms, which files from before 2017-11 hold, are left out: the layers do
    not use them.

    Raises:
        ConfigError: a key that is not of this form.
    """
    weights = {}
    for key, value in without_leftovers(state).items():
        parts = key.split(".")
        if parts[0] != "model" or len(parts) not in (3, 5):
            raise ConfigError(
                f"state must have the keys of the public ResNet generator, such as model.1.weight, "
                f"got {key!r}"
            )
        names = {"model": "main", "conv_block": "main"}
        weights[".".join(names.get(part, part) for part in parts)] = value
    return weights
