"""From torch's layers to ours and back, over the very same parameters and buffers."""

from __future__ import annotations

import copy
import re
import sys
from types import FrameType
from typing import Any, TypeVar

from torch import nn

from .traits import ACTIVATIONS, is_watched

M = TypeVar("M", bound=nn.Module)

# Functions that build a new layer from the numbers of an old one, as torch, apex, timm, detectron2
# and many scripts have them: nn.SyncBatchNorm.convert_sync_batchnorm,
# nn.utils.fusion.fuse_conv_bn_eval, freeze_batch_norm_2d, convert_frozen_batchnorm, merge_bn.
_REBUILDS = re.compile(
    r"sync_?(bn|batch_?norm)|(freeze|frozen|convert|replace|fuse|fold|absorb|merge)\w*(bn|norm)",
    re.IGNORECASE,
)


def refuse_rebuilding(module: Any, depth: int) -> None:
    """Raises TypeError where the caller would rebuild ``module`` as a layer without its activation.

    Such functions go by ``isinstance`` of the base class, or by attributes alone, so the layer can
    say no only while it is asked. They are known by their names.

    Args:
        module: the layer; one with ``activation == "none"`` may be rebuilt.
        depth: how many calls lie between this function and the one that is looked at.
    """
    if module.activation == "none":
        return
    frame: FrameType | None = sys._getframe()
    for _ in range(depth + 1):
        frame = None if frame is None else frame.f_back
    if frame is None or _REBUILDS.search(frame.f_code.co_name) is None:
        return
    kind = type(module).__name__
    first = "put the layers of its to_torch() in its place first, or "
    raise TypeError(
        f"{frame.f_code.co_name}: expected layers of torch.nn, got a gankit.nn.{kind}, whose "
        f"activation {module.activation!r} would be lost; "
        f"{first if hasattr(module, 'to_torch') else ''}for statistics over all processes set the "
        "batch norm's process_group='world'"
    )


def check_layer(name: str, module: nn.Module, *kinds: type[nn.Module]) -> None:
    """Raises TypeError unless a layer is exactly one of ``kinds``, and without hooks.

    Args:
        name: of the argument, for the message.
        module: the layer.
        kinds: classes; a subclass is refused, as its forward may be another.
    """
    if type(module) not in kinds:
        home = "nn" if kinds[0].__module__.startswith("torch") else "gankit.nn"
        allowed = ", ".join(f"{home}.{kind.__name__}" for kind in kinds)
        raise TypeError(f"{name}: expected {allowed}, got {type(module).__name__}")
    if is_watched(module):
        raise TypeError(
            f"{name}: expected a layer without hooks (such as old-style spectral norm's) "
            f"and with its own forward, got a {type(module).__name__} with one"
        )


def activation_of(module: nn.Module) -> tuple[str, float]:
    """Name and slope of an activation layer; TypeError if it is not one of ours."""
    check_layer("activation", module, *ACTIVATIONS)
    return ACTIVATIONS[type(module)], float(getattr(module, "negative_slope", 0.2))


def activation_layer(name: str, negative_slope: float) -> nn.Module:
    """The layer of that name."""
    kinds = {name: kind for kind, name in ACTIVATIONS.items()}
    return nn.LeakyReLU(negative_slope) if name == "leaky_relu" else kinds[name]()


def adopt(cls: type[M], module: nn.Module, drop: tuple[str, ...] = (), **settings: Any) -> M:
    """A module of class ``cls`` with all that ``module`` has: the same tensors in dicts of its own.

    Args:
        cls: the class; its ``__init__`` is not called.
        module: where settings, parameters, buffers and mode come from.
        drop: attributes that ``cls`` does not have.
        settings: attributes that are set on top.
    """
    twin = cls.__new__(cls)
    for key, value in vars(module).items():
        if key not in drop:
            vars(twin)[key] = copy.copy(value) if isinstance(value, (dict, set)) else value
    vars(twin).update(settings)
    return twin
