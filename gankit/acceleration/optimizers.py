"""Optimizers that step all parameters in one fused kernel.

torch's fused kernels read parameters, gradients and state as they lie in memory, and what lies how
shows in the step alone: a gradient may be put there by hand, state may come from a checkpoint, a
parameter may join later. So the kernel is asked for step by step, and between two steps nothing
tells such an optimizer, or what it saves, from a plain one.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

KINDS = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD)
# In float16 the plain step rounds, and overflows, between its operations; the kernel does not.
_DTYPES = (torch.float32, torch.float64, torch.bfloat16)
# Up to here float32 counts without a gap.
_MOST_STEPS = 1 << 24
_PLAIN = (Tensor, nn.Parameter)
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


def mark_as_modified(group: dict[str, Any], states: Any) -> None:
    """Increment the versions of all tensors that a step of this group modifies.

    The plain step does so by its in-place operations, torch's fused kernels (2.14) do not. Without
    it autograd takes a backward through the parameters of before the step for a valid one.
    """
    modified: list[Tensor] = []
    for p in group["params"]:
        if p.grad is not None:
            state = states.get(p, {})
            modified += [p, *(value for value in state.values() if isinstance(value, Tensor))]
    torch.autograd.graph.increment_version(modified)


@dataclass
class Steps:
    """How many steps of an optimizer were fused, how many were not, and why the last was not."""

    fused: int = 0
    plain: int = 0
    reason: str = ""


def steps_of(optimizer: torch.optim.Optimizer) -> Steps:
    """The count of an optimizer that :func:`fuse` took, kept up to date."""
    return _changed[optimizer].steps


class _FusedSteps:
    """The hooks around the steps of one optimizer."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.steps = Steps()
        self._asked: list[dict[str, Any]] = []
        self._handles = (
            optimizer.register_step_pre_hook(self._before),
            optimizer.register_step_post_hook(self._after),
        )
        # The hooks of others then see, and save, an optimizer without a choice.
        hooks: Any = optimizer._optimizer_step_post_hooks
        hooks.move_to_end(self._handles[1].id, last=False)

    def end(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._take_back()

    def _before(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> Any:
        self._take_back()  # an error may have ended the last step
        if torch.compiler.is_compiling():
            return None
        closure = args[1] if len(args) > 1 else kwargs.get("closure")

        # The gradients are those of the step only after the hooks behind this one and the closure.
        def then() -> Any:
            loss = None if closure is None else closure()
            self._ask(optimizer)
            return loss

        return (args[0], then), {k: v for k, v in kwargs.items() if k != "closure"}

    def _ask(self, optimizer: torch.optim.Optimizer) -> None:
        reason, stepping = "", False
        shared = _shared_reason(optimizer)
        for group in optimizer.param_groups:
            if all(p.grad is None for p in group["params"]):
                continue
            stepping = True
            why = _choice(group) or shared or _unsupported_reason(group, optimizer.state)
            if why:
                reason = why
                continue
            group["fused"] = True
            self._asked.append(group)
            mark_as_modified(group, optimizer.state)
        self.steps.fused += stepping and not reason
        self.steps.plain += bool(reason)
        self.steps.reason = reason or self.steps.reason

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
        if reason := _choice(group):
            return reason
    for parameter in (p for group in optimizer.param_groups for p in group["params"]):
        if reason := _unsupported_parameter(parameter):
            return reason
    return _shared_reason(optimizer)


def _choice(group: dict[str, Any]) -> str:
    """What the group asks for that is not the fused step's; empty where there is nothing."""
    if group.get("fused") is not None:
        return f"the script, or its checkpoint, chose fused={group['fused']}"
    for choice in _CHOICES:
        if group.get(choice) or (choice == "foreach" and group.get(choice) is not None):
            return f"the script, or its checkpoint, chose {choice}={group[choice]}"
    if isinstance(group.get("lr"), Tensor):
        return "its learning rate is a tensor"
    if group.get("amsgrad"):
        return "amsgrad: torch's fused step keeps another maximum where a gradient is NaN"
    return ""


def _shared_reason(optimizer: torch.optim.Optimizer) -> str:
    """Why two updates of one step are not those of the plain step, one behind the other.

    The fused step counts all its parameters before it updates the first.
    """
    parameters, counts = set(), set()
    for group in optimizer.param_groups:
        for p in group["params"]:
            place = p.data_ptr() if type(p) in _PLAIN else id(p)
            if place and (p.device, place) in parameters:
                return "it holds a parameter twice, which the plain step updates twice in turn"
            parameters.add((p.device, place))
            step = optimizer.state.get(p, {}).get("step")
            if isinstance(step, Tensor) and id(step) in counts:
                return "two of its parameters count their steps in one tensor"
            counts.add(id(step))
    return ""


def _unsupported_parameter(p: Tensor) -> str:
    if type(p) not in _PLAIN:
        return f"no fused step for parameters of class {type(p).__name__}"
    if p.device.type not in ("cpu", "cuda") or p.dtype not in _DTYPES:
        return f"no fused step for {p.dtype} on {p.device.type}"
    return "" if _is_dense(p) else "a parameter has gaps in memory"


def _unsupported_reason(group: dict[str, Any], states: Any) -> str:
    begun = set()
    for p in group["params"]:
        grad = p.grad
        if grad is None:
            continue
        if reason := _unsupported_parameter(p):
            return reason
        if type(grad) not in _PLAIN or grad.is_neg() or grad._is_zerotensor():
            return "a gradient is not a plain tensor"
        if not _lies_as(p, grad):
            return "a gradient has other strides or another dtype than its parameter"
        state = states.get(p, {})
        for name, value in state.items():
            if name == "step":
                if not _counts_as_the_kernel(p, state):
                    return "its state counts the steps in another way"
            elif isinstance(value, Tensor) and not _lies_as(p, value):
                return "its state has other strides or another dtype than its parameter"
        begun.add(state.get("momentum_buffer") is not None)
    # SGD begins all its averages in one step, or none.
    return "some of its parameters have a momentum and some have none yet" if len(begun) > 1 else ""


def _lies_as(p: Tensor, other: Tensor) -> bool:
    if other.layout is not torch.strided or other.dtype is not p.dtype:
        return False
    if p.device.type != "cpu":
        return other.stride() == p.stride()  # the kernel on CUDA insists
    # A dimension of one element may have any stride: its index is 0.
    strides = zip(p.shape, p.stride(), other.stride(), strict=True)
    return all(size == 1 or own == its for size, own, its in strides)


def _is_dense(p: Tensor) -> bool:
    # A like tensor has the strides of p just where p has neither gaps nor overlaps.
    return p.is_contiguous() or torch.empty_like(p).stride() == p.stride()


def _counts_as_the_kernel(p: Tensor, state: dict[str, Any]) -> bool:
    step = state["step"]
    if not isinstance(step, Tensor) or step.numel() != 1:
        return False
    if step.dtype == torch.float64 and step.device.type == "cpu" and step.item() < _MOST_STEPS:
        step = step.float()  # plain steps under a default dtype of float64
    if step.dtype != torch.float32:
        return False
    state["step"] = step.to(p.device)  # plain steps count on the CPU
    return True
