"""Any critic whose output is piecewise linear in its input, recorded while it runs.

:mod:`gankit.losses.chain` knows layers in a row. Here the forward may be any Python: residual sums,
concatenations, poolings, upsampling, label projections, weights that are computed (spectral norm,
equalized learning rate). Every torch function that is given something that depends on the input is
a node of a graph; each is linear in it, or multiplies it by a mask. So the sweeps are those of a
chain, over a graph: ``down`` gives the input gradient, ``up`` the gradients of the weights, without
double backward. What depends on the weights alone stays with autograd, to which their gradients are
handed.

It is recorded at every call by a ``TorchFunctionMode`` and not traced once by ``torch.fx``: control
flow that looks at shapes or values is then followed as it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils._pytree import tree_flatten, tree_unflatten

from gankit.losses.chain import Chain, LinearMap, convolution, linear_map, objection
from gankit.nn.traits import has_global_hooks

__all__ = ["RecordedCritic", "UnsupportedError", "recorded"]


class UnsupportedError(Exception):
    """What the critic does with its input is not piecewise linear, or not known to be."""


def _functions(*names: str) -> set[Any]:
    """Those of the functions that this torch has, by their names in torch's name spaces."""
    found = set()
    for name in names:
        for space in (torch, Tensor, F, torch._C._nn):
            function = getattr(space, name, None)
            if function is not None:
                found.add(function)
    return found


# Linear in every tensor they are given that depends on the input, whatever the rest is.
_LINEAR = _functions(
    *("view", "reshape", "flatten", "unflatten", "permute", "transpose", "movedim", "swapaxes"),
    *("squeeze", "unsqueeze", "contiguous", "clone", "expand", "expand_as", "view_as"),
    *("reshape_as", "narrow", "select", "index_select", "flip", "roll", "repeat", "tile", "neg"),
    *("negative", "t", "float", "double", "to", "type", "sum", "mean", "__getitem__", "fold"),
    *("unfold", "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d"),
    *("adaptive_avg_pool2d", "adaptive_avg_pool3d", "interpolate", "upsample", "pixel_shuffle"),
    *("pixel_unshuffle", "__neg__"),
)
_JOINS = _functions("cat", "concat", "stack")
# The derivative is diagonal: a mask, or a factor that does not depend on the input nearby.
_ELEMENTWISE = _functions(
    *("relu", "leaky_relu", "rrelu", "threshold", "hardtanh", "relu6", "abs", "absolute", "clamp"),
    *("clip", "clamp_min", "clamp_max", "dropout", "feature_dropout", "dropout1d", "dropout2d"),
    *("dropout3d", "relu_", "leaky_relu_", "threshold_", "hardtanh_", "dropout_"),
)
_SUMS = _functions(
    *("add", "add_", "__add__", "__radd__", "__iadd__", "sub", "sub_", "subtract", "__sub__"),
    *("__isub__", "rsub", "__rsub__"),
)
_PRODUCTS = _functions("mul", "mul_", "multiply", "__mul__", "__rmul__", "__imul__")
_QUOTIENTS = _functions("div", "div_", "divide", "true_divide", "__truediv__", "__itruediv__")
_IN_PLACE = _functions("__iadd__", "__isub__", "__imul__", "__itruediv__")
_CONVOLUTIONS = {
    function: (dimensions, transposed)
    for dimensions in (1, 2, 3)
    for name, transposed in ((f"conv{dimensions}d", False), (f"conv_transpose{dimensions}d", True))
    for function in _functions(name)
}
# Autograd has no gradient for them either.
_CUTS = _functions(
    *("detach", "new_zeros", "new_ones", "new_empty", "new_full", "zeros_like", "ones_like"),
    *("empty_like", "full_like", "rand_like", "randn_like"),
)

Sweep = Callable[[Tensor], Sequence[Tensor]]


@dataclass
class _Node:
    """One function of values that depend on the input.

    Attributes:
        down: the gradients at its inputs, from that at the output.
        up: the derivative along the output, from those along the inputs.
        weight: what it multiplies its one input by, if that requires grad.
        gradient: the weight's gradient, of the derivative along the input and the gradient at the
            output.
        inputs: the numbers of its inputs.
    """

    down: Sweep
    up: Callable[[Sequence[Tensor]], Tensor]
    weight: Tensor | None = None
    gradient: Callable[[Tensor, Tensor], Tensor] | None = None
    inputs: tuple[int, ...] = ()


Rule = Callable[["_Call"], tuple[Tensor, _Node]]


class RecordedCritic:
    """One pass of a critic over ``x``, and what its sweeps need.

    Attributes:
        output: the critic's output.
        parameters: the weights whose gradients ``up`` gives, those that require grad; they may have
            been computed from parameters, with autograd's graph behind them.

    Raises:
        UnsupportedError: the critic does something else with its input than what is known to be
            piecewise linear; the function is named.
    """

    def __init__(self, critic: nn.Module, x: Tensor, arguments: Sequence[Any] = ()) -> None:
        tape = _Tape(x)
        with tape:
            output = critic(tape.values[0], *arguments)
        if not isinstance(output, Tensor):
            raise UnsupportedError(f"the critic returns a {type(output).__name__}")
        number = tape.number(output)
        if number is None:
            raise UnsupportedError("the critic's output does not depend on its input")
        self.output = output.detach()
        self._nodes, self._last = tape.nodes, number
        self._deltas: dict[int, Tensor] = {}
        self.parameters = [node.weight for node in tape.nodes.values() if node.weight is not None]

    def down(self, delta: Tensor) -> Tensor:
        """The gradient with respect to the input, from that with respect to the output."""
        deltas = {self._last: delta}
        for number in reversed(self._nodes):
            node, at_output = self._nodes[number], deltas.pop(number, None)
            if at_output is None:  # the output does not depend on it
                continue
            if node.weight is not None:
                self._deltas[number] = at_output
            for before, grad in zip(node.inputs, node.down(at_output), strict=True):
                deltas[before] = deltas[before] + grad if before in deltas else grad
        return deltas[0]

    def up(self, h: Tensor) -> list[Tensor]:
        """The gradients of ``parameters``, from the derivative with respect to what ``down`` gave.

        Those of what is only added, such as biases, are not among them: the input gradient does not
        depend on it.
        """
        derivatives = {0: h}
        grads: list[Tensor] = []
        for number, node in self._nodes.items():
            inputs = [derivatives[before] for before in node.inputs]
            if node.weight is not None and node.gradient is not None:
                delta = self._deltas.pop(number, None)
                grads.append(
                    torch.zeros_like(node.weight) if delta is None
                    else node.gradient(inputs[0], delta).reshape(node.weight.shape)
                )  # fmt: skip
                if len(grads) == len(self.parameters):
                    break  # nothing above wants the derivative
            derivatives[number] = node.up(inputs)
        return grads


class _Tape(TorchFunctionMode):
    """Runs torch functions, and keeps those that are given what depends on the input."""

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        self.values: list[Tensor] = [x.detach()]
        self.nodes: dict[int, _Node] = {}
        self._numbers = {id(self.values[0]): 0}

    def number(self, value: object) -> int | None:
        """The number of a value that depends on the input, None of any other."""
        return self._numbers.get(id(value))

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        leaves, structure = tree_flatten((args, kwargs))
        places = [place for place, leaf in enumerate(leaves) if self.number(leaf) is not None]
        if not places or func in _CUTS:
            return func(*args, **kwargs)
        rule = _RULES.get(func)
        if rule is None:
            return self._without_gradient(func, args, kwargs)
        call = _Call(func, leaves, structure, places)
        result, node = rule(call)
        result = result.detach()
        if call.in_place:
            result = self._assign(leaves[places[0]], result)
        node.inputs = tuple(self._numbers[id(leaves[place])] for place in places)
        number = len(self.values)
        self.values.append(result)
        self.nodes[number] = node
        self._numbers[id(result)] = number
        return result

    def _without_gradient(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Of a function that is not known: shapes, numbers and masks, which have no gradient."""
        with torch.no_grad():
            result = func(*args, **kwargs)
        for leaf in tree_flatten(result)[0]:
            if isinstance(leaf, Tensor) and (leaf.is_floating_point() or leaf.is_complex()):
                raise UnsupportedError(
                    f"the critic calls {_name(func)}, which is not known to be piecewise linear"
                )
        return result

    def _assign(self, target: Tensor, result: Tensor) -> Tensor:
        """Let ``target`` be ``result``, as a function that works in place does."""
        storage = target.untyped_storage().data_ptr()
        for value in self.values:
            if value is not target and value.untyped_storage().data_ptr() == storage:
                raise UnsupportedError("the critic modifies a tensor of which it has views")
        target.data = result
        return target


class _Call:
    """A call of a torch function, some of whose tensors can be exchanged."""

    def __init__(self, func: Any, leaves: list[Any], structure: Any, places: list[int]) -> None:
        self.func, self.leaves, self.places = func, leaves, places
        self._structure = structure
        self.inputs: list[Tensor] = [leaves[place].detach() for place in places]
        self.others = [
            leaf for i, leaf in enumerate(leaves) if i not in places and isinstance(leaf, Tensor)
        ]
        name = getattr(func, "__name__", "")
        _, kwargs = self.arguments(self.inputs)
        self.in_place = bool(
            func in _IN_PLACE
            or kwargs.get("inplace", False)
            or (name.endswith("_") and not name.endswith("__"))
        )
        if self.in_place and places[0] != 0:
            raise self.unsupported("in place of a tensor that does not depend on the input")

    def unsupported(self, how: str) -> UnsupportedError:
        return UnsupportedError(f"the critic calls {_name(self.func)} {how}")

    def arguments(self, inputs: Sequence[Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and keyword arguments, with other tensors in place of the inputs."""
        leaves = list(self.leaves)
        for place, value in zip(self.places, inputs, strict=True):
            leaves[place] = value
        args, kwargs = tree_unflatten(leaves, self._structure)
        return args, kwargs

    def named(self, *names: str) -> dict[str, Any]:
        """All arguments by the names that they have."""
        args, kwargs = self.arguments(self.inputs)
        return {**dict(zip(names, args, strict=False)), **kwargs}

    def run(self, inputs: Sequence[Tensor]) -> Tensor:
        """The function of other inputs, never in place of them."""
        if self.in_place:
            inputs = [inputs[0].clone(), *inputs[1:]]
        args, kwargs = self.arguments(inputs)
        result = self.func(*args, **kwargs)
        if not isinstance(result, Tensor):
            raise self.unsupported("for several tensors")
        return result

    def local(self) -> tuple[Tensor, Sweep]:
        """The result, and ``down`` by autograd through this one function."""
        inputs = [x.detach().requires_grad_() for x in self.inputs]
        with torch.enable_grad():
            result = self.run(inputs)

        def down(delta: Tensor) -> Sequence[Tensor]:
            return torch.autograd.grad(result, inputs, delta.to(result.dtype), retain_graph=True)

        return result, down


def _linear(call: _Call) -> tuple[Tensor, _Node]:
    if any(other.requires_grad for other in call.others):
        raise call.unsupported("with a weight")
    result, down = call.local()
    return result, _Node(down, call.run)


def _joined(call: _Call) -> tuple[Tensor, _Node]:
    result, down = call.local()

    def up(derivatives: Sequence[Tensor]) -> Tensor:
        # What does not depend on the input does not vary.
        leaves = [
            torch.zeros_like(leaf) if isinstance(leaf, Tensor) else leaf for leaf in call.leaves
        ]
        still = _Call(call.func, leaves, call._structure, call.places)
        return still.run(derivatives)

    return result, _Node(down, up if call.others else call.run)


def _elementwise(call: _Call) -> tuple[Tensor, _Node]:
    if call.others or len(call.inputs) != 1:
        raise call.unsupported("of several tensors")
    result, down = call.local()
    return result, _Node(down, lambda derivatives: down(derivatives[0])[0])


def _sum(call: _Call) -> tuple[Tensor, _Node]:
    result, down = call.local()
    # What is added and does not vary is the value at 0; two inputs alone add nothing.
    if len(call.inputs) == 2:
        return result, _Node(down, call.run)
    with torch.no_grad():
        constant = call.run([torch.zeros_like(x) for x in call.inputs])
    return result, _Node(down, lambda derivatives: call.run(derivatives) - constant)


def _product(call: _Call) -> tuple[Tensor, _Node]:
    if len(call.inputs) != 1:
        raise call.unsupported("of two tensors that depend on its input")
    quotient = call.func in _QUOTIENTS
    named = call.named("input", "other")
    if quotient and (call.places != [0] or named.get("rounding_mode")):
        raise call.unsupported("of a divisor that depends on its input, or rounded")
    result, down = call.local()
    factor = next((other for other in call.others if other.requires_grad), None)
    if factor is None:
        return result, _Node(down, call.run)
    fixed = factor.detach()

    def gradient(h: Tensor, delta: Tensor) -> Tensor:
        value = -delta * h / fixed.square() if quotient else delta * h
        return value.sum_to_size(fixed.shape)

    return result, _Node(down, call.run, factor, gradient)


def _convolved(call: _Call) -> tuple[Tensor, _Node]:
    dimensions, transposed = _CONVOLUTIONS[call.func]
    names = ["input", "weight", "bias", "stride", "padding"]
    names += ["output_padding", "groups", "dilation"] if transposed else ["dilation", "groups"]
    given = call.named(*names)
    x, weight = given["input"], given["weight"]
    if call.places != [0] or x.dim() != dimensions + 2:
        raise call.unsupported("of a weight that depends on its input, or of one sample")

    def numbers(name: str, default: int) -> list[int]:
        value = given.get(name, default)
        return [value] * dimensions if isinstance(value, int) else list(value)

    dilation = numbers("dilation", 1)
    if given.get("padding") == "valid":
        given["padding"] = 0
    elif given.get("padding") == "same":
        both = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
        if any(size % 2 for size in both):
            raise call.unsupported("with more padding on one side")
        given["padding"] = [size // 2 for size in both]
    geometry = (
        numbers("stride", 1), numbers("padding", 0), dilation, transposed,
        numbers("output_padding", 0), given.get("groups", 1),
    )  # fmt: skip
    with torch.no_grad():
        made = convolution(x, weight.detach(), _fixed(given.get("bias")), geometry)
    return _of_map(made, weight)


def _mapped(call: _Call) -> tuple[Tensor, _Node]:
    given = call.named("input", "weight", "bias")
    x, weight = given["input"], given["weight"]
    if call.places != [0] or x.dim() < 2 or weight.dim() != 2:
        raise call.unsupported("of a weight that depends on its input, or of one sample")
    with torch.no_grad():
        return _of_map(linear_map(x, weight.detach(), _fixed(given.get("bias"))), weight)


def _of_map(made: LinearMap, weight: Tensor) -> tuple[Tensor, _Node]:
    node = _Node(lambda delta: (made.down(delta),), lambda derivatives: made.up(derivatives[0]))
    if weight.requires_grad:
        node.weight, node.gradient = weight, made.gradient
    return made.output, node


def _normalized(call: _Call) -> tuple[Tensor, _Node]:
    """Batch norm by running statistics: a factor and a shift for each channel."""
    given = call.named(
        "input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps"
    )
    x, mean, var = given["input"], given.get("running_mean"), given.get("running_var")
    if given.get("training") or mean is None or var is None or call.places != [0]:
        raise call.unsupported("in training mode, where it mixes samples")
    shape = [1, -1] + [1] * (x.dim() - 2)
    weight, bias = given.get("weight"), _fixed(given.get("bias"))
    inverse = (var + given.get("eps", 1e-5)).rsqrt().view(shape)
    scale = inverse if weight is None else inverse * weight.detach().view(shape)
    y = (x - mean.view(shape)) * scale + (0.0 if bias is None else bias.view(shape))

    def gradient(h: Tensor, delta: Tensor) -> Tensor:
        return (delta * h * inverse).sum([d for d in range(h.dim()) if d != 1])

    node = _Node(lambda delta: (delta * scale,), lambda derivatives: derivatives[0] * scale)
    if weight is not None and weight.requires_grad:
        node.weight, node.gradient = weight, gradient
    return y, node


def _padded(call: _Call) -> tuple[Tensor, _Node]:
    given = call.named("input", "pad", "mode", "value")
    if given.get("mode", "constant") == "constant" and given.get("value"):
        raise call.unsupported("with another number than 0")
    return _linear(call)


def _fixed(value: Tensor | None) -> Tensor | None:
    return None if value is None else value.detach()


def _name(func: Any) -> str:
    return str(resolve_name(func) or getattr(func, "__name__", func))


_RULES: dict[Any, Rule] = {
    **dict.fromkeys(_LINEAR, _linear),
    **dict.fromkeys(_JOINS, _joined),
    **dict.fromkeys(_ELEMENTWISE, _elementwise),
    **dict.fromkeys(_SUMS, _sum),
    **dict.fromkeys(_PRODUCTS | _QUOTIENTS, _product),
    **dict.fromkeys(_CONVOLUTIONS, _convolved),
    **dict.fromkeys(_functions("linear"), _mapped),
    **dict.fromkeys(_functions("batch_norm"), _normalized),
    **dict.fromkeys(_functions("pad"), _padded),
}

# Why a critic is not piecewise linear, by which of its modules train; empty where it is.
_known: WeakKeyDictionary[nn.Module, dict[tuple[bool, ...], str]] = WeakKeyDictionary()


def recorded(
    critic: object, x: Tensor, arguments: Sequence[Any] = ()
) -> Chain | RecordedCritic | str:
    """One pass of ``critic``, ready to be swept, or why it cannot be.

    Layers in a row are a ``Chain``. Of any other critic it is tried once what it does; if that is
    not piecewise linear, buffers and random state are put back, since the critic will be run again.
    """
    if not isinstance(critic, nn.Module):
        return objection(critic)
    reason = objection(critic) if len(arguments) == 0 else "critic_args are given"
    if not reason:
        with torch.no_grad():
            return Chain(critic, x)
    if torch.compiler.is_compiling() or has_global_hooks():
        return reason
    for name, module in critic.named_modules():
        # They may want to see what autograd sees. Hooks before a forward may compute its weight.
        if module._forward_hooks or module._backward_hooks or module._backward_pre_hooks:
            return f"{name or 'critic'} ({type(module).__name__}) has hooks"
    modes = tuple(module.training for module in critic.modules())
    known = _known.setdefault(critic, {})
    if modes not in known:
        known[modes] = _tried(critic, x, arguments)
    if known[modes]:
        return known[modes]
    try:
        return RecordedCritic(critic, x, arguments)
    except UnsupportedError as error:
        known[modes] = str(error)
        return known[modes]


def _tried(critic: nn.Module, x: Tensor, arguments: Sequence[Any]) -> str:
    buffers = [(buffer, buffer.clone(), buffer._version) for buffer in critic.buffers()]
    devices = [x.device] if x.is_cuda else []
    try:
        with torch.random.fork_rng(devices), torch.no_grad():
            RecordedCritic(critic, x, arguments)
    except UnsupportedError as error:
        return str(error)
    finally:
        with torch.no_grad():
            for buffer, value, version in buffers:
                if buffer._version != version:  # a graph may hold one that was left alone
                    buffer.copy_(value)
    return ""
