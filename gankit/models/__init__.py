"""Networks, one file per family."""

from __future__ import annotations

from gankit.models import (
    autoencoder,
    biggan,
    biggan_deep,
    conditional_mlp,
    convolutional_autoencoder,
    dcgan,
    discogan,
    mlp,
    patch,
    progan,
    r3gan,
    resnet,
    sagan,
    segan,
    semi_supervised,
    srresnet,
    stargan,
    unet,
)

__all__ = [
    "autoencoder",
    "biggan",
    "biggan_deep",
    "conditional_mlp",
    "convolutional_autoencoder",
    "dcgan",
    "discogan",
    "mlp",
    "patch",
    "progan",
    "r3gan",
    "resnet",
    "sagan",
    "segan",
    "semi_supervised",
    "srresnet",
    "stargan",
    "unet",
]
