"""``gankit sample``."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from torch import Tensor, nn

from gankit.cli.rundir import CHECKPOINT, run_config
from gankit.errors import CheckpointError, ConfigError
from gankit.recipes.build import build_generator
from gankit.training.checkpoint import load_checkpoint
from gankit.training.pictures import generate, save_grid
from gankit.training.point_pictures import are_points, save_points


def sample(arguments: argparse.Namespace) -> int:
    """Draw ``--n`` images from the generator of a run into one PNG, as square as possible."""
    out = Path(arguments.out)
    if out.suffix.lower() != ".png":
        raise ConfigError(f"--out {out} does not end in .png; only PNG files are written")
    path = Path(arguments.run) / CHECKPOINT
    if not path.is_file():
        raise CheckpointError(f"{arguments.run} holds no {CHECKPOINT}, so there is nothing to draw")
    state = load_checkpoint(path)
    config = run_config(state, path)
    if not state["config"].get("draws", True):
        raise ConfigError(
            f"{arguments.run} is a run of {config.recipe!r}, an autoencoder without a distribution "
            "of codes to draw from; the pictures in its folder show what it reconstructs"
        )
    shape = state["config"].get("image_shape")
    if not isinstance(shape, list) or [type(size) for size in shape] != [int] * 3:
        raise CheckpointError(f"{path} has the image shape {shape!r}; allowed are three integers")
    try:
        G = build_generator(state["config"])
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} was not written by gankit train") from error
    try:
        # The moving average, where the run kept one, draws better than the last weights.
        G.load_state_dict(state["gan_step"].get("ema", state["generator"]))
    except (KeyError, AttributeError, RuntimeError, TypeError) as error:
        raise CheckpointError(f"{path} does not fit its generator: {error}") from error
    images = generate(
        G,
        arguments.n,
        seed=arguments.seed,
        distribution=config.z_distribution,
        labels=_labels(arguments, G),
    )
    if images[0].numel() != math.prod(shape):
        raise CheckpointError(
            f"{path} does not fit its generator, which makes images of shape "
            f"{list(images.shape[1:])} in place of {shape}"
        )
    images = images.reshape(-1, *shape)
    columns = math.ceil(math.sqrt(arguments.n))
    if are_points(images):
        save_points(out, images)
    else:
        save_grid(out, [images], columns=columns, inverted=config.grid_inverted)
    print(f"{arguments.n} images are in {out}")
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
