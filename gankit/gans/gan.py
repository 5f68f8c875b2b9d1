"""The fully connected GAN of a PyTorch tutorial and of a Keras one, and the same with other losses.

What differs between ``mmgan``, ``nsgan``, ``lsgan`` and ``rgan`` is the loss alone.

Two details of the Keras tutorial's libraries are not reproduced: Keras 2 shared one Adam between D
and G, so its bias correction counted two updates per step; and its cross entropy clipped
probabilities to [1e-7, 1 - 1e-7].
"""

from __future__ import annotations

from gankit.training.config import Recipe, RunConfig

TUTORIAL = "https://dreamgonfly.github.io/blog/gan-explained/"

GAN = Recipe(
    name="gan",
    summary="fully connected GAN (Goodfellow et al., 2014), as in a PyTorch tutorial",
    config=RunConfig(
        recipe="gan",
        generator="gankit.models.mlp.Generator",
        discriminator={
            "class_path": "gankit.models.mlp.Discriminator",
            "init_args": {"dropout": 0.5},
        },
        step={"class_path": "gankit.training.GANStep", "init_args": {"loss": "non-saturating"}},
        z_dim=100,
        epochs=100,
        batch_size=60,
        lr=2e-4,
        betas=(0.5, 0.999),
    ),
    sources=(
        f"Layers, dropout 0.5, Adam 2e-4 with betas (0.5, 0.999), batch 60, 100 epochs: {TUTORIAL}",
        "The objective and G's non-saturating loss: Goodfellow et al., 2014, arXiv 1406.2661",
        "Adam's settings for GANs: Radford, Metz and Chintala, 2015, arXiv 1511.06434",
        "Grids after epoch 1 and every 10: ours",
    ),
)

KERAS_TUTORIAL = "https://www.datacamp.com/community/tutorials/generative-adversarial-networks"
KERAS_CODE = "https://github.com/Zackory/Keras-MNIST-GAN"

GAN_KERAS = Recipe(
    name="gan-keras",
    summary="the GAN of a Keras tutorial, with smoothed labels (Salimans et al., 2016)",
    config=RunConfig(
        recipe="gan-keras",
        generator={"class_path": "gankit.models.mlp.Generator", "init_args": {"init": "keras"}},
        discriminator={
            "class_path": "gankit.models.mlp.Discriminator",
            "init_args": {"dropout": 0.3, "init": "keras"},
        },
        step={
            "class_path": "gankit.training.GANStep",
            "init_args": {
                "loss": {
                    "class_path": "gankit.losses.resolve",
                    "init_args": {"loss": "non-saturating", "real_label": 0.9, "reduction": "mean"},
                },
                "eval_fakes": True,
            },
        },
        z_dim=100,
        epochs=400,
        batch_size=128,
        replacement=True,
        lr=2e-4,
        betas=(0.5, 0.999),
        eps=1e-7,
        sample_first=1,
        sample_every=20,
        grid_rows=10,
        grid_columns=10,
        grid_inverted=True,
    ),
    sources=(
        f"Layers, N(0, 0.02) on the first of each network, dropout 0.3: {KERAS_CODE}",
        f"Real label 0.9, one mean over both halves, batch 128 with replacement: {KERAS_TUTORIAL}",
        "n // 128 steps per epoch (468 on MNIST), 400 epochs, 10x10 grids in reversed grey after "
        f"epoch 1 and every 20, fakes made by predict: {KERAS_TUTORIAL}",
        "Glorot uniform weights, zero biases and Adam's eps 1e-7: the defaults of Keras 2",
        "One-sided label smoothing: Salimans et al., 2016, arXiv 1606.03498",
    ),
)


def _game(name: str, summary: str, loss: str, source: str) -> Recipe:
    return Recipe(
        name=name,
        summary=summary,
        config=RunConfig(
            recipe=name,
            generator="gankit.models.mlp.Generator",
            discriminator={
                "class_path": "gankit.models.mlp.Discriminator",
                "init_args": {"dropout": 0.5, "output": "logit"},
            },
            step={"class_path": "gankit.training.GANStep", "init_args": {"loss": loss}},
            z_dim=100,
            epochs=400,
            batch_size=60,
            lr=2e-4,
            betas=(0.5, 0.999),
        ),
        sources=(
            f"The loss: {source}",
            f"Layers (without the sigmoid), Adam and batch of the recipe gan: {TUTORIAL}",
            "400 epochs, which are 9,600 steps on the default digits: ours",
        ),
    )


MMGAN = _game(
    "mmgan",
    "minimax GAN, whose G saturates while D wins (Goodfellow et al., 2014)",
    "minimax",
    "Goodfellow et al., 2014, arXiv 1406.2661, equation 1",
)
NSGAN = _game(
    "nsgan",
    "non-saturating GAN (Goodfellow et al., 2014)",
    "non-saturating",
    "Goodfellow et al., 2014, arXiv 1406.2661, section 3",
)
LSGAN = _game(
    "lsgan",
    "least squares GAN (Mao et al., 2016)",
    "least-squares",
    "Mao et al., 2016, arXiv 1611.04076, with its 0-1 coding",
)
RGAN = _game(
    "rgan",
    "relativistic average GAN (Jolicoeur-Martineau, 2018)",
    "relativistic-average",
    "Jolicoeur-Martineau, 2018, arXiv 1807.00734",
)
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
        step={
            "class_path": "gankit.training.GANStep",
            "init_args": {
                "loss": "non-saturating",
                "n_critic": 5,
                "z_distribution": "uniform",
            },
        },
        z_dim=1,
        epochs=100,
        batch_size=250,
        lr=1e-3,
        betas=(0.5, 0.9),
        ema=0.98,
    ),
    sources=(
        "The experiment and the loss: Goodfellow et al., 2014, arXiv 1406.2661, "
        "https://arxiv.org/abs/1406.2661",
        "Layers, Adam 1e-3, five steps of D per step of G, the moving average and the target "
        "N(0.25, 0.15): ours",
    ),
)
RECIPES = (GAN, GAN_KERAS, MMGAN, NSGAN, LSGAN, RGAN, GAN_1D)
