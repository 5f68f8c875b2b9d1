"""The fully connected GAN of a PyTorch tutorial."""

from __future__ import annotations

from gankit.recipes.config import RunConfig
from gankit.recipes.recipe import Recipe

TUTORIAL = "https://dreamgonfly.github.io/blog/gan-explained/"

RECIPE = Recipe(
    name="gan",
    summary="fully connected GAN (Goodfellow et al., 2014), as in a PyTorch tutorial",
    config=RunConfig(
        recipe="gan",
        generator="gankit.models.mlp.Generator",
        discriminator={
            "class_path": "gankit.models.mlp.Discriminator",
            "init_args": {"dropout": 0.5},
        },
        loss="non-saturating",
        z_dim=100,
        z_distribution="normal",
        epochs=100,
        batch_size=60,
        lr=2e-4,
        betas=(0.5, 0.999),
    ),
    sources=(
        f"Layers, dropout 0.5, Adam 2e-4 with betas (0.5, 0.999), batch 60, 100 epochs: {TUTORIAL}",
        "The game and G's non-saturating loss: Goodfellow et al., 2014, arXiv 1406.2661",
        "Adam's settings for GANs: Radford, Metz and Chintala, 2015, arXiv 1511.06434",
        "Grids after epoch 1 and every 10: ours",
    ),
)
