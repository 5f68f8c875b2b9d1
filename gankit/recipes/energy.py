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
        generator={
            "class_path": "gankit.models.convolutional_autoencoder.Generator",
            "init_args": {"width": 16, "repeats": 1},
        },
        discriminator={
            "class_path": "gankit.models.convolutional_autoencoder.Discriminator",
            "init_args": {"width": 16, "repeats": 1, "code": 16},
        },
        loss={"class_path": "gankit.losses.began", "init_args": {"gamma": 0.95, "rate": 0.05}},
        z_dim=16,
        z_distribution="uniform",
        epochs=None,
        steps=6000,
        batch_size=16,
        lr=1e-3,
        d_lr=1e-4,
        betas=(0.5, 0.999),
        schedule={
            "class_path": "torch.optim.lr_scheduler.StepLR",
            "init_args": {"step_size": 2000, "gamma": 0.5},
        },
    ),
    sources=(
        "The game and its control, the kind of layers, a code as long as z, uniform noise, batch "
        "16, D's Adam 1e-4, rates that halve: Berthelot, Schumm and Metz, 2017, "
        "https://arxiv.org/abs/1703.10717",
        "One convolution of 16 maps per level and 16 numbers in a code (paper: two of 64 or more, "
        "and 64), rate 0.05 and halving every 2,000 steps for this short a run: ours",
        "G at ten times D's rate and gamma 0.95: ours. D gives energy only to what G draws more "
        "than 1/k times too often, so a low k (0.1 where both learn alike) leaves few classes",
    ),
)
