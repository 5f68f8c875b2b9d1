"""From torch's layers to ours and back, over the very same parameters and buffers."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

from torch import nn

M = TypeVar("M", bound=nn.Module)

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_ACTIVATIONS: dict[type[nn.Module], str] = {
    nn.ReLU: "relu",
    nn.LeakyReLU: "leaky_relu",
    nn.Tanh: "tanh",
    nn.Identity: "none",
}


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
    if any(getattr(module, hook) for hook in _HOOKS) or "forward" in vars(module):
        raise TypeError(
            f"{name}: expected a layer without hooks (such as old-style spectral norm's) "
            f"and with its own forward, got a {type(module).__name__} with one"
        )


def activation_of(module: nn.Module) -> tuple[str, float]:
    """Name and slope of an activation layer; TypeError if it is not one of ours."""
    check_layer("activation", module, *_ACTIVATIONS)
    return _ACTIVATIONS[type(module)], float(getattr(module, "negative_slope", 0.2))


def activation_layer(name: str, negative_slope: float) -> nn.Module:
    """The layer of that name."""
    kinds = {name: kind for kind, name in _ACTIVATIONS.items()}
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
