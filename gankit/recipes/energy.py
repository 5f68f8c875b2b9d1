"""GANs whose discriminator is an autoencoder: EBGAN and BEGAN."""

from __future__ import annotations

from gankit.recipes.config import RunConfig
from gankit.recipes.recipe import Recipe

EBGAN = Recipe(
    name="ebgan",
    summary="energy-based GAN (Zhao et al., 2016)",
    config=RunConfig(
        recipe="ebgan",
        generator="gankit.models.mlp.Generator",
        discriminator={
            "class_path": "gankit.models.autoencoder.Discriminator",
            "init_args": {"hidden": [512, 256], "code": 8, "error": "squared"},
        },
        loss={"class_path": "gankit.losses.ebgan", "init_args": {"margin": 0.2}},
        z_dim=100,
        z_distribution="normal",
        epochs=250,
        batch_size=60,
        lr=5e-4,
        betas=(0.5, 0.999),
    ),
    sources=(
        "The game, D as an autoencoder with squared error: Zhao, Mathieu and LeCun, 2016, "
        "https://arxiv.org/abs/1609.03126",
        "Margin 0.2 on the mean squared error of a pixel in [-1, 1], layers, Adam 5e-4: ours",
    ),
)
BEGAN = Recipe(
    name="began",
    summary="boundary equilibrium GAN (Berthelot et al., 2017)",
    config=RunConfig(
        recipe="began",
        generator="gankit.models.mlp.Generator",
        discriminator={
            "class_path": "gankit.models.autoencoder.Discriminator",
            "init_args": {"hidden": [512, 256], "code": 8, "error": "absolute"},
        },
        loss={"class_path": "gankit.losses.began", "init_args": {"gamma": 0.9, "rate": 1e-2}},
        z_dim=64,
        z_distribution="uniform",
        epochs=250,
        batch_size=60,
        lr=5e-4,
        betas=(0.5, 0.999),
    ),
    sources=(
        "The game and its control, uniform noise of 64 numbers: Berthelot, Schumm and Metz, 2017, "
        "https://arxiv.org/abs/1703.10717",
        "Fully connected layers, gamma 0.9 (at the paper's 0.3 to 0.7 they draw one image), rate "
        "0.01 for this short a run, batch and Adam: ours",
    ),
)
