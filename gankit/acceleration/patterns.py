"""Which children of an ``nn.Sequential`` run as one op, and how.

A pattern is a run of children in a row with the settings that the op can take. Matching looks at
types and settings alone; whether the tensor at hand suits is asked each time it comes by
(:attr:`Match.fits`), and where it does not the children run as plain torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..nn.traits import ACTIVATIONS, is_altered
from ..ops import batch_norm_act, conv_transpose2d, leaky_relu_dropout, linear
from ..ops.conv_transpose2d import output_size
from ..ops.leaky_relu_dropout import dropout_scale
from ..ops.linear import why_not_onednn

# The reason for a layer that runs as an op without anybody's help.
OWN = "it is gankit's own, and calls its op itself"


def least_sizes(capability: str) -> dict[str, int]:
    """From how much work on an op was measured to be faster than torch's layers on a CPU.

    Elements, or of a linear layer products. Below that the calls take the time, and torch has
    fewer.

    Args:
        capability: the instruction set, as ``torch.backends.cpu.get_cpu_capability()`` names it.
    """
    wide = capability == "AVX512"
    return {
        "norm and activation": 1 << 15 if wide else 1 << 17,
        "norm": 1 << 16 if wide else 1 << 17,
        "norm of rows and activation": 1 << 17,
        "norm of rows": 1 << 62,  # never was
        "instance norm": 1 << 15 if wide else 1 << 16,
        "dropout": 1 << 11,
        "dropout of channels": 1 << 17,
        "linear": 1 << 20,
    }


LEAST = least_sizes(torch.backends.cpu.get_cpu_capability())
# Where the op would be F.linear, whatever the size.
_WHY_NOT_ONEDNN = why_not_onednn()
# Above this the overlapping patches of a transposed convolution are the vendor's.
_FEW_CHANNELS = 4


class Match(NamedTuple):
    """Children ``start`` to ``stop`` - 1 as one op.

    ``run(x, kept)``: ``kept`` says that what follows neither modifies nor returns the result, so
    that the op may save its output. ``fits(x)``: whether the op takes this tensor.
    """

    stop: int
    op: str
    fits: Callable[[Tensor], bool]
    run: Callable[[Tensor, bool], Tensor]


Children = Sequence[nn.Module]


def pays(kind: str, x: Tensor, per_element: int = 1) -> bool:
    """Whether an op of this kind, as in ``LEAST``, is faster on x than torch's own layers."""
    return x.device.type != "cpu" or x.numel() * per_element >= LEAST[kind]


def match(children: Children, start: int, fresh: bool) -> Match | None:
    """The longest pattern that begins at ``start``, or None.

    Args:
        children: the modules of the ``nn.Sequential``, in order.
        start: index of the first.
        fresh: whether the tensor that comes in is a new one, which nobody else holds. An in-place
            layer need not overwrite such a tensor; any other it must.
    """
    matcher = _MATCHERS.get(type(children[start]))
    if matcher is None or is_altered(children[start]):
        return None
    return matcher(children, start, fresh)


def is_replaceable(module: nn.Module) -> bool:
    """Whether some run of layers with this one in it may be an op, or has a layout of its own."""
    return type(module) in _MATCHERS or type(module) is nn.Conv2d


def objection(children: Children, start: int, fresh: bool) -> str:
    """Why the child at ``start``, which begins no pattern, runs as plain torch."""
    module = children[start]
    kind = type(module)
    if is_altered(module):
        return "it has hooks, its own forward or is compiled by itself"
    if kind.__module__.startswith("gankit.nn."):
        return OWN
    if not is_replaceable(module):
        if next(module.children(), None) is not None:
            return "it calls its layers itself"
        return "no op replaces this layer"
    if isinstance(module, (nn.Dropout, nn.Dropout2d)):
        if not _drops(module):
            return "it changes nothing: evaluation, or a rate of 0"
        return "it works in place on a tensor that others may hold"
    if isinstance(module, nn.LeakyReLU):
        return _leaky_relu_objection(children, start, fresh)
    if isinstance(module, nn.Linear):
        return linear_objection(module)
    if isinstance(module, nn.ConvTranspose2d) and not _is_plain_convolution(module):
        return "its settings are not the op's: groups, dilation or padding_mode"
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        return "torch's convolution is the fastest (in channels last where that saves time)"
    return "its settings are not the op's"


def _leaky_relu_objection(children: Children, start: int, fresh: bool) -> str:
    module: Any = children[start]
    follower: Any = children[start + 1] if start + 1 < len(children) else None
    if type(follower) not in (nn.Dropout, nn.Dropout2d):
        return "no dropout follows, and alone torch's own is as fast"
    if is_altered(follower):
        return "the dropout behind it has hooks, its own forward or is compiled by itself"
    if not _drops(follower):
        return "the dropout behind it is off, and alone torch's own is as fast"
    if not _is_slope(module.negative_slope):
        return "its slope is not one that the op takes"
    return "it works in place on a tensor that others may hold"


def _plain_next(children: Children, index: int, kinds: tuple[type[nn.Module], ...]) -> Any:
    """The child at ``index`` if it is exactly one of ``kinds`` and nobody watches it."""
    if index >= len(children):
        return None
    module = children[index]
    return module if type(module) in kinds and not is_altered(module) else None


def _activation(children: Children, index: int) -> tuple[str, float] | None:
    module = _plain_next(children, index, (nn.ReLU, nn.LeakyReLU, nn.Tanh))
    if module is None:
        return None
    if type(module) is nn.LeakyReLU:
        slope = module.negative_slope
        return ("leaky_relu", slope) if _is_slope(slope) else None
    return ACTIVATIONS[type(module)], 0.0


def _is_slope(slope: Any) -> bool:
    return isinstance(slope, (int, float)) and 0.0 <= slope < 1e6


def _keeps_all(module: nn.Dropout | nn.Dropout2d) -> bool:
    return dropout_scale(module.p) == 1.0


# --- dropout -----------------------------------------------------------------------------------


def _drops(module: Any) -> bool:
    return module is not None and module.training and not _keeps_all(module)


def _dropout_match(stop: int, slope: float, dropout: Any) -> Match:
    channelwise = type(dropout) is nn.Dropout2d
    p = dropout.p

    def fits(x: Tensor) -> bool:
        if channelwise:
            return x.dim() == 4 and pays("dropout of channels", x)
        return pays("dropout", x)

    def run(x: Tensor, kept: bool) -> Tensor:
        return leaky_relu_dropout(
            x, slope, p, channelwise=channelwise, save="output" if kept else "input"
        )

    return Match(stop, "leaky_relu_dropout", fits, run)


def _leaky_relu(children: Children, start: int, fresh: bool) -> Match | None:
    module: Any = children[start]
    dropout = _plain_next(children, start + 1, (nn.Dropout, nn.Dropout2d))
    if not _drops(dropout) or not _is_slope(module.negative_slope):
        return None
    if module.inplace and not fresh:
        return None
    return _dropout_match(start + 2, module.negative_slope, dropout)


def _dropout(children: Children, start: int, fresh: bool) -> Match | None:
    module: Any = children[start]
    if not _drops(module) or (module.inplace and not fresh):
        return None
    return _dropout_match(start + 1, 1.0, module)


# --- normalisation -----------------------------------------------------------------------------


def _batch_norm(children: Children, start: int, fresh: bool) -> Match | None:
    norm: Any = children[start]
    if (norm.running_mean is None) != (norm.running_var is None) or not 0.0 < norm.eps < math.inf:
        return None
    found = _activation(children, start + 1)
    dropout = _plain_next(children, start + 2, (nn.Dropout, nn.Dropout2d))
    if found is not None and found[0] == "leaky_relu" and _drops(dropout):
        found = None  # the activation goes with the dropout
    activation, slope = found or ("none", 0.0)
    ranks = (2, 3) if type(norm) is nn.BatchNorm1d else (4,)

    def fits(x: Tensor) -> bool:
        kind = "norm of rows" if x.dim() == 2 else "norm"
        kind += " and activation" if found is not None else ""
        return x.dim() in ranks and _norm_fits(norm, x) and pays(kind, x)

    def run(x: Tensor, kept: bool) -> Tensor:
        own = norm.training or norm.running_mean is None
        use = not norm.training or norm.track_running_stats
        batches = norm.num_batches_tracked
        y = batch_norm_act(
            x,
            norm.running_mean if use else None,
            norm.running_var if use else None,
            norm.weight,
            norm.bias,
            own,
            norm.momentum,
            norm.eps,
            activation=activation,
            negative_slope=slope,
            num_batches_tracked=batches,
        )
        if norm.training and norm.track_running_stats and batches is not None:
            batches.add_(1)
        return y

    return Match(start + 1 + (found is not None), "batch_norm_act", fits, run)


def _norm_fits(norm: Any, x: Tensor) -> bool:
    if x.shape[1] != norm.num_features or x.numel() == 0:
        return False
    if not x.is_contiguous() and not (
        x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)
    ):
        return False  # torch's result then lies as x does
    if norm.training and norm.momentum is None and norm.num_batches_tracked is None:
        return False
    own = norm.training or norm.running_mean is None
    if own and x.numel() == x.shape[1]:
        return False  # torch has an error for one value per channel
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        if tensor is not None and (
            tensor.dtype not in (wide, x.dtype) or tensor.device != x.device
        ):
            return False
    return True


def _instance_norm(children: Children, start: int, fresh: bool) -> Match | None:
    norm: Any = children[start]
    if norm.track_running_stats or norm.running_mean is not None:
        return None
    if not 0.0 < norm.eps < math.inf:
        return None
    found = _activation(children, start + 1)
    dropout = _plain_next(children, start + 2, (nn.Dropout, nn.Dropout2d))
    if found is not None and found[0] == "leaky_relu" and _drops(dropout):
        found = None
    activation, slope = found or ("none", 0.0)

    def fits(x: Tensor) -> bool:
        if x.dim() != 4 or x.shape[2] * x.shape[3] == 1:
            return False
        return _norm_fits(norm, x) and pays("instance norm", x)

    def run(x: Tensor, kept: bool) -> Tensor:
        weight = norm.weight
        if weight is not None and weight.requires_grad and torch.is_grad_enabled():
            weight = weight.clone()  # torch's repeats it, so it may change before the backward
        # Each sample is a slice of the batch with statistics of its own.
        return batch_norm_act(
            x, None, None, weight, norm.bias, True, 0.0, norm.eps,
            activation=activation, negative_slope=slope, groups=x.shape[0],
        )  # fmt: skip

    return Match(start + 1 + (found is not None), "batch_norm_act (instances)", fits, run)


# --- products ----------------------------------------------------------------------------------


def linear_objection(module: nn.Linear) -> str:
    """Why the op would be ``F.linear`` whatever the tensor; empty where it may be another."""
    if _WHY_NOT_ONEDNN:
        return f"torch's own product is taken: {_WHY_NOT_ONEDNN}"
    weight = module.weight
    if weight.dtype != torch.float32 or weight.device.type != "cpu":
        return "torch's own product is taken but for float32 on the CPU"
    return ""


def _linear(children: Children, start: int, fresh: bool) -> Match | None:
    module: Any = children[start]
    if linear_objection(module):
        return None

    def fits(x: Tensor) -> bool:
        return pays("linear", x, module.out_features)

    def run(x: Tensor, kept: bool) -> Tensor:
        return linear(x, module.weight, module.bias)

    return Match(start + 1, "linear", fits, run)


def _is_plain_convolution(module: nn.ConvTranspose2d) -> bool:
    return module.padding_mode == "zeros" and module.groups == 1 and module.dilation == (1, 1)


def _convolution(children: Children, start: int, fresh: bool) -> Match | None:
    module: Any = children[start]
    if not _is_plain_convolution(module):
        return None
    weight = module.weight
    few = module.out_channels <= _FEW_CHANNELS
    if not few and (module.padding != (0, 0) or module.output_padding != (0, 0)):
        return None
    found = _activation(children, start + 1) if few else None
    if found is not None and found[0] == "leaky_relu":
        found = None  # torch's saves its input, so that its result may be modified; ours does not
    activation = "none" if found is None else found[0]

    def fits(x: Tensor) -> bool:
        if x.dim() != 4 or x.shape[1] != module.in_channels or x.numel() == 0:
            return False
        if x.dtype != weight.dtype or torch.is_autocast_enabled(x.device.type):
            return False
        pixel = x.shape[2] * x.shape[3] == 1 and module.padding == (0, 0)
        if not (few or (pixel and module.output_padding == (0, 0))):
            return False
        kernel: Any = module.kernel_size
        steps: Any = module.stride
        overlap = -(-kernel[0] // steps[0]) * -(-kernel[1] // steps[1])
        size = output_size(
            (x.shape[2], x.shape[3]), kernel, module.stride, module.padding,
            module.output_padding, 1,
        )  # fmt: skip
        return min(size) >= 1 and (overlap <= 16 or pixel)

    def run(x: Tensor, kept: bool) -> Tensor:
        return conv_transpose2d(
            x, module.weight, module.bias, module.stride, module.padding, module.output_padding,
            activation=activation,
        )  # fmt: skip

    return Match(start + 1 + (found is not None), "conv_transpose2d", fits, run)


_MATCHERS: dict[type[nn.Module], Callable[[Children, int, bool], Match | None]] = {
    nn.LeakyReLU: _leaky_relu,
    nn.Dropout: _dropout,
    nn.Dropout2d: _dropout,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.InstanceNorm2d: _instance_norm,
    nn.Linear: _linear,
    nn.ConvTranspose2d: _convolution,
}
