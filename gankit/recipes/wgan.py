"""Wasserstein GAN with clipped weights, on the fully connected networks of the recipe ``gan``."""

from __future__ import annotations

from gankit.recipes.config import RunConfig
from gankit.recipes.recipe import Recipe

CODE = "https://github.com/martinarjovsky/WassersteinGAN"

RECIPE = Recipe(
    name="wgan",
    summary="Wasserstein GAN with clipped weights (Arjovsky, Chintala and Bottou, 2017)",
    config=RunConfig(
        recipe="wgan",
        generator="gankit.models.mlp.Generator",
        discriminator={
            "class_path": "gankit.models.mlp.Discriminator",
            "init_args": {"dropout": 0.0, "output": "logit"},
        },
        loss="wasserstein",
        z_dim=100,
        z_distribution="normal",
        epochs=500,
        batch_size=64,
        optimizer="rmsprop",
        lr=5e-5,
        n_critic=5,
        clip_weights=0.01,
    ),
    sources=(
        "The game, clipping at 0.01, RMSprop 5e-5, five critic steps, batch 64: Arjovsky, Chintala "
        "and Bottou, 2017, arXiv 1701.07875, algorithm 1",
        f"RMSprop's other settings are torch's, as in the authors' code: {CODE}",
        "Layers: those of the recipe gan, without dropout and sigmoid",
        "A step is a critic step; 500 epochs of them are 100 of generator steps: ours",
    ),
)
