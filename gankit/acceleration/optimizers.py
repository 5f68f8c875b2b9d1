"""Optimizers that step all parameters in one fused kernel."""

from __future__ import annotations

import weakref
from typing import Any

import torch

KINDS = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD)
_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
# Those that were changed, and the handle of the hook on them, if there is one.
_changed: weakref.WeakKeyDictionary[torch.optim.Optimizer, Any] = weakref.WeakKeyDictionary()


def fuse(optimizer: torch.optim.Optimizer) -> str:
    """Take torch's fused step, the same update in one call; returns why not, or nothing.

    An optimizer whose script chose ``fused`` or ``foreach`` keeps its choice, and so does one that
    torch has no fused kernel for. Its state, hyper-parameters and keys stay.
    """
    reason = _objection(optimizer)
    if not reason:
        for group in optimizer.param_groups:
            group["fused"] = True
        optimizer.defaults["fused"] = True
        optimizer._step_supports_amp_scaling = True  # type: ignore[attr-defined]
        optimizer._need_device_dtype_check_for_fused = True  # type: ignore[attr-defined]
        # Of the three, plain SGD alone takes sparse gradients, and its fused step does not.
        sgd = type(optimizer) is torch.optim.SGD
        _changed[optimizer] = optimizer.register_step_pre_hook(_unfuse_if_sparse) if sgd else None
    return reason


def unfuse(optimizer: torch.optim.Optimizer) -> None:
    """Undo :func:`fuse`; others are left alone."""
    if optimizer not in _changed:
        return
    hook = _changed.pop(optimizer)
    if hook is not None:
        hook.remove()
    _plain(optimizer)


def _plain(optimizer: torch.optim.Optimizer) -> None:
    for group in [*optimizer.param_groups, optimizer.defaults]:
        group["fused"] = None
    for name in ("_step_supports_amp_scaling", "_need_device_dtype_check_for_fused"):
        vars(optimizer).pop(name, None)


def _unfuse_if_sparse(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
    for group in optimizer.param_groups:
        if group["fused"] and any(p.grad is not None and p.grad.is_sparse for p in group["params"]):
            _plain(optimizer)
            return


def _objection(optimizer: torch.optim.Optimizer) -> str:
    if type(optimizer) not in KINDS:
        return "torch has a fused step for Adam, AdamW and SGD alone"
    for group in [optimizer.defaults, *optimizer.param_groups]:
        if group.get("fused") is not None:
            return "the script chose fused itself"
        for choice in ("foreach", "differentiable", "capturable"):
            if group.get(choice):
                return f"the script chose {choice}=True"
        if isinstance(group.get("lr"), torch.Tensor):
            return "its learning rate is a tensor"
    for parameter in (p for group in optimizer.param_groups for p in group["params"]):
        if parameter.device.type not in ("cpu", "cuda") or parameter.dtype not in _DTYPES:
            return f"no fused step for {parameter.dtype} on {parameter.device.type}"
        state = optimizer.state.get(parameter, {})
        step = state.get("step")
        if isinstance(step, torch.Tensor) and step.device != parameter.device:
            return "it has stepped already, and counts its steps on another device"
        for value in state.values():
            if (
                isinstance(value, torch.Tensor)
                and value.shape == parameter.shape
                and value.stride() != parameter.stride()
            ):
                return "its state has another memory layout than its parameters"
    return ""
