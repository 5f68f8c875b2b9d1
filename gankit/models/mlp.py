"""The fully connected GAN of Goodfellow et al. (2014), arXiv:1406.2661, at MNIST's size.

Keys of the ``state_dict`` are ``main.0``, ``main.2``, ... (generator) and ``main.0``, ``main.3``,
... (discriminator), as in a plain ``nn.Sequential`` of Linear, LeakyReLU and Dropout layers, so
files saved from such networks load unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from gankit.errors import ConfigError, DataError
from gankit.nn import BatchNormAct1d, LeakyReLUDropout, Linear
from gankit.nn.linear_stack import run_linear_stack

__all__ = ["Discriminator", "Generator"]

Init = str | Callable[[nn.Module], None]


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
        _check_sizes(image_shape, hidden, negative_slope)
        _check_norm(norm)
        if z_dim < 1:
            raise ConfigError(f"z_dim must be at least 1, got {z_dim}")
        self.z_dim = z_dim
        self.image_shape = tuple(image_shape)
        layers: list[nn.Module] = []
        width = z_dim
        for next_width in hidden:
            layers.append(Linear(width, next_width))
            if norm == "batch":
                # Identity stands where plain PyTorch has LeakyReLU, so that the keys stay.
                layers += [_norm_act(next_width, negative_slope), nn.Identity()]
            else:
                layers.append(nn.LeakyReLU(negative_slope, inplace=True))
            width = next_width
        layers += [Linear(width, math.prod(image_shape)), nn.Tanh()]
        self.main = nn.Sequential(*layers)
        _initialise(self, init)

    def forward(self, z: Tensor) -> Tensor:
        """``z`` ``[N, z_dim]`` to images ``[N, C, H, W]`` in [-1, 1]."""
        if z.dim() != 2 or z.shape[1] != self.z_dim:
            raise DataError(f"z must have shape [N, {self.z_dim}], got {list(z.shape)}")
        images = run_linear_stack(self.main, z)
        return images.view(-1, *self.image_shape)


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
        _check_sizes(image_shape, hidden, negative_slope)
        _check_norm(norm)
        if not 0.0 <= dropout <= 1.0:
            raise ConfigError(f"dropout must lie in [0, 1], got {dropout}")
        if output not in ("probability", "logit"):
            raise ConfigError(f"output must be 'probability' or 'logit', got {output!r}")
        self.image_shape = tuple(image_shape)
        self.output = output
        layers: list[nn.Module] = []
        width = math.prod(image_shape)
        for next_width in hidden:
            layers.append(Linear(width, next_width))
            if norm == "batch":
                act = _norm_act(next_width, negative_slope)
                layers += [act, nn.Identity(), nn.Dropout(dropout)]
            else:
                # Identity stands where plain PyTorch has Dropout, so that the keys stay.
                layers += [LeakyReLUDropout(negative_slope, dropout), nn.Identity()]
            width = next_width
        layers += [Linear(width, 1), nn.Sigmoid() if output == "probability" else nn.Identity()]
        self.main = nn.Sequential(*layers)
        _initialise(self, init)

    def forward(self, images: Tensor) -> Tensor:
        """Images ``[N, C, H, W]``, or flattened ``[N, C*H*W]``, to ``[N, 1]``."""
        pixels = math.prod(self.image_shape)
        flat = images.dim() == 2 and images.shape[1] == pixels
        if not flat and (images.dim() != 4 or tuple(images.shape[1:]) != self.image_shape):
            expected = ", ".join(map(str, self.image_shape))
            raise DataError(
                f"images must have shape [N, {expected}] or [N, {pixels}], got {list(images.shape)}"
            )
        return run_linear_stack(self.main, images if flat else images.flatten(1))


def _check_sizes(image_shape: Sequence[int], hidden: Sequence[int], negative_slope: float) -> None:
    if len(image_shape) != 3 or any(size < 1 for size in image_shape):
        raise ConfigError(
            f"image_shape must be three positive numbers (C, H, W), got {tuple(image_shape)}"
        )
    if len(hidden) == 0 or any(width < 1 for width in hidden):
        raise ConfigError(f"hidden must be one or more positive widths, got {tuple(hidden)}")
    if not (math.isfinite(negative_slope) and negative_slope >= 0.0):
        raise ConfigError(f"negative_slope must be finite and at least 0, got {negative_slope}")


def _check_norm(norm: str) -> None:
    if norm not in ("none", "batch"):
        raise ConfigError(f"norm must be 'none' or 'batch', got {norm!r}")


def _norm_act(width: int, negative_slope: float) -> BatchNormAct1d:
    return BatchNormAct1d(width, activation="leaky_relu", negative_slope=negative_slope)


def _initialise(network: Generator | Discriminator, init: Init) -> None:
    if callable(init):
        network.apply(init)
    elif init == "keras":
        _keras_init(network.main)
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
