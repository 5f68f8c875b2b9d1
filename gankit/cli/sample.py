"""``gankit sample``."""

from __future__ import annotations

import argparse
import logging
import math
import os
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from gankit.cli import latent
from gankit.errors import CheckpointError, ConfigError
from gankit.hub import resolve
from gankit.latent import standing_statistics, truncated
from gankit.loaded import Interface
from gankit.model_folder import is_exported
from gankit.runs.build import pick_device
from gankit.saved import CHECKPOINT, SavedRun, load_run
from gankit.training.image_files import check_folder, save_folder, save_npz
from gankit.training.pictures import channels_in_words, generate_batches, save_grid, spread
from gankit.training.point_pictures import are_points, save_points

_LOG = logging.getLogger(__name__)
# A conditional run has no more columns than these unless --columns says so.
_COLUMNS = 16
_FILES = "FILE.png, a grid, and FILE.npz, an array"


def sample(arguments: argparse.Namespace) -> int:
    """Draw ``--n`` images from the generator of a run into a grid, an array or single files."""
    mode = latent.check(arguments)
    kind = _kind(arguments) if mode is None else mode
    run = resolve(arguments.run)
    if not run.is_file() and not (run / CHECKPOINT).is_file() and not is_exported(run):
        raise CheckpointError(f"{arguments.run} holds no {CHECKPOINT}, so there is nothing to draw")
    device = pick_device(arguments.device)
    saved = load_run(run, trust=arguments.trust)
    config = saved.config
    if not saved.draws:
        raise ConfigError(
            f"{arguments.run} is a run of {config.recipe!r}, an autoencoder without a distribution "
            "of codes to draw from; the pictures in its folder show what it reconstructs"
        )
    if mode is not None:
        latent.explore(arguments, saved, mode)
        return 0
    out, interface = Path(arguments.out), saved.interface
    points = are_points(saved.image_shape)
    if kind == "folder":
        if points:
            raise ConfigError(f"--out {arguments.out} is a folder; allowed for points are {_FILES}")
        check_folder(out, saved.image_shape[0])
    columns = arguments.columns or math.ceil(math.sqrt(arguments.n))
    names: list[str] = []
    labels = _labels(arguments, interface)
    if kind == "grid" and not points and labels is None and interface.n_classes is not None:
        # A column per class.
        classes = interface.classes or range(interface.n_classes)
        shown = spread(list(classes), arguments.columns or _COLUMNS)
        columns = arguments.columns or min(len(shown), arguments.n)
        of_columns = [shown[column % len(shown)] for column in range(columns)]
        labels = torch.tensor(of_columns)[torch.arange(arguments.n) % columns]
        names = [interface.class_name(label) for label in of_columns]
    labels = interface.labels(arguments.n) if labels is None else labels
    batches = (
        batch.reshape(-1, *saved.image_shape)
        for batch in _batches(arguments, saved, device, labels)
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    if kind == "folder":
        save_folder(out, batches, arguments.n, labels)
    elif kind == "array":
        save_npz(out, batches, (arguments.n, *saved.image_shape), labels)
    elif points:
        save_points(out, torch.cat(list(batches)), caption=_caption(arguments, saved))
    else:
        said = channels_in_words(saved.image_shape[0])
        if said is not None:
            _LOG.warning("%s", said)
        save_grid(
            out,
            [torch.cat(list(batches))],
            columns=columns,
            inverted=config.grid_inverted,
            captions=[_caption(arguments, saved)],
            column_names=names,
            scale=arguments.scale,
        )
    print(f"{arguments.n} image{'s are' if arguments.n > 1 else ' is'} in {out}")
    return 0


def _batches(
    arguments: argparse.Namespace, saved: SavedRun, device: torch.device, labels: Tensor | None
) -> Iterator[Tensor]:
    """The images, a few hundred at a time."""
    G, distribution = saved.generator.to(device), saved.interface.z_distribution or "normal"
    if arguments.standing_stats is not None:
        G = standing_statistics(
            G,
            arguments.standing_stats,
            truncation=arguments.truncation,
            distribution=distribution,
            classes=saved.interface.classes,
            seed=arguments.seed,
        )
    z = None
    if arguments.truncation is not None:
        z = truncated(
            arguments.n,
            saved.interface.z_dim,
            arguments.truncation,
            distribution=distribution,
            seed=arguments.seed,
        )
    return generate_batches(
        G, arguments.n, seed=arguments.seed, distribution=distribution, labels=labels, z=z
    )


def _kind(arguments: argparse.Namespace) -> str:
    if not arguments.out:
        raise ConfigError(f"--out is ''; allowed are {_FILES}, and FOLDER/ for a PNG per image")
    suffix = Path(arguments.out).suffix.lower()
    separators = tuple(filter(None, (os.sep, os.altsep)))
    if arguments.out.endswith(separators) or not suffix or os.path.isdir(arguments.out):
        kind = "folder"
    elif suffix in (".png", ".npz"):
        kind = "grid" if suffix == ".png" else "array"
    else:
        raise ConfigError(
            f"--out is {arguments.out}; allowed are {_FILES}, and FOLDER/ for a PNG per image"
        )
    for name in ("columns", "scale"):
        if kind != "grid" and getattr(arguments, name) is not None:
            raise ConfigError(f"--{name} is for a grid, and --out {arguments.out} is none")
    return kind


def _caption(arguments: argparse.Namespace, saved: SavedRun) -> str:
    of_class = "" if arguments.label is None else f", class {arguments.label}"
    return f"generated, step {saved.step}{of_class}"


def _labels(arguments: argparse.Namespace, interface: Interface) -> Tensor | None:
    if arguments.label is None:
        return None
    if interface.n_classes is None:
        raise ConfigError(
            f"--label is {arguments.label}, but the run in {arguments.run} has no labels"
        )
    try:
        label = interface.label_of(arguments.label)
    except ConfigError as error:
        raise ConfigError(f"--{error}") from None
    if label >= interface.n_classes:
        raise ConfigError(f"--label is {label}; allowed are 0 to {interface.n_classes - 1}")
    if interface.classes and label not in interface.classes:
        _LOG.warning(
            "no image of class %d was in the data, so what the generator makes of it means nothing",
            label,
        )
    return torch.full((arguments.n,), label)
