"""``gankit sample`` with ``--walk``, ``--grid``, ``--toward``, ``--sefa`` or ``--arithmetic``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from gankit.atomic import atomic_write
from gankit.attacks.classifier import logits_of, undisturbed
from gankit.data import ImageData
from gankit.errors import ConfigError
from gankit.latent import (
    arithmetic,
    bilinear,
    mean_difference,
    move,
    sefa,
    terms_of,
    walk,
)
from gankit.metrics import DigitClassifier
from gankit.runs.build import load_data, pick_device
from gankit.runs.component import is_import_path, split_spec
from gankit.runs.trust import check_own
from gankit.saved import SavedRun
from gankit.saved_classifier import load_classifier
from gankit.training.movies import MOVIES, check_movie, save_movie
from gankit.training.noise import Distribution, noise_for
from gankit.training.pictures import generate_from, save_grid
from gankit.training.point_pictures import are_points
from gankit.training.seeds import stream

MODES = ("walk", "grid", "toward", "sefa", "arithmetic")
# z moves by so much along a direction, in both senses for one without a sign.
_FAR = 3.0
# Samples whose labels make a direction.
_SAMPLES = 4096
_ROWS = 8
_LEGIBLE, _LARGEST_SCALE = 112, 8


@dataclass(frozen=True)
class _Page:
    """z ``[rows * columns, d]`` of what is drawn, and what stands above the columns."""

    z: Tensor
    columns: int
    caption: str
    names: tuple[str, ...] = ()


def check(arguments: argparse.Namespace) -> str | None:
    """Which of ``MODES`` is asked for; None if none. ConfigError for options that do not fit."""
    asked = [mode for mode in MODES if getattr(arguments, mode) is not None]
    if len(asked) > 1:
        raise ConfigError(f"--{asked[0]} and --{asked[1]} exclude each other")
    mode = asked[0] if asked else None
    uses = {
        "steps": ("walk", "grid", "toward", "sefa"),
        "slerp": ("walk",),
        "classifier": ("toward", "arithmetic"),
    }
    for name, modes in uses.items():
        if getattr(arguments, name) and mode not in modes:
            raise ConfigError(f"--{name} is for {', '.join('--' + each for each in modes)}")
    if mode is None:
        return None
    if arguments.truncation is not None:
        raise ConfigError(f"--truncation is for samples; allowed is no --{mode} beside it")
    if arguments.standing_stats is not None:
        raise ConfigError(f"--standing-stats is for samples; allowed is no --{mode} beside it")
    if arguments.columns is not None:
        raise ConfigError(f"--columns is for a grid of samples; --{mode} has --steps instead")
    out = Path(arguments.out)
    suffix = out.suffix.lower()
    still = mode in ("grid", "arithmetic")
    allowed = (".png", ".npz") if still else (".png", ".npz", *MOVIES)
    if suffix not in allowed:
        raise ConfigError(
            f"--out is {arguments.out}; allowed for --{mode} are {', '.join(allowed)}"
        )
    if arguments.steps is not None and arguments.steps < 2:
        raise ConfigError(f"--steps is {arguments.steps}; allowed are integers from 2")
    if mode == "arithmetic":
        terms_of(arguments.arithmetic)
    if suffix in MOVIES:
        check_movie(out)
    return mode


def explore(arguments: argparse.Namespace, saved: SavedRun, mode: str) -> None:
    """Draw, as a picture, a movie or arrays, what ``mode`` says of the latent space."""
    out = Path(arguments.out)
    if are_points(saved.image_shape) and out.suffix.lower() != ".npz":
        raise ConfigError(
            f"--out is {out}, and samples of this run are points; allowed for --{mode} is FILE.npz"
        )
    G = saved.generator.to(pick_device(arguments.device))
    z_distribution = saved.interface.z_distribution or "normal"
    page = _page(arguments, saved, G, mode, z_distribution)
    interface, labels = saved.interface, None
    if interface.n_classes is not None:
        given = str((interface.classes or (0,))[0]) if arguments.label is None else arguments.label
        labels = interface.labels(len(page.z), interface.label_of(given))
    elif arguments.label is not None:
        raise ConfigError(
            f"--label is {arguments.label}, but the run in {arguments.run} has no labels"
        )
    images = generate_from(G, page.z, labels, seed=arguments.seed)
    images = images.reshape(-1, *saved.image_shape)
    out.parent.mkdir(parents=True, exist_ok=True)
    inverted, suffix = saved.config.grid_inverted, out.suffix.lower()
    if suffix == ".npz":
        with atomic_write(out) as file:
            np.savez(file, z=page.z.numpy(), images=images.numpy())
    elif suffix in MOVIES:
        frames = images.view(-1, page.columns, *images.shape[1:]).transpose(0, 1)
        size = min(saved.image_shape[1:])
        scale = arguments.scale or max(1, min(-(-_LEGIBLE // size), _LARGEST_SCALE))
        save_movie(out, list(frames), scale=scale, inverted=inverted)
    else:
        save_grid(
            out,
            [images],
            columns=page.columns,
            captions=[f"{page.caption}, step {saved.step}"],
            column_names=page.names,
            inverted=inverted,
            scale=arguments.scale,
        )
    what = (
        f"{page.caption}: {len(images)} images"
        if suffix != ".npz"
        else f"{page.caption}, z and images,"
    )
    print(f"{what} are in {out}")


def _page(
    arguments: argparse.Namespace,
    saved: SavedRun,
    G: nn.Module,
    mode: str,
    distribution: Distribution,
) -> _Page:
    def z_of(seed: int) -> Tensor:
        """The noise of `gankit sample --seed SEED --n 1`."""
        random = stream(seed, "z")
        return noise_for(G, distribution, device="cpu", random=random)(1)[0]

    steps = arguments.steps or (60 if Path(arguments.out).suffix.lower() in MOVIES else 9)
    if mode == "walk":
        start, end = map(z_of, arguments.walk)
        points = walk(start, end, steps, spherical=arguments.slerp, distribution=distribution)
        kind = "slerp" if arguments.slerp else "line"
        return _Page(points, steps, f"{kind} from seed {arguments.walk[0]} to {arguments.walk[1]}")
    if mode == "grid":
        corners = torch.stack([z_of(seed) for seed in arguments.grid])
        seeds = ", ".join(map(str, arguments.grid))
        return _Page(bilinear(corners, steps, steps), steps, f"between the seeds {seeds}")
    if mode == "sefa":
        directions, _ = sefa(G, arguments.sefa)
        z, amounts = z_of(arguments.seed), torch.linspace(-_FAR, _FAR, steps).tolist()
        rows = torch.cat([move(z[None], d.cpu(), amounts)[0] for d in directions])
        names = tuple(f"{amount:+.1f}" for amount in amounts)
        caption = f"SeFa, seed {arguments.seed}, {arguments.sefa} directions"
        return _Page(_kept(rows, distribution), steps, caption, names)
    if saved.interface.n_classes is not None:
        raise ConfigError(
            f"--{mode} is for generators of noise alone, and that of {arguments.run} is given the "
            "class; --label says which"
        )
    classify = _classifier(arguments, saved)
    if mode == "toward":
        z = noise_for(G, distribution, device="cpu", random=stream(arguments.seed, "z"))(_SAMPLES)
        scores = classify(generate_from(G, z, seed=arguments.seed).reshape(-1, *saved.image_shape))
        if arguments.toward >= scores.shape[1]:
            raise ConfigError(
                f"--toward is {arguments.toward}; allowed are 0 to {scores.shape[1] - 1}"
            )
        direction = mean_difference(z, scores[:, arguments.toward])
        amounts = torch.linspace(0, _FAR, steps).tolist()
        rows = move(z[: min(arguments.n, _ROWS)], direction, amounts).flatten(0, 1)
        names = tuple(f"{amount:.1f}" for amount in amounts)
        return _Page(_kept(rows, distribution), steps, f"toward class {arguments.toward}", names)
    found = arithmetic(
        G,
        arguments.arithmetic,
        lambda images: classify(images.reshape(-1, *saved.image_shape)),
        distribution=distribution,
        seed=arguments.seed,
    )
    # A column per term with its examples and their mean; the last one holds the result.
    columns = [torch.cat([e, m[None]]) for e, m in zip(found.examples, found.means, strict=True)]
    noise = 0.25 * torch.stack([z_of(arguments.seed + 1 + k) for k in range(3)])
    columns.append(_kept(torch.cat([found.z + noise, found.z[None]]), distribution))
    terms = terms_of(arguments.arithmetic)
    names = tuple(f"{'-' if sign < 0 else '+'} {label}" for sign, label in terms)
    z = torch.stack(columns, dim=1).flatten(0, 1)
    return _Page(z, len(columns), "examples, their mean, the sum", (*names, "="))


def _kept(z: Tensor, distribution: Distribution) -> Tensor:
    return z.clamp(-1, 1) if distribution == "uniform" else z


def _classifier(arguments: argparse.Namespace, saved: SavedRun) -> Callable[[Tensor], Tensor]:
    """From images in [-1, 1] to probabilities ``[N, K]``: as --classifier says, or of the data."""
    if arguments.classifier is not None:
        model = load_classifier(arguments.classifier, trust=arguments.trust).model

        @torch.no_grad()
        def given(images: Tensor) -> Tensor:
            with undisturbed(model, images.device):
                return logits_of(model, (images + 1) / 2).softmax(dim=1)

        return given
    spec = saved.config.data
    if is_import_path(split_spec("data", spec)[0]) and not arguments.trust:
        check_own(str(saved.path), "data", spec)
    data = load_data(saved.config)
    if not isinstance(data, ImageData) or data.labels is None:
        raise ConfigError(
            f"the data of {arguments.run} have no classes to learn; --classifier names a classifier"
        )
    learnt = DigitClassifier.fit(data)

    def of_the_data(images: Tensor) -> Tensor:
        # Classes that the data have not are never probable.
        known = learnt.probabilities(images)
        found = known.new_zeros(len(images), max(learnt.classes) + 1)
        found[:, list(learnt.classes)] = known
        return found

    return of_the_data
