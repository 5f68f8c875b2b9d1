"""Small fully connected GANs on points, where success and collapse can be counted."""

from __future__ import annotations

from gankit.recipes.config import RunConfig
from gankit.recipes.recipe import Recipe

GAN_1D = Recipe(
    name="gan-1d",
    summary="uniform noise to a normal distribution (Goodfellow et al., 2014, figure 1)",
    config=RunConfig(
        recipe="gan-1d",
        data="toy:normal",
        generator={"class_path": "gankit.models.mlp.Generator", "init_args": {"hidden": [32, 32]}},
        discriminator={
            "class_path": "gankit.models.mlp.Discriminator",
            "init_args": {"hidden": [32, 32], "dropout": 0.0, "output": "logit"},
        },
        loss="non-saturating",
        z_dim=1,
        z_distribution="uniform",
        epochs=100,
        batch_size=250,
        lr=1e-3,
        betas=(0.5, 0.9),
        n_critic=5,
        ema=0.98,
    ),
    sources=(
        "The experiment and the game: Goodfellow et al., 2014, arXiv 1406.2661, "
        "https://arxiv.org/abs/1406.2661",
        "Layers, Adam 1e-3, five steps of D per step of G, the moving average and the target "
        "N(0.25, 0.15): ours",
    ),
)
GAN_2D = Recipe(
    name="gan-2d",
    summary="WGAN-GP on points: a ring, --data toy:grid and others (Gulrajani et al., 2017)",
    config=RunConfig(
        recipe="gan-2d",
        data="toy:ring",
        generator={
            "class_path": "gankit.models.mlp.Generator",
            "init_args": {"hidden": [128, 128, 128]},
        },
        discriminator={
            "class_path": "gankit.models.mlp.Discriminator",
            "init_args": {"hidden": [128, 128, 128], "dropout": 0.0, "output": "logit"},
        },
        loss="wasserstein",
        penalty={"class_path": "gankit.losses.gradient_penalty", "init_args": {"weight": 0.03}},
        z_dim=2,
        z_distribution="uniform",
        epochs=200,
        batch_size=128,
        lr=1e-3,
        betas=(0.0, 0.9),
        n_critic=3,
        ema=0.99,
    ),
    sources=(
        "The game, Adam's betas, and a penalty that weighs little on points (0.1 in the authors' "
        "code, https://github.com/igul222/improved_wgan_training): Gulrajani et al., 2017, "
        "arXiv 1704.00028",
        "The ring: Metz et al., 2016, arXiv 1611.02163; the grid: Srivastava et al., 2017, "
        "arXiv 1705.07761; both scaled into [-1, 1]",
        "Layers, uniform noise, penalty weight 0.03, three critic steps, Adam 1e-3, the moving "
        "average: ours",
    ),
)
