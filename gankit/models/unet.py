"""The generator of pix2pix (Isola, Zhu, Zhou and Efros, 2016, arXiv:1611.07004): a U-Net.

An encoder halves the size down to a bottleneck, a decoder doubles it again and sees on each level
the encoder's features of that size (Ronneberger, Fischer and Brox, 2015, arXiv:1505.04597). Keys of
the ``state_dict`` are ``down.LEVEL.*`` from the image inwards, ``up.STEP.*`` from the bottleneck
outwards, and ``last.0.*``; within each, 0 is the convolution and 1 the norm. :func:`from_public`
brings the released files of the authors' PyTorch code into this form.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise

import torch
from torch import Tensor, nn

from gankit.errors import ConfigError
from gankit.models.checks import check_any_size, check_choice, check_positive, check_probability
from gankit.models.initialization import Init, initialize, normal
from gankit.models.norms import check_norm, has_bias, norm_act
from gankit.models.public import without_leftovers
from gankit.nn import ConvTransposeAct2d
from gankit.nn.traits import declares
from gankit.scalars import is_integer

__all__ = ["UNetGenerator", "from_public"]

_MIN_SIZE, _MAX_SIZE = 4, 1024
# Decoder blocks with dropout, from the bottleneck outwards.
_NOISY = 3
_KEY = re.compile(r"model\.model(\.1\.model(?:\.3\.model)*)?\.(\d+)\.(\w+)")


@declares(per_sample=True, output="last", any_layout=True)
class UNetGenerator(nn.Module):
    """Images to images of the same size, with skips between encoder and decoder.

    4x4 convolutions of stride 2. Encoder: LeakyReLU of slope 0.2, and a norm but for the first and
    the innermost. Decoder: norm and ReLU; the last layer has Tanh. The widths are ``width`` times
    1, 2, 4, 8, 8, ... from the image inwards. With 256 pixels and ``norm="batch"`` this is the
    U-Net of the paper's appendix, with ReLU in front of each concatenation rather than behind it,
    which is the same function.

    The paper's source of noise is dropout, at test time too, where batch norm also takes the
    statistics of the test batch: see :meth:`sampling`.

    Args:
        in_channels, out_channels: C of the images that come in and go out.
        image_size: a power of 2 from 4 to 1024; there are ``log2(image_size)`` levels, so that an
            image of this size ends in one pixel. Images may be larger.
        width: feature maps after the first layer.
        norm: ``"batch"``; or ``"instance"``, without parameters, behind convolutions with a bias.
        dropout: probability of dropping a feature of the three innermost blocks of the decoder, or
            of all but the last where there are fewer; 0 to 1. The authors' PyTorch code drops in
            those of full width but the innermost: with 256 pixels one block further out.
        init: ``"normal"``, N(0, 0.02) on convolutions with zero biases and N(1, 0.02) on batch
            norm's scale; ``"pytorch"``; or a function applied to every submodule.
        test_statistics: what batch norms use when it samples: ``"batch"``, the statistics of the
            images at hand, as in the paper; or ``"running"``, those of training, for a network that
            learns from batches of several images and is then shown one.

    Attributes:
        in_channels, out_channels: as given.
        size_multiple: height and width of an image are multiples of this number, 2^levels.
        dropout_is_noise: whether two samples of one input differ; False without dropout.

    Raises:
        ConfigError: a setting is not allowed.
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        image_size: int = 256,
        width: int = 64,
        norm: str = "batch",
        dropout: float = 0.5,
        init: Init = "normal",
        test_statistics: str = "batch",
    ) -> None:
        super().__init__()
        check_positive("in_channels", in_channels)
        check_positive("out_channels", out_channels)
        check_positive("width", width)
        check_norm(norm)
        check_probability("dropout", dropout)
        check_choice("test_statistics", test_statistics, "batch", "running")
        levels = int(image_size).bit_length() - 1 if is_integer(image_size) else 0
        if 2**levels != image_size or not _MIN_SIZE <= image_size <= _MAX_SIZE:
            raise ConfigError(
                f"image_size must be a power of 2 from {_MIN_SIZE} to {_MAX_SIZE}, got {image_size}"
            )
        self.in_channels = int(in_channels)
        self.out_channels = int(out_channels)
        self.size_multiple = 2**levels
        self.dropout_is_noise = dropout > 0
        self._keeps_statistics = test_statistics == "running"
        bias = has_bias(norm)
        widths = [width * min(2**level, 8) for level in range(levels)]
        self.down = nn.ModuleList(
            [nn.Sequential(nn.Conv2d(in_channels, width, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True))]
        )
        for before, maps in pairwise(widths[:-1]):
            convolution = nn.Conv2d(before, maps, 4, 2, 1, bias=bias)
            self.down.append(nn.Sequential(convolution, *norm_act(norm, maps, "leaky_relu", 0.2)))
        # One pixel at the least, which a norm would make 0.
        self.down.append(
            nn.Sequential(
                nn.Conv2d(widths[-2], widths[-1], 4, 2, 1, bias=bias), nn.ReLU(inplace=True)
            )
        )
        self.up = nn.ModuleList()
        before = widths[-1]
        for step, maps in enumerate(reversed(widths[:-1])):
            layers = [
                ConvTransposeAct2d(before, maps, 4, 2, 1, bias=bias),
                *norm_act(norm, maps, "relu"),
            ]
            if dropout > 0 and step < _NOISY:
                layers.append(nn.Dropout(dropout))
            self.up.append(nn.Sequential(*layers))
            before = 2 * maps  # the skip comes beside it
        self.last = nn.Sequential(
            ConvTransposeAct2d(before, out_channels, 4, 2, 1, activation="tanh"), nn.Identity()
        )
        initialize(self, init, normal=normal)

    def forward(self, images: Tensor) -> Tensor:
        """Images ``[N, in_channels, H, W]`` to images ``[N, out_channels, H, W]`` in [-1, 1].

        Raises DataError for other channels, or where H or W is no multiple of ``size_multiple``.
        """
        check_any_size(images, self.in_channels, self.size_multiple, self.size_multiple)
        skips: list[Tensor] = []
        x = images
        for stage in self.down:
            x = stage(x)
            skips.append(x)
        skips.pop()  # it is x
        for stage in self.up:
            x = torch.cat([skips.pop().relu(), stage(x)], 1)
        result: Tensor = self.last(x)
        return result

    @contextmanager
    def sampling(self) -> Iterator[None]:
        """Inside the block the network samples as in the paper's section 3.3.

        Dropout is on, and batch norms take the statistics of the batch at hand, unless
        ``test_statistics`` is ``"running"``; their running statistics stay as they are. Afterwards
        every layer is in the mode that it had.
        """
        modes = [(module, module.training) for module in self.modules()]
        kind = nn.modules.batchnorm._BatchNorm
        norms = [module for module in self.modules() if isinstance(module, kind)]
        tracks = [norm.track_running_stats for norm in norms]
        try:
            for module, _ in modes:
                module.training = True
            for norm in norms:
                norm.training = not self._keeps_statistics
                norm.track_running_stats = self._keeps_statistics
            yield
        finally:
            for module, mode in modes:
                module.training = mode
            for norm, track in zip(norms, tracks, strict=True):
                norm.track_running_stats = track


def from_public(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a released file, under the keys of :class:`UNetGenerator`.

    The files are those of github.com/junyanz/pytorch-CycleGAN-and-pix2pix, of generators
    ``unet_128`` and ``unet_256``: load one with ``torch.load(path, weights_only=True)`` into
    ``UNetGenerator(image_size=128)`` or ``256``. There each level is a module inside the level
    above: a key of level 0 begins with ``model.model.``, of level 1 with ``model.model.1.model.``,
    and of each further one with a ``3.model.`` more. Behind that, with ``L`` levels and ``l`` from
    1 to ``L - 2``:

    =========  ===================  ==================================================
    level      index there          key here
    =========  ===================  ==================================================
    0          0, 3                 ``down.0.0``, ``last.0``
    ``l``      1, 2, 5, 6           ``down.l.0``, ``down.l.1``, ``up.s.0``, ``up.s.1``
                                    with ``s = L - 1 - l``
    ``L - 1``  1, 3, 4              ``down.(L-1).0``, ``up.0.0``, ``up.0.1``
    =========  ===================  ==================================================

    A prefix ``module.``, of ``DataParallel``, is taken off, and running statistics of instance
    norms, which old files hold and the layers do not use, are left out.

    Raises:
        ConfigError: a key that is not of this form.
    """
    entries = {}
    for key, value in without_leftovers(state).items():
        level, index = _place(key)
        entries[level, index, key.rpartition(".")[2]] = value
    innermost = max((level for level, _, _ in entries), default=0)
    weights = {}
    for (level, index, name), value in entries.items():
        place = _target(level, index, innermost)
        if place is None:
            raise _unknown(f"layer {index} of level {level}")
        weights[f"{place}.{name}"] = value
    return weights


def _place(key: str) -> tuple[int, int]:
    """Level and index of the layer that a key names."""
    found = _KEY.fullmatch(key)
    if found is None:
        raise _unknown(repr(key))
    return (found[1] or "").count("model"), int(found[2])


def _target(level: int, index: int, innermost: int) -> str | None:
    if level == 0:
        return {0: "down.0.0", 3: "last.0"}.get(index)
    step = innermost - level
    if level == innermost:
        return {1: f"down.{level}.0", 3: "up.0.0", 4: "up.0.1"}.get(index)
    return {
        1: f"down.{level}.0",
        2: f"down.{level}.1",
        5: f"up.{step}.0",
        6: f"up.{step}.1",
    }.get(index)


def _unknown(what: str) -> ConfigError:
    return ConfigError(
        f"state must have the keys of the public U-Net, such as model.model.0.weight, got {what}"
    )
