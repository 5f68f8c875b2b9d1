"""``gankit sample``."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from torch import Tensor, nn

from gankit.errors import CheckpointError, ConfigError
from gankit.saved import CHECKPOINT, load_run
from gankit.training.pictures import generate, save_grid
from gankit.training.point_pictures import are_points, save_points


def sample(arguments: argparse.Namespace) -> int:
    """Draw ``--n`` images from the generator of a run into one PNG, as square as possible."""
    out = Path(arguments.out)
    if out.suffix.lower() != ".png":
        raise ConfigError(f"--out {out} does not end in .png; only PNG files are written")
    run = Path(arguments.run)
    if not run.is_file() and not (run / CHECKPOINT).is_file():
        raise CheckpointError(f"{arguments.run} holds no {CHECKPOINT}, so there is nothing to draw")
    saved = load_run(arguments.run, trust=arguments.trust)
    G, config = saved.generator, saved.config
    if not saved.draws:
        raise ConfigError(
            f"{arguments.run} is a run of {config.recipe!r}, an autoencoder without a distribution "
            "of codes to draw from; the pictures in its folder show what it reconstructs"
        )
    images = generate(
        G,
        arguments.n,
        seed=arguments.seed,
        distribution=config.z_distribution,
        labels=_labels(arguments, G),
    )
    images = images.reshape(-1, *saved.image_shape)
    columns = math.ceil(math.sqrt(arguments.n))
    if are_points(images):
        save_points(out, images)
    else:
        save_grid(out, [images], columns=columns, inverted=config.grid_inverted)
    print(f"{arguments.n} image{'s are' if arguments.n > 1 else ' is'} in {out}")
    return 0


def _labels(arguments: argparse.Namespace, G: nn.Module) -> Tensor | None:
    label, n_classes = arguments.label, getattr(G, "n_classes", None)
    if label is None:
        return None
    if n_classes is None:
        raise ConfigError(f"--label is {label}, but the run in {arguments.run} has no labels")
    if label >= n_classes:
        raise ConfigError(f"--label is {label}; allowed are 0 to {n_classes - 1}")
    return torch.full((arguments.n,), label)
