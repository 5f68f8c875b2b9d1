"""What is asked of a classifier, without a trace left in it, and how one is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.errors import ConfigError, DataError
from gankit.scalars import is_integer

# model, images, labels -> images
Attack = Callable[[nn.Module, Tensor, Tensor], Tensor]


@contextmanager
def undisturbed(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Eval mode in the block; at its end modes and global random states are as they were.

    In eval mode batch norm's statistics stay as they are. Random numbers that the model draws all
    the same are those of one seed.
    """
    training = [child for child in model.modules() if child.training]
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        model.eval()
        try:
            yield
        finally:
            for child in training:
                child.training = True


def logits_of(model: nn.Module, images: Tensor) -> Tensor:
    """``model``'s logits ``[N, K]`` in float32 at least; images go in in the dtype of its weights.

    Raises DataError where the model returns something else, or NaN.
    """
    weights = (p.dtype for p in model.parameters() if p.is_floating_point())
    # A copy, since the first layer may work in place.
    logits = model(images.to(next(weights, images.dtype), copy=True))
    if (
        not isinstance(logits, Tensor)
        or logits.dim() != 2
        or len(logits) != len(images)
        or logits.shape[1] < 2
    ):
        got = list(logits.shape) if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
        raise DataError(f"model must return logits [{len(images)}, K] with K >= 2, got {got}")
    logits = logits if logits.dtype == torch.float64 else logits.float()
    if not bool(logits.isfinite().all()):
        raise DataError("model returns NaN or infinite logits, none may be")
    return logits


def check_labels(labels: Tensor, images: Tensor, n_classes: int | None = None) -> None:
    """Raise DataError unless ``labels`` are int64 ``[N]``, each below ``n_classes`` if given."""
    if (
        not isinstance(labels, Tensor)
        or labels.dtype != torch.int64
        or labels.shape != images.shape[:1]
    ):
        got = (
            f"{labels.dtype} of {list(labels.shape)}"
            if isinstance(labels, Tensor)
            else type(labels).__name__
        )
        raise DataError(f"labels must be int64 of shape [{len(images)}], got {got}")
    if (
        n_classes is not None
        and len(labels)
        and not 0 <= int(labels.min()) <= int(labels.max()) < n_classes
    ):
        raise DataError(
            f"labels must lie in 0 to {n_classes - 1}, the classes of the model, got "
            f"{int(labels.min())} to {int(labels.max())}"
        )


@torch.no_grad()
def predict(model: nn.Module, images: Tensor, *, batch: int = 256) -> Tensor:
    """The class with the greatest logit of each of ``images`` ``[N, ...]``, int64 ``[N]``.

    The model is in eval mode meanwhile and left as it was. Raises DataError where it returns
    anything but finite logits ``[N, K]``.
    """
    batch = check_count("batch", batch)
    with undisturbed(model, images.device):
        found = [logits_of(model, part).argmax(dim=1) for part in images.split(batch) if len(part)]
    return torch.cat(found) if found else torch.empty(0, dtype=torch.int64, device=images.device)


def accuracy(model: nn.Module, images: Tensor, labels: Tensor, *, batch: int = 256) -> float:
    """The share of ``images`` ``[N, ...]``, N >= 1, whose class :func:`predict` finds.

    Raises DataError as ``predict``, and for labels that are not int64 ``[N]``.
    """
    check_labels(labels, images)
    if len(images) == 0:
        raise DataError("the accuracy needs at least one image, got none")
    return float((predict(model, images, batch=batch) == labels.to(images.device)).double().mean())


@torch.no_grad()
def layer_outputs(
    model: nn.Module, images: Tensor, layer: str | None = None, *, batch: int = 256
) -> Tensor:
    """What the submodule ``layer`` returns for ``images``, float32 ``[N, d]``, flattened.

    By default it is the input of the last ``nn.Linear``: the features that are classified. The
    model is in eval mode meanwhile and left as it was. Raises ConfigError if there is no such layer
    or it was not used.
    """
    batch = check_count("batch", batch)
    modules = dict(model.named_modules())
    if layer is None:
        layer = next(
            (name for name in reversed(modules) if isinstance(modules[name], nn.Linear)), None
        )
        if layer is None:
            raise ConfigError("model has no nn.Linear; name the layer whose output is wanted")
        handle = modules[layer].register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0]))
    elif layer in modules:
        handle = modules[layer].register_forward_hook(lambda _, inputs, output: kept.append(output))
    else:
        raise ConfigError(f"layer is {layer!r}; allowed are {', '.join(filter(None, modules))}")
    kept: list[Tensor] = []
    found = []
    try:
        with undisturbed(model, images.device):
            for part in images.split(batch):
                kept.clear()
                logits_of(model, part)
                if len(kept) != 1 or not isinstance(kept[0], Tensor):
                    raise ConfigError(
                        f"layer {layer!r} gave {len(kept)} outputs in one pass; expected one tensor"
                    )
                found.append(kept[0].flatten(1).float())
    finally:
        handle.remove()
    return torch.cat(found)


def train_classifier(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epochs: int,
    attack: Attack | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    batch_size: int = 64,
    seed: int = 0,
) -> list[float]:
    """Minimize the cross entropy of ``model``; with ``attack`` that of attacked images.

    Adversarial training (Madry et al., 2017, arXiv:1706.06083) solves a minimax problem:
    ``attack`` looks for the images within eps of each batch that have the greatest loss, and the
    weights are then moved to lower it. For instance
    ``partial(pgd, eps=0.3, steps=7, seed=torch.Generator().manual_seed(0))``.

    Args:
        model: from images to logits ``[N, K]``; it ends in the modes in which it came.
        images: floating point ``[N, ...]``.
        labels: int64 ``[N]``.
        epochs: passes over all images, from 1.
        attack: ``attack(model, images, labels) -> images``; None trains on the images as they are.
        optimizer: of the model's parameters; by default Adam with a learning rate of 1e-3.
        batch_size: images per update.
        seed: of the order; what the model draws itself follows torch's global generators.

    Returns:
        The mean loss of each epoch.

    Raises:
        ConfigError: a number that is not allowed.
        DataError: images and labels do not fit, or the model does not return finite logits.
    """
    epochs, batch_size = check_count("epochs", epochs), check_count("batch_size", batch_size)
    check_labels(labels, images)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3) if optimizer is None else optimizer
    order = torch.Generator().manual_seed(seed)
    training = {child: child.training for child in model.modules()}
    losses = []
    try:
        model.train()
        for _ in range(epochs):
            total = 0.0
            for chosen in torch.randperm(len(images), generator=order).split(batch_size):
                batch, classes = images[chosen.to(images.device)], labels[chosen.to(labels.device)]
                classes = classes.to(images.device)
                batch = batch if attack is None else attack(model, batch, classes)
                loss = F.cross_entropy(logits_of(model, batch), classes)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += float(loss.detach()) * len(chosen)
            losses.append(total / len(images))
    finally:
        for child, mode in training.items():
            child.training = mode
    return losses


def check_count(name: str, value: object) -> int:
    """``value`` as a Python int. Raises ConfigError unless it is an integer from 1."""
    if not is_integer(value) or value < 1:
        raise ConfigError(f"{name} is {value!r}; allowed are integers from 1")
    return int(value)
