"""Generators of finished runs."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any, TypeGuard, TypeVar, overload

import torch
from torch import nn

from gankit._version import __version__
from gankit.errors import CheckpointError, shortened
from gankit.loaded import Interface, LoadedGenerator
from gankit.runs.component import create
from gankit.runs.parts import check_fits
from gankit.runs.trust import check_own
from gankit.training.checkpoint import load_checkpoint, offering_another
from gankit.training.config import FIELDS, RunConfig, Spec
from gankit.training.modules import not_finite
from gankit.training.noise import DISTRIBUTIONS, noise_for
from gankit.training.pictures import generate
from gankit.training.weights import load_weights, weights_under
from gankit.weights_file import read_weights

M = TypeVar("M", bound=nn.Module)
CHECKPOINT = "checkpoint.pt"
# Of an image; the test image of a loaded run takes as much memory.
_MAX_VALUES = 2**26


@dataclass(frozen=True)
class SavedRun:
    """What a checkpoint of ``gankit train`` says of its generator.

    ``generator`` is the moving average where the run kept one, in eval mode and without gradients.
    ``draws`` is False where images are not made from noise, as by an autoencoder without a
    distribution of codes.
    """

    path: Path
    step: int
    config: RunConfig
    description: dict[str, Any]
    generator: nn.Module
    image_shape: tuple[int, ...]

    @property
    def draws(self) -> bool:
        return self.interface.z_distribution is not None

    @property
    def interface(self) -> Interface:
        """How the generator is sampled."""
        return _interface(self.generator, self.description, self.step, self.path)


@overload
def load(
    path: str | os.PathLike[str],
    *,
    device: torch.device | str = "cpu",
    trust: bool = False,
    generator: None = None,
) -> LoadedGenerator: ...


@overload
def load(
    path: str | os.PathLike[str],
    *,
    device: torch.device | str = "cpu",
    trust: bool = False,
    generator: M,
) -> M: ...


def load(
    path: str | os.PathLike[str],
    *,
    device: torch.device | str = "cpu",
    trust: bool = False,
    generator: nn.Module | None = None,
) -> nn.Module:
    """The generator of a run, ready to sample: ``gankit.load(DIR).sample(16)``.

    Needs torch and numpy alone, and the module of the generator where it is your own.

    Args:
        path: folder of a run, one of its checkpoints, or a file of ``gankit export --format
            safetensors`` (which needs the package safetensors).
        device: where the generator shall be.
        trust: also build a generator that is not of ``gankit.models``. Building it runs the code
            that the file names, whatever that is, so say so of files of your own, or of somebody
            whose code you would run.
        generator: your own network, for a checkpoint that a program of your own wrote, which does
            not say how to build it. It is given the weights and returned. The two may differ in
            being compiled or in ``DataParallel``.

    Returns:
        The moving average of G where the run kept one, else G; in eval mode, without gradients, as
        a ``LoadedGenerator``, which knows the distribution of z, the classes and the shape of the
        images. ``generator`` itself where it is given.

    Raises:
        CheckpointError: there is no checkpoint, or it is damaged, or of another program, or its
            weights are not those of ``generator``.
        ConfigError: the generator is not gankit's and ``trust`` is False, in which case nothing
            was imported, or its module cannot be imported.
        MissingExtra: safetensors is not installed.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        description, weights = read_weights(path)
        if generator is not None:
            _fill(generator, weights, path)
            return generator.to(device)
        if description is None or "networks" not in description:
            raise CheckpointError(f"{path} was not written by gankit export")
        shape = _image_shape(description, path)
        G = _built(description, weights, path, trust, shape)
        _check_images(G, shape, path)
        interface = _interface(G, description, description.get("step"), path)
        return LoadedGenerator(G, interface).to(device)
    if generator is not None:
        path = path / CHECKPOINT if path.is_dir() else path
        _fill(generator, _sampled(load_checkpoint(path)), path)
        return generator.to(device)
    saved = load_run(path, trust=trust)
    return LoadedGenerator(saved.generator, saved.interface).to(device)


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
    shape = _image_shape(description, path)
    G = _built(description, _sampled(state), path, trust, shape)
    _check_images(G, shape, path)
    return SavedRun(path, state["step"], config, description, G, tuple(shape))


def _image_shape(description: dict[str, Any], path: Path) -> list[int]:
    shape = description.get("image_shape")
    if (
        not isinstance(shape, list)
        or [type(size) for size in shape] != [int] * 3
        or min(shape) < 1
        or math.prod(shape) > _MAX_VALUES
    ):
        raise CheckpointError(
            f"{path} has the image shape {shortened(shape)}; allowed are three integers from 1, of "
            f"{_MAX_VALUES:,} values at most"
        )
    return shape


def _check_images(G: nn.Module, shape: list[int], path: Path) -> None:
    """Raise CheckpointError unless G makes images of ``shape``, or as many values."""
    made = generate(G, 1, seed=0)
    if made[0].numel() != math.prod(shape):
        raise CheckpointError(
            f"{path} does not fit its generator, which makes images of shape "
            f"{list(made.shape[1:])} in place of {shape}"
        )


def run_config(state: dict[str, Any], path: Path) -> RunConfig:
    """The settings in the checkpoint ``state``, not trusted; ``path`` is named if there are none.

    A checkpoint of an older gankit may lack settings, which then have their default.
    """
    writer = state["environment"].get("gankit")
    if "run" not in state["config"]:
        raise CheckpointError(
            f"{path} was written by a program with a Trainer of its own, and does not say how its "
            f"networks are built: gankit.load({str(path)!r}, generator=G) gives yours the weights, "
            f"and trainer.load_state_dict(load_checkpoint({str(path)!r})) goes on training"
        )
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


def _built(
    description: dict[str, Any],
    weights: Any,
    path: Path,
    trust: bool,
    shape: list[int],
) -> nn.Module:
    spec = _spec(description, path)
    if not trust:
        check_own(str(path), "generator", spec)
        _check_size(spec, weights, path, shape)
    G: nn.Module = create("generator", spec, nn.Module)
    _fill(G, weights, path)
    return G


def _spec(description: dict[str, Any], path: Path) -> Spec:
    """What the network was made from whose weights ``inference`` points to."""
    key, networks = _inference_key(description), description.get("networks")
    name = key.rpartition(".")[2] if isinstance(key, str) else key
    if not isinstance(networks, dict) or not isinstance(networks.get(name), (str, dict)):
        raise CheckpointError(f"{path} does not say how its generator is built")
    spec: Spec = networks[name]
    return spec


def _inference_key(description: dict[str, Any]) -> Any:
    """Where the weights of a finished run are in the step's state; None if nothing says so."""
    keys = description.get("inference")
    return next(iter(keys.values()), None) if isinstance(keys, dict) else keys


def _fill(G: nn.Module, weights: Any, path: Path) -> None:
    """Give G the weights, and make it ready to sample."""
    _load(G, weights, path)
    bad = not_finite(G)
    if bad is not None:
        raise CheckpointError(f"{path} is damaged: {bad} is NaN or infinite in it")
    G.eval().requires_grad_(False)


def _load(G: nn.Module, weights: Any, path: Path) -> None:
    try:
        load_weights(G, weights)
    except (KeyError, AttributeError, RuntimeError, TypeError) as error:
        what = shorten(" ".join(str(error).split()), 1000)
        raise CheckpointError(f"{path} does not fit its generator: {what}") from error


def _check_size(spec: Spec, weights: Any, path: Path, shape: list[int]) -> None:
    """Raise CheckpointError if the network is another than the weights', before it takes memory."""
    try:
        G = check_fits("generator", spec, weights)
    except CheckpointError as error:
        raise CheckpointError(f"{path} does not fit its generator: {error}") from error
    made = getattr(G, "image_shape", None)
    if math.prod(made or ()) != math.prod(shape):
        raise CheckpointError(
            f"{path} does not fit its generator, which makes images of shape {list(made or ())} in "
            f"place of {shape}"
        )


def _sampled(state: dict[str, Any]) -> Any:
    """The weights to sample with: the moving average where there is one.

    Of a program of one's own, which does not say where they are, they are those of G.
    """
    every = state["gan_step"]
    key = _inference_key(state["config"])
    if key is None:
        key = "averages.G" if any(name.startswith("averages.G.") for name in every) else "G"
    found = weights_under(every, key) if isinstance(key, str) else {}
    if not found:
        raise CheckpointError(f"the checkpoint has no weights of {shortened(key)}")
    return found


def _interface(
    G: nn.Module, description: dict[str, Any], step: int | None, path: Path
) -> Interface:
    """How the generator of the run with that ``description`` in its checkpoint is sampled."""
    shape, distribution = description.get("image_shape"), description.get("z_distribution")
    n_classes = getattr(G, "n_classes", None)
    classes = (description.get("classes") or ()) if n_classes else ()
    if (
        distribution not in (None, *DISTRIBUTIONS)
        or not _are_integers(shape, 1, 2**31)
        or not _are_integers(classes, 0, n_classes or 0)
        or not (step is None or _are_integers([step], 0, 2**63))
    ):
        raise CheckpointError(
            f"{path} is damaged: what it says of its generator's noise, images or classes is "
            "something that gankit does not write"
        )
    return Interface(
        z_dim=noise_for(G).shape[0],
        z_distribution=distribution,
        image_shape=tuple(shape),
        n_classes=n_classes,
        classes=tuple(classes),
        step=step,
    )


def _are_integers(values: Any, least: int, end: int) -> TypeGuard[list[int]]:
    return isinstance(values, (list, tuple)) and all(
        type(value) is int and least <= value < end for value in values
    )
