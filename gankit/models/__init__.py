"""Networks, one file per family."""

from __future__ import annotations

from gankit.models import (
    autoencoder,
    conditional_mlp,
    convolutional_autoencoder,
    dcgan,
    discogan,
    mlp,
    patch,
    resnet,
    segan,
    semi_supervised,
    stargan,
    unet,
)

__all__ = [
    "autoencoder",
    "conditional_mlp",
    "convolutional_autoencoder",
    "dcgan",
    "discogan",
    "mlp",
    "patch",
    "resnet",
    "segan",
    "semi_supervised",
    "stargan",
    "unet",
]
