"""How the weights of convolutional networks are drawn before training."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from gankit.errors import ConfigError
from gankit.nn import BatchNormAct2d

Init = str | Callable[[nn.Module], None]


def normal_weights(module: nn.Module) -> None:
    """N(0, 0.02) on a convolution's weight; N(1, 0.02) and 0 on batch norm's scale and shift.

    Radford, Metz and Chintala, 2015, arXiv:1511.06434, section 4.
    """
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, BatchNormAct2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


def normal(module: nn.Module) -> None:
    """:func:`normal_weights`, and 0 on a convolution's bias: as pix2pix and CycleGAN begin."""
    normal_weights(module)
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)) and module.bias is not None:
        nn.init.zeros_(module.bias)


def initialize(network: nn.Module, init: Init, **known: Callable[[nn.Module], None]) -> None:
    """Draw the weights of ``network``: ``"pytorch"`` leaves torch's, else a name or a function.

    Raises ConfigError for a name that is not among ``known``.
    """
    if callable(init):
        network.apply(init)
    elif init in known:
        network.apply(known[init])
    elif init != "pytorch":
        names = ", ".join(map(repr, ("pytorch", *known)))
        raise ConfigError(f"init must be {names} or a function, got {init!r}")
