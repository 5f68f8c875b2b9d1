"""Recipes of image translation so small that a CPU trains them in minutes, on drawn images."""

from __future__ import annotations

from gankit.gans.cyclegan import CYCLEGAN
from gankit.gans.discogan import DISCOGAN
from gankit.gans.pix2pix import PIX2PIX
from gankit.gans.stargan import STARGAN
from gankit.training.config import Recipe

RECIPES = (
    Recipe(
        name="pix2pix-toy",
        summary="pix2pix (Isola et al., 2016) on outlines of polygons: minutes on a CPU",
        config=PIX2PIX.config.updated(
            recipe="pix2pix-toy",
            image_size=32,
            generator={
                "class_path": "gankit.models.unet.UNetGenerator",
                "init_args": {
                    "width": 16,
                    "dropout": 0.2,
                    "init": "pytorch",
                    "test_statistics": "running",
                },
            },
            discriminator={
                "class_path": "gankit.models.patch.PatchDiscriminator",
                "init_args": {"width": 16, "layers": 2, "norm": "none", "init": "pytorch"},
            },
            epochs=10,
            batch_size=8,
            lr=2e-3,
            d_lr=1e-3,
            schedule="gankit.training.schedules.LinearDecay",
            grid_columns=8,
        ),
        sources=(
            "L1 100, D's loss halved, dropout as noise: as in the recipe pix2pix, arXiv 1611.07004",
            "Networks, batches of 8 and the running statistics with them, Adam, linear decay: ours",
        ),
    ),
    Recipe(
        name="cyclegan-toy",
        summary="CycleGAN (Zhu et al., 2017) on red and orange discs: minutes on a CPU",
        config=CYCLEGAN.config.updated(
            recipe="cyclegan-toy",
            image_size=32,
            generator={
                "class_path": "gankit.models.resnet.ResNetGenerator",
                "init_args": {"width": 8, "blocks": 1, "norm": "batch", "init": "pytorch"},
            },
            discriminator={
                "class_path": "gankit.models.patch.PatchDiscriminator",
                "init_args": {"width": 16, "layers": 1, "norm": "instance"},
            },
            epochs=4,
            batch_size=4,
            lr=2e-3,
            grid_columns=4,
        ),
        sources=(
            "Loss weights, pool of 50, linear decay: as in the recipe cyclegan, arXiv 1703.10593",
            "Networks, batches of 4, Adam 2e-3: ours; batch norm in the generators, since instance "
            "norm forgets the mean color of an image",
        ),
    ),
    Recipe(
        name="discogan-toy",
        summary="DiscoGAN (Kim et al., 2017) on filled and outlined arrows: minutes on a CPU",
        config=DISCOGAN.config.updated(
            recipe="discogan-toy",
            image_size=32,
            generator={
                "class_path": "gankit.models.discogan.Generator",
                "init_args": {"width": 16},
            },
            discriminator={
                "class_path": "gankit.models.discogan.Discriminator",
                "init_args": {"width": 16},
            },
            step={
                "class_path": "gankit.gans.discogan.DiscoGANStep",
                "init_args": {
                    "gan_weight": 1.0,
                    "feature_weight": 1.0,
                    "rate": 0.9,
                    "gan_curriculum": 0,
                    "d_every": 2,
                    "weight_decay": 1e-5,
                },
            },
            steps=600,
            batch_size=32,
            lr=2e-3,
            grid_columns=8,
        ),
        sources=(
            "Losses, layers, weight decay: as in the recipe discogan, arXiv 1703.05192",
            "16 maps, weights, rate, batches of 32, Adam 2e-3, D in every second call, 600 calls: "
            "gankit defaults",
        ),
    ),
    Recipe(
        name="stargan-toy",
        summary="StarGAN (Choi et al., 2017) on shapes in four colors: minutes on a CPU",
        config=STARGAN.config.updated(
            recipe="stargan-toy",
            image_size=32,
            generator={
                "class_path": "gankit.models.stargan.Generator",
                "init_args": {"width": 8, "blocks": 1, "norm": "batch"},
            },
            discriminator={
                "class_path": "gankit.models.stargan.Discriminator",
                "init_args": {"width": 8},
            },
            n_critic=1,
            steps=2000,
            batch_size=8,
            lr=3e-3,
            grid_rows=4,
        ),
        sources=(
            "Losses, layers, linear decay: as in the recipe stargan, arXiv 1711.09020",
            "8 maps, a block, batches of 8, Adam 3e-3, a critic step per step, 2,000 steps: gankit "
            "defaults; batch norm in G, since instance norm forgets the mean color of an image",
        ),
    ),
)
