"""``gankit plot``."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from textwrap import shorten
from typing import Any

from gankit.cli.streams import say
from gankit.errors import CheckpointError, ConfigError, GankitError
from gankit.runs.component import split_spec
from gankit.runs.runfiles import CONFIG, CURVES, GIF, METRICS, SAMPLES
from gankit.runs.settings import read_yaml
from gankit.saved import CHECKPOINT
from gankit.training.callbacks import draw_curves, write_gif
from gankit.training.checkpoint import load_checkpoint
from gankit.training.config import RunConfig
from gankit.training.reports import Curves

_LOG = logging.getLogger(__name__)


def plot(arguments: argparse.Namespace) -> int:
    """Draw losses.png and samples.gif of a run from its metrics.csv and sample pictures.

    Also of one that is going on. What a config.yaml names is not imported for it.
    """
    folder = Path(arguments.run)
    metrics, samples = folder / METRICS, folder / SAMPLES
    if not metrics.is_file() and not samples.is_dir():
        raise ConfigError(
            f"{folder} has neither {METRICS} nor {SAMPLES}/, so there is nothing to "
            "draw; expected the folder of a run"
        )
    trouble: list[GankitError] = []
    try:
        title, curves = _described(folder)
        draw_curves(metrics, folder / CURVES, curves, title=title)
        say(f"the curves are in {folder / CURVES}")
    except GankitError as error:
        trouble.append(error)
    try:
        count = write_gif(samples, folder / GIF, say=_LOG.warning)
        if count:
            say(f"the GIF of {count} picture{'s'[: count > 1]} is in {folder / GIF}")
        else:
            _LOG.warning("%s has no sample picture, so %s is not drawn", samples, GIF)
    except GankitError as error:
        trouble.append(error)
    if trouble:
        raise trouble[0]
    return 0


def _described(folder: Path) -> tuple[str | None, list[Curves]]:
    """The title of the curves and what they are, as far as the run's files say."""
    title, curves = None, []
    if (folder / CONFIG).is_file():
        try:
            settings = read_yaml(folder / CONFIG)
            if "recipe" not in settings:
                raise ConfigError(f"{folder / CONFIG} names no recipe")
            data = split_spec("data", settings.get("data", RunConfig.data))[0]
            title = shorten(f"{settings['recipe']} on {data}", 120)
        except ConfigError as error:
            _LOG.warning("the curves do not say what was trained: %s", error)
    if (folder / CHECKPOINT).is_file():
        try:
            curves = _curves(load_checkpoint(folder / CHECKPOINT)["config"].get("curves"))
        except CheckpointError as error:
            _LOG.warning("the curves are drawn without their names: %s", error)
    return title, curves


def _curves(stored: Any) -> list[Curves]:
    try:
        return [
            Curves(str(label), {str(k): str(v) for k, v in columns.items()}, _limits(limits))
            for label, columns, limits in stored
        ]
    except (TypeError, ValueError, AttributeError, IndexError):  # a file may say anything
        return []


def _limits(limits: Any) -> tuple[float, float] | None:
    return None if limits is None else (float(limits[0]), float(limits[1]))
