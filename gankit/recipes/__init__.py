"""Recipes: a model, a loss, data and hyper-parameters, with the sources of the numbers."""

from __future__ import annotations

from gankit.errors import ConfigError, shortened
from gankit.recipes import (
    autoencoder,
    conditional,
    dcgan,
    energy,
    games,
    gan,
    gan_keras,
    points,
    semi_supervised,
    wgan,
    wgan_gp,
)
from gankit.recipes.config import RunConfig
from gankit.recipes.recipe import Recipe

__all__ = ["Recipe", "RunConfig", "get", "names"]

_RECIPES: dict[str, Recipe] = {
    r.name: r
    for r in (
        gan.RECIPE,
        gan_keras.RECIPE,
        wgan.RECIPE,
        wgan_gp.RECIPE,
        wgan_gp.CONV_RECIPE,
        dcgan.RECIPE,
        *games.RECIPES,
        points.GAN_1D,
        points.GAN_2D,
        conditional.CGAN,
        autoencoder.AE,
        autoencoder.VAE,
        energy.EBGAN,
        energy.BEGAN,
        semi_supervised.SGAN,
    )
}


def names() -> tuple[str, ...]:
    """The names of all recipes."""
    return tuple(_RECIPES)


def get(name: str) -> Recipe:
    """The recipe of that name. Raises ConfigError for an unknown one."""
    if name not in _RECIPES:
        raise ConfigError(
            f"there is no recipe {shortened(name)}; allowed are {', '.join(_RECIPES)}"
        )
    return _RECIPES[name]
