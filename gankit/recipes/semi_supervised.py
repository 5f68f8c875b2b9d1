"""The semi-supervised GAN: a classifier that learns from unlabelled and generated images too."""

from __future__ import annotations

from gankit.recipes.config import RunConfig
from gankit.recipes.recipe import Recipe

SGAN = Recipe(
    name="sgan",
    summary="semi-supervised GAN of K+1 classes (Odena, 2016; Salimans et al., 2016), 100 labels",
    config=RunConfig(
        recipe="sgan",
        labelled=100,
        generator="gankit.models.mlp.Generator",
        discriminator={
            "class_path": "gankit.models.semi_supervised.Discriminator",
            "init_args": {"dropout": 0.5},
        },
        loss="non-saturating",
        penalty={
            "class_path": "gankit.losses.supervised_cross_entropy",
            "init_args": {"batch_size": 50, "weight": 1.0},
        },
        z_dim=100,
        z_distribution="normal",
        epochs=100,
        batch_size=60,
        lr=5e-4,
        betas=(0.5, 0.999),
    ),
    sources=(
        "K+1 classes, of which one is 'generated': Odena, 2016, https://arxiv.org/abs/1606.01583",
        "The last class's logit fixed at 0, 100 labels: Salimans et al., 2016, arXiv 1606.03498, "
        "section 5; its G matches features, ours plays the non-saturating game as Odena's does",
        "Layers and batch: those of the recipe gan; Adam 5e-4, labelled batches of 50: ours",
    ),
)
