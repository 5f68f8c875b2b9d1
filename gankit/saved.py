"""Generators of finished runs, of images out of noise or out of images."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any, TypeVar, overload

import torch
from torch import nn

from gankit._version import __version__
from gankit.domain_translator import DomainTranslator
from gankit.enhancer import LoadedEnhancer
from gankit.errors import CheckpointError, ConfigError, GankitError, shortened
from gankit.hub import resolve
from gankit.loaded import Interface, LoadedGenerator
from gankit.model_folder import is_exported, read_exported
from gankit.runs.component import create
from gankit.runs.parts import check_fits
from gankit.runs.trust import check_own
from gankit.saved_checks import (
    are_integers,
    check_step,
    check_translates,
    check_upscales,
    domains_of,
    image_shape_of,
    shapes_of,
)
from gankit.training.checkpoint import load_checkpoint, offering_another
from gankit.training.config import FIELDS, RunConfig, Spec
from gankit.training.enhancement import enhance_windows
from gankit.training.entries import check_without_tensors
from gankit.training.modules import not_finite
from gankit.training.noise import DISTRIBUTIONS, noise_for
from gankit.training.pictures import generate
from gankit.training.weights import load_weights, weights_under
from gankit.translator import DIRECTIONS, LoadedTranslator
from gankit.upscaler import LoadedUpscaler

M = TypeVar("M", bound=nn.Module)
Loaded = LoadedGenerator | LoadedTranslator | DomainTranslator | LoadedEnhancer | LoadedUpscaler
CHECKPOINT = "checkpoint.pt"
# Samples of a window of sound.
_MAX_WINDOW = 2**22 + 1


@dataclass(frozen=True)
class SavedRun:
    """What a checkpoint of ``gankit train``, or an exported generator, says of its run.

    ``module`` has the networks that the run is used as: moving averages where the run kept them, in
    eval mode and without gradients.
    """

    path: Path
    step: int
    config: RunConfig
    description: dict[str, Any]
    module: Loaded

    @property
    def generator(self) -> nn.Module:
        """The network of a run that makes images out of noise, of its own class."""
        return self._of_noise.network

    @property
    def draws(self) -> bool:
        """False where images are not made from noise, as by an autoencoder without a distribution
        of codes."""
        return self.interface.z_distribution is not None

    @property
    def image_shape(self) -> tuple[int, ...]:
        """``(C, H, W)`` of the generator's images."""
        return self.interface.image_shape

    @property
    def interface(self) -> Interface:
        """How the generator is sampled."""
        return self._of_noise.interface

    @property
    def _of_noise(self) -> LoadedGenerator:
        if isinstance(self.module, LoadedUpscaler):
            raise ConfigError(
                f"{self.path.parent} is a run of {self.config.recipe!r}, which makes small images "
                "large: gankit upscale does, or gankit.load and its method upscale"
            )
        if isinstance(self.module, LoadedTranslator | DomainTranslator):
            raise ConfigError(
                f"{self.path.parent} is a run of {self.config.recipe!r}, which makes images out of "
                "images: gankit translate does, or gankit.load and its method translate"
            )
        if isinstance(self.module, LoadedEnhancer):
            raise ConfigError(
                f"{self.path.parent} is a run of {self.config.recipe!r}, which takes the noise out "
                "of speech: gankit enhance does, or gankit.load and its method enhance"
            )
        return self.module


@overload
def load(
    path: str | os.PathLike[str],
    *,
    device: torch.device | str = "cpu",
    trust: bool = False,
    generator: None = None,
) -> Any: ...


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
    """The generator of a run, ready to use: ``gankit.load(DIR).sample(16)``.

    A run of pix2pix, CycleGAN or DiscoGAN gives its generators of images out of images:
    ``gankit.load(DIR).a2b(images)``; one of StarGAN the generator of all its domains:
    ``gankit.load(DIR).translate(images, "red")``; one of SRResNet or SRGAN its generator of large
    images: ``gankit.load(DIR).upscale(images)``; one of SEGAN its generator of clean speech:
    ``gankit.load(DIR).enhance(sound, sample_rate)``.

    Needs torch and numpy alone, and the module of the generator where it is your own; of
    ``"hf:..."`` the package huggingface_hub too.

    Args:
        path: folder of a run, one of its checkpoints, what ``gankit export`` wrote with ``--format
            safetensors`` or ``hub``; ``"hub:NAME"``, a model that gankit brings along (``gankit
            hub`` lists them), or ``"hf:USER/NAME"`` or ``"hf:USER/NAME@REVISION"``, a repository
            of the Hugging Face Hub.
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
        images, or as a ``LoadedTranslator`` of one or both directions, a ``DomainTranslator``, a
        ``LoadedUpscaler`` or a ``LoadedEnhancer``. ``generator`` itself where it is given.

    Raises:
        CheckpointError: there is no checkpoint, or it is damaged, or of another program, or its
            weights are not those of ``generator``.
        ConfigError: the generator is not gankit's and ``trust`` is False, in which case nothing
            was imported, or its module cannot be imported.
        MissingExtra: huggingface_hub is not installed.
    """
    path = resolve(path)
    if is_exported(path):
        description, weights = read_exported(path)
        if generator is not None:
            return _fill(generator, _only(description, weights, path), path).to(device)
        return _exported(description, weights, path, trust).to(device)
    if generator is not None:
        path = path / CHECKPOINT if path.is_dir() else path
        return _fill(generator, _sampled(load_checkpoint(path), path), path).to(device)
    return load_run(path, trust=trust).module.to(device)


def load_run(path: str | os.PathLike[str], *, trust: bool = False) -> SavedRun:
    """The run at ``path``, which is as for ``load``, with the networks that it is used as.

    ``trust``, and what is raised, are as for ``load``. The ``config`` of a run that is not trusted
    says so, and ``build_trainer`` heeds it.
    """
    path = resolve(path)
    if is_exported(path):
        return _exported_run(path, trust)
    if path.is_dir():
        path = path / CHECKPOINT
    state = load_checkpoint(path)
    with offering_another(path, lambda state: _run_in(state, path, trust)):
        return _run_in(state, path, trust)


def _run_in(state: dict[str, Any], path: Path, trust: bool) -> SavedRun:
    config = run_config(state, path).updated(trusted=trust)
    description, step = state["config"], state["step"]
    module = _module(description, lambda key: _weights(state, key), path, trust, step)
    return SavedRun(path, step, config, description, module)


def _exported_run(path: Path, trust: bool) -> SavedRun:
    description, weights = read_exported(path)
    module = _exported(description, weights, path, trust)
    if description is None or "run" not in description:
        raise CheckpointError(f"{path} does not say the settings of its run: export the run again")
    writer = {"gankit": description.get("gankit_version", "of an older version")}
    config = run_config({"config": description, "environment": writer}, path)
    step = description.get("step")
    return SavedRun(path, step or 0, config.updated(trusted=trust), description, module)


def _exported(
    description: dict[str, Any] | None, weights: dict[str, Any], path: Path, trust: bool
) -> Loaded:
    if description is None or "networks" not in description:
        raise CheckpointError(f"{path} was not written by gankit export")
    keys, step = description.get("inference"), description.get("step")
    several = isinstance(keys, dict) and len(keys) > 1

    def weights_of(key: Any) -> Any:
        return _under(weights, key) if several else weights

    return _module(description, weights_of, path, trust, step)


def _only(description: dict[str, Any] | None, weights: dict[str, Any], path: Path) -> Any:
    """The weights of the one network in an exported file, for one of your own."""
    _check_one((description or {}).get("inference"), path)
    return weights


def _module(
    description: dict[str, Any],
    weights_of: Callable[[Any], Any],
    path: Path,
    trust: bool,
    step: int | None,
) -> Loaded:
    keys = description.get("inference")
    if isinstance(keys, dict) and keys.keys() == {"upscale"}:
        key = keys["upscale"]
        low, high = shapes_of(description, ("low", "high"), path)
        spec = _spec(description, key, path)
        if not trust:
            _check_own(spec, weights_of(key), path)
        network = _built(spec, weights_of(key), path)
        scale = high[1] // low[1]
        check_upscales(network, low[0], scale, path)
        check_step(step, path)
        return LoadedUpscaler(network, low[0], scale, step)
    if isinstance(keys, dict) and keys.keys() == {"domains"}:
        return _of_domains(description, weights_of, path, trust, step)
    if isinstance(keys, dict) and keys and keys.keys() <= set(DIRECTIONS):
        networks, shapes = {}, dict(zip("ab", shapes_of(description, "ab", path), strict=True))
        for direction, key in keys.items():
            spec = _spec(description, key, path)
            if not trust:
                _check_own(spec, weights_of(key), path)
            networks[direction] = _built(spec, weights_of(key), path)
            given, made = (shapes[domain] for domain in direction.split("2"))
            check_translates(networks[direction], given, made, path)
        check_step(step, path)
        return LoadedTranslator(networks, shapes, step)
    if isinstance(keys, dict) and keys.keys() == {"enhance"}:
        return _enhancer(description, keys["enhance"], weights_of, path, trust, step)
    key = next(iter(keys.values()), None) if isinstance(keys, dict) else keys
    shape, spec = (
        image_shape_of(description.get("image_shape"), path),
        _spec(description, key, path),
    )
    if not trust:
        _check_makes(_check_own(spec, weights_of(key), path), shape, path)
    G = _built(spec, weights_of(key), path)
    _check_images(G, list(_made(G, shape)), path)
    return LoadedGenerator(G, interface_of(G, description, step, path))


def _enhancer(
    description: dict[str, Any],
    key: Any,
    weights_of: Callable[[Any], Any],
    path: Path,
    trust: bool,
    step: int | None,
) -> LoadedEnhancer:
    fields, rate = description.get("fields"), description.get("sample_rate")
    shape = fields.get("noisy") if isinstance(fields, dict) else None
    if not are_integers(shape, 1, _MAX_WINDOW) or len(shape) != 2 or shape[0] != 1:
        raise CheckpointError(f"{path} is damaged: its windows have shape {shortened(shape)}")
    if not are_integers([rate], 1, 2**31):
        raise CheckpointError(f"{path} is damaged: its sample rate is {shortened(rate)}")
    spec = _spec(description, key, path)
    if not trust:
        _check_own(spec, weights_of(key), path)
    network = _built(spec, weights_of(key), path)
    check_step(step, path)
    try:
        made = list(enhance_windows(network, torch.zeros(1, *shape), seed=0).shape)
    except (GankitError, RuntimeError) as error:
        raise CheckpointError(f"{path} does not fit its generator: {error}") from error
    if made != [1, *shape]:
        raise CheckpointError(
            f"{path} does not fit its generator, which turns windows of shape {[1, *shape]} into "
            f"{made}"
        )
    assert isinstance(rate, int)
    return LoadedEnhancer(network, rate, shape[1], step)


def _of_domains(
    description: dict[str, Any],
    weights_of: Callable[[Any], Any],
    path: Path,
    trust: bool,
    step: int | None,
) -> DomainTranslator:
    names, exclusive = domains_of(description, path)
    shape, key = image_shape_of(description.get("image_shape"), path), description["inference"]
    spec, weights = _spec(description, key["domains"], path), weights_of(key["domains"])
    if not trust:
        _check_own(spec, weights, path)
    network = _built(spec, weights, path)
    check_translates(network, tuple(shape), tuple(shape), path, torch.zeros(1, len(names)))
    check_step(step, path)
    return DomainTranslator(network, names, exclusive, tuple(shape), step)


def _made(G: nn.Module, shape: Sequence[int]) -> tuple[int, ...]:
    """``(C, H, W)`` of the images of G, which one that grows has not yet brought to ``shape``."""
    return tuple(getattr(G, "current_shape", shape))


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
        check_without_tensors("config", state["config"])
    except CheckpointError as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
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


def _built(spec: Spec, weights: Any, path: Path) -> nn.Module:
    network: nn.Module = create("generator", spec, nn.Module)
    return _fill(network, weights, path)


def _spec(description: dict[str, Any], key: Any, path: Path) -> Spec:
    """What the network was made from whose weights stand at ``key``."""
    networks, name = description.get("networks"), str(key).rpartition(".")[2]
    if not isinstance(networks, dict) or not isinstance(networks.get(name), (str, dict)):
        raise CheckpointError(f"{path} does not say how its generator is built")
    spec: Spec = networks[name]
    return spec


def _fill(network: M, weights: Any, path: Path) -> M:
    """Give ``network`` the weights, and make it ready to use."""
    _load(network, weights, path)
    bad = not_finite(network)
    if bad is not None:
        raise CheckpointError(f"{path} is damaged: {bad} is NaN or infinite in it")
    return network.eval().requires_grad_(False)


def _load(G: nn.Module, weights: Any, path: Path) -> None:
    try:
        load_weights(G, weights)
    except (KeyError, AttributeError, RuntimeError, TypeError) as error:
        what = shorten(" ".join(str(error).split()), 1000)
        raise CheckpointError(f"{path} does not fit its generator: {what}") from error


def _check_own(spec: Spec, weights: Any, path: Path) -> nn.Module:
    """The network without memory. Raises an error if it is not gankit's or of other weights."""
    check_own(str(path), "generator", spec)
    try:
        network = check_fits("generator", spec, weights)
    except CheckpointError as error:
        raise CheckpointError(f"{path} does not fit its generator: {error}") from error
    assert network is not None  # it is gankit's own
    return network


def _check_makes(G: nn.Module, shape: list[int], path: Path) -> None:
    """Raise CheckpointError if G makes other images, before it takes memory."""
    made = getattr(G, "image_shape", None)
    if math.prod(made or ()) != math.prod(shape):
        raise CheckpointError(
            f"{path} does not fit its generator, which makes images of shape {list(made or ())} in "
            f"place of {shape}"
        )


def _sampled(state: dict[str, Any], path: Path) -> Any:
    """The weights for a network of one's own: the moving average where there is one.

    Of a program of one's own, which does not say where they are, they are those of G.
    """
    keys = state["config"].get("inference")
    _check_one(keys, path)
    if isinstance(keys, dict):
        return _weights(state, next(iter(keys.values())))
    every = state["gan_step"]
    averaged = any(name.startswith("averages.G.") for name in every)
    return _weights(state, "averages.G" if averaged else "G")


def _check_one(keys: Any, path: Path) -> None:
    if isinstance(keys, dict) and len(keys) != 1:
        raise ConfigError(
            f"generator is one network, and {path} has {len(keys)}: gankit.load without generator "
            f"gives {' and '.join(map(str, keys))}"
        )


def _weights(state: dict[str, Any], key: Any) -> Any:
    return _under(state["gan_step"], key)


def _under(state: dict[str, Any], key: Any) -> Any:
    found = weights_under(state, key) if isinstance(key, str) else {}
    if not found:
        raise CheckpointError(f"the checkpoint has no weights of {shortened(key)}")
    return found


def interface_of(
    G: nn.Module, description: dict[str, Any], step: int | None, path: Path
) -> Interface:
    """How the generator of the run with that ``description`` in its checkpoint is sampled."""
    shape, distribution = description.get("image_shape"), description.get("z_distribution")
    n_classes = getattr(G, "n_classes", None)
    classes, names = (
        (description.get(key) or ()) if n_classes else () for key in ("classes", "class_names")
    )
    if (
        distribution not in (None, *DISTRIBUTIONS)
        or not are_integers(shape, 1, 2**31)
        or not are_integers(classes, 0, n_classes or 0)
        or not (isinstance(names, (list, tuple)) and all(type(name) is str for name in names))
    ):
        raise CheckpointError(
            f"{path} is damaged: what it says of its generator's noise, images or classes is "
            "something that gankit does not write"
        )
    check_step(step, path)
    return Interface(
        z_dim=noise_for(G).shape[0],
        z_distribution=distribution,
        image_shape=_made(G, shape),
        n_classes=n_classes,
        classes=tuple(classes),
        step=step,
        class_names=tuple(names),
    )
