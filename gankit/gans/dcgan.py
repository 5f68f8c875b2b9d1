"""The convolutional GAN of a PyTorch tutorial."""

from __future__ import annotations

from gankit.gans.gan import TUTORIAL
from gankit.training.config import Recipe, RunConfig

DCGAN = Recipe(
    name="dcgan",
    summary="DCGAN (Radford, Metz and Chintala, 2015), as in a PyTorch tutorial",
    config=RunConfig(
        recipe="dcgan",
        generator="gankit.models.dcgan.Generator",
        discriminator="gankit.models.dcgan.Discriminator",
        step={"class_path": "gankit.training.GANStep", "init_args": {"loss": "non-saturating"}},
        z_dim=100,
        epochs=100,
        batch_size=60,
        lr=2e-4,
        betas=(0.5, 0.999),
    ),
    sources=(
        f"Layers, batch 60, 100 epochs, Gaussian noise: {TUTORIAL}",
        "Architecture, Adam 2e-4 with beta1 0.5, LeakyReLU 0.2: Radford, Metz and Chintala, 2015, "
        "arXiv 1511.06434",
        "Grids after epoch 1 and every 10: ours",
    ),
)
RECIPES = (DCGAN,)
