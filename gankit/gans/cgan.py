"""The conditional GAN on labels: the class asked for is the class drawn."""

from __future__ import annotations

from gankit.training.config import Recipe, RunConfig

CGAN = Recipe(
    name="cgan",
    summary="conditional GAN on labels (Mirza and Osindero, 2014)",
    config=RunConfig(
        recipe="cgan",
        generator="gankit.models.conditional_mlp.Generator",
        discriminator={
            "class_path": "gankit.models.conditional_mlp.Discriminator",
            "init_args": {"dropout": 0.5, "output": "logit"},
        },
        step={
            "class_path": "gankit.training.GANStep",
            "init_args": {
                "loss": "non-saturating",
                "z_distribution": "uniform",
            },
        },
        z_dim=100,
        epochs=200,
        batch_size=60,
        lr=5e-4,
        betas=(0.5, 0.999),
        grid_columns=10,
    ),
    sources=(
        "The loss, labels to both networks, uniform noise of 100 numbers: Mirza and Osindero, "
        "2014, https://arxiv.org/abs/1411.1784",
        "Layers and batch: those of the recipe gan, with the one-hot label beside the input; the "
        "paper has maxout layers and SGD. Adam 5e-4: ours",
        "What some tutorials call cGAN turns images into images and is pix2pix: Isola et al., "
        "2016, arXiv 1611.07004",
    ),
)
RECIPES = (CGAN,)
