"""The pictures of docs/recipes.md, from the folders of runs.

``gankit train NAME`` for every recipe in ``PICTURES``, those in ``FLAGS`` with their flags and
``--out runs/FOLDER``, those of ``gammas`` as ``examples/began_small.yaml`` says; then
``python -m examples.gallery runs``. ``--pictures NAME ...`` draws a part.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from examples.rows import save_rows
from gankit import data
from gankit.gans.autoencoder import AutoencoderStep
from gankit.runs.build import build_trainer
from gankit.saved import SavedRun, load_run
from gankit.training import generate
from gankit.training.checkpoint import load_checkpoint

COLUMNS, CLASSES, SCALE = 12, 10, 2
LARGER = {"gammas": 5}  # the scale of a picture of 8x8 images


def drawn(run: SavedRun, lines: int = 1) -> Tensor:
    """Samples ``[lines, COLUMNS, C, H, W]``, the first ones of seed 0: none is picked by eye."""
    distribution = run.interface.z_distribution or "normal"
    labels = None
    columns = COLUMNS
    if getattr(run.generator, "n_classes", None) is not None:
        columns = CLASSES
        labels = torch.arange(columns).repeat(lines)
    samples = generate(
        run.generator, lines * columns, seed=0, distribution=distribution, labels=labels
    )
    return samples.view(lines, columns, *run.image_shape)


def reconstructed(run: SavedRun, images: Tensor) -> Tensor:
    """What the autoencoder of ``run`` makes of ``images``."""
    trainer = build_trainer(run.config.updated(device="cpu"))
    trainer.load_state_dict(load_checkpoint(run.path))
    assert isinstance(trainer.gan_step, AutoencoderStep)
    return trainer.gan_step.reconstruct(images)


def autoencoders(runs: Path) -> dict[str, Tensor]:
    """Digits that the runs did not see, what comes back of them, and samples of ``vae``."""
    ae, vae = load_run(runs / "ae"), load_run(runs / "vae")
    unseen = data.load("digits", image_size=ae.config.image_size, split="test")
    images = unseen.normalized()[:COLUMNS]
    return {
        "unseen": images,
        "ae": reconstructed(ae, images),
        "vae": reconstructed(vae, images),
        "vae, drawn": drawn(vae),
    }


# Each picture, and the folders of the runs on it.
PICTURES: dict[str, tuple[str, ...]] = {
    "gan": ("gan", "gan-400", "gan-keras", "mmgan", "nsgan", "lsgan", "rgan"),
    "wgan": ("wgan", "wgan-lr", "wgan-gp", "wgan-gp-conv"),
    "dcgan": ("dcgan",),
    "cgan": ("cgan",),
    "biggan": ("biggan-digits",),
    "sgan": ("sgan",),
    "autoencoders": ("ae", "vae"),
    "energy": ("began", "ebgan"),
    "gammas": ("began-0.6", "began-0.35", "began-0.2"),
}
# Runs of a recipe with flags: what the row is called is what differs.
FLAGS = {
    "gan-400": "gan, --epochs 400",
    "wgan-lr": "wgan, --lr 2e-4",
    "began-0.6": "gamma 0.6",
    "began-0.35": "gamma 0.35",
    "began-0.2": "gamma 0.2",
}


def rows(picture: str, runs: Path) -> dict[str, Tensor]:
    """What is on that picture: a row of images or several for each name."""
    if picture == "autoencoders":
        return autoencoders(runs)
    names = PICTURES[picture]
    lines = {1: 3, 2: 2}.get(len(names), 1)
    return {FLAGS.get(name, name): drawn(load_run(runs / name), lines) for name in names}


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw, and print where each picture is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("runs", type=Path, help="folder with the runs, each under its recipe")
    parser.add_argument("--out", type=Path, default=Path("docs"), metavar="FOLDER")
    parser.add_argument("--pictures", nargs="+", choices=[*PICTURES], default=[*PICTURES])
    chosen = parser.parse_args(arguments)
    for name in chosen.pictures:
        path = chosen.out / f"{name}.png"
        save_rows(path, rows(name, chosen.runs), scale=LARGER.get(name, SCALE))
        print(f"{path}: {path.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
