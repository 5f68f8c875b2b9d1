"""What a step may be given: images, their labels, and the range in which they lie."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gankit.data import Batch
from gankit.errors import ConfigError, GankitWarning, outside_gankit
from gankit.losses.wrapped import innermost
from gankit.training.pairing import last_layer

# Floats of a resized image may pass the ends of their range by rounding.
_MARGIN = 0.01
_SOME = 64
Bounds = tuple[str, float, float]
_BOUNDED: dict[str, Bounds] = {
    "TanhBackward": ("tanh", -1.0, 1.0),
    "SigmoidBackward": ("a sigmoid", 0.0, 1.0),
}
# Nodes of autograd that move values and do not change them.
_MOVES = (
    *("View", "UnsafeView", "ReshapeAlias", "Alias", "Unsqueeze", "Squeeze", "Permute", "T"),
    *("Transpose", "Clone", "ToCopy", "Slice", "AsStrided", "Expand", "Unfold", "PixelShuffle"),
)


def check_source(batch: Batch, device: torch.device) -> None:
    """Raise ConfigError unless ``batch`` has a set and places in it, on ``device``."""
    if isinstance(batch.data, Tensor) or not (
        callable(getattr(batch.data, "batch", None))
        or callable(getattr(batch.data, "gather", None))
    ):
        raise ConfigError(
            f"real's data is a {type(batch.data).__name__}; allowed is a set with a method "
            "gather, such as gankit.data.ImageData"
        )
    name, given = "the indices of real", batch.indices
    domains = getattr(batch.data, "domains", 1)
    expected = "int64 indices [B]" if domains == 1 else f"int64 indices [B, {domains}]"
    if not isinstance(given, Tensor):
        raise ConfigError(f"{name} are a {type(given).__name__}; allowed are {expected}")
    tails = ((),) if domains == 1 else ((), (domains,))
    if given.dtype != torch.int64 or given.ndim == 0 or tuple(given.shape[1:]) not in tails:
        raise ConfigError(
            f"{name} has dtype {given.dtype} and shape {list(given.shape)}; allowed are {expected}"
        )
    _check_place(name, given, device)


def in_dtype(batch: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """``batch`` with its floats in ``dtype``: the samples of a set have none of their own."""
    return {name: x.to(dtype) if x.is_floating_point() else x for name, x in batch.items()}


def check_batch(
    batch: dict[str, Any],
    fields: Sequence[str],
    device: torch.device,
    dtypes: tuple[torch.dtype, ...],
    *,
    words: Mapping[str, str],
) -> dict[str, Tensor]:
    """``batch``, or ConfigError unless a step can be given it.

    It must have all of ``fields``, as tensors of one first dimension on ``device``; floating-point
    ones in one of ``dtypes``, those of the networks. ``words`` are what errors call the fields.
    """
    missing = [name for name in fields if name not in batch]
    if missing:
        raise ConfigError(
            f"the batch has {', '.join(map(str, batch)) or 'nothing'}, but lacks "
            f"{', '.join(missing)}, which the step reads"
        )
    first: Tensor | None = None
    for field, value in batch.items():
        name = words.get(field, field)
        if first is None:
            if not isinstance(value, Tensor):
                raise ConfigError(
                    f"{name} is a {type(value).__name__}; allowed is a tensor of images or a "
                    "gankit.data.Batch"
                )
            first = value
            _check_images(name, value)
        elif not isinstance(value, Tensor) or value.ndim == 0 or len(value) != len(first):
            came = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ConfigError(
                f"{name} are {came} for {len(first)} images; allowed is a tensor with one row each"
            )
        _check_place(name, value, device)
        if field != "label" and value.dtype not in dtypes:
            raise ConfigError(
                f"{name} is {value.dtype}, but D is {dtypes[0]}; allowed is one dtype, such as by "
                f"{name}.to({dtypes[0]})"
            )
    return batch


def _check_images(name: str, value: Tensor) -> None:
    if not value.is_floating_point():
        raise ConfigError(
            f"{name} has dtype {value.dtype} and shape {list(value.shape)}; allowed are "
            "floating-point images, such as those of ImageData.gather"
        )


def _check_place(name: str, value: Tensor, device: torch.device) -> None:
    if value.ndim == 0 or value.shape[0] == 0:
        raise ConfigError(
            f"{name} has shape {list(value.shape)}; allowed is a batch of at least one image"
        )
    if value.device != device:
        verb = "are" if name.endswith("s") else "is"
        raise ConfigError(f"{name} {verb} on {value.device}, but D is on {device}")


def warn_of_range(real: Tensor, fake: Tensor, G: nn.Module) -> None:
    """Warn where ``real`` lies in another range than the images ``fake`` that ``G`` makes.

    Waits for the device.
    """
    last = bounded_by(fake, G)
    if last is None:
        return
    function, low, high = last
    least, most = (float(value) for value in torch.stack(torch.aminmax(real.detach())).tolist())
    outside = least < low - _MARGIN or most > high + _MARGIN
    # Few numbers may well have one sign.
    one_sign = low < 0.0 <= least and most > 0.0 and real.numel() >= _SOME
    if not outside and not one_sign:
        return
    way = f"scale them to [{low:g}, {high:g}]"
    if least >= 0.0 and low < 0.0:
        way += ", by x * 2 - 1" if most <= 1.0 + _MARGIN else ", by x / 127.5 - 1"
    warnings.warn(
        f"the real images lie in [{least:.4g}, {most:.4g}], but G ends in {function} and makes "
        f"images in [{low:g}, {high:g}], so that D can tell them apart by their range alone: {way}",
        GankitWarning,
        stacklevel=outside_gankit(),
    )


def bounded_by(fake: Tensor, G: nn.Module) -> Bounds | None:
    """The function that comes last in ``G``, which made ``fake``, if it is tanh or a sigmoid.

    The graph of ``fake`` says so, or the last layer where that is part of a fused operation.
    """
    node = fake.grad_fn
    while node is not None:
        name = node.name()
        if not name[-1].isdigit():  # none of torch's own operations
            last = last_layer(innermost(G))
            if isinstance(last, nn.Tanh) or getattr(last, "activation", None) == "tanh":
                return _BOUNDED["TanhBackward"]
            return _BOUNDED["SigmoidBackward"] if isinstance(last, nn.Sigmoid) else None
        name = name.rstrip("0123456789")
        if name in _BOUNDED:
            return _BOUNDED[name]
        if name.removesuffix("Backward") not in _MOVES:
            return None
        node = node.next_functions[0][0] if node.next_functions else None
    return None
