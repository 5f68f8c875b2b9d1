"""Wasserstein GANs, with clipped weights and with gradient penalty, on digits and on points."""

from __future__ import annotations

from gankit.training.config import Recipe, RunConfig

CODE = "https://github.com/martinarjovsky/WassersteinGAN"

WGAN = Recipe(
    name="wgan",
    summary="Wasserstein GAN with clipped weights (Arjovsky, Chintala and Bottou, 2017)",
    config=RunConfig(
        recipe="wgan",
        generator="gankit.models.mlp.Generator",
        discriminator={
            "class_path": "gankit.models.mlp.Discriminator",
            "init_args": {"dropout": 0.0, "output": "logit"},
        },
        step={
            "class_path": "gankit.training.GANStep",
            "init_args": {
                "loss": "wasserstein",
                "n_critic": 5,
                "clip_weights": 0.01,
            },
        },
        z_dim=100,
        epochs=500,
        batch_size=64,
        optimizer="rmsprop",
        lr=5e-5,
    ),
    sources=(
        "The loss, clipping at 0.01, RMSprop 5e-5, five critic steps, batch 64: Arjovsky, Chintala "
        "and Bottou, 2017, arXiv 1701.07875, algorithm 1",
        f"RMSprop's other settings are torch's, as in the authors' code: {CODE}",
        "Layers: those of the recipe gan, without dropout and sigmoid",
        "A step is a critic step; 500 epochs of them are 100 of generator steps: ours",
    ),
)

GP_CODE = "https://github.com/igul222/improved_wgan_training"

WGAN_GP = Recipe(
    name="wgan-gp",
    summary="Wasserstein GAN with gradient penalty (Gulrajani et al., 2017)",
    config=RunConfig(
        recipe="wgan-gp",
        generator="gankit.models.mlp.Generator",
        discriminator={
            "class_path": "gankit.models.mlp.Discriminator",
            "init_args": {"dropout": 0.0, "output": "logit"},
        },
        step={
            "class_path": "gankit.training.GANStep",
            "init_args": {
                "loss": "wasserstein",
                "penalty": {
                    "class_path": "gankit.losses.gradient_penalty",
                    "init_args": {"weight": 10.0, "target": 1.0, "mode": "two-sided"},
                },
                "n_critic": 5,
            },
        },
        z_dim=100,
        epochs=500,
        batch_size=64,
        lr=1e-4,
        betas=(0.0, 0.9),
    ),
    sources=(
        "Penalty weight 10, Adam 1e-4 with betas (0, 0.9), five critic steps, batch 64: Gulrajani "
        f"et al., 2017, arXiv 1704.00028, algorithm 1; the authors' code: {GP_CODE}",
        "The loss: Arjovsky, Chintala and Bottou, 2017, arXiv 1701.07875",
        "Layers: those of the recipe gan, without dropout and sigmoid",
        "A step is a critic step; 500 epochs of them are 100 of generator steps: ours",
    ),
)

WGAN_GP_CONV = Recipe(
    name="wgan-gp-conv",
    summary="the same of convolutions, without batch norm in the critic (Gulrajani et al., 2017)",
    config=WGAN_GP.config.updated(
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
        *WGAN_GP.sources[:2],
        "Adam 2e-4, as the same paper has for its convolutional networks on CIFAR-10",
        "Layers: those of the recipe dcgan; a critic has no batch norm, for the penalty is on each "
        "sample's own gradient: Gulrajani et al., 2017, section 4",
        "A step is a critic step; 100 epochs of them are 20 of generator steps: ours",
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
        step={
            "class_path": "gankit.training.GANStep",
            "init_args": {
                "loss": "wasserstein",
                "penalty": {
                    "class_path": "gankit.losses.gradient_penalty",
                    "init_args": {"weight": 0.03},
                },
                "n_critic": 3,
                "z_distribution": "uniform",
            },
        },
        z_dim=2,
        epochs=200,
        batch_size=128,
        lr=1e-3,
        betas=(0.0, 0.9),
        ema=0.99,
    ),
    sources=(
        "The loss, Adam's betas, and a penalty that weighs little on points (0.1 in the authors' "
        "code, https://github.com/igul222/improved_wgan_training): Gulrajani et al., 2017, "
        "arXiv 1704.00028",
        "The ring: Metz et al., 2016, arXiv 1611.02163; the grid: Srivastava et al., 2017, "
        "arXiv 1705.07761; both scaled into [-1, 1]",
        "Layers, uniform noise, penalty weight 0.03, three critic steps, Adam 1e-3, the moving "
        "average: ours",
    ),
)
RECIPES = (WGAN, WGAN_GP, WGAN_GP_CONV, GAN_2D)
