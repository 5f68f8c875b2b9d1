"""The convolutional autoencoder of BEGAN (Berthelot, Schumm and Metz, 2017, arXiv:1703.10717).

3x3 convolutions with ELU, subsampling by stride 2, upsampling by nearest neighbours, and no
normalisation. The discriminator is the whole autoencoder; the generator has the decoder's layers,
with weights of its own and noise in place of a code. Keys of the ``state_dict`` are ``main.N.*``
(generator), ``encoder.N.*`` and ``decoder.N.*`` (discriminator).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.errors import ConfigError
from gankit.models.checks import (
    check_choice,
    check_image_shape,
    check_images,
    check_noise,
    check_positive,
)
from gankit.nn import Linear
from gankit.nn.traits import declares
from gankit.scalars import integers

__all__ = ["Discriminator", "Generator"]

# More would take a while to build, whatever the weights that follow say.
_MAX_REPEATS, _MAX_LEVELS = 100, 30


@declares(per_sample=True, chain="main", any_layout=True)
class Generator(nn.Module):
    """Noise to images: a linear layer to the smallest feature map, then levels that double it.

    Each level is ``repeats`` convolutions with ELU; between levels the map is upsampled. A last
    convolution makes the image.

    Args:
        z_dim: length of a noise vector.
        image_shape: ``(C, H, W)``; H and W are multiples of ``2^levels``, else anything.
        width: feature maps of every layer but the last.
        levels: how often the size doubles, 0 to 30. None: as often as leaves the smallest map an
            edge of 5 to 9, or an odd one. So it is 8x8 for 32x32, 64x64 and 128x128, as in the
            paper, 7x7 for 28x28; 0 times for 8x8.
        repeats: convolutions in each level, 1 to 100.
        output: ``"linear"``, as in the paper, or ``"tanh"``.

    Raises:
        ConfigError: a setting is not allowed.
    """

    def __init__(
        self,
        z_dim: int = 64,
        image_shape: Sequence[int] = (1, 28, 28),
        width: int = 64,
        levels: int | None = None,
        repeats: int = 2,
        output: str = "linear",
    ) -> None:
        super().__init__()
        check_positive("z_dim", z_dim)
        self.z_dim = int(z_dim)
        self.image_shape = integers(image_shape)
        self.main = _decoder(z_dim, image_shape, width, levels, repeats, output)

    def forward(self, z: Tensor) -> Tensor:
        """``z`` ``[N, z_dim]`` to images ``[N, C, H, W]``."""
        check_noise(z, self.z_dim)
        images: Tensor = self.main(z)
        return images


@declares(per_sample=True, any_layout=True)
class Discriminator(nn.Module):
    """Images to energies: the error of a convolutional autoencoder, low on what it learnt.

    The encoder has ``width`` feature maps on the first level, twice as many on the second, three
    times on the third and so on; the decoder is that of :class:`Generator`.

    Args:
        image_shape, width, levels, repeats, output: as for :class:`Generator`.
        code: length of a code.
        error: ``"absolute"`` (BEGAN) or ``"squared"`` (EBGAN); the mean over the pixels.

    Raises:
        ConfigError: a setting is not allowed.
    """

    def __init__(
        self,
        image_shape: Sequence[int] = (1, 28, 28),
        code: int = 64,
        width: int = 64,
        levels: int | None = None,
        repeats: int = 2,
        output: str = "linear",
        error: str = "absolute",
    ) -> None:
        super().__init__()
        check_positive("code", code)
        check_choice("error", error, "squared", "absolute")
        self.image_shape = integers(image_shape)
        self.error = error
        self.encoder = _encoder(image_shape, code, width, levels, repeats)
        self.decoder = _decoder(code, image_shape, width, levels, repeats, output)

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
        code: Tensor = self.encoder(images)
        return self.decoder(code), code


def _encoder(
    image_shape: Sequence[int], code: int, width: int, levels: int | None, repeats: int
) -> nn.Sequential:
    levels, height, columns = _plan(image_shape, width, levels, repeats)
    layers: list[nn.Module] = [_convolution(image_shape[0], width), _ELU()]
    maps = width
    for level in range(1, levels + 2):
        for _ in range(repeats - 1):
            layers += [_convolution(maps, maps), _ELU()]
        # The last convolution of a level leads to the next one; the lowest level has none.
        wider, stride = (maps + width, 2) if level <= levels else (maps, 1)
        layers += [_convolution(maps, wider, stride), _ELU()]
        maps = wider
    layers += [nn.Flatten(), Linear(maps * height * columns, code)]
    return nn.Sequential(*layers)


def _decoder(
    code: int,
    image_shape: Sequence[int],
    width: int,
    levels: int | None,
    repeats: int,
    output: str,
) -> nn.Sequential:
    check_choice("output", output, "linear", "tanh")
    levels, height, columns = _plan(image_shape, width, levels, repeats)
    layers: list[nn.Module] = [
        Linear(code, width * height * columns),
        nn.Unflatten(1, integers((width, height, columns))),
    ]
    for level in range(levels + 1):
        if level > 0:
            layers.append(nn.Upsample(scale_factor=2, mode="nearest"))
        for _ in range(repeats):
            layers += [_convolution(width, width), _ELU()]
    layers.append(_convolution(width, image_shape[0]))
    layers.append(nn.Tanh() if output == "tanh" else nn.Identity())
    return nn.Sequential(*layers)


@declares(per_sample=True, any_layout=True)
class _ELU(nn.ELU):
    """nn.ELU, on the CPU by exp in place of expm1.

    Torch 2.15 computes expm1 number by number there, which took more than half the time of a step.
    y differs from nn.ELU's by the rounding of 1 at most.
    """

    def forward(self, x: Tensor) -> Tensor:
        wide = x.dtype in (torch.float32, torch.float64)
        if not wide or not x.is_cpu or torch.compiler.is_compiling():
            return F.elu(x)
        y: Tensor = _Exponential.apply(x)
        return y


class _Exponential(torch.autograd.Function):
    """``max(x, exp(min(x, 0)) - 1)``, which is ELU. Differentiable twice."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.clamp(max=0.0).exp_().sub_(1.0).maximum(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        # Of y: where y < 0 the slope is y + 1.
        return torch.ops.aten.elu_backward(grad, 1.0, 1.0, 1.0, True, *ctx.saved_tensors)


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1)


def _plan(
    image_shape: Sequence[int], width: int, levels: int | None, repeats: int
) -> tuple[int, int, int]:
    """The number of levels, and height and columns of the smallest feature map."""
    check_image_shape(image_shape)
    check_positive("width", width)
    check_positive("repeats", repeats)
    if repeats > _MAX_REPEATS:
        raise ConfigError(f"repeats must be at most {_MAX_REPEATS}, got {repeats}")
    _, height, columns = integers(image_shape)
    if levels is None:
        levels = 0
        while min(height, columns) >> levels >= 10 and not (height | columns) >> levels & 1:
            levels += 1
    if not 0 <= levels <= _MAX_LEVELS or height % 2**levels or columns % 2**levels:
        raise ConfigError(
            f"levels must be 0 to {_MAX_LEVELS} and height and width of image_shape multiples of "
            f"2^levels, got levels {levels} and {tuple(image_shape)}"
        )
    return levels, height >> levels, columns >> levels
