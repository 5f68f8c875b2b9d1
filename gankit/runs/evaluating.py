"""``gankit evaluate`` from Python: what the images of a run, or of a folder, are worth."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gankit.atomic import atomic_write
from gankit.data import FieldData
from gankit.domain_translator import DomainTranslator
from gankit.enhancer import LoadedEnhancer
from gankit.errors import ConfigError, GankitWarning, outside_gankit
from gankit.hub import resolve
from gankit.json_text import json_text
from gankit.loaded import LoadedGenerator
from gankit.metrics.evaluation import Evaluation, compute
from gankit.metrics.features import FeatureExtractor
from gankit.metrics.metric import Images, Inputs
from gankit.metrics.registry import METRICS, metrics_named
from gankit.model_folder import is_exported
from gankit.runs import runfiles
from gankit.runs.build import pick_device
from gankit.runs.features import check_features, features_for
from gankit.runs.generated import (
    MOST_IMAGES,
    Generated,
    Planned,
    RealData,
    enough,
    named,
    picked,
    real_images,
    sampled,
    translated,
)
from gankit.runs.runfiles import EVALUATION
from gankit.saved import CHECKPOINT, load_run
from gankit.training.arguments import whole
from gankit.translator import LoadedTranslator
from gankit.upscaler import LoadedUpscaler

_OF_IMAGES = ("fid", "kid", "prc", "coverage")
_OF_PAIRS = ("l1", "psnr", "ssim")


def evaluate(
    path: str | os.PathLike[str],
    against: str | None = None,
    *,
    metrics: Sequence[str] | None = None,
    features: str = "auto",
    weights: str | os.PathLike[str] | None = None,
    n: int | None = None,
    batch_size: int = 64,
    device: str = "cpu",
    seed: int = 0,
    split: str | None = None,
    image_size: int | None = None,
    data_root: str | None = None,
    direction: str | None = None,
    trust: bool = False,
) -> Evaluation:
    """Compare the images of a run, or of a folder, with real ones.

    Images are compared as bytes, as the field does: what a generator makes is rounded to 256
    levels. The result of a run is kept in its folder, in ``evaluation.json``. Neither modes nor any
    global random state change.

    Args:
        path: folder of a run, a checkpoint, a folder of images, or the name of a data set such as
            ``"npz:samples.npz"``.
        against: name of a data set, or a folder of images; None: the data that the run was trained
            on.
        metrics: names in ``gankit.metrics.METRICS``; None: those that fit what is evaluated.
        features: ``"small"``, ``"inception"``, a further name of
            ``gankit.metrics.fidelity_features``, the import path of a network, or ``"auto"``
            (``gankit.runs.features.features_for``).
        weights: file of the weights of ``features``; None: where torch keeps downloaded ones.
        n: how many generated images; None: as many as there are real ones, at most 50,000. Of a
            folder that has more, ``n`` are drawn.
        batch_size: images that a feature network sees at a time.
        device: "auto", "cpu", "cuda" or "mps".
        seed: of the noise, and of the metrics' own random numbers.
        split: of the real images: ``"train"``, ``"test"`` or ``"all"``; None: that of the run.
        image_size: to which images that are read are resized; None: the run's, or their own.
        data_root: folder of downloaded data sets; None: the run's.
        direction: of a run that translates both ways.
        trust: as for ``gankit.load``.

    Raises:
        ConfigError: an argument outside what is said here, or a metric that does not fit.
        CheckpointError, DataError: what is at a path is damaged or no such thing.
        MissingExtra: torch-fidelity or torchmetrics is not installed.
    """
    given = None if metrics is None else [each.name for each in metrics_named(metrics)]
    check_features(features)
    batch_size, n = whole("batch_size", batch_size), None if n is None else whole("n", n)
    image_size = None if image_size is None else whole("image_size", image_size)
    on = pick_device(device)
    place = resolve(path)
    saved = load_run(place, trust=trust) if _is_run(place) else None
    wanted = RealData(against, split, image_size, data_root)
    if saved is None:
        if not os.path.lexists(path) and os.path.dirname(path) and ":" not in str(path):
            raise ConfigError(f"there is no {path}; expected a run or a folder of images")
        if against is None:
            raise ConfigError(f"{path} is no run; give --against, the real images")
        if direction is not None:
            raise ConfigError(f"direction is {direction!r}, but {path} is no run")
        made = picked(real_images(enough(named(str(path), "all", image_size, data_root))), n, seed)
        generated = Generated(made, str(path), real_images(wanted.load()))
    elif isinstance(saved.module, LoadedEnhancer):
        raise ConfigError(f"{path} is a run of speech; the metrics are for images")
    elif isinstance(saved.module, LoadedUpscaler):
        raise ConfigError(
            f"{path} is a run that makes small images large; allowed is a folder of what gankit "
            "upscale makes with it, against the originals"
        )
    elif isinstance(saved.module, DomainTranslator):
        raise ConfigError(
            f"{path} is a run of many domains; allowed is the folder of what gankit translate --to "
            "makes"
        )
    else:
        generated = generate(
            saved.module.to(on), wanted.of_run(saved), str(path), n, seed, direction
        ).generated()
    names = list(default_metrics(generated) if given is None else given)
    extractor = None
    if reads_features(names):
        extractor = features_for(features, generated.targets, weights=weights)
    if given is None and extractor is not None and extractor.classifier is not None:
        names += ["classes"] if generated.images.labels is None else ["classes", "label_accuracy"]
    sides = [
        Images(images, extractor, batch_size=batch_size, device=on)
        for images in (generated.images, generated.targets)
    ]
    inputs = Inputs(
        sides[0], sides[1], seed=seed, generator=generated.generator, paired=generated.paired
    )
    result = compute(
        names,
        inputs,
        generated=generated.name,
        real=generated.targets.name + ("" if split is None else f", split {split}"),
        preprocessing=preprocessing(generated, extractor),
        step=None if saved is None else saved.step,
    )
    if saved is not None and runfiles.is_run(saved.path.parent):
        keep(saved.path.parent, result)
    return result


def generate(
    module: LoadedGenerator | LoadedTranslator,
    data: FieldData,
    name: str,
    n: int | None,
    seed: int,
    direction: str | None = None,
) -> Planned:
    """The images that a run is to make, to be compared with ``data``."""
    if isinstance(module, LoadedTranslator):
        way = module.direction(direction)
        return translated(module, way, data, n=n, seed=seed, name=name)
    if direction is not None:
        raise ConfigError(f"direction is {direction!r}, but {name} turns no images into others")
    real = real_images(data)
    n = min(len(real), MOST_IMAGES) if n is None else n
    return sampled(module, real, n=n, seed=seed, name=name)


def default_metrics(generated: Generated) -> tuple[str, ...]:
    """The metrics of such images where none are named."""
    return _OF_PAIRS if generated.paired else _OF_IMAGES


def reads_features(names: Sequence[str]) -> bool:
    """Whether one of the metrics ``names`` compares features."""
    return any(name == "ppl" or "features" in METRICS[name].needs for name in names)


def preprocessing(generated: Generated, extractor: FeatureExtractor | None) -> str:
    """What becomes of an image, in words."""
    made, real = ("x".join(map(str, d.shape)) for d in (generated.images, generated.targets))
    shapes = made if made == real else f"{made} and {real}"
    words = f"uint8, {shapes}"
    return words if extractor is None else f"{words}; {extractor.preprocessing}"


def keep(folder: Path, result: Evaluation) -> None:
    """Put ``result`` into the folder's evaluation.json, in place of one of the same protocol.

    A warning (GankitWarning) says so where that is not possible, as in the folder of somebody else.
    """
    place = folder / EVALUATION
    new = result.as_dict()
    try:
        others = [each for each in kept(folder) if _protocol(each) != _protocol(new)]
        text = json_text({"results": [*others, new]}, indent=1)
        with atomic_write(place) as file:
            file.write(text.encode())
    except OSError as error:
        warnings.warn(
            f"the result cannot be kept in {place} ({error.strerror or error})",
            GankitWarning,
            stacklevel=outside_gankit(),
        )


def kept(folder: Path) -> list[dict[str, Any]]:
    """The results in a run's folder, as ``Evaluation.as_dict`` gives them, the newest last.

    What is damaged in evaluation.json is passed over. Raises OSError if it cannot be read.
    """
    place = folder / EVALUATION
    if not place.is_file():
        return []
    try:
        found = json.loads(place.read_text(encoding="utf-8", errors="replace"))
    except (ValueError, RecursionError):
        return []
    results = found.get("results") if isinstance(found, dict) else None
    every = results if isinstance(results, list) else []
    return [
        each for each in every if isinstance(each, dict) and isinstance(each.get("values"), dict)
    ]


def _protocol(result: dict[str, Any]) -> dict[str, Any]:
    """What two results must share for the newer to stand for both."""
    protocol = {name: value for name, value in result.items() if name not in ("values", "step")}
    return {**protocol, "names": sorted(result["values"])}


def _is_run(path: Path) -> bool:
    if is_exported(path):
        return True
    return (path / CHECKPOINT).is_file() or (path.is_file() and path.suffix == ".pt")
