"""The parts of a step, made from the settings of a run: networks, optimizers, losses, penalties."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Set
from typing import Any

import torch
from torch import nn

from gankit.data import FieldData, ImageSet
from gankit.data.labelled import class_count
from gankit.errors import ConfigError, shortened
from gankit.losses import AdversarialLoss, AutoencoderLoss
from gankit.runs.component import complete, create, import_object, is_import_path, split_spec
from gankit.runs.trust import own
from gankit.training.ada import ADA
from gankit.training.augmentation import Augmentation
from gankit.training.config import RunConfig, Spec
from gankit.training.diffaugment import DiffAugment
from gankit.training.distributed import synchronise_batch_norm, world
from gankit.training.entries import named
from gankit.training.gan_step import Penalty
from gankit.training.modules import check_trainable
from gankit.training.optimizers import gan_adam, wgan_rmsprop
from gankit.training.weights import check_sizes, weights_under


class ConfiguredParts:
    """The :class:`gankit.training.parts.Parts` of ``config``.

    Args:
        config: the settings of the run.
        data: what it trains on, on the device where the networks shall be.
        weights: the step's state that the networks will be given, if any. Those of gankit's own are
            compared with it before they take memory; CheckpointError says what does not fit.

    ``specs`` has what each network was made from, by its name in the step.
    """

    def __init__(
        self, config: RunConfig, data: FieldData, weights: Mapping[str, Any] | None = None
    ) -> None:
        self.config, self.data, self.seed = config, data, config.seed
        self.specs: dict[str, dict[str, Any]] = {}
        self._weights = weights
        self._d_lr_is_read = False

    @property
    def execution(self) -> dict[str, Any]:
        config, augment = self.config, augmentation_of(self.config.augment)
        return {
            "precision": config.precision,
            "accumulate": config.accumulate,
            "ema": config.ema,
            "channels_last": config.channels_last,
            "cuda_graph": config.cuda_graph,
            # A step of one's own need not know of it.
            **({} if augment is None else {"augment": augment}),
        }

    @property
    def d_lr(self) -> float:
        self._d_lr_is_read = True
        return self.config.lr if self.config.d_lr is None else self.config.d_lr

    def check_all_read(self, step: nn.Module) -> None:
        """Raise ConfigError for a setting that ``step``, built from these parts, did not read."""
        if self.config.d_lr is not None and not self._d_lr_is_read:
            raise ConfigError(
                f"d_lr is {self.config.d_lr}, but {type(step).__name__} has no optimizer of a "
                "discriminator alone; allowed is null"
            )

    def generator(self, name: str = "G", **offers: Any) -> nn.Module:
        labelled = isinstance(self.data, ImageSet) and self.data.labels is not None
        if not labelled and asks("generator", self.config.generator, "n_classes"):
            path, _ = split_spec("generator", self.config.generator)
            raise ConfigError(
                f"{self.data.name} has no labels, and the generator {path} needs them"
            )
        return self._network("generator", self.config.generator, name, offers)

    def discriminator(self, name: str = "D", **offers: Any) -> nn.Module:
        return self._network("discriminator", self.config.discriminator, name, offers)

    def _network(self, what: str, spec: Spec, name: str, offers: dict[str, Any]) -> nn.Module:
        offered: dict[str, Any] = {"z_dim": self.config.z_dim}
        if "image" in self.data.fields:
            offered["image_shape"] = tuple(self.data.fields["image"])
        if (
            isinstance(self.data, ImageSet)
            and self.data.labels is not None
            and asks(what, spec, "n_classes")
        ):
            offered["n_classes"] = class_count(self.data)
        spec = complete(what, spec, **{**offered, **offers})
        if self._weights is not None:
            check_fits(what, spec, weights_under(self._weights, name))
        network: nn.Module = create(what, spec, nn.Module).to(self.data.device)
        if self.config.sync_batch_norm and world()[1] > 1:
            synchronise_batch_norm(network)
        check_trainable(what, network)
        self.specs[name] = spec
        return network

    def optimizer(
        self, *modules: nn.Module, lr: float | None = None, weight_decay: float = 0.0
    ) -> torch.optim.Optimizer:
        parameters = [p for module in modules for p in module.parameters()]
        rate = self.config.lr if lr is None else lr
        if self.config.optimizer == "rmsprop":
            return wgan_rmsprop(parameters, rate, weight_decay)
        return gan_adam(parameters, rate, self.config.betas, self.config.eps, weight_decay)

    def loss(self, spec: Any, **offers: Any) -> Any:
        if isinstance(spec, (list, tuple)):  # D's loss and G's
            return tuple(import_object("loss", str(path)) for path in spec)
        if not isinstance(spec, (str, dict)) or (
            isinstance(spec, str) and not is_import_path(spec)
        ):
            return spec
        path, arguments = split_spec("loss", spec)
        found = import_object("loss", path, _LOSSES)
        if isinstance(found, _LOSSES) or callable(getattr(found, "generator", None)):
            if arguments:
                raise ConfigError(
                    f"init_args of loss {path!r} do not fit: it is a made {type(found).__name__}, "
                    "which takes none"
                )
            return found
        _check_makes_a_loss(path, found, arguments.keys() | offers.keys())
        loss = create("loss", spec, object, **offers)
        if isinstance(loss, _LOSSES):
            return loss
        raise ConfigError(
            f"loss {path!r} gave a {type(loss).__name__}; allowed are an AdversarialLoss and an "
            "AutoencoderLoss"
        )

    def penalty(self, spec: Spec | None) -> Penalty | None:
        if spec is None:
            return None
        if not isinstance(spec, (str, dict)):
            raise ConfigError(
                f"penalty is {spec!r}; allowed is null, an import path, or class_path with "
                "init_args"
            )
        path, arguments = split_spec("penalty", spec)
        function = import_object("penalty", path)
        complete("penalty", {"class_path": path, "init_args": arguments}, positional=3)
        return functools.partial(function, **arguments)


def _no_augmentation() -> None:
    return None


_AUGMENTATIONS: dict[str, Callable[..., Augmentation | None]] = {
    "none": _no_augmentation,
    "diffaugment": DiffAugment,
    "ada": ADA,
}


def augmentation_of(spec: Spec) -> Augmentation | None:
    """What the setting ``augment`` names; None of "none". Raises ConfigError for other names."""
    name, arguments = split_spec("augment", spec)
    if name not in _AUGMENTATIONS:
        raise ConfigError(f"augment is {shortened(name)}; allowed are {', '.join(_AUGMENTATIONS)}")
    made = _AUGMENTATIONS[name]
    known = inspect.signature(made).parameters
    for argument in arguments:
        if argument not in known:
            raise ConfigError(
                f"augment {name!r} has no argument {shortened(argument)}; it has "
                f"{', '.join(known) or 'none'}"
            )
    return made(**arguments)


def asks(what: str, spec: Spec, name: str) -> bool:
    """Whether the callable of ``spec`` has a parameter ``name`` that ``spec`` leaves open."""
    path, arguments = split_spec(what, spec)
    try:
        parameters = inspect.signature(import_object(what, path)).parameters
    except ValueError:  # some builtins have none
        return False
    return name in parameters and name not in arguments


def check_fits(what: str, spec: Spec, weights: Any) -> nn.Module | None:
    """The network of ``spec`` without memory of its own, if it is gankit's; else None.

    Raises CheckpointError, which names the entry ``what``, unless it takes ``weights``.
    """
    if split_spec(what, spec)[0] not in own(what):
        return None
    with torch.device("meta"):
        network: nn.Module = create(what, spec, nn.Module)
    with named(what):
        check_sizes(network, weights)
    return network


_LOSSES = (AdversarialLoss, AutoencoderLoss)


def _check_makes_a_loss(path: str, function: Any, given: Set[str]) -> None:
    """Raise ConfigError for a function of D's outputs, which is one side of a loss."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # some builtins have none
        return
    needed = [p.name for p in parameters if p.default is p.empty and p.name not in given]
    if isinstance(function, type) or not {"real", "fake"} & set(needed):
        return
    raise ConfigError(
        f"loss {path!r} is a function of {', '.join(needed)}; allowed are an AdversarialLoss, of "
        "such a function for D and one of fake for G, and a function that returns one"
    )
