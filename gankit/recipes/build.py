"""From the settings of a run to the objects that do it."""

from __future__ import annotations

import functools
import inspect
import logging
import random
from collections.abc import Mapping, Sequence, Set
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from gankit import data as gankit_data
from gankit.data import BatchSampler, ImageData
from gankit.data.labelled import (
    UNLABELLED,
    absent_classes,
    class_count,
    classes_of,
    keep_labels,
)
from gankit.data.toy import PointData
from gankit.errors import ConfigError
from gankit.gans.autoencoder import AutoencoderStep
from gankit.losses import (
    AdversarialLoss,
    AutoencoderLoss,
    bernoulli_nats,
    resolve_autoencoder,
)
from gankit.recipes.component import (
    complete,
    create,
    import_object,
    is_import_path,
    split_spec,
)
from gankit.recipes.config import RunConfig, Spec
from gankit.recipes.trust import OWN, check_config
from gankit.training.callbacks import Callback
from gankit.training.distributed import (
    ShareOfBatches,
    average_gradients,
    broadcast_state,
    synchronise_batch_norm,
    world,
)
from gankit.training.entries import named
from gankit.training.gan_step import GANStep, Penalty
from gankit.training.inputs import check_fields
from gankit.training.modules import check_trainable
from gankit.training.noise import noise_for
from gankit.training.optimizers import clip_gradients, gan_adam, wgan_rmsprop
from gankit.training.pairing import ends_in_sigmoid
from gankit.training.seeds import derived_seed
from gankit.training.step import Step
from gankit.training.trainer import Trainer, advance
from gankit.training.weights import check_sizes, weights_under

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
) -> Trainer:
    """Seed torch, load the data and build the trainer of ``config``.

    Sets the global seeds of torch, Python and NumPy, so that your own data and networks follow
    ``seed`` too. Raises ConfigError or DataError if ``config`` asks for something that is not
    there; nothing is written. What ``config`` names by import path is imported and called, unless
    ``config.trusted`` is False, as in the settings of a loaded run: then gankit's own classes alone
    are built, and ConfigError names the first other one.

    ``weights`` is the state that the trainer will be given. Networks of gankit's own are compared
    with it before they take memory, and CheckpointError says what does not fit.
    """
    if not config.trusted:
        check_config(config, f"the run of recipe {config.recipe!r}")
    device = pick_device(config.device)
    _seed(config.seed)  # data of your own may be random
    images = load_data(config, device)
    _seed(config.seed)  # whatever the data drew, the weights are the same
    order = torch.Generator().manual_seed(config.seed)
    sampler = BatchSampler(
        len(images), config.batch_size, generator=order, replacement=config.replacement
    )
    offers: dict[str, Any] = {"z_dim": config.z_dim, "image_shape": images.shape}
    if images.labels is not None and _asks_for_classes(config):
        offers["n_classes"] = class_count(images)
    if config.labelled is not None:
        _check_labelled(config)
        images = keep_labels(images, config.labelled, seed=config.seed)
    _check_labels(config, images)
    generator_spec = complete("generator", config.generator, **offers)
    discriminator_spec = complete("discriminator", config.discriminator, **offers)
    if weights is not None:
        names = ("decoder", "encoder") if _is_autoencoder(config.loss) else ("G", "D")
        specs = (("generator", generator_spec), ("discriminator", discriminator_spec))
        for (what, spec), name in zip(specs, names, strict=True):
            check_fits(what, spec, weights_under(weights["gan_step"], name))
    G = create("generator", generator_spec, nn.Module).to(device)
    D = create("discriminator", discriminator_spec, nn.Module).to(device)
    rank, size = world()
    if config.sync_batch_norm and size > 1:
        for network in (G, D):
            synchronise_batch_norm(network)
    check_trainable("generator", G)
    check_trainable("discriminator", D)
    gan_step = _build_step(config, G, D, images)
    if "label" in gan_step.fields:
        check_fields(images, gan_step.fields)
        absent = absent_classes(images, G.n_classes)
        if absent is not None and world()[0] == 0:
            _LOG.warning("%s", absent)
    description: dict[str, Any] = {
        "run": config.as_dict(),
        # What `gankit sample` needs to build G without the data.
        "generator": _plain(generator_spec),
        "image_shape": list(images.shape),
        "draws": not isinstance(gan_step, AutoencoderStep) or gan_step.loss.variational,
        # Those of which it makes images like the data.
        "classes": classes_of(images) if "label" in gan_step.fields else None,
        # Its weights in the step's state.
        "inference": gan_step.inference_key,
        "curves": [[c.label, dict(c.columns), c.limits] for c in gan_step.curves()],
    }
    if size > 1:
        sampler = ShareOfBatches(sampler)
    for some in _trial_batches(images, config.batch_size // size, gan_step.fields):
        gan_step.dry_run(_as(images.batch(some), gan_step.dtype))
    _check_schedule(config, config.steps or (config.epochs or 0) * sampler.steps_per_epoch)
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
        images,
        sampler,
        callbacks=callbacks,
        log_every=config.log_every,
        config=description,
        schedulers=[_build_schedule(config.schedule, o) for o in optimizers if config.schedule],
    )


def _as(batch: dict[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    return {name: x.to(dtype) if x.is_floating_point() else x for name, x in batch.items()}


def _trial_batches(images: ImageData, n: int, fields: Sequence[str]) -> list[torch.Tensor]:
    """Indices of ``n`` images such as training meets; with labels, from the least to the largest.

    One batch, with an image of each class as far as they fit; of one image it takes two batches.
    """
    if "label" not in fields or images.labels is None:
        return [torch.arange(n)]
    # The first image of each class, in the order of the labels.
    firsts = torch.from_numpy(np.unique(images.labels.cpu().numpy(), return_index=True)[1])
    if n == 1:
        return [firsts[:1], firsts[-1:]]
    places = torch.linspace(0, len(firsts) - 1, min(n, len(firsts))).round().long()
    return [torch.cat([firsts[places], torch.arange(n - len(places))])]


def _seed(seed: int) -> None:
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - the legacy generator is the global one


def _build_step(config: RunConfig, G: nn.Module, D: nn.Module, images: ImageData) -> Step:
    from_logits = not ends_in_sigmoid(D) if config.from_logits == "auto" else config.from_logits
    loss = _build_loss(config.loss, from_logits=from_logits, discriminator=D)
    d_lr = config.lr if config.d_lr is None else config.d_lr
    execution: dict[str, Any] = {
        "precision": config.precision,
        "accumulate": config.accumulate,
        "ema": config.ema,
        "channels_last": config.channels_last,
    }
    if isinstance(loss, AutoencoderLoss):
        _check_autoencoder(config, loss)
        _check_likelihood(loss, images)
        both = _build_optimizer(config, config.lr, G, D)
        return AutoencoderStep(G, D, both, loss, **execution)
    optimizers = _build_optimizer(config, config.lr, G), _build_optimizer(config, d_lr, D)
    return GANStep(
        G,
        D,
        *optimizers,
        loss=loss,
        penalty=_build_penalty(config.penalty, images, next(D.parameters()).dtype),
        n_critic=config.n_critic,
        paired=config.paired,
        reuse_fakes=config.reuse_fakes,
        noise=noise_for(G, config.z_distribution),
        from_logits=from_logits,
        eval_fakes=config.eval_fakes,
        clip_weights=config.clip_weights,
        penalty_every=config.penalty_every,
        **execution,
    )


# What a GAN can be told and an autoencoder cannot.
_OF_GANS = (
    *("penalty", "penalty_every", "n_critic", "clip_weights", "paired", "from_logits", "d_lr"),
    *("reuse_fakes", "eval_fakes", "z_distribution"),
)


def _check_autoencoder(config: RunConfig, loss: AutoencoderLoss) -> None:
    defaults = RunConfig()
    for name in _OF_GANS:
        if getattr(config, name) != getattr(defaults, name):
            raise ConfigError(
                f"{name} is {getattr(config, name)!r}, but the loss {loss.name!r} trains an "
                f"autoencoder; allowed is {getattr(defaults, name)!r}"
            )


def _check_likelihood(loss: AutoencoderLoss, images: ImageData) -> None:
    if isinstance(images, PointData) and loss.reconstruction is bernoulli_nats:
        raise ConfigError(
            f"the likelihood of the loss {loss.name!r} is 'bernoulli', for pixels, but "
            f"{images.name} are points; allowed is gankit.losses.elbo with likelihood 'gaussian'"
        )


def load_data(config: RunConfig, device: torch.device | str = "cpu") -> ImageData:
    """The images of ``config.data``: a name that gankit.data knows, or your own callable."""
    spec = config.data
    if isinstance(spec, str) and not is_import_path(spec):
        data = gankit_data.load(
            spec, root=config.data_root, image_size=config.image_size, device=device
        )
        if not isinstance(data, ImageData):
            raise ConfigError(
                f"data is {spec!r} with the fields {', '.join(data.fields)}; allowed for the "
                f"recipe {config.recipe!r} is a data set with the field image"
            )
        return data
    images: ImageData = create(
        "data", spec, ImageData, root=config.data_root, image_size=config.image_size
    )
    return images.to(device)


def _check_labels(config: RunConfig, images: ImageData) -> None:
    if images.labels is None and _asks("generator", config.generator, "n_classes"):
        path, _ = split_spec("generator", config.generator)
        raise ConfigError(f"{images.name} has no labels, and the generator {path} needs them")


def _is_autoencoder(loss: Spec) -> bool:
    path = loss if isinstance(loss, str) else split_spec("loss", loss)[0]
    names = ("elbo", "squared-error", "gankit.losses.elbo", "gankit.losses.squared_error")
    return path in names


def _asks_for_classes(config: RunConfig) -> bool:
    """Whether a network is to be told how many classes there are."""
    networks = (("generator", config.generator), ("discriminator", config.discriminator))
    return any(_asks(what, spec, "n_classes") for what, spec in networks)


def _asks(what: str, spec: Spec, name: str) -> bool:
    """Whether the callable of ``spec`` has a parameter ``name`` that ``spec`` leaves open."""
    path, arguments = split_spec(what, spec)
    try:
        parameters = inspect.signature(import_object(what, path)).parameters
    except ValueError:  # some builtins have none
        return False
    return name in parameters and name not in arguments


def _check_labelled(config: RunConfig) -> None:
    if config.penalty is not None:
        path, _ = split_spec("penalty", config.penalty)
        if "labelled" in inspect.signature(import_object("penalty", path)).parameters:
            return
    raise ConfigError(
        f"labelled is {config.labelled}; allowed is null, except with a penalty that learns from "
        "the labelled images, as that of the recipe sgan"
    )


def check_fits(what: str, spec: Spec, weights: Any) -> nn.Module | None:
    """The network of ``spec`` without memory of its own, if it is gankit's; else None.

    Raises CheckpointError, which names the entry ``what``, unless it takes ``weights``.
    """
    if split_spec(what, spec)[0] not in OWN[what]:
        return None
    with torch.device("meta"):
        network: nn.Module = create(what, spec, nn.Module)
    with named(what):
        check_sizes(network, weights)
    return network


def build_generator(description: dict[str, Any]) -> nn.Module:
    """The generator of a checkpoint's ``config``, with new weights; the caller has checked it."""
    generator: nn.Module = create("generator", description["generator"], nn.Module)
    return generator


def _build_loss(spec: Spec, **offers: Any) -> str | AdversarialLoss | AutoencoderLoss:
    if isinstance(spec, str) and not is_import_path(spec):
        return resolve_autoencoder(spec) if spec in ("elbo", "squared-error") else spec
    path, arguments = split_spec("loss", spec)
    found = import_object("loss", path, _LOSSES)
    if isinstance(found, _LOSSES):
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
        f"loss {split_spec('loss', spec)[0]!r} gave a {type(loss).__name__}; allowed are an "
        "AdversarialLoss and an AutoencoderLoss"
    )


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


def _build_optimizer(config: RunConfig, lr: float, *modules: nn.Module) -> torch.optim.Optimizer:
    parameters = [p for module in modules for p in module.parameters()]
    if config.optimizer == "rmsprop":
        return wgan_rmsprop(parameters, lr)
    return gan_adam(parameters, lr, config.betas, config.eps)


def _build_schedule(spec: Spec | None, optimizer: torch.optim.Optimizer) -> LRScheduler:
    path, arguments = split_spec("schedule", spec or "")
    made = import_object("schedule", path)
    scheduler: Any = made
    if not isinstance(made, type) or _follows_the_step(made):
        try:
            inspect.signature(made).bind(optimizer, **arguments)
            scheduler = made(optimizer, **arguments)
        except Exception as error:  # torch divides by some, and looks others up
            what = " ".join(str(error).split())
            raise ConfigError(f"init_args of schedule {path!r} do not fit: {what}") from error
    if not _follows_the_step(type(scheduler)):
        raise ConfigError(
            f"schedule is {path!r}; allowed is a class of torch.optim.lr_scheduler whose rates "
            "follow from the step alone"
        )
    return cast(LRScheduler, scheduler)


def _follows_the_step(kind: type) -> bool:
    return issubclass(kind, LRScheduler) and not issubclass(kind, ReduceLROnPlateau)


def _check_schedule(config: RunConfig, steps: int) -> None:
    """Raise ConfigError unless the schedule takes a step, and knows of none that is its last."""
    if config.schedule is None:
        return
    # On an optimizer that is thrown away.
    scheduler = _build_schedule(
        config.schedule, _build_optimizer(config, config.lr, nn.Linear(1, 1))
    )
    advance(scheduler)
    total = getattr(scheduler, "total_steps", None)
    if total is not None and total < steps:
        raise ConfigError(
            f"the schedule {type(scheduler).__name__} cannot go on: it ends after {total} steps, "
            f"and the run has {steps}; its last step must be {steps} or later"
        )


def _build_penalty(spec: Spec | None, images: ImageData, dtype: torch.dtype) -> Penalty | None:
    if spec is None:
        return None
    path, arguments = split_spec("penalty", spec)
    function = import_object("penalty", path)
    if "labelled" in inspect.signature(function).parameters and "labelled" not in arguments:
        arguments["labelled"] = _labelled(images, dtype)
    try:
        inspect.signature(function).bind(None, None, None, **arguments)
    except TypeError as error:
        raise ConfigError(f"init_args of penalty {path!r} do not fit: {error}") from error
    return functools.partial(function, **arguments)


def _labelled(images: ImageData, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    if images.labels is None:
        raise ConfigError(f"{images.name} has no labels, and the penalty needs them")
    known = (images.labels != UNLABELLED).nonzero().flatten()
    return images.gather(known).to(dtype), images.gather_labels(known)


def _plain(value: Any) -> Any:
    """Tuples to lists, so that YAML and ``weights_only`` files give back what went in."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
