"""What is known of layers: each fact once, for torch's layers here, for others at their class.

A fact is a promise about the code of one class. So it holds for that very class: a subclass, whose
``forward`` may be another, makes its own promises or has none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar
from weakref import WeakKeyDictionary

import torch.nn.modules.module as module_globals
from torch import nn

M = TypeVar("M", bound=type[nn.Module])


class Traits(NamedTuple):
    """What the code of a class promises; submodules are looked at by themselves.

    Attributes:
        per_sample: each sample of the output depends on that sample of the input alone, if that
            holds for the submodules.
        in_order: ``forward`` hands its input through the children, in order, and does nothing else.
        chain: name of a submodule: ``forward`` is that submodule, on the input flattened where its
            first layer is linear, and checks and reshaping around it.
        output: name of a submodule: ``forward`` returns its output, reshaped at most. Where
            ``chain`` is given, it is that.
        keeps_values: ``forward`` only reshapes, or does nothing in eval mode.
        grouped: it mixes samples within each of ``groups`` slices of the batch.
        any_layout: ``forward`` works for every memory format, such as channels last.
    """

    per_sample: bool = False
    in_order: bool = False
    chain: str = ""
    output: str = ""
    keeps_values: bool = False
    grouped: bool = False
    any_layout: bool = False


_NONE = Traits()
_TRAITS: WeakKeyDictionary[type[nn.Module], Traits] = WeakKeyDictionary()


def declares(
    *,
    per_sample: bool = False,
    in_order: bool = False,
    chain: str = "",
    output: str = "",
    keeps_values: bool = False,
    grouped: bool = False,
    any_layout: bool = False,
) -> Callable[[M], M]:
    """A class decorator: the class keeps the promises named, see :class:`Traits`.

    Subclasses do not inherit them.
    """
    traits = Traits(per_sample, in_order, chain, output or chain, keeps_values, grouped, any_layout)

    def declare(kind: M) -> M:
        _TRAITS[kind] = traits
        return kind

    return declare


def traits_of(module: nn.Module) -> Traits:
    """What the class of ``module`` promises; nothing where it has declared nothing."""
    return _TRAITS.get(type(module), _NONE)


def runs_in_order(module: nn.Module) -> bool:
    """Whether the ``forward`` of ``module`` is that of a class that declares ``in_order``."""
    owner = next(kind for kind in type(module).__mro__ if "forward" in vars(kind))
    return _TRAITS.get(owner, _NONE).in_order


# The activations that fused ops know, by the name that they have there.
ACTIVATIONS: dict[type[nn.Module], str] = {
    nn.ReLU: "relu",
    nn.LeakyReLU: "leaky_relu",
    nn.Tanh: "tanh",
    nn.Identity: "none",
}
DROPOUTS: tuple[type[nn.Module], ...] = (
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
)
_VALUE_KEEPING: tuple[type[nn.Module], ...] = (nn.Identity, *DROPOUTS)
_PER_SAMPLE: tuple[type[nn.Module], ...] = (
    *(nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU),
    *(nn.SiLU, nn.Mish, nn.Sigmoid, nn.LogSigmoid, nn.Tanh, nn.Softplus, nn.Softsign),
    *(nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish),
    *(nn.GroupNorm, nn.LayerNorm, nn.AvgPool2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d),
    *(nn.ZeroPad2d, nn.ReflectionPad2d, nn.ReplicationPad2d, nn.Upsample, nn.PixelShuffle),
)
for _kind in _PER_SAMPLE:
    declares(per_sample=True)(_kind)
# They compute nothing: who holds them says what becomes of their modules.
for _kind in (nn.ModuleList, nn.ModuleDict):
    declares(per_sample=True)(_kind)
for _kind in _VALUE_KEEPING:
    declares(per_sample=True, keeps_values=True)(_kind)
# Whether they leave the samples apart is a matter of their settings.
for _kind in (nn.Flatten, nn.Unflatten):
    declares(keeps_values=True)(_kind)
declares(per_sample=True, in_order=True)(nn.Sequential)

_GLOBAL_HOOKS = (
    "_global_forward_hooks",
    "_global_forward_pre_hooks",
    "_global_backward_hooks",
    "_global_backward_pre_hooks",
)


def has_hooks(module: nn.Module) -> bool:
    """Whether ``module`` itself has hooks."""
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    )


def is_watched(module: nn.Module) -> bool:
    """Whether code beside its class's runs: hooks, or a ``forward`` set on ``module`` itself."""
    return "forward" in module.__dict__ or has_hooks(module)


def is_altered(module: nn.Module) -> bool:
    """Whether it is watched, or ``module.compile()`` has put compiled code in its place."""
    return module._compiled_call_impl is not None or is_watched(module)


def has_global_hooks() -> bool:
    """Whether hooks are installed on all modules."""
    return any(getattr(module_globals, name, None) for name in _GLOBAL_HOOKS)
