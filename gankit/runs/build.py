"""From the settings of a run to the trainer that does it."""

from __future__ import annotations

import inspect
import logging
import random
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from gankit import data as gankit_data
from gankit.data import FieldData, ImageSet
from gankit.data.labelled import absent_classes
from gankit.errors import ConfigError, DataError, GankitError, shortened
from gankit.runs.component import create, import_object, is_import_path, meant, split_spec
from gankit.runs.parts import ConfiguredParts
from gankit.runs.steps import check_knobs, step_class
from gankit.runs.trust import check_config
from gankit.training.batches import in_dtype
from gankit.training.callbacks import Callback
from gankit.training.config import RunConfig, Spec, said
from gankit.training.distributed import (
    ShareOfBatches,
    average_gradients,
    broadcast_state,
    world,
)
from gankit.training.inputs import check_fields
from gankit.training.optimizers import clip_gradients
from gankit.training.seeds import derived_seed
from gankit.training.step import Step
from gankit.training.trainer import Trainer, advance

_LOG = logging.getLogger(__name__)


def pick_device(name: str) -> torch.device:
    """ "auto" is the first of cuda, mps and cpu that this machine has.

    Raises ConfigError if the device asked for is not there.
    """
    has = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(kind for kind, available in has.items() if available)
    if not has.get(name, False):
        here = ", ".join(kind for kind, available in has.items() if available)
        raise ConfigError(f"device {name!r} is not available here; allowed are auto, {here}")
    return torch.device(name, torch.cuda.current_device()) if name == "cuda" else torch.device(name)


def build_trainer(
    config: RunConfig,
    *,
    callbacks: Sequence[Callback] = (),
    weights: Mapping[str, Any] | None = None,
    progress: bool = False,
) -> Trainer:
    """Seed torch, load the data and build the trainer of ``config``.

    Sets the global seeds of torch, Python and NumPy, so that your own data and networks follow
    ``seed`` too. Raises ConfigError or DataError if ``config`` asks for something that is not
    there; nothing is written. What ``config`` names by import path is imported and called, unless
    ``config.trusted`` is False, as in the settings of a loaded run: then gankit's own classes alone
    are built, and ConfigError names the first other one.

    ``weights`` is the state that the trainer will be given. Networks of gankit's own are compared
    with it before they take memory, and CheckpointError says what does not fit. ``progress`` shows
    on a terminal how far the decoding of image files is.
    """
    if not config.trusted:
        check_config(config, f"the run of recipe {config.recipe!r}")
    kind = step_class(config.step)
    check_knobs(kind, config.knobs)
    device = pick_device(config.device)
    seed_all(config.seed)  # data of your own may be random
    data = load_data(config, device, progress=progress)
    seed_all(config.seed)  # whatever the data drew, the weights are the same
    order = torch.Generator().manual_seed(config.seed)
    sampler = data.sampler(config.batch_size, generator=order, replacement=config.replacement)
    parts = ConfiguredParts(config, data, None if weights is None else weights["gan_step"])
    gan_step = build_step(kind, parts)
    check_fields(data, gan_step.fields)
    rank, size = world()
    if size > 1:
        sampler = ShareOfBatches(sampler)
    for some in _trial_batches(data, config.batch_size // size, gan_step.fields):
        gan_step.dry_run(in_dtype(data.batch(some), gan_step.dtype))
    steps = config.steps or (config.epochs or 0) * sampler.steps_per_epoch
    if config.schedule is not None:
        _check_schedule(config, parts.optimizer(nn.Linear(1, 1)), steps)  # which is thrown away
    optimizers = list(gan_step.optimizers.values())
    if size > 1:
        broadcast_state(gan_step)
        for optimizer in optimizers:
            average_gradients(optimizer)
        # Own noise, dropout masks and interpolates; the weights have drawn from the seed itself,
        # and the next number is the seed of another run.
        torch.manual_seed(derived_seed(config.seed, f"rank {rank}"))
    if config.clip_gradients is not None:  # after the mean over all processes
        for optimizer in optimizers:
            clip_gradients(optimizer, config.clip_gradients)
    return Trainer(
        gan_step,
        data,
        sampler,
        callbacks=callbacks,
        log_every=config.log_every,
        config=_description(config, parts, gan_step, callbacks),
        schedulers=[
            _build_schedule(config.schedule, o, steps) for o in optimizers if config.schedule
        ],
    )


def build_step(kind: type[Step], parts: ConfiguredParts) -> Step:
    """The step of class ``kind`` from ``parts``. Raises ConfigError if it cannot be built."""
    knobs = parts.config.knobs
    try:
        step = kind.from_parts(parts, **knobs)
    except (GankitError, OSError):  # they are sentences already
        raise
    except Exception as error:  # of a class of the user's own
        # An instance may read others than its class, but these may be what was looked for in vain.
        if isinstance(kind.fields, tuple):
            check_fields(parts.data, kind.fields)
        reason = f"{error} ({type(error).__name__})"
        raise ConfigError(f"step {kind.__name__} cannot be built: {reason}") from error
    parts.check_all_read(step)
    return step


def _description(
    config: RunConfig, parts: ConfiguredParts, step: Step, callbacks: Sequence[Callback]
) -> dict[str, Any]:
    """What a checkpoint says of its run: enough to build the networks without the data."""
    data, classes, names = parts.data, None, None
    if "label" in step.fields and isinstance(data, ImageSet):
        classes, names = data.classes, list(data.class_names) or None
        absent = absent_classes(data, getattr(step.inference(), "n_classes", 0))
        if absent is not None and world()[0] == 0:
            _LOG.warning("%s", absent)
    return {
        "run": config.as_dict(),
        "networks": _plain(parts.specs),
        "parameters": {
            name: sum(p.numel() for p in network.parameters())
            for name, network in step.networks.items()
        },
        # The weights of what a finished run is used as, in the step's state.
        "inference": step.inference_keys,
        **step.interface,
        "fields": {name: list(data.fields[name]) for name in step.fields},
        "image_shape": list(data.fields["image"]) if "image" in data.fields else None,
        # Of sound, in Hz.
        "sample_rate": getattr(data, "sample_rate", None),
        # None where nothing is drawn from noise, as by an autoencoder without a distribution.
        "z_distribution": step.z_distribution,
        # Those of which it makes images like the data.
        "classes": classes,
        "class_names": names,
        "curves": [
            [plot.label, dict(plot.columns), plot.limits]
            for plot in (*step.curves(), *(plot for each in callbacks for plot in each.curves))
        ],
    }


def _trial_batches(data: FieldData, n: int, fields: Sequence[str]) -> list[torch.Tensor]:
    """Indices of ``n`` samples such as training meets; with labels, from the least to the largest.

    One batch, with an image of each class as far as they fit; of one image it takes two batches.
    """
    if "label" not in fields or not isinstance(data, ImageSet) or data.labels is None:
        return [next(data.sampler(n, generator=torch.Generator().manual_seed(0)))]
    # The first image of each class, in the order of the labels.
    firsts = torch.from_numpy(np.unique(data.labels.cpu().numpy(), return_index=True)[1])
    if n == 1:
        return [firsts[:1], firsts[-1:]]
    places = torch.linspace(0, len(firsts) - 1, min(n, len(firsts))).round().long()
    return [torch.cat([firsts[places], torch.arange(n - len(places))])]


def seed_all(seed: int) -> None:
    """Set the global seeds of torch, Python and NumPy."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - the legacy generator is the global one


def load_data(
    config: RunConfig, device: torch.device | str = "cpu", *, progress: bool = False
) -> FieldData:
    """The data of ``config.data``: a name that gankit.data knows, or your own callable.

    Both get the ``init_args`` of the setting; ``data_root`` and ``image_size`` are offered.
    """
    data = _loaded(config, device, progress=progress)
    if config.flip is None:
        return data
    flipped: Any = getattr(data, "flipped", None)
    if flipped is None:
        raise DataError(
            f"flip is {said(config.flip)}, but {data.name} ({type(data).__name__}) has no method "
            "flipped; allowed is null"
        )
    chosen: FieldData = flipped(config.flip)
    return chosen


def _loaded(config: RunConfig, device: torch.device | str, *, progress: bool) -> FieldData:
    path, arguments = split_spec("data", config.data)
    offers: dict[str, Any] = {"root": config.data_root, "image_size": config.image_size}
    if is_import_path(path):
        data: FieldData = create("data", config.data, FieldData, **offers)
        return data.to(device)
    kind, colon, rest = path.partition(":")
    path = step_class(config.step).data_kinds.get(kind, kind) + colon + rest
    for name in arguments:
        if not isinstance(name, str) or name in ("name", "device", "progress"):
            raise ConfigError(f"data {shortened(path)} has no argument {shortened(name)}")
    return gankit_data.load(path, device=device, progress=progress, **{**offers, **arguments})


def _build_schedule(
    spec: Spec | None, optimizer: torch.optim.Optimizer, total_steps: int
) -> LRScheduler:
    path, arguments = split_spec("schedule", spec or "")
    made = import_object("schedule", path)
    if _needs_total_steps(made):
        arguments.setdefault("total_steps", total_steps)
    scheduler: Any = made
    if not isinstance(made, type) or _follows_the_step(made):
        signature = inspect.signature(made)
        try:
            signature.bind(optimizer, **arguments)
            scheduler = made(optimizer, **arguments)
        except Exception as error:  # torch divides by some, and looks others up
            what = " ".join(str(error).split()) + meant(arguments, signature)
            raise ConfigError(f"init_args of schedule {path!r} do not fit: {what}") from error
    if not _follows_the_step(type(scheduler)):
        raise ConfigError(
            f"schedule is {path!r}; allowed is a class of torch.optim.lr_scheduler whose rates "
            "follow from the step alone"
        )
    return cast(LRScheduler, scheduler)


def _needs_total_steps(made: Any) -> bool:
    """Whether a schedule asks for the length of the run, as one does that ends with it."""
    try:
        parameter = inspect.signature(made).parameters.get("total_steps")
    except ValueError:  # some builtins have none
        return False
    return parameter is not None and parameter.default is parameter.empty


def _follows_the_step(kind: type) -> bool:
    return issubclass(kind, LRScheduler) and not issubclass(kind, ReduceLROnPlateau)


def _check_schedule(config: RunConfig, optimizer: torch.optim.Optimizer, steps: int) -> None:
    """Raise ConfigError unless the schedule takes a step, and knows of none that is its last."""
    scheduler = _build_schedule(config.schedule, optimizer, steps)
    advance(scheduler)
    total = getattr(scheduler, "total_steps", None)
    if total is not None and total < steps:
        raise ConfigError(
            f"the schedule {type(scheduler).__name__} cannot go on: it ends after {total} steps, "
            f"and the run has {steps}; its last step must be {steps} or later"
        )


def _plain(value: Any) -> Any:
    """Tuples to lists, so that YAML and ``weights_only`` files give back what went in."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
