"""The networks of the recipe ``gan`` playing other games: what differs is the loss alone."""

from __future__ import annotations

from gankit.recipes.config import RunConfig
from gankit.recipes.gan import TUTORIAL
from gankit.recipes.recipe import Recipe


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
            loss=loss,
            z_dim=100,
            z_distribution="normal",
            epochs=400,
            batch_size=60,
            lr=2e-4,
            betas=(0.5, 0.999),
        ),
        sources=(
            f"The game: {source}",
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
RECIPES = (MMGAN, NSGAN, LSGAN, RGAN)
