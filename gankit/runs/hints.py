"""What somebody may have meant by a setting that there is not."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from gankit.errors import ConfigError, shortened
from gankit.runs.component import import_object, split_spec
from gankit.runs.trust import OWN
from gankit.training.config import FIELDS, RunConfig

# What other programs call it.
_ELSEWHERE = {
    "learning_rate": "lr",
    "g_lr": "lr",
    "lr_g": "lr",
    "lr_d": "d_lr",
    "latent_dim": "z_dim",
    "noise_dim": "z_dim",
    "nz": "z_dim",
    "num_epochs": "epochs",
    "n_epochs": "epochs",
    "iterations": "steps",
    "max_steps": "steps",
    "batchsize": "batch_size",
    "bs": "batch_size",
    "dataset": "data",
    "img_size": "image_size",
    "resolution": "image_size",
    "image_shape": "image_size",
    "beta1": "betas",
    "beta2": "betas",
    "clip_value": "clip_weights",
    "grad_clip": "clip_gradients",
    "max_grad_norm": "clip_gradients",
    "ema_decay": "ema",
    "amp": "precision",
    "bf16": "precision",
    "scheduler": "schedule",
    "lr_scheduler": "schedule",
    "random_seed": "seed",
    "save_every": "checkpoint_every",
    "lambda_gp": "penalty.weight",
    "gp_weight": "penalty.weight",
}
_FLAGS = ("out", "resume", "overwrite", "config", "quiet", "trust")


def meant(name: str, config: RunConfig, knobs: Iterable[str]) -> list[str]:
    """Names near ``name``: settings, arguments of the step (``knobs``) and, such as
    ``generator.hidden``, of what ``config`` names."""
    plain = name.lower().replace("-", "_")
    if plain in _FLAGS:
        return [f"the flag --{plain}"]
    known = _ELSEWHERE.get(plain)
    if known is not None:
        return [known]
    specs = {"generator": config.generator, "discriminator": config.discriminator, **config.knobs}
    arguments = {setting: _arguments(spec) for setting, spec in specs.items()}
    exact = [f"{setting}.{plain}" for setting, names in arguments.items() if plain in names]
    if exact:
        return exact
    near = get_close_matches(plain, [*FIELDS, *knobs], n=2, cutoff=0.75)
    return near or [
        f"{setting}.{match}"
        for setting, names in arguments.items()
        for match in get_close_matches(plain, names, n=1, cutoff=0.75)
    ]


def _arguments(spec: Any) -> list[str]:
    """The parameters of one of gankit's own classes, whose import runs nobody else's code."""
    try:
        path, _ = split_spec("", spec) if isinstance(spec, (str, dict)) else ("", {})
        if not any(path in paths for paths in OWN.values()):
            return []
        return list(inspect.signature(import_object("", path)).parameters)
    except (ConfigError, ValueError):
        return []


def about_unknown(
    name: str, config: RunConfig, knobs: Iterable[str], *, in_a_file: bool = False
) -> str:
    """``name``, and what may be meant in its place by a run of ``config``."""
    if len(name) > 80:
        return shortened(name)
    found = meant(name, config, knobs)
    if not found:
        takes = ", ".join(knobs) or "no arguments"
        return (
            f"{name}; the config.yaml of any run lists those that there are, and the step of this "
            f"one takes {takes}"
        )
    if in_a_file:  # arguments stand further in
        found = [_in_a_file(each) for each in found]
    return f"{name}; did you mean {' or '.join(found)}?"


def _in_a_file(name: str) -> str:
    setting, _, argument = name.partition(".")
    return f"{argument} in the init_args of {setting}" if argument else name
