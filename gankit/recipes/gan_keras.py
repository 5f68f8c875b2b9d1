"""The fully connected GAN of a Keras tutorial.

Two details of that tutorial's libraries are not reproduced: Keras 2 shared one Adam between D and
G, so its bias correction counted two updates per step; and its cross entropy clipped probabilities
to [1e-7, 1 - 1e-7].
"""

from __future__ import annotations

from gankit.recipes.config import RunConfig
from gankit.recipes.recipe import Recipe

TUTORIAL = "https://www.datacamp.com/community/tutorials/generative-adversarial-networks"
CODE = "https://github.com/Zackory/Keras-MNIST-GAN"

RECIPE = Recipe(
    name="gan-keras",
    summary="the GAN of a Keras tutorial, with smoothed labels (Salimans et al., 2016)",
    config=RunConfig(
        recipe="gan-keras",
        generator={"class_path": "gankit.models.mlp.Generator", "init_args": {"init": "keras"}},
        discriminator={
            "class_path": "gankit.models.mlp.Discriminator",
            "init_args": {"dropout": 0.3, "init": "keras"},
        },
        loss={
            "class_path": "gankit.losses.resolve",
            "init_args": {"loss": "non-saturating", "real_label": 0.9, "reduction": "mean"},
        },
        z_dim=100,
        z_distribution="normal",
        epochs=400,
        batch_size=128,
        replacement=True,
        lr=2e-4,
        betas=(0.5, 0.999),
        eps=1e-7,
        eval_fakes=True,
        sample_first=1,
        sample_every=20,
        grid_rows=10,
        grid_columns=10,
        grid_inverted=True,
    ),
    sources=(
        f"Layers, N(0, 0.02) on the first of each network, dropout 0.3: {CODE}",
        f"Real label 0.9, one mean over both halves, batch 128 with replacement: {TUTORIAL}",
        "n // 128 steps per epoch (468 on MNIST), 400 epochs, 10x10 grids in reversed grey after "
        f"epoch 1 and every 20, fakes made by predict: {TUTORIAL}",
        "Glorot uniform weights, zero biases and Adam's eps 1e-7: the defaults of Keras 2",
        "One-sided label smoothing: Salimans et al., 2016, arXiv 1606.03498",
    ),
)
