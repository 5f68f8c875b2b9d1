"""gankit: GANs in PyTorch, faster, without changing what they compute.

The public API is what ``gankit.__all__`` and the ``__all__`` of its subpackages name.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from . import attacks, data, latent, losses, metrics, models, nn, ops, recipes, runs, training
    from .acceleration import AccelerationReport, accelerate, restore
    from .exporting import export
    from .loaded import LoadedGenerator
    from .ops import backend
    from .plain import plain_copy
    from .saved import load

__all__ = [
    "AccelerationReport",
    "LoadedGenerator",
    "__version__",
    "accelerate",
    "attacks",
    "backend",
    "data",
    "export",
    "latent",
    "load",
    "losses",
    "metrics",
    "models",
    "nn",
    "ops",
    "plain_copy",
    "recipes",
    "restore",
    "runs",
    "training",
]

_FUNCTIONS = {
    "AccelerationReport": ".acceleration",
    "LoadedGenerator": ".loaded",
    "accelerate": ".acceleration",
    "backend": ".ops",
    "export": ".exporting",
    "load": ".saved",
    "plain_copy": ".plain",
    "restore": ".acceleration",
}


def __getattr__(name: str) -> Any:
    # Subpackages load on first use, so that `gankit --help` does not wait for torch.
    if name in _FUNCTIONS:
        return getattr(importlib.import_module(_FUNCTIONS[name], __name__), name)
    if name in __all__:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
