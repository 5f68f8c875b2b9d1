"""Wasserstein GAN with gradient penalty, on the fully connected networks of the recipe ``gan``."""

from __future__ import annotations

from gankit.recipes.config import RunConfig
from gankit.recipes.recipe import Recipe

CODE = "https://github.com/igul222/improved_wgan_training"

RECIPE = Recipe(
    name="wgan-gp",
    summary="Wasserstein GAN with gradient penalty (Gulrajani et al., 2017)",
    config=RunConfig(
        recipe="wgan-gp",
        generator="gankit.models.mlp.Generator",
        discriminator={
            "class_path": "gankit.models.mlp.Discriminator",
            "init_args": {"dropout": 0.0, "output": "logit"},
        },
        loss="wasserstein",
        penalty={
            "class_path": "gankit.losses.gradient_penalty",
            "init_args": {"weight": 10.0, "target": 1.0, "mode": "two-sided"},
        },
        z_dim=100,
        z_distribution="normal",
        epochs=500,
        batch_size=64,
        lr=1e-4,
        betas=(0.0, 0.9),
        n_critic=5,
    ),
    sources=(
        "Penalty weight 10, Adam 1e-4 with betas (0, 0.9), five critic steps, batch 64: Gulrajani "
        f"et al., 2017, arXiv 1704.00028, algorithm 1; the authors' code: {CODE}",
        "The game: Arjovsky, Chintala and Bottou, 2017, arXiv 1701.07875",
        "Layers: those of the recipe gan, without dropout and sigmoid",
        "A step is a critic step; 500 epochs of them are 100 of generator steps: ours",
    ),
)

CONV_RECIPE = Recipe(
    name="wgan-gp-conv",
    summary="the same of convolutions, without batch norm in the critic (Gulrajani et al., 2017)",
    config=RECIPE.config.updated(
        recipe="wgan-gp-conv",
        generator="gankit.models.dcgan.Generator",
        discriminator={
            "class_path": "gankit.models.dcgan.Discriminator",
            "init_args": {"output": "logit", "norm": "none"},
        },
        epochs=100,
        lr=2e-4,
    ),
    sources=(
        *RECIPE.sources[:2],
        "Adam 2e-4, as the same paper has for its convolutional networks on CIFAR-10",
        "Layers: those of the recipe dcgan; a critic has no batch norm, for the penalty is on each "
        "sample's own gradient: Gulrajani et al., 2017, section 4",
        "A step is a critic step; 100 epochs of them are 20 of generator steps: ours",
    ),
)
