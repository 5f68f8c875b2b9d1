"""Critics that run another module: behind ``torch.compile``, ``DataParallel`` and the like."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn

from gankit.nn.traits import has_hooks, is_watched

_PARALLEL = (nn.DataParallel, nn.parallel.DistributedDataParallel)


def innermost(module: Any) -> Any:
    """The module that ``module`` runs, with the same weights, or itself where it runs none.

    One that hooks watch stays: they want to see its calls. Any other object comes back as it is.
    """
    while isinstance(module, nn.Module):
        hooked = has_hooks(module)
        # torch.compile's wrapper keeps its compiled forward among its own attributes.
        if _is_compiled(module) and not hooked:
            module = module._orig_mod
        elif type(module) in _PARALLEL and not is_watched(module):
            module = module.module
        else:
            break
    return module


def _is_compiled(module: nn.Module) -> bool:
    # Without an import of torch's compiler, which takes seconds, there is none.
    compiler = sys.modules.get("torch._dynamo.eval_frame")
    return compiler is not None and isinstance(module, compiler.OptimizedModule)


def module_of(critic: Any) -> nn.Module | None:
    """The module that a callable runs: itself, a method's, or a ``functools.partial``'s."""
    while isinstance(critic, partial):
        critic = critic.func
    owner = critic if isinstance(critic, nn.Module) else getattr(critic, "__self__", None)
    return owner if isinstance(owner, nn.Module) else None


def eagerly() -> AbstractContextManager[Any]:
    """Inside the block what ``torch.compile`` has wrapped runs eagerly.

    Compiled code has no double backward. Where the block itself is being compiled, it stays so.
    """
    if torch.compiler.is_compiling() or "torch._dynamo" not in sys.modules:
        return nullcontext()
    stance: AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
    return stance
