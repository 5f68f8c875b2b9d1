"""Recipes at a size that learns 8x8 digits within seconds: the same games, smaller networks."""

from __future__ import annotations

from typing import Any

from gankit import recipes
from gankit.runs.build import build_trainer
from gankit.training import Trainer

MLP = "gankit.models.mlp"


def small_twin(name: str, seed: int, **changes: Any) -> Trainer:
    """The trainer of the recipe ``name`` on 8x8 digits with hidden layers of 128."""
    settings: dict[str, Any] = {
        "device": "cpu",
        "seed": seed,
        "image_size": 8,
        "z_dim": 32,
        "batch_size": 60,
        "lr": 1e-3,
        "generator": {"class_path": f"{MLP}.Generator", "init_args": {"hidden": [128, 128]}},
    }
    if name == "ebgan":
        settings["discriminator"] = {
            "class_path": "gankit.models.autoencoder.Discriminator",
            "init_args": {"hidden": [128, 64], "code": 8, "error": "squared"},
        }
    else:
        settings["discriminator"] = {
            "class_path": f"{MLP}.Discriminator",
            "init_args": {"hidden": [128, 128], "dropout": 0.3, "output": "logit"},
        }
    return build_trainer(recipes.get(name).config.updated(**{**settings, **changes}))
