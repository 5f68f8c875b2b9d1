"""Modules that call their layers by attribute: ``F.relu(self.bn1(self.conv1(x)))``.

Their forward is recorded once by ``torch.fx``, runs of layers and activations in the record become
calls of :func:`run_chain`, and the result is the forward of a subclass made for that module. Only a
forward whose record holds for every call is taken: straight-line code over layers, parameters and
torch's functions. One that branches, loops, or reads any other attribute or global is left alone.
"""

from __future__ import annotations

import builtins
import dis
import functools
import math
import operator
import types
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
import torch.fx
import torch.nn.functional as F
import torch.overrides
from torch import nn

from .patterns import is_watched
from .report import Row, rows_of
from .run import run_children, usable

_MARK = "_gankit_base"
_ROWS = "_gankit_rows"
_BRANCHES = ("JUMP", "FOR_ITER", "RAISE", "SETUP_", "YIELD", "WITH", "IMPORT")
_WRITES = ("STORE_ATTR", "STORE_SUBSCR", "STORE_SLICE", "DELETE_")
_ACTIVATIONS: dict[Any, str] = {
    F.relu: "relu",
    torch.relu: "relu",
    F.tanh: "tanh",
    torch.tanh: "tanh",
    F.leaky_relu: "leaky_relu",
    "relu": "relu",
    "tanh": "tanh",
}
_LAYERS = (
    nn.Linear,
    nn.Conv2d,
    nn.ConvTranspose2d,
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.InstanceNorm2d,
    nn.ReLU,
    nn.LeakyReLU,
    nn.Tanh,
    nn.Dropout,
    nn.Dropout2d,
)
_shared: dict[tuple[str, float], nn.Module] = {}


class _Untraceable(Exception):
    """Why a forward cannot be recorded."""


def _activation(name: str, slope: float) -> nn.Module:
    key = (name, slope)
    if key not in _shared:
        kinds = {"relu": nn.ReLU(), "tanh": nn.Tanh(), "leaky_relu": nn.LeakyReLU(slope)}
        _shared[key] = kinds[name]
    return _shared[key]


def _call_activation(x: Any, name: str, slope: float) -> Any:
    if name == "leaky_relu":
        return F.leaky_relu(x, slope)
    return F.relu(x) if name == "relu" else torch.tanh(x)


def run_chain(x: Any, *links: Any) -> Any:
    """Runs layers in a row; a link is a module, or the name and slope of an activation."""
    if not usable(x):  # such as a recording, in which an activation is a function too
        for link in links:
            x = _call_activation(x, *link) if isinstance(link, tuple) else link(x)
        return x
    layers = tuple(_activation(*link) if isinstance(link, tuple) else link for link in links)
    return run_children(layers, x)


def trace(module: nn.Module, path: str) -> list[Row]:
    """Give a module a traced forward; the rows of the report, or the reason why it was left."""
    kind = type(module)
    if is_traced(module):
        before, rows = vars(kind)[_ROWS]
        return [replace(row, module=path + row.module.removeprefix(before)) for row in rows]
    try:
        _check_code(module)
        graph = _record(module)
        chains = _replace_chains(module, graph)
        if not chains:
            raise _Untraceable("nothing in its forward is fused")
        traced: Any = torch.fx.GraphModule(module, graph)
    except _Untraceable as reason:
        return [Row(path, (kind.__name__,), reason=str(reason))]
    module.__class__ = _subclass(kind, type(traced).forward)
    rows = [row for names, layers in chains for row in rows_of(layers, names, path)]
    setattr(module.__class__, _ROWS, (path, rows))
    return rows


def is_traced(module: nn.Module) -> bool:
    """Whether :func:`trace` gave the module its forward."""
    return hasattr(type(module), _MARK)


def untrace(module: nn.Module) -> None:
    """Undo :func:`trace`; other modules are left alone."""
    base = getattr(type(module), _MARK, None)
    if base is not None:
        module.__class__ = base


def _empty(kind: Any) -> Any:
    """A module of this class before its ``__init__``."""
    return kind.__new__(kind)


def _subclass(base: type[nn.Module], forward: Callable[..., Any]) -> type[nn.Module]:
    def __reduce_ex__(self: Any, protocol: Any) -> Any:
        # Pickles name a class that can be imported; they hold the module as it was.
        return _empty, (base,), self.__dict__

    def __deepcopy__(self: Any, memo: dict[int, Any]) -> Any:
        twin = _empty(type(self))
        memo[id(self)] = twin
        twin.__dict__.update(deepcopy(self.__dict__, memo))
        return twin

    def __prepare_scriptable__(self: Any) -> Any:
        # What torch.jit.script compiles: the module as it was, over the same parameters.
        plain = _empty(base)
        plain.__dict__.update(self.__dict__)
        return plain

    parts = {
        "__module__": base.__module__,
        "__doc__": base.__doc__,
        "__reduce_ex__": __reduce_ex__,
        "__deepcopy__": __deepcopy__,
        "__prepare_scriptable__": __prepare_scriptable__,
        "forward": forward,
        _MARK: base,
    }
    return type(base.__name__, (base,), parts)


def _check_code(module: nn.Module) -> None:
    """Raises unless what a recording sees is what every call does."""
    kind = type(module)
    if is_watched(module):
        raise _Untraceable("it has hooks, its own forward or is compiled by itself")
    forward = kind.forward
    if not isinstance(forward, types.FunctionType):
        raise _Untraceable("its forward is no plain function")
    code = forward.__code__
    if code.co_flags & 0x0C or code.co_kwonlyargcount or forward.__defaults__:
        raise _Untraceable("its forward has optional arguments")
    if code.co_freevars or any(isinstance(c, types.CodeType) for c in code.co_consts):
        raise _Untraceable("its forward has a closure, a comprehension or calls super()")
    globals_read = set()
    for step in dis.get_instructions(code):
        if any(word in step.opname for word in _BRANCHES):
            raise _Untraceable("its forward branches or loops")
        if any(word in step.opname for word in _WRITES):
            raise _Untraceable("its forward writes to attributes or items")
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            globals_read.add(step.argval)
    own = [k for k in kind.__mro__ if issubclass(k, nn.Module) and k is not nn.Module]
    read = map(forward.__globals__.get, globals_read)
    namespaces = {torch, F, *(value for value in read if _is_module(value))}
    for name in code.co_names:
        if name.startswith("__") or (hasattr(nn.Module, name) and not hasattr(torch.Tensor, name)):
            raise _Untraceable(f"its forward uses {name!r} of a module")
        for namespace in namespaces:
            _check_function(getattr(namespace, name, None), name)
        if name in vars(module) or any(name in vars(k) for k in own):
            raise _Untraceable(f"its forward reads {name!r}, which may change")
        # Of a layer inside; a tensor's method may have the same name, such as size.
        layers = module.modules() if not hasattr(torch.Tensor, name) else ()
        if any(name in vars(layer) for layer in layers):
            raise _Untraceable(f"its forward reads {name!r} of a layer, which may change")
    for name in globals_read:
        value = forward.__globals__.get(name, builtins)
        home = value.__name__ if _is_module(value) else ""
        if not home and callable(value):
            home = getattr(value, "__module__", None) or ""
        if home.partition(".")[0] != "torch":
            raise _Untraceable(f"its forward reads the global {name!r}")


def _is_module(value: Any) -> bool:
    return isinstance(value, types.ModuleType)


@functools.cache
def _recordable() -> frozenset[int]:
    functions = torch.overrides.get_overridable_functions().values()
    return frozenset(id(function) for known in functions for function in known)


def _check_function(function: Any, name: str) -> None:
    """Raises for what torch has but a record has not: settings, draws, tensors made anew."""
    if not callable(function) or _is_module(function):
        return
    if id(function) not in _recordable():
        raise _Untraceable(f"its forward calls {name!r}, whose answer may change")


class _Proxy(torch.fx.Proxy):
    """Records ``x += 1`` as what it is; torch's own proxy would make another tensor."""


def _in_place(name: str) -> Callable[[Any, Any], Any]:
    function = getattr(operator, name)

    def record(self: _Proxy, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", function, (self, other), {})

    return record


for _name in ("iadd", "isub", "imul", "itruediv", "ifloordiv", "imod", "ipow", "imatmul"):
    setattr(_Proxy, f"__{_name}__", _in_place(_name))


class _Tracer(torch.fx.Tracer):
    def proxy(self, node: torch.fx.Node) -> torch.fx.Proxy:
        return _Proxy(node, self)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True


def _record(module: nn.Module) -> torch.fx.Graph:
    before = set(vars(module))
    try:
        graph = _Tracer().trace(module)
    except Exception as error:
        text = str(error).splitlines() or [type(error).__name__]
        raise _Untraceable(f"torch.fx cannot trace it: {text[0]}") from error
    finally:
        for name in set(vars(module)) - before:
            delattr(module, name)
    return graph


Chain = tuple[list[str], tuple[nn.Module, ...]]


def _replace_chains(module: nn.Module, graph: torch.fx.Graph) -> list[Chain]:
    chains: list[Chain] = []
    done: set[torch.fx.Node] = set()
    for node in list(graph.nodes):
        nodes: list[torch.fx.Node] = []
        links: list[Any] = []
        at = node
        while at not in done and (link := _link(module, at)) is not None:
            nodes.append(at)
            links.append(link)
            users = list(at.users)
            if len(users) != 1 or users[0].all_input_nodes != [at]:
                break
            at = users[0]
        done.update(nodes)
        if len(nodes) < 2:
            continue
        layers = tuple(_activation(*x) if isinstance(x, tuple) else x for x in links)
        names = [str(n.target) if n.op == "call_module" else n.name for n in nodes]
        if not any(row.fused for row in rows_of(layers, names, "")):
            continue
        with graph.inserting_after(nodes[-1]):
            call = graph.call_function(run_chain, ())
        nodes[-1].replace_all_uses_with(call)
        with graph.inserting_before(call):
            arguments: list[Any] = [nodes[0].args[0]]
            for n, link in zip(nodes, links, strict=True):
                arguments.append(link if isinstance(link, tuple) else graph.get_attr(str(n.target)))
        call.args = tuple(arguments)
        for n in reversed(nodes):
            graph.erase_node(n)
        chains.append((names, layers))
    return chains


def _link(module: nn.Module, node: torch.fx.Node) -> Any:
    """The layer, or name and slope of the activation, that a node calls; None for all else."""
    if node.op == "call_module":
        layer = module.get_submodule(str(node.target))
        plain = len(node.args) == 1 and not node.kwargs
        return layer if type(layer) in _LAYERS and plain else None
    if node.op not in ("call_function", "call_method"):
        return None
    name = _ACTIVATIONS.get(node.target)
    if (
        name is None
        or len(node.all_input_nodes) != 1
        or node.args[:1] != (node.all_input_nodes[0],)
    ):
        return None
    settings: dict[str, Any] = dict(node.kwargs)
    settings.update(zip(("negative_slope", "inplace"), node.args[1:], strict=False))
    if settings.pop("inplace", False) is not False:
        return None
    if name != "leaky_relu":
        return None if settings else (name, 0.0)
    slope = settings.pop("negative_slope", 0.01)
    fits = isinstance(slope, (int, float)) and math.isfinite(slope)
    return ("leaky_relu", float(slope)) if fits and not settings else None
