"""Whether a recording of a module's forward holds for every call: what its code does and reads.

A recording keeps every number that is not a tensor's as it was. So the code may call only what is
recorded, and read only what can be compared with what it was: settings of the module itself that
are plain constants. Whatever else it does or reads makes it :class:`Untraceable`.
"""

from __future__ import annotations

import builtins
import dis
import functools
import inspect
import types
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
import torch.overrides
from torch import Tensor, nn

from ..nn.traits import is_altered

_NEVER = ("FOR_ITER", "RAISE", "SETUP_", "YIELD", "WITH", "IMPORT", "SEND", "BACKWARD", "ABSOLUTE")
_WRITES = ("STORE_ATTR", "STORE_SUBSCR", "STORE_SLICE", "STORE_GLOBAL", "DELETE_")
# Recorded all the same, though torch does not list them as overridable.
_RECORDED: tuple[Any, ...] = (
    *(F.tanh, F.sigmoid, F.hardsigmoid, F.hardswish, F.upsample),
    *(torch.randn_like, torch.rand_like, torch.randint_like),
)
# A float is what schedules change, such as a fading factor: every change would end the fused run.
_SETTINGS = (bool, int, str, type(None))
_DEFAULTS = (*_SETTINGS, float)
_MISSING = object()


class Untraceable(Exception):
    """Why a forward cannot be recorded."""


@dataclass
class Reads:
    """What a recording depends on beside its tensors.

    Attributes:
        required: names of the arguments without a default.
        optional: the others, and their defaults.
        settings: attributes of the module that are constants or torch's functions.
        layers: whether each attribute that is a layer is there, and true, where the code branches.
        asks: whether it branches on an argument's being None, which no tensor is.
    """

    required: tuple[str, ...] = ()
    optional: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    layers: dict[str, bool | None] = field(default_factory=dict)
    asks: bool = False

    def __bool__(self) -> bool:
        return bool(self.optional or self.settings or self.layers or self.asks)

    def hold(self, module: nn.Module) -> bool:
        """Whether all of it is as it was."""
        for name, value in self.settings.items():
            now = getattr(module, name, _MISSING)
            if now is not value and not (type(now) is type(value) and now == value):
                return False
        for name, truth in self.layers.items():
            if _truth(getattr(module, name, None)) is not truth:
                return False
        return True


def _truth(layer: nn.Module | None) -> bool | None:
    return None if layer is None else bool(layer)


def check_code(module: nn.Module) -> Reads:
    """What the forward reads. Raises :class:`Untraceable`."""
    if is_altered(module):
        raise Untraceable("it has hooks, its own forward or is compiled by itself")
    forward = type(module).forward
    if not isinstance(forward, types.FunctionType):
        raise Untraceable("its forward is no plain function")
    code, defaults = forward.__code__, forward.__defaults__ or ()
    names = code.co_varnames[1 : code.co_argcount]
    split = len(names) - len(defaults)
    reads = Reads(names[:split], dict(zip(names[split:], defaults, strict=True)))
    _Code(module, reads).check(forward, is_forward=True)
    return reads


class _Code:
    """The code of a module's forward and of those of its methods that it calls."""

    def __init__(self, module: nn.Module, reads: Reads) -> None:
        self.module, self.reads = module, reads
        mro = type(module).__mro__
        self.own = [k for k in mro if issubclass(k, nn.Module) and k is not nn.Module]
        self.inner = [layer for layer in module.modules() if layer is not module]
        self.checked: set[types.FunctionType] = set()

    def check(self, function: types.FunctionType, is_forward: bool = False) -> None:
        if function in self.checked:
            return
        self.checked.add(function)
        code = function.__code__
        if code.co_flags & 0x0C or code.co_kwonlyargcount:
            raise Untraceable("its forward has optional arguments without a place")
        if any(type(value) not in _DEFAULTS for value in function.__defaults__ or ()):
            raise Untraceable("its forward has optional arguments that are no constants")
        if code.co_freevars or any(isinstance(c, types.CodeType) for c in code.co_consts):
            raise Untraceable("its forward has a closure, a comprehension or calls super()")
        steps = list(dis.get_instructions(code))
        me, branches = code.co_varnames[0], False
        for i in range(len(steps)):
            branches |= self._operation(steps, i, me, is_forward)
        resolved: set[int] = set()
        for i, step in enumerate(steps):
            if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                resolved.update(self._global(function, steps, i))
            elif step.opname in ("LOAD_ATTR", "LOAD_METHOD") and i not in resolved:
                if _loaded(steps[i - 1]) == me:
                    self._own(step.argval, branches)
                else:
                    self._attribute(step.argval, branches)

    def _operation(self, steps: list[dis.Instruction], i: int, me: str, is_forward: bool) -> bool:
        """Whether a step may branch."""
        name = steps[i].opname
        if any(word in name for word in _NEVER):
            raise Untraceable("its forward branches or loops")
        if any(word in name for word in _WRITES):
            raise Untraceable("its forward writes to attributes or items")
        if "STORE_FAST" in name and _names(steps[i], me):
            raise Untraceable(f"its forward gives another meaning to {me!r}")
        if name == "IS_OP" or "_NONE" in name:
            # A tensor that is recorded never is None; what a layer returns may be.
            asked = i - 1 - (name == "IS_OP")
            if name == "IS_OP" and steps[i - 1].argval is not None:
                raise Untraceable("its forward branches on what an object is")
            self._never_none(steps, asked, me, is_forward)
        return "JUMP" in name

    def _never_none(self, steps: list[dis.Instruction], i: int, me: str, is_forward: bool) -> None:
        variable = _loaded(steps[i])
        if variable is not None and is_forward:
            arguments = (*self.reads.required, *self.reads.optional)
            stored = any("STORE_FAST" in s.opname and _names(s, variable) for s in steps)
            if variable in arguments and not stored:
                self.reads.asks = True
                return
        if steps[i].opname in ("LOAD_ATTR", "LOAD_METHOD") and _loaded(steps[i - 1]) == me:
            return
        raise Untraceable("its forward branches on whether something is None")

    def _global(
        self, function: types.FunctionType, steps: list[dis.Instruction], i: int
    ) -> list[int]:
        """Checks what a global, or an attribute of a global module, is; the steps that read it."""
        name = steps[i].argval
        value = function.__globals__.get(name, builtins)
        used, home = [i], ""
        while isinstance(value, types.ModuleType):
            home = value.__name__.partition(".")[0]
            following = steps[used[-1] + 1] if used[-1] + 1 < len(steps) else steps[i]
            if home not in ("torch", "math") or following.opname not in (
                "LOAD_ATTR",
                "LOAD_METHOD",
            ):
                raise Untraceable(f"its forward reads the global {name!r}")
            name = following.argval
            value = getattr(value, name, None)
            used.append(used[-1] + 1)
        constant = isinstance(value, (torch.dtype, int, float, str)) and home != ""
        if not constant and not (home == "math" and callable(value)):
            _check_function(value, name, home)
        return used

    def _own(self, name: str, branches: bool) -> None:
        """Checks an attribute of the module itself."""
        module = self.module
        found = inspect.getattr_static(module, name, _MISSING)
        if found is _MISSING:  # a layer, parameter or buffer, unless it is missing
            value = getattr(module, name, _MISSING)
            if value is None:
                self.reads.settings[name] = None
            elif isinstance(value, nn.Module) and branches:
                self.reads.layers[name] = _truth(value)
            return
        if name == "training":
            raise Untraceable(f"its forward reads {name!r}, which may change")
        if name.startswith("__") or (hasattr(nn.Module, name) and not self._is_own(name)):
            raise Untraceable(f"its forward uses {name!r} of a module")
        if name not in vars(module) and isinstance(found, types.FunctionType):
            self.check(found)
        elif type(found) in _SETTINGS or id(found) in _recordable():
            self.reads.settings[name] = found
        else:
            raise Untraceable(f"its forward reads {name!r}, which may change")

    def _is_own(self, name: str) -> bool:
        return any(name in vars(k) for k in self.own)

    def _attribute(self, name: str, branches: bool) -> None:
        """Checks an attribute of a tensor, of a layer inside, or of what a variable holds."""
        is_tensors = hasattr(Tensor, name)
        if name.startswith("__") or (hasattr(nn.Module, name) and not is_tensors):
            raise Untraceable(f"its forward uses {name!r} of a module")
        if name in vars(self.module) or self._is_own(name):
            raise Untraceable(f"its forward reads {name!r}, which may change")
        # Of a layer inside; a tensor's method may have the same name, such as size.
        for layer in self.inner if not is_tensors else ():
            if name in vars(layer) or (branches and name in layer._modules):
                raise Untraceable(f"its forward reads {name!r} of a layer, which may change")


def _names(step: dis.Instruction, variable: str) -> bool:
    return variable in (step.argval if isinstance(step.argval, tuple) else (step.argval,))


def _loaded(step: dis.Instruction) -> str | None:
    """The variable that a step puts last on the stack."""
    if not step.opname.startswith(("LOAD_FAST", "STORE_FAST_LOAD_FAST")):
        return None
    name: str = step.argval[-1] if isinstance(step.argval, tuple) else step.argval
    return name


@functools.cache
def _recordable() -> frozenset[int]:
    functions = torch.overrides.get_overridable_functions().values()
    known = {id(function) for some in functions for function in some}
    in_place = {
        id(function)
        for space in (torch, F)
        for name, function in vars(space).items()
        if name.endswith("_") and id(getattr(space, name[:-1], None)) in known
    }
    return frozenset(known | in_place | set(map(id, _RECORDED)))


def _check_function(value: Any, name: str, home: str) -> None:
    """Raises for what torch has but a record has not: settings, draws, tensors made anew."""
    if isinstance(value, type):
        recorded = issubclass(value, nn.Module) and value.__module__.startswith("torch.nn.")
    else:
        recorded = id(value) in _recordable()
    if recorded:
        return
    if callable(value) and (home or str(getattr(value, "__module__", "")).startswith("torch")):
        raise Untraceable(f"its forward calls {name!r}, whose answer may change")
    raise Untraceable(f"its forward reads the global {name!r}")
