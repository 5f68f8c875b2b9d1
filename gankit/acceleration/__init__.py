"""Make networks that someone else wrote faster, without changing what they compute.

``gankit.accelerate`` and ``gankit.restore`` are here. What is fused is listed in
:mod:`gankit.acceleration.patterns`; the rule of when, in ``docs/accelerate.md``.
"""

from __future__ import annotations

import torch
from torch import nn

from .optimizers import fuse, unfuse
from .patterns import is_replaceable
from .report import AccelerationReport, Row, rows_of
from .run import served
from .sequential import Sequential
from .trace import is_traced, untrace
from .trace import trace as record_forward

__all__ = ["AccelerationReport", "Row", "accelerate", "restore"]

_CALLS_ITSELF = "it calls its layers itself; trace=True looks into its forward"


def accelerate(
    *targets: nn.Module | torch.optim.Optimizer, trace: bool = False
) -> AccelerationReport:
    """Run the layers of plain ``nn.Sequential`` modules as fused ops, and optimizers in one step.

    Every module inside whose class is exactly ``nn.Sequential`` gets a subclass of the same name
    whose forward runs the children that match a pattern as one op and all others as they are. The
    plan is made anew in each call from the modules as they then are, so hooks, settings, modes and
    children may change at any time. Children, parameters, ``state_dict`` keys, optimizer state and
    hooks stay. Layers that are not handled exactly run as plain torch, as everything does on a
    device for which only the reference backend is there.

    Results differ from plain torch's by rounding. With dropout, the masks are others (drawn from
    the same generator, one number per layer and call), and the rate is rounded to 1/65536.

    Args:
        targets: modules and optimizers, in any number. Adam, AdamW and SGD take torch's fused step
            unless they were built with a choice of their own.
        trace: also fuse modules that call their layers by attribute, such as
            ``F.relu(self.bn1(self.conv1(x)))``, by recording their forward with ``torch.fx``. Only
            code over layers, torch's functions and constant settings is taken; any other module
            stays as it is, and the report has the reason. Where a setting changes later, the
            forward runs as it was written. A traced module's class is a subclass of the same name;
            a pickle of it holds the module as it was.

    Returns:
        A report: what runs as what, and why not where not. It shows the mode (train or eval) that
        the modules are in.

    Raises:
        TypeError: a target is neither a module nor an optimizer.
    """
    _check("accelerate", targets)
    rows: list[Row] = []
    sequentials = optimizers = 0
    seen: set[int] = set()
    for index, target in enumerate(targets):
        if isinstance(target, torch.optim.Optimizer):
            reason = fuse(target)
            optimizers += not reason
            name = type(target).__name__
            rows.append(Row(str(index), (name,), "" if reason else f"fused {name}", reason))
            continue
        device = next((p.device.type for p in target.parameters()), "cpu")
        for path, module in target.named_modules(prefix=str(index)):
            if id(module) in seen or not isinstance(module, nn.Sequential):
                continue
            seen.add(id(module))
            reason = _objection(module, device)
            if reason:
                rows.append(Row(path, (type(module).__name__,), reason=reason))
                continue
            module.__class__ = Sequential
            sequentials += 1
            rows += rows_of(tuple(module), list(module._modules), path)
        if not served(device):
            continue
        for path, module in target.named_modules(prefix=str(index)):
            if type(module).__module__.partition(".")[0] in ("torch", "gankit"):
                continue
            found: list[Row] = []
            if trace or is_traced(module):
                found = record_forward(module, path)
            elif any(map(is_replaceable, module.children())):
                found = [Row(path, (type(module).__name__,), reason=_CALLS_ITSELF)]
            if found and id(module) not in seen:
                # What was said of it as a layer of a Sequential is said here.
                rows = [row for row in rows if row.module != path] + found
                seen.add(id(module))
    return AccelerationReport(tuple(rows), sequentials, optimizers)


def restore(*targets: nn.Module | torch.optim.Optimizer) -> None:
    """Undo :func:`accelerate`: the very same classes and settings as before.

    Args:
        targets: as for :func:`accelerate`. What was never accelerated is left alone.

    Raises:
        TypeError: a target is neither a module nor an optimizer.
    """
    _check("restore", targets)
    for target in targets:
        if isinstance(target, torch.optim.Optimizer):
            unfuse(target)
            continue
        for module in target.modules():
            untrace(module)
            if type(module) is Sequential:
                module.__class__ = nn.Sequential  # type: ignore[assignment]


def _check(name: str, targets: tuple[object, ...]) -> None:
    for target in targets:
        if not isinstance(target, (nn.Module, torch.optim.Optimizer)):
            raise TypeError(f"{name}: expected modules and optimizers, got {type(target).__name__}")


def _objection(module: nn.Sequential, device: str) -> str:
    if type(module) is Sequential:
        return ""
    if type(module) is not nn.Sequential:
        return "its class is a subclass of nn.Sequential, whose forward may be its own"
    if "forward" in vars(module):
        return "it has a forward of its own"
    if not served(device):
        return f"there are no fused kernels for device type {device!r} here"
    return ""
