"""Autoencoders, from which the tutorials start: not GANs, but trained by the same loop."""

from __future__ import annotations

from gankit.recipes.config import RunConfig
from gankit.recipes.recipe import Recipe

_VAE_PAPER = "Kingma and Welling, 2013, https://arxiv.org/abs/1312.6114"

AE = Recipe(
    name="ae",
    summary="autoencoder (Hinton and Salakhutdinov, 2006); its pictures are reconstructions",
    config=RunConfig(
        recipe="ae",
        generator={
            "class_path": "gankit.models.mlp.Generator",
            "init_args": {"hidden": [256, 512]},
        },
        discriminator={
            "class_path": "gankit.models.autoencoder.Encoder",
            "init_args": {"hidden": [512, 256]},
        },
        loss="squared-error",
        z_dim=8,
        epochs=100,
        batch_size=60,
        lr=1e-3,
        betas=(0.9, 0.999),
    ),
    sources=(
        "The idea and the comparison with PCA: Hinton and Salakhutdinov, 2006, "
        "https://doi.org/10.1126/science.1127647",
        "Layers 512-256-8-256-512, Adam 1e-3: ours",
    ),
)
VAE = Recipe(
    name="vae",
    summary="variational autoencoder (Kingma and Welling, 2013)",
    config=RunConfig(
        recipe="vae",
        generator={
            "class_path": "gankit.models.mlp.Generator",
            "init_args": {"hidden": [256, 512]},
        },
        discriminator={
            "class_path": "gankit.models.autoencoder.Encoder",
            "init_args": {"hidden": [512, 256], "variational": True},
        },
        loss="elbo",
        z_dim=16,
        epochs=100,
        batch_size=60,
        lr=1e-3,
        betas=(0.9, 0.999),
    ),
    sources=(
        f"The ELBO, one sample per image, Bernoulli pixels: {_VAE_PAPER}",
        "Layers 512-256-16-256-512, Adam 1e-3: ours",
    ),
)
