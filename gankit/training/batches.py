"""What a step may be given: images, their labels, and the range in which they lie."""

from __future__ import annotations

import warnings

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


def check_batch(
    real: Tensor | Batch,
    labels: Tensor | None,
    like: Tensor,
    dtypes: tuple[torch.dtype, ...] = (),
) -> None:
    """Raise ConfigError unless a step can be given ``real`` and ``labels``.

    ``like`` is a parameter of D: images are where it is, and in its dtype or one of ``dtypes``.
    """
    if isinstance(real, Batch):
        name, given, wanted = "the indices of real", real.indices, "int64 indices [B]"
        if isinstance(real.data, Tensor) or not callable(getattr(real.data, "gather", None)):
            raise ConfigError(
                f"real's data is a {type(real.data).__name__}; allowed is a set with a method "
                "gather, such as gankit.data.ImageData"
            )
        if not isinstance(given, Tensor):
            raise ConfigError(f"{name} are a {type(given).__name__}; allowed are {wanted}")
        fits = given.dtype == torch.int64 and given.ndim == 1
    elif isinstance(real, Tensor):
        name, given = "real", real
        wanted = "floating-point images, such as those of ImageData.gather"
        fits = given.is_floating_point()
    else:
        raise ConfigError(
            f"real is a {type(real).__name__}; allowed is a tensor of images or a gankit.data.Batch"
        )
    if not fits:
        raise ConfigError(
            f"{name} has dtype {given.dtype} and shape {list(given.shape)}; allowed are {wanted}"
        )
    if given.ndim == 0 or given.shape[0] == 0:
        raise ConfigError(
            f"{name} has shape {list(given.shape)}; allowed is a batch of at least one image"
        )
    if given.device != like.device:
        raise ConfigError(f"{name} is on {given.device}, but D is on {like.device}")
    if given is real and given.dtype not in (like.dtype, *dtypes):
        raise ConfigError(
            f"real is {given.dtype}, but D is {like.dtype}; allowed is one dtype, such as by "
            f"real.to({like.dtype})"
        )
    if labels is None:
        return
    if not isinstance(labels, Tensor) or labels.ndim == 0 or len(labels) != len(given):
        came = list(labels.shape) if isinstance(labels, Tensor) else type(labels).__name__
        raise ConfigError(
            f"labels are {came} for {len(given)} images; allowed is a tensor with one row each"
        )
    if labels.device != like.device:
        raise ConfigError(f"labels are on {labels.device}, but D is on {like.device}")


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
