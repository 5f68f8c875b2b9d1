"""``gankit plot``."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from gankit.cli.streams import say
from gankit.errors import ConfigError, GankitError
from gankit.runs.record import read_record
from gankit.runs.runfiles import CURVES, GIF, METRICS, SAMPLES, VIDEO
from gankit.training.callbacks import draw_curves, write_gif, write_mp4

_LOG = logging.getLogger(__name__)


def plot(arguments: argparse.Namespace) -> int:
    """Draw losses.png and samples.gif of a run from its metrics.csv and sample pictures.

    With ``--mp4`` samples.mp4 too.

    Also of one that is going on. What a config.yaml names is not imported for it.
    """
    folder = Path(arguments.run)
    metrics, samples = folder / METRICS, folder / SAMPLES
    if not metrics.is_file() and not samples.is_dir():
        raise ConfigError(
            f"{folder} has neither {METRICS} nor {SAMPLES}/, so there is nothing to "
            "draw; expected the folder of a run"
        )
    errors: list[GankitError] = []
    try:
        record = read_record(folder)
        for trouble in record.troubles:
            _LOG.warning("the curves are drawn without what is not known: %s", trouble)
        draw_curves(metrics, folder / CURVES, record.curves, title=record.title)
        say(f"the curves are in {folder / CURVES}")
    except GankitError as error:
        errors.append(error)
    moving = [("GIF", GIF, write_gif)]
    if arguments.mp4:
        moving.append(("video", VIDEO, write_mp4))
    for what, name, write in moving:
        try:
            count = write(samples, folder / name, say=_LOG.warning)
            if count:
                say(f"the {what} of {count} picture{'s'[: count > 1]} is in {folder / name}")
            else:
                _LOG.warning("%s has no sample picture, so %s is not drawn", samples, name)
        except GankitError as error:
            errors.append(error)
    if errors:
        raise errors[0]
    return 0
