"""Optimizers that step all parameters in one fused kernel.

torch's fused kernels read parameters, gradients and state as they lie in memory, and what lies how
shows in the step alone: a gradient may be put there by hand, state may come from a checkpoint, a
parameter may join later. So the kernel is asked for step by step, and between two steps nothing
tells such an optimizer, or what it saves, from a plain one.
"""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor

KINDS = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD)
_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
_CHOICES = ("foreach", "differentiable", "capturable")
_changed: weakref.WeakKeyDictionary[torch.optim.Optimizer, _FusedSteps] = (
    weakref.WeakKeyDictionary()
)


def fuse(optimizer: torch.optim.Optimizer) -> str:
    """Take torch's fused step, the same update in one call; returns why not, or nothing.

    An optimizer whose script chose ``fused`` or ``foreach`` keeps its choice, and so does one that
    torch has no fused kernel for. Its state, hyper-parameters and keys stay. A step whose tensors
    the kernel cannot take is the plain one.
    """
    if optimizer in _changed:
        return ""
    reason = _objection(optimizer)
    if not reason:
        _changed[optimizer] = _FusedSteps(optimizer)
    return reason


def unfuse(optimizer: torch.optim.Optimizer) -> None:
    """Undo :func:`fuse`; others are left alone."""
    if optimizer in _changed:
        _changed.pop(optimizer).end()


class _FusedSteps:
    """The hooks around the steps of one optimizer."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._asked: list[dict[str, Any]] = []
        self._handles = (
            optimizer.register_step_pre_hook(self._before),
            optimizer.register_step_post_hook(self._after),
        )

    def end(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._take_back()

    def _before(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> Any:
        self._take_back()  # an error may have ended the last step
        if torch.compiler.is_compiling():
            return None
        closure = args[1] if len(args) > 1 else kwargs.get("closure")
        if closure is None:
            self._ask(optimizer)
            return None

        # The gradients of this step are not there before the closure has run.
        def then() -> Any:
            loss = closure()
            self._ask(optimizer)
            return loss

        return (args[0], then), {k: v for k, v in kwargs.items() if k != "closure"}

    def _ask(self, optimizer: torch.optim.Optimizer) -> None:
        for group in optimizer.param_groups:
            if group["fused"] is None and _can_step(group, optimizer.state):
                group["fused"] = True
                self._asked.append(group)

    def _after(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        self._take_back()

    def _take_back(self) -> None:
        for group in self._asked:
            group["fused"] = None
        self._asked.clear()


def _objection(optimizer: torch.optim.Optimizer) -> str:
    if type(optimizer) not in KINDS:
        return "torch has a fused step for Adam, AdamW and SGD alone"
    for group in [optimizer.defaults, *optimizer.param_groups]:
        if group.get("fused") is not None:
            return f"the script, or its checkpoint, chose fused={group['fused']}"
        for choice in _CHOICES:
            if group.get(choice) or (choice == "foreach" and group.get(choice) is not None):
                return f"the script, or its checkpoint, chose {choice}={group[choice]}"
        if isinstance(group.get("lr"), Tensor):
            return "its learning rate is a tensor"
    for parameter in (p for group in optimizer.param_groups for p in group["params"]):
        if not _is_of_kernel(parameter):
            return f"no fused step for {parameter.dtype} on {parameter.device.type}"
    return ""


def _is_of_kernel(parameter: Tensor) -> bool:
    return parameter.device.type in ("cpu", "cuda") and parameter.dtype in _DTYPES


def _can_step(group: dict[str, Any], states: Any) -> bool:
    if isinstance(group["lr"], Tensor) or any(group.get(choice) for choice in _CHOICES):
        return False
    begun = set()
    for p in group["params"]:
        if p.grad is None:
            continue
        state = states.get(p, {})
        if not (_is_of_kernel(p) and _is_dense(p) and _lies_as(p, p.grad)):
            return False
        for name, value in state.items():
            if name == "step":
                if not _counts_as_the_kernel(p, state):
                    return False
            elif isinstance(value, Tensor) and not _lies_as(p, value):
                return False
        begun.add(state.get("momentum_buffer") is not None)
    # SGD begins all its averages in one step, or none.
    return len(begun) < 2


def _lies_as(p: Tensor, other: Tensor) -> bool:
    return other.layout is torch.strided and other.stride() == p.stride() and other.dtype is p.dtype


def _is_dense(p: Tensor) -> bool:
    # A like tensor has the strides of p just where p has neither gaps nor overlaps.
    return p.is_contiguous() or torch.empty_like(p).stride() == p.stride()


def _counts_as_the_kernel(p: Tensor, state: dict[str, Any]) -> bool:
    step = state["step"]
    if not isinstance(step, Tensor):
        return False
    if step.device != p.device and step.dtype == torch.float32:  # counted by plain steps
        state["step"] = step.to(p.device)
    return step.dtype == torch.float32
