"""SAGAN: spectral norm in both networks, self-attention, hinge (Zhang et al., 2018, 1805.08318)."""

from __future__ import annotations

from gankit.training.config import Recipe, RunConfig

_CODE = "https://github.com/brain-research/self-attention-gan"

SAGAN = Recipe(
    name="sagan",
    summary="SAGAN: self-attention, classes (Zhang, Goodfellow, Metaxas and Odena, 2018)",
    config=RunConfig(
        recipe="sagan",
        data="toy:shapes",
        image_size=128,
        generator="gankit.models.sagan.Generator",
        discriminator="gankit.models.sagan.Discriminator",
        step={"class_path": "gankit.training.GANStep", "init_args": {"loss": "hinge"}},
        z_dim=128,
        steps=1_000_000,
        epochs=None,
        batch_size=256,
        lr=1e-4,
        d_lr=4e-4,
        betas=(0.0, 0.9),
        grid_columns=8,
    ),
    sources=(
        "Self-attention at feature maps of 32 pixels, spectral norm in both networks, conditional "
        "batch norm, projection, hinge, one step of D, Adam 1e-4 and for D 4e-4 with betas (0, "
        "0.9), batch 256, 1,000,000 steps: Zhang et al., 2018, arXiv 1805.08318, section 5",
        f"Widths 64, z of 128 numbers, Xavier initialization: the authors' code, {_CODE}",
        "Spectral norm: Miyato et al., 2018, arXiv 1802.05957; projection: Miyato and Koyama, "
        "2018, arXiv 1802.05637",
        "toy:shapes in place of ImageNet: gankit default",
    ),
)

TOY = Recipe(
    name="sagan-toy",
    summary="small SAGAN on drawn twins, for a CPU (Zhang et al., 2018)",
    config=SAGAN.config.updated(
        recipe="sagan-toy",
        data="toy:twins",
        image_size=32,
        generator={"class_path": "gankit.models.sagan.Generator", "init_args": {"width": 8}},
        discriminator={
            "class_path": "gankit.models.sagan.Discriminator",
            "init_args": {"width": 8, "bottom": 16},
        },
        z_dim=32,
        steps=2000,
        batch_size=16,
        lr=1e-3,
        d_lr=1e-3,
        ema=0.99,
    ),
    sources=(
        "Self-attention, spectral norm in both networks, conditional batch norm, projection, "
        "hinge, betas (0, 0.9): Zhang et al., 2018, arXiv 1805.08318",
        "Widths, batch, steps, Adam 1e-3, the moving average, and a D whose convolutions see 14 "
        "pixels, so that attention alone compares opposite corners: gankit default",
    ),
)
RECIPES = (SAGAN, TOY)
