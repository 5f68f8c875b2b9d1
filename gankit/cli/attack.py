"""``gankit attack``."""

from __future__ import annotations

import argparse
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gankit import data
from gankit.atomic import atomic_write
from gankit.attacks import accuracy, fgsm, pgd, predict
from gankit.data.image_files import decode, resize, stored_channels
from gankit.data.labelled import UNLABELLED
from gankit.data.sources import NAMES
from gankit.errors import ConfigError, DataError, GankitError
from gankit.runs.build import pick_device
from gankit.saved_classifier import Classifier, load_classifier
from gankit.training.image_files import check_folder, save_folder
from gankit.training.pictures import save_grid
from gankit.training.point_pictures import are_points
from gankit.training.seeds import stream

_FILES = "FILE.png, a picture, FILE.npz, arrays, and FOLDER/ for a PNG per image"
# Images of a picture.
_COLUMNS = 10
_NORMS = {"linf": "L-inf", "l2": "L2"}


def attack(arguments: argparse.Namespace) -> int:
    """Attack a classifier on images, say what it costs, and write the attacked images."""
    kind = _kind(arguments.out)
    if arguments.method == "fgsm" and arguments.norm != "linf":
        raise ConfigError("--norm l2 is for --method pgd; fgsm is of the norm linf")
    for name in ("steps", "restarts"):
        if arguments.method == "fgsm" and getattr(arguments, name) is not None:
            raise ConfigError(f"--{name} is for --method pgd; fgsm makes one step")
    if (
        arguments.range is not None
        and not -math.inf < arguments.range[0] < arguments.range[1] < math.inf
    ):
        low, high = arguments.range
        raise ConfigError(f"--range is {low:g} {high:g}; allowed are two numbers, the lower first")
    device = pick_device(arguments.device)
    loaded = load_classifier(
        arguments.model,
        trust=arguments.trust,
        value_range=None if arguments.range is None else tuple(arguments.range),
    )
    model = loaded.model.to(device)
    images, labels = _images(arguments, loaded.image_shape)
    if kind == "folder":
        check_folder(Path(arguments.out), images.shape[1])
    images = images.to(device)
    guessed = labels is None
    predicted = _first_look(model, images)
    truth = predicted if labels is None else labels.to(device)
    moved = _attacked(arguments, model, images, truth)
    _report(arguments, model, images, moved, truth, guessed)
    out = Path(arguments.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    if kind == "folder":
        level = _levels(images, moved, arguments.eps if arguments.norm == "linf" else None)
        save_folder(
            out, (level.cpu() / 127.5 - 1).split(256), len(level), None if guessed else truth
        )
        as_files = accuracy(model, (level / 255).to(device), truth)
        print(f"rounded to the 256 levels of the files in {out}, {as_files:.1%}")
    elif kind == "array":
        found = {
            "images": moved,
            "originals": images,
            "labels": truth,
            "predictions": predict(model, moved),
        }
        with atomic_write(out) as file:
            arrays: dict[str, Any] = {name: value.cpu().numpy() for name, value in found.items()}
            np.savez(file, **arrays)
        print(f"the arrays {', '.join(found)} are in {out}")
    else:
        _picture(arguments, model, images, moved, truth)
        print(f"the first {min(_COLUMNS, len(images))}, before, changed by and after, are in {out}")
    return 0


def _kind(out: str) -> str:
    suffix = Path(out).suffix.lower()
    if not out or suffix not in ("", ".png", ".npz"):
        raise ConfigError(f"--out is {out!r}; allowed are {_FILES}")
    return {"": "folder", ".png": "picture", ".npz": "array"}[suffix]


def _images(
    arguments: argparse.Namespace, shape: tuple[int, int, int] | None
) -> tuple[Tensor, Tensor | None]:
    """float32 ``[N, C, H, W]`` in [0, 1], and their labels where they have some."""
    name, path = arguments.images, Path(arguments.images)
    size = arguments.image_size or (None if shape is None else list(shape[1:]))
    if path.is_file():
        image = decode(path, channels=stored_channels(path) if shape is None else shape[0])
        if size is not None:
            image = resize(image, size if isinstance(size, int) else (size[0], size[1]))
        return image[None].float() / 255, None
    if path.is_dir():
        name = f"folder:{path}"
    elif ":" not in name and name not in NAMES:
        raise DataError(f"images is {name!r}; allowed are an image, a folder, {', '.join(NAMES)}")
    extra: dict[str, Any] = (
        {} if shape is None or not name.startswith("folder:") else {"channels": shape[0]}
    )
    square: Any = size if isinstance(size, int) or size is None or size[0] != size[1] else size[0]
    found = data.load(
        name, image_size=square, split=arguments.split, root=arguments.data_root, **extra
    )
    if "image" not in found.fields or are_points(found.fields["image"]):
        raise DataError(
            f"{name} has no single images; allowed are sets of images with labels or without"
        )
    chosen = torch.randperm(len(found), generator=stream(arguments.seed, "images"))[: arguments.n]
    batch = found.batch(chosen.sort().values)
    labels = batch.get("label")
    if labels is not None and bool((labels == UNLABELLED).any()):
        raise DataError(
            f"{name} has images without a label; allowed are labels for all or for none"
        )
    return (batch["image"].float() + 1) / 2, labels


def _first_look(model: Classifier, images: Tensor) -> Tensor:
    """The classes that ``model`` predicts; ConfigError if it cannot take such images."""
    try:
        return predict(model, images)
    except (RuntimeError, TypeError) as error:
        if isinstance(error, GankitError):
            raise
        what = " ".join(str(error).split())
        raise ConfigError(
            f"the classifier cannot take images {list(images.shape[1:])}: {what}"
        ) from error


def _attacked(
    arguments: argparse.Namespace, model: Classifier, images: Tensor, truth: Tensor
) -> Tensor:
    targeted = arguments.target is not None
    goal = torch.full_like(truth, arguments.target) if targeted else truth
    if arguments.method == "fgsm":
        return fgsm(model, images, goal, arguments.eps, targeted=targeted)
    return pgd(
        model,
        images,
        goal,
        arguments.eps,
        norm=arguments.norm,
        steps=arguments.steps or 40,
        restarts=arguments.restarts or 1,
        targeted=targeted,
        seed=arguments.seed,
    )


def _report(
    arguments: argparse.Namespace,
    model: Classifier,
    images: Tensor,
    moved: Tensor,
    truth: Tensor,
    guessed: bool,
) -> None:
    share = partial(accuracy, model)
    words = "classified as before" if guessed else "classified correctly"
    name = "FGSM" if arguments.method == "fgsm" else f"PGD ({_NORMS[arguments.norm]})"
    print(
        f"{words}: {share(images, truth):.1%} of {len(images)} images, "
        f"{share(moved, truth):.1%} under {name} with eps {arguments.eps:.4g}"
    )
    if arguments.target is not None:
        others = truth != arguments.target
        if bool(others.any()):
            hit = (predict(model, moved[others]) == arguments.target).double().mean()
            print(f"taken for class {arguments.target}: {float(hit):.1%} of those of other classes")


def _levels(images: Tensor, moved: Tensor, eps: float | None) -> Tensor:
    """``moved`` in levels of 0 to 255, rounded toward ``images``, so that eps holds for files too.

    Integers in float32. The allowance is for float32's rounding of a level divided by 255.
    """
    start = (images.double() * 255).round()
    change = moved.double() * 255 - start
    if eps is not None:
        most = math.floor(eps * 255 + 1e-6)
        change = (change + 1e-3 * change.sign()).clamp(-most, most)
    return (start + change.trunc()).float()


def _picture(
    arguments: argparse.Namespace, model: Classifier, images: Tensor, moved: Tensor, truth: Tensor
) -> None:
    before, after = images[:_COLUMNS], moved[:_COLUMNS]
    change = after - before
    largest = change.abs().amax().clamp_min(1e-12)
    rows = [2 * before - 1, change / largest, 2 * after - 1]
    names = [
        f"{a} > {b}"
        for a, b in zip(truth[:_COLUMNS].tolist(), predict(model, after).tolist(), strict=True)
    ]
    save_grid(
        arguments.out,
        [torch.cat(rows).cpu()],
        columns=len(before),
        captions=[
            f"image, change times {1 / float(largest):.3g}, attacked image; true class > prediction"
        ],
        column_names=names,
    )
