"""``gankit plot``."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from textwrap import shorten

from torch import nn

from gankit import losses
from gankit.cli.runfiles import CONFIG, CURVES, GIF, METRICS, SAMPLES
from gankit.cli.streams import say
from gankit.errors import ConfigError, GankitError
from gankit.losses import AdversarialLoss, AutoencoderLoss
from gankit.recipes.component import split_spec
from gankit.recipes.config import RunConfig, Spec, read_yaml
from gankit.training.callbacks import draw_curves, panels_of, write_gif

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
        title, loss = _described(folder / CONFIG)
        draw_curves(metrics, folder / CURVES, panels_of(loss), title=title)
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


def _described(path: Path) -> tuple[str | None, AdversarialLoss | AutoencoderLoss | None]:
    """The title of the curves, and the loss if it is one of gankit's own."""
    if not path.is_file():
        return None, None
    try:
        config = RunConfig().updated(**read_yaml(path))
        data, _ = split_spec("data", config.data)
    except ConfigError as error:
        _LOG.warning("the curves do not say what was trained: %s", error)
        return None, None
    return shorten(f"{config.recipe} on {data}", 120), _own_loss(config.loss)


class _AnyD(nn.Module):
    """What some losses want to know of D, to tell what kind of loss they are."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Identity()


def _own_loss(spec: Spec) -> AdversarialLoss | AutoencoderLoss | None:
    try:
        if isinstance(spec, str) and "." not in spec:
            if spec in ("elbo", "squared-error"):
                return losses.resolve_autoencoder(spec)
            return losses.resolve(spec, from_logits=True)
        path, arguments = split_spec("loss", spec)
        home, _, name = path.rpartition(".")
        if home != "gankit.losses" or name not in losses.__all__:
            return None
        make = getattr(losses, name)
        if name in ("ebgan", "began"):
            arguments["discriminator"] = _AnyD()
        if name == "resolve":
            arguments.setdefault("from_logits", True)
        loss = make(**arguments)
    except Exception:  # of arguments that are none of its own
        return None
    return loss if isinstance(loss, (AdversarialLoss, AutoencoderLoss)) else None
