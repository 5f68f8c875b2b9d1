"""Torch functions that are linear in what they are given, or multiply it by a mask.

Each has a rule: how the gradient at its output goes down to its inputs, how a derivative along its
inputs goes up to its output, and the gradient of a weight that it has. Linear layers, convolutions
and batch norm have formulas of their own; any other function is differentiated by autograd, alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Number
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import resolve_name
from torch.utils._pytree import tree_unflatten

from gankit.losses.chain import LinearMap, convolution, linear_map

__all__ = ["RULES", "Call", "Node", "UnsupportedError", "functions", "name_of"]


class UnsupportedError(Exception):
    """What the critic does with its input is not piecewise linear, or not known to be."""


def functions(*names: str) -> set[Any]:
    """Those of torch's functions with these names that this torch has, in all its name spaces."""
    found = set()
    for name in names:
        for space in (torch, Tensor, F, torch._C._nn):
            function = getattr(space, name, None)
            if function is not None:
                found.add(function)
    return found


# Linear in every tensor they are given that depends on the input, whatever the rest is.
_LINEAR = functions(
    *("view", "reshape", "flatten", "unflatten", "permute", "transpose", "movedim", "swapaxes"),
    *("squeeze", "unsqueeze", "contiguous", "clone", "expand", "expand_as", "view_as"),
    *("reshape_as", "narrow", "select", "index_select", "flip", "roll", "repeat", "tile", "neg"),
    *("negative", "t", "float", "double", "to", "type", "sum", "mean", "__getitem__", "fold"),
    *("unfold", "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d"),
    *("adaptive_avg_pool2d", "adaptive_avg_pool3d", "interpolate", "upsample", "pixel_shuffle"),
    *("pixel_unshuffle", "__neg__"),
)
_JOINS = functions("cat", "concat", "stack")
# The derivative is diagonal: a mask, or a factor that does not depend on the input nearby.
_ELEMENTWISE = functions(
    *("relu", "leaky_relu", "rrelu", "threshold", "hardtanh", "relu6", "abs", "absolute", "clamp"),
    *("clip", "clamp_min", "clamp_max", "dropout", "feature_dropout", "dropout1d", "dropout2d"),
    *("dropout3d", "relu_", "leaky_relu_", "threshold_", "hardtanh_", "dropout_"),
)
_SUMS = functions(
    *("add", "add_", "__add__", "__radd__", "__iadd__", "sub", "sub_", "subtract", "__sub__"),
    *("__isub__", "rsub", "__rsub__"),
)
_PRODUCTS = functions("mul", "mul_", "multiply", "__mul__", "__rmul__", "__imul__")
_QUOTIENTS = functions("div", "div_", "divide", "true_divide", "__truediv__", "__itruediv__")
_IN_PLACE = functions("__iadd__", "__isub__", "__imul__", "__itruediv__")
_CONVOLUTIONS = {
    function: (dimensions, transposed)
    for dimensions in (1, 2, 3)
    for name, transposed in ((f"conv{dimensions}d", False), (f"conv_transpose{dimensions}d", True))
    for function in functions(name)
}
Sweep = Callable[[Tensor], Sequence[Tensor]]


@dataclass
class Node:
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


Rule = Callable[["Call"], tuple[Tensor, Node]]


class Call:
    """A call of a torch function, some of whose tensors can be exchanged."""

    def __init__(self, func: Any, leaves: list[Any], structure: Any, places: list[int]) -> None:
        self.func, self.leaves, self.places = func, leaves, places
        self.structure = structure
        self.inputs: list[Tensor] = [leaves[place].detach() for place in places]
        self.others = [
            leaf for i, leaf in enumerate(leaves) if i not in places and isinstance(leaf, Tensor)
        ]
        self._versions = [None if other.is_inference() else other._version for other in self.others]
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
        """The error that the critic calls the function in this way."""
        return UnsupportedError(f"the critic calls {name_of(self.func)} {how}")

    def arguments(self, inputs: Sequence[Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and keyword arguments, with other tensors in place of the inputs."""
        leaves = list(self.leaves)
        for place, value in zip(self.places, inputs, strict=True):
            leaves[place] = value
        args, kwargs = tree_unflatten(leaves, self.structure)
        return args, kwargs

    def named(self, *names: str) -> dict[str, Any]:
        """All arguments by the names that they have."""
        args, kwargs = self.arguments(self.inputs)
        return {**dict(zip(names, args, strict=False)), **kwargs}

    def run(self, inputs: Sequence[Tensor]) -> Tensor:
        """The function of other inputs, never in place of them."""
        for other, version in zip(self.others, self._versions, strict=True):
            if version is not None and other._version != version:
                raise RuntimeError(
                    f"a tensor of {list(other.shape)} that the critic gave to {name_of(self.func)} "
                    "has been modified in place since"
                )
        if self.in_place:
            inputs = [inputs[0].clone(), *inputs[1:]]
        args, kwargs = self.arguments(inputs)
        result = self.func(*args, **kwargs)
        if not isinstance(result, Tensor):
            raise self.unsupported("for several tensors")
        return result

    def of_zeros(self, *kinds: type) -> Call:
        """The same with zeros in place of what does not depend on the input and is of ``kinds``.

        But for ``alpha``, the factor of what is added.
        """
        _, kwargs = tree_unflatten(list(range(len(self.leaves))), self.structure)
        kept = {*self.places, kwargs.get("alpha")}
        leaves = list(self.leaves)
        for place, leaf in enumerate(leaves):
            if place not in kept and isinstance(leaf, kinds):
                leaves[place] = torch.zeros_like(leaf) if isinstance(leaf, Tensor) else 0
        return Call(self.func, leaves, self.structure, self.places)

    def local(self) -> tuple[Tensor, Sweep]:
        """The result, and ``down`` by autograd through this one function."""
        inputs = [x.detach().requires_grad_() for x in self.inputs]
        with torch.enable_grad():
            result = self.run(inputs)

        def down(delta: Tensor) -> Sequence[Tensor]:
            # Of one that gives its shape or dtype alone, as that of expand_as, it is zero.
            return torch.autograd.grad(
                result, inputs, delta.to(result.dtype), retain_graph=True, materialize_grads=True
            )

        return result, down


def _linear(call: Call) -> tuple[Tensor, Node]:
    if any(other.requires_grad for other in call.others):
        raise call.unsupported("with a weight")
    result, down = call.local()
    return result, Node(down, call.run)


def _joined(call: Call) -> tuple[Tensor, Node]:
    result, down = call.local()

    def up(derivatives: Sequence[Tensor]) -> Tensor:
        # What does not depend on the input does not vary.
        return call.of_zeros(Tensor).run(derivatives)

    return result, Node(down, up if call.others else call.run)


def _elementwise(call: Call) -> tuple[Tensor, Node]:
    if call.others or len(call.inputs) != 1:
        raise call.unsupported("of several tensors")
    result, down = call.local()
    return result, Node(down, lambda derivatives: down(derivatives[0])[0])


def _sum(call: Call) -> tuple[Tensor, Node]:
    result, down = call.local()
    args, _ = call.arguments(call.inputs)
    if len(args) > 2:
        raise call.unsupported("of three operands")
    # Not the value less that at 0: a large constant would swallow a small derivative.
    return result, Node(down, lambda derivatives: call.of_zeros(Tensor, Number).run(derivatives))


def _product(call: Call) -> tuple[Tensor, Node]:
    if len(call.inputs) != 1:
        raise call.unsupported("of two tensors that depend on its input")
    quotient = call.func in _QUOTIENTS
    named = call.named("input", "other")
    if quotient and (call.places != [0] or named.get("rounding_mode")):
        raise call.unsupported("of a divisor that depends on its input, or rounded")
    result, down = call.local()
    factor = next((other for other in call.others if other.requires_grad), None)
    if factor is None:
        return result, Node(down, call.run)
    fixed = factor.detach()

    def gradient(h: Tensor, delta: Tensor) -> Tensor:
        value = -delta * h / fixed.square() if quotient else delta * h
        return value.sum_to_size(fixed.shape)

    return result, Node(down, call.run, factor, gradient)


def _convolved(call: Call) -> tuple[Tensor, Node]:
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


def _mapped(call: Call) -> tuple[Tensor, Node]:
    given = call.named("input", "weight", "bias")
    x, weight = given["input"], given["weight"]
    if call.places != [0] or x.dim() < 2 or weight.dim() != 2:
        raise call.unsupported("of a weight that depends on its input, or of one sample")
    with torch.no_grad():
        return _of_map(linear_map(x, weight.detach(), _fixed(given.get("bias"))), weight)


def _of_map(made: LinearMap, weight: Tensor) -> tuple[Tensor, Node]:
    node = Node(lambda delta: (made.down(delta),), lambda derivatives: made.up(derivatives[0]))
    if weight.requires_grad:
        node.weight, node.gradient = weight, made.gradient
    return made.output, node


def _normalized(call: Call) -> tuple[Tensor, Node]:
    """Batch norm by running statistics: a factor and a shift for each channel."""
    names = ["running_mean", "running_var", "weight", "bias"]
    if call.func is torch.batch_norm:  # torch.nn.functional's has another order
        names = names[2:] + names[:2]
    given = call.named("input", *names, "training", "momentum", "eps")
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

    node = Node(lambda delta: (delta * scale,), lambda derivatives: derivatives[0] * scale)
    if weight is not None and weight.requires_grad:
        node.weight, node.gradient = weight, gradient
    return y, node


def _padded(call: Call) -> tuple[Tensor, Node]:
    given = call.named("input", "pad", "mode", "value")
    if given.get("mode", "constant") == "constant" and given.get("value"):
        raise call.unsupported("with another number than 0")
    return _linear(call)


def _fixed(value: Tensor | None) -> Tensor | None:
    return None if value is None else value.detach()


def name_of(func: Any) -> str:
    """What messages call a torch function."""
    return str(resolve_name(func) or getattr(func, "__name__", func))


RULES: dict[Any, Rule] = {
    **dict.fromkeys(_LINEAR, _linear),
    **dict.fromkeys(_JOINS, _joined),
    **dict.fromkeys(_ELEMENTWISE, _elementwise),
    **dict.fromkeys(_SUMS, _sum),
    **dict.fromkeys(_PRODUCTS | _QUOTIENTS, _product),
    **dict.fromkeys(_CONVOLUTIONS, _convolved),
    **dict.fromkeys(functions("linear"), _mapped),
    **dict.fromkeys(functions("batch_norm"), _normalized),
    **dict.fromkeys(functions("pad"), _padded),
}
