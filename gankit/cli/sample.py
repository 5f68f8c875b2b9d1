"""``gankit sample``."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from gankit.cli.rundir import CHECKPOINT
from gankit.errors import CheckpointError, ConfigError
from gankit.recipes.build import build_generator
from gankit.recipes.config import RunConfig
from gankit.training.checkpoint import load_checkpoint
from gankit.training.pictures import generate, save_grid


def sample(arguments: argparse.Namespace) -> int:
    """Draw ``--n`` images from the generator of a run into one PNG, as square as possible."""
    out = Path(arguments.out)
    if out.suffix.lower() != ".png":
        raise ConfigError(f"--out {out} does not end in .png; only PNG files are written")
    path = Path(arguments.run) / CHECKPOINT
    if not path.is_file():
        raise CheckpointError(f"{arguments.run} holds no {CHECKPOINT}, so there is nothing to draw")
    state = load_checkpoint(path)
    try:
        description = state["config"]
        config = RunConfig.from_dict(description["run"], str(path))
        shape = description["image_shape"]
        G = build_generator(description)
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{path} was not written by gankit train") from error
    try:
        G.load_state_dict(state["generator"])
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not fit its generator: {error}") from error
    images = generate(G, arguments.n, seed=arguments.seed, distribution=config.z_distribution)
    columns = math.ceil(math.sqrt(arguments.n))
    save_grid(out, [images.reshape(-1, *shape)], columns=columns, inverted=config.grid_inverted)
    print(f"{arguments.n} images are in {out}")
    return 0
