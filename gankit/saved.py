"""Generators of finished runs."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gankit._version import __version__
from gankit.errors import CheckpointError, MissingExtra
from gankit.recipes.build import build_generator
from gankit.recipes.config import FIELDS, RunConfig
from gankit.recipes.trust import check_own
from gankit.training.checkpoint import load_checkpoint, offering_another
from gankit.training.modules import not_finite
from gankit.training.pictures import generate

CHECKPOINT = "checkpoint.pt"


@dataclass(frozen=True)
class SavedRun:
    """What a checkpoint of ``gankit train`` says of its generator.

    ``generator`` is the moving average where the run kept one, in eval mode and without gradients.
    ``draws`` is False for an autoencoder without a distribution of codes to draw from.
    """

    path: Path
    step: int
    config: RunConfig
    description: dict[str, Any]
    generator: nn.Module
    image_shape: tuple[int, ...]
    draws: bool


def load(
    path: str | os.PathLike[str], *, device: torch.device | str = "cpu", trust: bool = False
) -> nn.Module:
    """The generator of a run, ready to sample: ``gankit.load(DIR)(torch.randn(16, 100))``.

    Needs torch and numpy alone, and the module of the generator where it is your own.

    Args:
        path: folder of a run, one of its checkpoints, or a file of ``gankit export --format
            safetensors`` (which needs the package safetensors).
        device: where the generator shall be.
        trust: also build a generator that is not of ``gankit.models``. Building it runs the code
            that the file names, whatever that is, so say so of files of your own, or of somebody
            whose code you would run.

    Returns:
        The moving average of G where the run kept one, else G; in eval mode, without gradients. Its
        ``z_dim`` is the length of a noise vector; a conditional one is called with labels too.

    Raises:
        CheckpointError: there is no checkpoint, or it is damaged, or of another program.
        ConfigError: the generator is not gankit's and ``trust`` is False, in which case nothing
            was imported, or its module cannot be imported.
        MissingExtra: safetensors is not installed.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        return _load_safetensors(path, trust).to(device)
    return load_run(path, trust=trust).generator.to(device)


def load_run(path: str | os.PathLike[str], *, trust: bool = False) -> SavedRun:
    """The generator of the run in folder ``path``, or of a checkpoint, with what it needs.

    ``trust``, and what is raised, are as for ``load``. The ``config`` of a run that is not trusted
    says so, and ``build_trainer`` heeds it.
    """
    path = Path(path)
    if path.is_dir():
        path = path / CHECKPOINT
    state = load_checkpoint(path)
    with offering_another(path, lambda state: _run_in(state, path, trust)):
        return _run_in(state, path, trust)


def _run_in(state: dict[str, Any], path: Path, trust: bool) -> SavedRun:
    config = run_config(state, path).updated(trusted=trust)
    description = state["config"]
    shape = description.get("image_shape")
    if not isinstance(shape, list) or [type(size) for size in shape] != [int] * 3:
        raise CheckpointError(f"{path} has the image shape {shape!r}; allowed are three integers")
    try:
        weights = state["gan_step"].get("ema", state["generator"])
        G = _built(description, weights, path, trust)
    except (KeyError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{path} was not written by gankit train") from error
    # One image says whether the weights are those of images of this shape.
    made = generate(G, 1, seed=0, distribution=config.z_distribution)
    if made[0].numel() != math.prod(shape):
        raise CheckpointError(
            f"{path} does not fit its generator, which makes images of shape "
            f"{list(made.shape[1:])} in place of {shape}"
        )
    draws = bool(description.get("draws", True))
    return SavedRun(path, state["step"], config, description, G, tuple(shape), draws)


def run_config(state: dict[str, Any], path: Path) -> RunConfig:
    """The settings in the checkpoint ``state``, not trusted; ``path`` is named if there are none.

    A checkpoint of an older gankit may lack settings, which then have their default.
    """
    writer = state["environment"].get("gankit")
    try:
        settings = state["config"]["run"]
        unknown = sorted(settings.keys() - set(FIELDS))
        if unknown and writer == __version__:
            raise CheckpointError(
                f"{path} is damaged: it has the unknown setting {', '.join(unknown)}"
            )
        if unknown:
            raise CheckpointError(
                f"{path} was written by gankit {writer}, and this is gankit {__version__}, which "
                f"does not know the setting {', '.join(unknown)}"
            )
        return RunConfig.from_dict(settings, str(path))
    except (AttributeError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} was not written by gankit train") from error


def unknown_to_the_writer(state: dict[str, Any]) -> list[str]:
    """Settings of this gankit that the one which wrote the checkpoint ``state`` did not have."""
    return [name for name in FIELDS if name not in state["config"]["run"]]


def _built(description: dict[str, Any], weights: Any, path: Path, trust: bool) -> nn.Module:
    if not trust:
        check_own(str(path), "generator", description["generator"])
    G = build_generator(description)
    try:
        G.load_state_dict(weights)
    except (KeyError, AttributeError, RuntimeError, TypeError) as error:
        what = " ".join(str(error).split())
        raise CheckpointError(f"{path} does not fit its generator: {what}") from error
    bad = not_finite(G)
    if bad is not None:
        raise CheckpointError(f"{path} is damaged: {bad} is NaN or infinite in it")
    return G.eval().requires_grad_(False)


def _load_safetensors(path: Path, trust: bool) -> nn.Module:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise MissingExtra("safetensors", "export") from error
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}")
    try:
        with safe_open(path, "pt") as file:
            description = json.loads((file.metadata() or {}).get("gankit", "null"))
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read as safetensors: {error}") from error
    if not isinstance(description, dict) or "generator" not in description:
        raise CheckpointError(f"{path} was not written by gankit export")
    return _built(description, weights, path, trust)
