"""Decide whether a discriminator may see real and fake images in one pass.

One pass over ``cat([real, fake])`` computes the same numbers as two passes only if every layer
treats each sample on its own. That is a property of the code of each layer, so it is decided by a
whitelist of exact types: a subclass may do anything in its ``forward``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch.nn.modules.module as module_globals
from torch import nn

from gankit.acceleration.sequential import IN_ORDER
from gankit.errors import ConfigError
from gankit.nn import (
    BatchNormAct1d,
    BatchNormAct2d,
    ConvTransposeAct2d,
    ConvTransposeBNAct2d,
    LeakyReLUDropout,
    Linear,
)

PER_SAMPLE: frozenset[type[nn.Module]] = frozenset(
    {
        nn.Identity,
        nn.Linear,
        Linear,
        nn.Conv1d,
        nn.Conv2d,
        nn.Conv3d,
        nn.ConvTranspose1d,
        nn.ConvTranspose2d,
        nn.ConvTranspose3d,
        ConvTransposeAct2d,
        ConvTransposeBNAct2d,  # its batch norm is met as a module of its own
        nn.ReLU,
        nn.ReLU6,
        nn.LeakyReLU,
        nn.PReLU,
        nn.RReLU,
        nn.ELU,
        nn.SELU,
        nn.CELU,
        nn.GELU,
        nn.SiLU,
        nn.Mish,
        nn.Sigmoid,
        nn.LogSigmoid,
        nn.Tanh,
        nn.Softplus,
        nn.Softsign,
        nn.Hardtanh,
        nn.Hardsigmoid,
        nn.Hardswish,
        nn.Dropout,
        nn.Dropout1d,
        nn.Dropout2d,
        nn.Dropout3d,
        nn.AlphaDropout,
        nn.FeatureAlphaDropout,
        LeakyReLUDropout,
        nn.GroupNorm,
        nn.LayerNorm,
        nn.AvgPool2d,
        nn.MaxPool2d,
        nn.AdaptiveAvgPool2d,
        nn.ZeroPad2d,
        nn.ReflectionPad2d,
        nn.Upsample,
        nn.PixelShuffle,
    }
)
# They take statistics over slices of the batch, and so over each half.
_GROUPED = frozenset({BatchNormAct1d, BatchNormAct2d})
_BATCH_NORM = frozenset({nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d})
_INSTANCE_NORM = frozenset({nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d})
# They reshape, or in eval mode do nothing: what comes before them decides what D returns.
_KEEPS_VALUES = frozenset(
    {
        nn.Identity,
        nn.Flatten,
        nn.Unflatten,
        nn.Dropout,
        nn.Dropout1d,
        nn.Dropout2d,
        nn.Dropout3d,
    }
)
# Containers whose forward is known to hand each sample through its children and nothing else.
_OUR_MODELS = "gankit.models."
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


@dataclass(frozen=True)
class Pairing:
    """What was found in one discriminator.

    ``reason`` is empty when one pass is exact, else it says which module asks for two.
    ``eval_only`` lists batch norms that treat samples one by one only in eval mode; they are looked
    at before each pass because ``train()`` may be called at any time. ``grouped`` lists those that
    must take each half by itself, as they do within ``halves``.
    """

    reason: str = ""
    eval_only: tuple[tuple[str, nn.Module], ...] = field(default_factory=tuple)
    grouped: tuple[Any, ...] = field(default_factory=tuple)

    @contextmanager
    def halves(self) -> Iterator[None]:
        """Inside the block batch norms take their statistics over each half of a batch."""
        for module in self.grouped:
            module.groups *= 2
        try:
            yield
        finally:
            for module in self.grouped:
                module.groups //= 2

    def reason_now(self) -> str:
        """The reason for two passes in the modules' present mode; empty when one pass is exact."""
        if self.reason:
            return self.reason
        for name, module in self.eval_only:
            if module.training:
                return f"{name} is a {type(module).__name__} in training mode, which mixes samples"
        return ""


def examine(discriminator: nn.Module) -> Pairing:
    """Walk ``discriminator`` and return whether one pass over both halves is exact.

    Every leaf must be of a type listed in ``PER_SAMPLE`` (exact type, no hooks, no patched
    ``forward``); every container must be exactly ``nn.Sequential``, accelerated or not, or one of
    ``gankit.models``, since any other ``forward`` is Python code that could look across the batch.
    """
    # Also where one pass is not known to be exact, since a user may vouch for it.
    grouped = tuple(m for m in discriminator.modules() if type(m) in _GROUPED)
    if any(getattr(module_globals, f"_global{hook}", None) for hook in _HOOKS):
        return Pairing(
            "global module hooks are installed, and they would see one pass in place of two",
            grouped=grouped,
        )
    eval_only: list[tuple[str, nn.Module]] = []
    for name, module in discriminator.named_modules():
        label = f"D.{name}" if name else "D"
        reason = "".join(_objections(module, label))
        if reason:
            return Pairing(reason, grouped=grouped)
        if type(module) in _BATCH_NORM:
            eval_only.append((label, module))
    return Pairing("", tuple(eval_only), grouped)


def _objections(module: nn.Module, label: str) -> Iterator[str]:
    """Yield at most one reason why ``module`` asks for two passes."""
    kind = type(module)
    if any(getattr(module, hook, None) for hook in _HOOKS):
        yield f"{label} ({kind.__name__}) has hooks, and they would see one pass in place of two"
    elif "forward" in vars(module):
        yield f"{label} ({kind.__name__}) has a patched forward"
    elif kind in _BATCH_NORM:
        if getattr(module, "running_mean", None) is None:
            yield f"{label} ({kind.__name__}) keeps no running statistics, so it mixes samples"
    elif kind in _INSTANCE_NORM:
        if getattr(module, "running_mean", None) is not None:
            yield f"{label} ({kind.__name__}) tracks statistics over the batch"
    elif isinstance(module, nn.Flatten) and kind is nn.Flatten:
        if module.start_dim < 1:
            yield f"{label} (Flatten) flattens the batch dimension"
    elif isinstance(module, nn.Unflatten) and kind is nn.Unflatten:
        if not isinstance(module.dim, int) or module.dim < 1:
            yield f"{label} (Unflatten) may split the batch dimension"
    elif kind in PER_SAMPLE or kind in _GROUPED or kind in IN_ORDER:
        return
    elif not f"{kind.__module__}.".startswith(_OUR_MODELS):
        yield (
            f"{label} is a {kind.__name__}, which is not known to treat samples one by one; "
            "pass paired=True if it does"
        )


def ends_in_sigmoid(discriminator: nn.Module) -> bool:
    """Whether ``discriminator`` returns probabilities: the last layer that does work is nn.Sigmoid.

    Layers that only reshape or drop are passed over. Without any nn.Sigmoid the answer is False.
    The order of layers is known inside ``nn.Sequential`` and the models of ``gankit.models``; a
    module with one child and no parameters of its own is taken to return what that child returns.

    Raises ConfigError if there is an nn.Sigmoid, but Python code decides where it acts.
    """
    if not _has_sigmoid(discriminator):
        return False
    last = last_layer(discriminator)
    if isinstance(last, nn.Sigmoid):
        return True
    if last is not None and not _has_sigmoid(last) and next(last.parameters(), None) is not None:
        return False
    raise ConfigError(
        f"from_logits='auto' cannot tell what D ({type(discriminator).__name__}) returns: it has "
        f"an nn.Sigmoid, but {type(last).__name__} comes last, whose code may do anything; set "
        "from_logits to True if D returns logits, to False if it returns probabilities"
    )


def _has_sigmoid(module: nn.Module) -> bool:
    return any(isinstance(part, nn.Sigmoid) for part in module.modules())


def last_layer(module: nn.Module) -> nn.Module | None:
    """The innermost module known to give ``module`` its values; None if it only reshapes."""
    kind = type(module)
    children = list(module.children())
    in_order = any(kind.forward is known.forward for known in IN_ORDER) or (
        f"{kind.__module__}.".startswith(_OUR_MODELS)
    )
    if not children:
        return None if kind in _KEEPS_VALUES or in_order else module
    alone = len(children) == 1 and next(module.parameters(recurse=False), None) is None
    if not (in_order or alone):
        return module
    for child in reversed(children):
        last = last_layer(child)
        if last is not None:
            return last
    return None
