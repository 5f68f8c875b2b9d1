"""The networks of BigGAN-deep (Brock, Donahue and Simonyan, 2018, arXiv:1809.11096), appendix B.

Two blocks for each size, each with a bottleneck of a quarter of the feature maps and a shortcut
without a layer of its own, or in the discriminator with one for the feature maps that are added.
For images of 32 and 64 pixels they are those of the authors' PyTorch code,
https://github.com/ajbrock/BigGAN-PyTorch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.models.biggan import (
    BOTTOM,
    G_WIDTHS,
    attended,
    conditioned_by,
    downwards,
    widths_of,
)
from gankit.models.checks import check_noise, check_positive
from gankit.models.initialization import Init
from gankit.models.residual import (
    Norms,
    ProjectionDiscriminator,
    SelfAttention2d,
    Upward,
    draw_weights,
    halved,
    upsampled,
)
from gankit.nn import SpectralConv2d, SpectralLinear
from gankit.nn.traits import declares
from gankit.scalars import integers

__all__ = ["Discriminator", "Generator"]

# Of the feature maps of a block, those that its 3x3 convolutions see.
_SHARE = 4


@declares(per_sample=True, any_layout=True)
class Generator(nn.Module):
    """Noise and classes to images. The first layer and all blocks see the whole of z.

    Args:
        n_classes: number of classes.
        z_dim: length of a noise vector.
        image_shape, embedding, attention, init: as for :class:`gankit.models.biggan.Generator`.
        width: the paper's ch.

    Raises:
        ConfigError: a setting is not allowed.
    """

    def __init__(
        self,
        n_classes: int,
        z_dim: int = 128,
        image_shape: Sequence[int] = (3, 128, 128),
        width: int = 128,
        embedding: int = 128,
        attention: int | str | None = "auto",
        init: Init = "orthogonal",
    ) -> None:
        super().__init__()
        check_positive("n_classes", n_classes)
        check_positive("z_dim", z_dim)
        check_positive("embedding", embedding)
        widths = widths_of(image_shape, width, G_WIDTHS)
        self.n_classes, self.z_dim = int(n_classes), int(z_dim)
        self.image_shape = integers(image_shape)
        self.embedding = nn.Embedding(n_classes, embedding)
        inputs = z_dim + embedding
        norms = conditioned_by(inputs)
        self.linear = SpectralLinear(inputs, widths[0] * BOTTOM**2)
        sizes = [BOTTOM * 2**level for level in range(1, len(widths))]
        size = attended(attention, sizes[-1], sizes)
        layers: list[nn.Module] = []
        for number, maps in enumerate(widths[1:]):
            before = widths[number]
            layers += [
                _UpBlock(before, before, norms, doubles=False),
                _UpBlock(before, maps, norms, doubles=True),
            ]
            if sizes[number] == size:
                layers.append(SelfAttention2d(maps))
        self.blocks = 2 * len(sizes)
        self.main = Upward(layers, widths[-1], self.image_shape[0])
        draw_weights(self, init)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """``z`` ``[N, z_dim]`` and labels int64 ``[N]`` to images ``[N, C, S, S]`` in [-1, 1]."""
        check_noise(z, self.z_dim)
        condition = torch.cat([z, self.embedding(labels)], 1)
        x = self.linear(condition).unflatten(1, (-1, BOTTOM, BOTTOM))
        images: Tensor = self.main(x, [condition] * self.blocks)
        return images


@declares(per_sample=True, any_layout=True)
class Discriminator(ProjectionDiscriminator):
    """Images and classes to scores: two blocks for each size, then a projection.

    Args:
        n_classes: number of classes.
        image_shape, width, init: as for :class:`Generator`.
        attention: as for :class:`Generator`, from S / 2 downwards.

    Raises:
        ConfigError: a setting is not allowed.
    """

    def __init__(
        self,
        n_classes: int,
        image_shape: Sequence[int] = (3, 128, 128),
        width: int = 128,
        attention: int | str | None = "auto",
        init: Init = "orthogonal",
    ) -> None:
        check_positive("n_classes", n_classes)
        widths, sizes, size = downwards(image_shape, width, attention)
        layers: list[nn.Module] = [
            SpectralConv2d(integers(image_shape)[0], widths[0], 3, padding=1)
        ]
        for number, maps in enumerate(widths[1:]):
            halves = number < len(sizes)
            layers += [
                _DownBlock(widths[number], maps, halves=halves),
                _DownBlock(maps, maps, halves=False),
            ]
            if halves and sizes[number] == size:
                layers.append(SelfAttention2d(maps))
        super().__init__(layers, widths[-1], n_classes, image_shape, init)


@declares(per_sample=True, any_layout=True)
class _UpBlock(nn.Module):
    """Norm, ReLU and convolution, four times; feature maps that the output lacks are dropped."""

    def __init__(self, before: int, maps: int, norms: Norms, *, doubles: bool) -> None:
        super().__init__()
        inner = max(1, before // _SHARE)
        self.maps, self.doubles = maps, doubles
        self.norm1, self.norm2 = norms(before), norms(inner)
        self.norm3, self.norm4 = norms(inner), norms(inner)
        self.conv1 = SpectralConv2d(before, inner, 1)
        self.conv2 = SpectralConv2d(inner, inner, 3, padding=1)
        self.conv3 = SpectralConv2d(inner, inner, 3, padding=1)
        self.conv4 = SpectralConv2d(inner, maps, 1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        y = self.norm2(self.conv1(self.norm1(x, condition)), condition)
        x = x[:, : self.maps]
        if self.doubles:
            x, y = upsampled(x), upsampled(y)
        y = self.conv3(self.norm3(self.conv2(y), condition))
        total: Tensor = x + self.conv4(self.norm4(y, condition))
        return total


@declares(per_sample=True, any_layout=True)
class _DownBlock(nn.Module):
    """ReLU and convolution, four times; feature maps that the input lacks are a layer's."""

    def __init__(self, before: int, maps: int, *, halves: bool) -> None:
        super().__init__()
        inner = max(1, maps // _SHARE)
        self.halves = halves
        self.conv1 = SpectralConv2d(before, inner, 1)
        self.conv2 = SpectralConv2d(inner, inner, 3, padding=1)
        self.conv3 = SpectralConv2d(inner, inner, 3, padding=1)
        self.conv4 = SpectralConv2d(inner, maps, 1)
        self.added = SpectralConv2d(before, maps - before, 1) if maps > before else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(F.relu(self.conv1(F.relu(x))))
        y = F.relu(self.conv3(F.relu(y)))
        if self.halves:
            x, y = halved(x), halved(y)
        if self.added is not None:
            x = torch.cat([x, self.added(x)], 1)
        total: Tensor = x + self.conv4(y)
        return total
