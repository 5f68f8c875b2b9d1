"""R3GAN: a relativistic loss with both zero-centered penalties, between residual networks.

Huang, Gokaslan, Kuleshov and Tompkin (2024), "The GAN is dead; long live the GAN! A modern GAN
baseline", arXiv:2501.05441. The relativistic loss compares each generated image with a real one,
so that G gains nothing from modes that it leaves out; R1 and R2, the penalties on the gradient of D
at real and at generated images, make the training converge near its end.
"""

from __future__ import annotations

from gankit.training.config import Recipe, RunConfig

CODE = "https://github.com/brownvc/R3GAN"

R3GAN = Recipe(
    name="r3gan",
    summary="relativistic loss with R1 and R2, residual networks (Huang et al., 2024)",
    config=RunConfig(
        recipe="r3gan",
        image_size=32,
        generator={
            "class_path": "gankit.models.r3gan.Generator",
            "init_args": {"width": 64, "blocks": 2, "n_classes": None},
        },
        discriminator={
            "class_path": "gankit.models.r3gan.Discriminator",
            "init_args": {"width": 64, "blocks": 2, "n_classes": None},
        },
        step={
            "class_path": "gankit.training.GANStep",
            "init_args": {
                "loss": "relativistic",
                "from_logits": True,
                "penalty": {
                    "class_path": "gankit.losses.gradient_penalty",
                    "init_args": {"weight": 0.5, "mode": "zero-centred", "at": "both"},
                },
            },
        },
        z_dim=64,
        epochs=100,
        batch_size=64,
        lr=2e-4,
        betas=(0.0, 0.99),
        ema=0.999,
    ),
    sources=(
        "The loss, R1 + R2, residual blocks in groups of 16 feature maps without normalization, "
        f"two in each stage, 64 numbers of noise: Huang et al., 2024, arXiv 2501.05441, and {CODE}",
        "Adam 2e-4 with betas (0, 0.99): the learning rate that their runs begin with, the betas "
        "that they end with; they change both, and the penalty's weight, on the way",
        "64 feature maps in place of 768, penalty weight gamma / 2 = 0.5, batch 64, the moving "
        "average: gankit defaults",
    ),
)
RECIPES = (R3GAN,)
