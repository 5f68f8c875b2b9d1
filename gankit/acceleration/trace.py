"""Modules that call their layers by attribute: ``F.relu(self.bn1(self.conv1(x)))``.

Their forward is recorded once by ``torch.fx``, runs of layers and activations in the record become
calls of :func:`run_chain`, and the result is the forward of a subclass made for that module. Only a
forward whose record holds for every call is taken (:mod:`gankit.acceleration.forward_code`). Where
it depends on settings of the module or on defaults of arguments, a call that finds others runs the
forward as it was written.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
import torch.fx
import torch.nn.functional as F
from torch import Tensor, nn

from ..nn.convert import activation_layer
from .forward_code import Reads, Untraceable, check_code
from .report import Row, rows_of
from .run import run_children, usable

_MARK = "_gankit_base"
_ROWS = "_gankit_rows"
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


def _activation(name: str, slope: float) -> nn.Module:
    key = (name, slope)
    if key not in _shared:
        _shared[key] = activation_layer(name, slope)
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
        reads = check_code(module)
        graph = _record(module, reads.optional)
        chains = _replace_chains(module, graph)
        if not chains:
            raise Untraceable("nothing in its forward is fused")
        traced: Any = torch.fx.GraphModule(module, graph)
    except Untraceable as reason:
        return [Row(path, (kind.__name__,), reason=str(reason))]
    forward = type(traced).forward
    module.__class__ = _subclass(kind, _guarded(kind, forward, reads) if reads else forward)
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


def _guarded(kind: type[nn.Module], traced: Callable[..., Any], reads: Reads) -> Any:
    """``traced`` for the calls that its recording is of; the forward of ``kind`` for all others."""
    plain: Any = kind.forward
    count = len(reads.required)

    @functools.wraps(plain)
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        recorded = len(args) == count and not kwargs and all(isinstance(x, Tensor) for x in args)
        if recorded and reads.hold(self):
            return traced(self, *args)
        return plain(self, *args, **kwargs)

    return forward


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
    proxy_buffer_attributes = True

    def proxy(self, node: torch.fx.Node) -> torch.fx.Proxy:
        return _Proxy(node, self)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: dict[str, Any]
    ) -> Any:
        # Made in the forward, as in nn.ReLU()(x): the same one in each call if it holds no tensor.
        known = any(m is layer for layer in self.root.modules())
        if not known and not [*m.parameters(), *m.buffers()]:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)


def _record(module: nn.Module, optional: dict[str, Any]) -> torch.fx.Graph:
    before = set(vars(module))
    try:
        graph = _Tracer().trace(module, concrete_args=dict(optional) or None)
        _drop_arguments(graph, len(optional))
        graph.lint()
    except Exception as error:
        text = (str(error).splitlines() or [type(error).__name__])[0]
        if "control flow" in text:
            raise Untraceable("its forward branches on a tensor") from error
        raise Untraceable(f"torch.fx cannot trace it: {text}") from error
    finally:
        made = set(vars(module)) - before
        for name in made:
            delattr(module, name)
    if made:
        raise Untraceable("its forward makes a tensor of its own")
    return graph


def _drop_arguments(graph: torch.fx.Graph, count: int) -> None:
    """Take the last ``count`` arguments out, and what torch.fx adds to assert their values."""
    placeholders = [node for node in graph.nodes if node.op == "placeholder"]
    dropped = dict.fromkeys(placeholders[len(placeholders) - count :])
    for node in graph.nodes:
        if any(other in dropped for other in node.all_input_nodes):
            dropped[node] = None
    for node in reversed(dropped):
        graph.erase_node(node)


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
