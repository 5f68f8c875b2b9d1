"""What `gan`, `dcgan` and `wgan-gp` learn beside the same networks in plain PyTorch: a table.

``python -m examples.compare_quality`` trains each with three seeds, by gankit's recipe and by a
loop as a tutorial writes it, from the same initial weights, and prints a Markdown table of the
metrics of ``gankit evaluate`` with the features ``small``. ``--data idx:FOLDER`` takes other
labelled images of 28x28 pixels, ``--steps N``, ``--seeds N ...``, ``--recipes NAME ...`` and
``--width N`` (of DCGAN's layers) do less; ``--cache FOLDER`` keeps what is done. With the defaults
it takes an hour or two.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.steps import textbook, textbook_dcgan
from benchmarks.steps.bench_wgan_gp import PlainWGANGP
from gankit import data, recipes
from gankit.data import BatchSampler, ImageData
from gankit.metrics import Images, Inputs, compute, small_features
from gankit.runs.build import build_trainer
from gankit.training import generate
from gankit.training.config import RunConfig
from gankit.training.pictures import to_bytes
from gankit.training.step import Step

_NETWORKS = ("generator", "discriminator")
RECIPES = ("gan", "dcgan", "wgan-gp")
STEPS = 4000
METRICS = ("fid", "prc", "coverage")
SHOWN = ("fid", "precision", "recall", "coverage")


def _plain(recipe: str, ours: Step, width: int) -> tuple[nn.Module, Callable[[Tensor], object]]:
    """G of torch's own layers, with the weights of ``ours``, and the body of a plain loop."""
    networks: tuple[nn.Module, nn.Module]
    step: Callable[[Tensor], object]
    if recipe == "wgan-gp":
        loop = PlainWGANGP(torch.device("cpu"), bf16=False)
        networks, step = (loop.G, loop.D), loop
    else:
        if recipe == "dcgan":
            networks = (textbook_dcgan.Generator(width), textbook_dcgan.Discriminator(width=width))
        else:
            networks = (textbook.Generator(), textbook.Discriminator())
        step = partial(textbook.step, textbook.build(G=networks[0], D=networks[1]))
    for network, name in zip(networks, ("G", "D"), strict=True):
        # A critic without dropout numbers its layers otherwise, in the same order.
        weights = ours.networks[name].state_dict().values()
        network.load_state_dict(dict(zip(network.state_dict(), weights, strict=True)))
    networks[0].z_dim = textbook.Z_DIM  # type: ignore[assignment]  # so that it can be sampled
    return networks[0], step


def _config(recipe: str, width: int, **changed: Any) -> RunConfig:
    config = recipes.get(recipe).config.updated(device="cpu", **changed)
    if recipe != "dcgan":
        return config
    arguments = {"init_args": {"width": width}}
    networks = {name: {"class_path": getattr(config, name), **arguments} for name in _NETWORKS}
    return config.updated(**networks)


def train(
    way: str, recipe: str, name: str, seed: int, steps: int, width: int = textbook_dcgan.WIDTH
) -> nn.Module:
    """The generator of one run."""
    config = _config(recipe, width, data=name, seed=seed, steps=steps, log_every=steps)
    trainer = build_trainer(config)
    if way == "gankit":
        trainer.fit(steps=steps)
        return trainer.gan_step.inference()
    images = trainer.data
    assert isinstance(images, ImageData)
    G, step = _plain(recipe, trainer.gan_step, width)
    torch.manual_seed(seed)
    order = BatchSampler(
        len(images), config.batch_size, generator=torch.Generator().manual_seed(seed)
    )
    for _ in range(steps):
        step(images.gather(next(order)))
    return G


def measured(
    name: str,
    chosen: Sequence[str],
    seeds: Sequence[int],
    steps: int,
    width: int,
    cache: Path | None,
) -> list[dict[str, Any]]:
    """One row per recipe, way and seed."""
    images = data.load(name)
    assert isinstance(images, ImageData)
    extractor = small_features(images)
    real = Images(images, extractor)
    print(f"features small {extractor.hash}, {len(images):,} images a side, {steps} steps")
    rows = []
    for recipe in chosen:
        for seed in seeds:
            for way in ("gankit", "plain PyTorch"):
                wide = f"{width}-" if recipe == "dcgan" else ""
                stem = f"{recipe}-{wide}{way.split()[0]}-{seed}-{steps}-{extractor.hash}"
                path = None if cache is None else cache / f"{stem}.json"
                if path is not None and path.is_file():
                    rows.append(json.loads(path.read_text()))
                    continue
                G = train(way, recipe, name, seed, steps, width)
                made = ImageData(to_bytes(generate(G, len(images), seed=seed)))
                inputs = Inputs(Images(made, extractor), real, seed)
                result = compute(
                    METRICS, inputs, generated=recipe, real=name, preprocessing="uint8"
                )
                row = {"recipe": recipe, "way": way, "seed": seed, **result.values}
                if path is not None:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(json.dumps(row))
                rows.append(row)
    return rows


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: median over the seeds, and the range."""
    lines = [f"| recipe | by | {' | '.join(SHOWN)} |", "|---|---|" + "---|" * len(SHOWN)]
    for recipe, way in dict.fromkeys((row["recipe"], row["way"]) for row in rows):
        cells = []
        for name in SHOWN:
            found = [r[name] for r in rows if (r["recipe"], r["way"]) == (recipe, way)]
            places = 1 if name == "fid" else 2
            middle, low, high = statistics.median(found), min(found), max(found)
            cells.append(f"{middle:.{places}f} ({low:.{places}f} to {high:.{places}f})")
        lines.append(f"| `{recipe}` | {way} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, evaluate, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=RECIPES)
    parser.add_argument("--data", default="digits", metavar="D")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="N")
    parser.add_argument("--steps", type=int, default=STEPS, metavar="N")
    parser.add_argument("--width", type=int, default=textbook_dcgan.WIDTH, metavar="N")
    parser.add_argument("--cache", type=Path, metavar="FOLDER")
    chosen = parser.parse_args(arguments)
    rows = measured(
        chosen.data, chosen.recipes, chosen.seeds, chosen.steps, chosen.width, chosen.cache
    )
    print(table(rows))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
