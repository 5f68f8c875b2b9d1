"""``gankit invert``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gankit.atomic import atomic_write
from gankit.data.image_files import decode, list_image_files, resize
from gankit.data.images import normalize_bytes
from gankit.errors import ConfigError, DataError
from gankit.latent import Inversion
from gankit.latent import invert as find
from gankit.runs.build import pick_device
from gankit.saved import SavedRun, load_run
from gankit.training.pictures import save_grid

# Labels that are tried where none is given, and columns of the picture.
_LABELS, _COLUMNS = 32, 16


def invert(arguments: argparse.Namespace) -> int:
    """Find the z of an image, or of the images of a folder; print errors and write the images.

    1 if an image of the folder cannot be read.
    """
    out = Path(arguments.out)
    if out.suffix.lower() not in (".png", ".npz"):
        raise ConfigError(f"--out is {out}; allowed are FILE.png, a picture, and FILE.npz, arrays")
    device = pick_device(arguments.device)
    saved = load_run(arguments.run, trust=arguments.trust)
    if not saved.draws:
        raise ConfigError(
            f"{arguments.run} is a run of {saved.config.recipe!r}, an autoencoder without a "
            "distribution of codes to begin from"
        )
    files, images, failed = _images(Path(arguments.image), saved)
    saved.generator.to(device)
    found, labels = _found(arguments, saved, images)
    width = max(len(file.name) for file in files)
    for number, file in enumerate(files):
        label = "" if labels is None else f", class {int(labels[number])}"
        print(
            f"{file.name:{width}}  mean squared error {float(found.error[number]):.3g}, "
            f"PSNR {float(found.psnr[number]):.1f} dB{label}"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix.lower() == ".npz":
        arrays = {"z": found.z, "images": found.images, "originals": images, "psnr": found.psnr}
        arrays |= {} if labels is None else {"labels": labels}
        with atomic_write(out) as stream:
            np.savez(stream, allow_pickle=False, **{k: v.numpy() for k, v in arrays.items()})
    else:
        shown = found.images.view_as(images)[:_COLUMNS]
        save_grid(
            out,
            [torch.cat([images[:_COLUMNS], shown])],
            columns=len(shown),
            inverted=saved.config.grid_inverted,
            captions=[f"image, inversion: step {saved.step}"],
        )
    print(f"{'the picture is' if out.suffix.lower() == '.png' else 'z and images are'} in {out}")
    for reason in failed:
        print(f"gankit: skipped {reason}", file=sys.stderr)
    return 1 if failed else 0


def _images(given: Path, saved: SavedRun) -> tuple[list[Path], Tensor, list[DataError]]:
    """The files, and their images at the size of the generator's, ``[N, C, H, W]`` in [-1, 1].

    Also why others cannot be read; DataError if none can.
    """
    channels, height, width = saved.image_shape
    if channels not in (1, 3, 4) or height == 1:
        raise ConfigError(
            f"samples of this run have the shape {list(saved.image_shape)}, which no image file has"
        )
    if given.is_dir():
        files, _ = list_image_files(given)
        if not files:
            raise DataError(f"{given} has no images in it")
    elif given.exists():
        files = [given]
    else:
        raise DataError(f"there is no file or folder {given}")
    read: list[Path] = []
    decoded: list[Tensor] = []
    failed: list[DataError] = []
    for file in files:
        try:
            decoded.append(resize(decode(file, channels=channels), (height, width), fit="crop"))
        except DataError as error:
            failed.append(error)
            continue
        read.append(file)
    if not read:
        raise (
            failed[0]
            if len(failed) == 1
            else DataError(f"none of {len(failed)} images in {given} can be read; {failed[0]}")
        )
    return read, normalize_bytes(torch.stack(decoded)), failed


def _found(
    arguments: argparse.Namespace, saved: SavedRun, images: Tensor
) -> tuple[Inversion, Tensor | None]:
    """What was found, with the label of each image where the generator takes one."""
    interface = saved.interface

    def with_label(label: int | None) -> Inversion:
        return find(
            saved.generator,
            images,
            labels=interface.labels(len(images), label),
            distribution=interface.z_distribution or "normal",
            steps=arguments.steps,
            starts=arguments.starts,
            seed=arguments.seed,
        )

    if arguments.label is not None:
        label = interface.label_of(arguments.label)
        return with_label(label), interface.labels(len(images), label)
    if interface.n_classes is None:
        return with_label(None), None
    tried = list(interface.classes or range(interface.n_classes))
    if len(tried) > _LABELS:
        raise ConfigError(f"the run has {len(tried)} classes; --label says which one is meant")
    each = [with_label(label) for label in tried]
    best = torch.stack([inversion.error for inversion in each]).argmin(dim=0)
    rows = torch.arange(len(images))
    merged = (torch.stack(parts)[best, rows] for parts in zip(*each, strict=True))
    return Inversion(*merged), torch.tensor(tried)[best]
