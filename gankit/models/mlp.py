"""The fully connected GAN of Goodfellow et al. (2014), arXiv:1406.2661, at MNIST's size.

Keys of the ``state_dict`` are ``main.0``, ``main.2``, ... (generator) and ``main.0``, ``main.3``,
... (discriminator), as in a plain ``nn.Sequential`` of Linear, LeakyReLU and Dropout layers, so
files saved from such networks load unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gankit.errors import ConfigError
from gankit.models.checks import (
    check_choice,
    check_image_shape,
    check_images,
    check_noise,
    check_positive,
    check_probability,
    check_slope,
)
from gankit.models.initialization import Init
from gankit.nn import BatchNormAct1d, LeakyReLUDropout, Linear
from gankit.nn.linear_stack import run_linear_stack
from gankit.nn.traits import declares
from gankit.scalars import integers

__all__ = ["Discriminator", "Generator"]


@declares(per_sample=True, chain="main", any_layout=True)
class Generator(nn.Module):
    """Noise to images: Linear layers with LeakyReLU between and Tanh at the end.

    Args:
        z_dim: length of a noise vector.
        image_shape: ``(C, H, W)`` of the images.
        hidden: widths of the hidden layers, first to last.
        negative_slope: of LeakyReLU, finite and >= 0.
        init: ``"pytorch"``; ``"keras"``, which is N(0, 0.02) on the first layer, Glorot uniform on
            the others and zero biases; or a function applied to every submodule.
        norm: ``"none"``, or ``"batch"``: batch norm before each LeakyReLU.

    Raises:
        ConfigError: a setting is not allowed.
    """

    def __init__(
        self,
        z_dim: int = 100,
        image_shape: Sequence[int] = (1, 28, 28),
        hidden: Sequence[int] = (256, 512, 1024),
        negative_slope: float = 0.2,
        init: Init = "pytorch",
        norm: str = "none",
    ) -> None:
        super().__init__()
        check_image_shape(image_shape)
        check_positive("z_dim", z_dim)
        self.z_dim = int(z_dim)
        self.image_shape = integers(image_shape)
        layers = hidden_layers(z_dim, hidden, negative_slope, norm=norm)
        self.main = nn.Sequential(*layers, Linear(hidden[-1], math.prod(image_shape)), nn.Tanh())
        initialise(self, self.main, init)

    def forward(self, z: Tensor) -> Tensor:
        """``z`` ``[N, z_dim]`` to images ``[N, C, H, W]`` in [-1, 1]."""
        check_noise(z, self.z_dim)
        images = run_linear_stack(self.main, z)
        return images.view(-1, *self.image_shape)


@declares(per_sample=True, chain="main", any_layout=True)
class Discriminator(nn.Module):
    """Images to the probability of being real: Linear layers with LeakyReLU and dropout.

    Args:
        image_shape: ``(C, H, W)`` of the images.
        hidden: widths of the hidden layers, first to last.
        negative_slope: of LeakyReLU, finite and >= 0.
        dropout: probability of dropping a hidden unit, 0 to 1.
        init: as for :class:`Generator`.
        output: ``"probability"`` (Sigmoid at the end) or ``"logit"`` (the same layers without it).
        norm: as for :class:`Generator`; not for a critic with a gradient penalty, which is on the
            gradient of each sample by itself.

    Raises:
        ConfigError: a setting is not allowed.
    """

    def __init__(
        self,
        image_shape: Sequence[int] = (1, 28, 28),
        hidden: Sequence[int] = (1024, 512, 256),
        negative_slope: float = 0.2,
        dropout: float = 0.5,
        init: Init = "pytorch",
        output: str = "probability",
        norm: str = "none",
    ) -> None:
        super().__init__()
        check_image_shape(image_shape)
        check_choice("output", output, "probability", "logit")
        self.image_shape = integers(image_shape)
        self.output = output
        layers = hidden_layers(math.prod(image_shape), hidden, negative_slope, dropout, norm)
        end = nn.Sigmoid() if output == "probability" else nn.Identity()
        self.main = nn.Sequential(*layers, Linear(hidden[-1], 1), end)
        initialise(self, self.main, init)

    def forward(self, images: Tensor) -> Tensor:
        """Images ``[N, C, H, W]``, or flattened ``[N, C*H*W]``, to ``[N, 1]``."""
        check_images(images, self.image_shape, flat=True)
        return run_linear_stack(self.main, images.flatten(1))


def hidden_layers(
    width: int,
    hidden: Sequence[int],
    negative_slope: float,
    dropout: float | None = None,
    norm: str = "none",
) -> list[nn.Module]:
    """Linear, batch norm if asked for, LeakyReLU and dropout, once per width in ``hidden``.

    The order and the places are those of plain PyTorch's layers, so that keys stay: Identity stands
    where one has its module and ours does the work in the module before.

    Args:
        width: of the input.
        hidden: of the outputs, first to last.
        negative_slope: of LeakyReLU, finite and >= 0.
        dropout: probability of dropping a unit, 0 to 1; None leaves no place for dropout.
        norm: ``"none"`` or ``"batch"``.

    Raises:
        ConfigError: a setting is not allowed.
    """
    if len(hidden) == 0 or any(units < 1 for units in hidden):
        raise ConfigError(f"hidden must be one or more positive widths, got {tuple(hidden)}")
    check_slope(negative_slope)
    check_choice("norm", norm, "none", "batch")
    if dropout is not None:
        check_probability("dropout", dropout)
    layers: list[nn.Module] = []
    for units in hidden:
        layers.append(Linear(width, units))
        if norm == "batch":
            act = BatchNormAct1d(units, activation="leaky_relu", negative_slope=negative_slope)
            layers += [act, nn.Identity()]
            layers += [] if dropout is None else [nn.Dropout(dropout)]
        elif dropout is None:
            layers.append(nn.LeakyReLU(negative_slope, inplace=True))
        else:
            layers += [LeakyReLUDropout(negative_slope, dropout), nn.Identity()]
        width = units
    return layers


def initialise(network: nn.Module, layers: nn.Sequential, init: Init) -> None:
    """Draw the weights of ``network``, whose Linear layers are in ``layers``, as ``init`` says."""
    if callable(init):
        network.apply(init)
    elif init == "keras":
        _keras_init(layers)
    elif init != "pytorch":
        raise ConfigError(f"init must be 'pytorch', 'keras' or a function, got {init!r}")


@torch.no_grad()
def _keras_init(layers: nn.Sequential) -> None:
    linears = [layer for layer in layers if isinstance(layer, nn.Linear)]
    for index, linear in enumerate(linears):
        if index == 0:
            nn.init.normal_(linear.weight, std=0.02)
        else:
            nn.init.xavier_uniform_(linear.weight)
        nn.init.zeros_(linear.bias)
