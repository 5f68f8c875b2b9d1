"""A critic as a chain of maps whose derivative is linear, and sweeps along it.

Where every module of a critic is linear (Linear, convolutions, batch norm in eval mode) or
piecewise linear (ReLU, LeakyReLU, dropout), its input gradient is itself a chain of linear maps
with fixed masks: from the output down, each map's transpose. So the derivative of a function of
that gradient needs no double backward. ``h``, the function's derivative with respect to the input
gradient, sweeps up the same chain without biases, and at each weight meets ``delta``, what the
input gradient was on its way down: the weight's gradient is their product. That makes four matrix
products per layer (forward, down, up, weight), where double backward takes six.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.losses.wrapped import innermost
from gankit.nn import (
    BatchNormAct1d,
    BatchNormAct2d,
    ConvTransposeAct2d,
    LeakyReLUDropout,
    Linear,
)
from gankit.nn.traits import has_global_hooks, is_watched, traits_of
from gankit.ops import leaky_relu_dropout, linear
from gankit.ops.leaky_relu_dropout.spec import BACKWARD

# A link takes (module, input, fresh) and returns its output with two functions: `down` takes the
# gradient at its output to that at its input, `up` takes h at its input to (h at its output, the
# gradients of its parameters by name). `up` also gets the gradient at the output that `down` saw,
# and which parameters are wanted. `fresh`: the input is nobody else's and may be overwritten.
Down = Callable[[Tensor], Tensor]
Up = Callable[[Tensor, Tensor, bool], tuple[Tensor, Tensor | None]]
Link = tuple[Tensor, Down, Up, Tensor | None]


class LinearMap(NamedTuple):
    """What a weight makes of its input.

    Attributes:
        output: with the bias.
        down: the gradient at the output to that at the input.
        up: the derivative along the input to that along the output.
        gradient: the weight's gradient, of the derivative along the input and the gradient at the
            output.
    """

    output: Tensor
    down: Down
    up: Down
    gradient: Callable[[Tensor, Tensor], Tensor]


def linear_map(x: Tensor, weight: Tensor, bias: Tensor | None) -> LinearMap:
    """``F.linear`` of ``x`` ``[..., inputs]``."""
    return LinearMap(
        linear(x, weight, bias),
        lambda delta: linear(delta, weight.t()),
        lambda h: linear(h, weight),
        lambda h, delta: linear(delta.flatten(0, -2).t(), h.flatten(0, -2).t()),
    )


def convolution(
    x: Tensor, weight: Tensor, bias: Tensor | None, geometry: tuple[Any, ...]
) -> LinearMap:
    """``torch.convolution``; ``geometry`` is its stride, padding, dilation, transposed, output
    padding and groups."""

    def backward(grad: Tensor, at: Tensor, mask: list[bool]) -> Any:
        return torch.ops.aten.convolution_backward(grad, at, weight, None, *geometry, mask)

    def down(delta: Tensor) -> Tensor:
        result: Tensor = backward(delta, x, [True, False, False])[0]
        return result

    def gradient(h: Tensor, delta: Tensor) -> Tensor:
        result: Tensor = backward(delta, h, [False, True, False])[1]
        return result

    return LinearMap(
        torch.convolution(x, weight, bias, *geometry),
        down,
        lambda h: torch.convolution(h, weight, None, *geometry),
        gradient,
    )


def _linked(found: LinearMap, weight: Tensor) -> Link:
    def up(h: Tensor, delta: Tensor, wanted: bool) -> tuple[Tensor, Tensor | None]:
        grad = found.gradient(h, delta) if wanted else None
        return found.up(h), grad

    return found.output, found.down, up, weight


def _linear(m: nn.Linear, x: Tensor, fresh: bool) -> Link:
    return _linked(linear_map(x, m.weight.detach(), _value(m.bias)), m.weight)


def _convolution(m: nn.Conv2d | nn.ConvTranspose2d, x: Tensor, fresh: bool) -> Link:
    transposed = isinstance(m, nn.ConvTranspose2d)
    extra = list(m.output_padding) if transposed else [0, 0]
    geometry: tuple[Any, ...] = (
        list(m.stride), _padding(m), list(m.dilation), transposed, extra, m.groups,
    )  # fmt: skip
    return _linked(convolution(x, m.weight.detach(), _value(m.bias), geometry), m.weight)


def _batch_norm(m: nn.BatchNorm1d | nn.BatchNorm2d, x: Tensor, fresh: bool) -> Link:
    assert m.running_mean is not None
    assert m.running_var is not None
    shape = [1, -1] + [1] * (x.dim() - 2)
    inverse = (m.running_var + m.eps).rsqrt().view(shape)
    scale = inverse if m.weight is None else inverse * m.weight.detach().view(shape)
    shift = 0.0 if m.bias is None else m.bias.detach().view(shape)

    def up(h: Tensor, delta: Tensor, wanted: bool) -> tuple[Tensor, Tensor | None]:
        others = [d for d in range(h.dim()) if d != 1]
        grad = (delta * h * inverse).sum(others) if wanted else None
        return h * scale, grad

    y = (x - m.running_mean.view(shape)) * scale + shift
    return y, lambda delta: delta * scale, up, m.weight


def _then(module: Any, first: Link, fresh: bool = True) -> Link:
    """A linear map and the module's activation behind it as one link."""
    x, linear_down, linear_up, parameter = first
    if module.activation == "none":
        return first
    slope = float(module.negative_slope) if module.activation == "leaky_relu" else 0.0
    y, mask, _, _ = _leaky(F.leaky_relu(x, slope, inplace=fresh), slope)
    seen: list[Tensor] = []

    def down(delta: Tensor) -> Tensor:
        # The weight's gradient wants what comes out of the mask, which `up` is not given.
        seen[:] = [mask(delta)]
        return linear_down(seen[0])

    def up(h: Tensor, delta: Tensor, wanted: bool) -> tuple[Tensor, Tensor | None]:
        result, grad = linear_up(h, seen[0], wanted)
        return mask(result), grad

    return y, down, up, parameter


def _convolution_act(m: ConvTransposeAct2d, x: Tensor, fresh: bool) -> Link:
    return _then(m, _convolution(m, x, fresh))


def _batch_norm_act(m: Any, x: Tensor, fresh: bool) -> Link:
    return _then(m, _batch_norm(m, x, fresh))


def _same_both_ways(y: Tensor, apply: Down) -> Link:
    """A mask: it multiplies the gradient on its way down and h on its way up alike.

    It may overwrite them: whoever needs them later (a weight, for its gradient) comes after the
    mask on the way down and before it on the way up.
    """
    return y, apply, lambda h, delta, wanted: (apply(h), None), None


def _leaky_relu(m: nn.LeakyReLU, x: Tensor, fresh: bool) -> Link:
    return _leaky(F.leaky_relu(x, m.negative_slope, inplace=fresh), float(m.negative_slope))


def _leaky(y: Tensor, slope: float) -> Link:
    # The output's sign is the input's, as slopes are not negative here.
    mask = torch.ops.aten.leaky_relu_backward

    def apply(g: Tensor) -> Tensor:
        if torch.compiler.is_compiling():
            return mask(g, y, slope, True)
        return mask.grad_input(g, y, slope, True, grad_input=g)

    return _same_both_ways(y, apply)


def _relu(m: nn.ReLU, x: Tensor, fresh: bool) -> Link:
    y = F.relu(x, inplace=fresh)
    mask = torch.ops.aten.threshold_backward

    def apply(g: Tensor) -> Tensor:
        if torch.compiler.is_compiling():
            return mask(g, y, 0)
        return mask.grad_input(g, y, 0, grad_input=g)

    return _same_both_ways(y, apply)


def _dropout(m: nn.Dropout | nn.Dropout2d, x: Tensor, fresh: bool) -> Link:
    if not m.training or m.p == 0:
        return _unchanged(m, x, fresh)
    # Dropout of ones draws the same numbers as dropout of x, and its result is the mask.
    draw = F.dropout2d if isinstance(m, nn.Dropout2d) else F.dropout
    mask = draw(torch.ones_like(x), m.p, True)
    return _same_both_ways(x * mask, lambda g: g.mul_(mask))


def _fused(m: LeakyReLUDropout, x: Tensor, fresh: bool) -> Link:
    threshold = math.floor(m.p * 65536 + 0.5)
    y = leaky_relu_dropout(x, m.negative_slope, m.p, m.training, inplace=fresh)
    if not m.training or threshold == 0:
        return _leaky(y, float(m.negative_slope))
    scale = 65536 / (65536 - threshold) if threshold < 65536 else 0.0
    return _same_both_ways(y, lambda g: BACKWARD(g, y, scale, scale * m.negative_slope))


def _reshaped(m: nn.Module, x: Tensor, fresh: bool) -> Link:
    y = m(x)
    before, after = x.shape, y.shape

    def up(h: Tensor, delta: Tensor, wanted: bool) -> tuple[Tensor, Tensor | None]:
        return h.reshape(after), None

    return y, lambda delta: delta.reshape(before), up, None


def _unchanged(m: nn.Module, x: Tensor, fresh: bool) -> Link:
    return x, lambda delta: delta, lambda h, delta, wanted: (h, None), None


_LINKS: dict[type[nn.Module], Callable[[Any, Tensor, bool], Link]] = {
    nn.Linear: _linear,
    Linear: _linear,
    nn.Conv2d: _convolution,
    nn.ConvTranspose2d: _convolution,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    BatchNormAct1d: _batch_norm_act,
    BatchNormAct2d: _batch_norm_act,
    ConvTransposeAct2d: _convolution_act,
    nn.LeakyReLU: _leaky_relu,
    nn.ReLU: _relu,
    nn.Dropout: _dropout,
    nn.Dropout2d: _dropout,
    LeakyReLUDropout: _fused,
    nn.Flatten: _reshaped,
    nn.Unflatten: _reshaped,
    nn.Identity: _unchanged,
}
# Their result is a new tensor that nothing else holds.
_MAKES_NEW = (
    nn.Linear,
    Linear,
    nn.Conv2d,
    nn.ConvTranspose2d,
    ConvTransposeAct2d,
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    BatchNormAct1d,
    BatchNormAct2d,
)


def _value(parameter: Tensor | None) -> Tensor | None:
    return None if parameter is None else parameter.detach()


def _padding(m: nn.Conv2d | nn.ConvTranspose2d) -> list[int]:
    if m.padding == "valid":
        return [0, 0]
    if isinstance(m.padding, str):
        return [d * (k - 1) // 2 for d, k in zip(m.dilation, m.kernel_size, strict=True)]
    return list(m.padding)


def objection(critic: object) -> str:
    """Which module keeps the critic from being such a chain, and why; empty if none does."""
    if not isinstance(critic, nn.Module):
        return f"critic is a {type(critic).__name__}, whose code may do anything"
    if has_global_hooks():
        return "global module hooks are installed"
    for label, module in _leaves(critic, "critic"):
        reason = _reason(module)
        if reason:
            return f"{label} ({type(module).__name__}) {reason}"
    return ""


def _leaves(module: nn.Module, label: str) -> Iterator[tuple[str, nn.Module]]:
    """The chain's modules in order; one that does not declare what it runs comes as a leaf."""
    module = innermost(module)
    inside, chain, inner = module, traits_of(module).chain, label
    if chain and not is_watched(module):
        inside, inner = innermost(getattr(module, chain, None)), f"{label}.{chain}"
    if not _is_in_order(inside) or is_watched(inside):
        yield label, module
        return
    # Not named_children(), which passes over a module's second place.
    for name, child in inside._modules.items():
        assert child is not None
        yield from _leaves(child, f"{inner}.{name}")


def _is_in_order(module: object) -> bool:
    return isinstance(module, nn.Module) and traits_of(module).in_order


def _reason(m: nn.Module) -> str:
    kind = type(m)
    if is_watched(m):
        return "has hooks or a patched forward"
    if kind not in _LINKS:
        return "is not a layer whose input gradient is a chain of linear maps"
    if getattr(m, "activation", "none") == "tanh":
        return "has the activation tanh, which is not piecewise linear"
    if isinstance(m, nn.modules.batchnorm._BatchNorm) and (m.training or m.running_mean is None):
        return "mixes samples: it is in training mode or keeps no running statistics"
    slope: Any = getattr(m, "negative_slope", 0.0)
    if getattr(m, "activation", "leaky_relu") == "leaky_relu" and not slope >= 0:
        return f"has the negative slope {slope}"
    if isinstance(m, nn.Flatten):
        if m.start_dim < 1:
            return "flattens the batch dimension"
    elif isinstance(m, nn.Unflatten):
        if not isinstance(m.dim, int) or m.dim < 1:
            return "may split the batch dimension"
    elif isinstance(m, (nn.Conv2d, nn.ConvTranspose2d)):
        if m.padding_mode != "zeros":
            return f"pads in the mode {m.padding_mode!r}"
        even = any(d * (k - 1) % 2 for d, k in zip(m.dilation, m.kernel_size, strict=True))
        if m.padding == "same" and even:
            return "pads one side more than the other"
    return ""


class Chain:
    """One pass of a critic without ``objection``, and what its sweeps need.

    Args:
        critic: the module, or what runs it (:func:`gankit.losses.wrapped.innermost`).
        x: its input; nothing is recorded for autograd.

    Attributes:
        output: the critic's output.
        parameters: those whose gradient ``up`` gives: the weights that require grad. One that
            occurs twice is listed twice.
    """

    def __init__(self, critic: nn.Module, x: Tensor) -> None:
        self._links: list[tuple[Down, Up, bool]] = []
        self._deltas: list[Tensor] = []
        self.parameters: list[Tensor] = []
        self._outside = x.shape
        modules = [module for _, module in _leaves(critic, "critic")]
        if not _is_in_order(innermost(critic)) and modules and isinstance(modules[0], nn.Linear):
            x = x.flatten(1)
        self._inside = x.shape
        fresh = False
        for module in modules:
            x, down, up, parameter = _LINKS[type(module)](module, x, fresh)
            wanted = parameter is not None and parameter.requires_grad
            if parameter is not None and wanted:
                self.parameters.append(parameter)
            self._links.append((down, up, wanted))
            if type(module) is not nn.Identity:
                fresh = type(module) in _MAKES_NEW
        self.output = x

    def down(self, delta: Tensor) -> Tensor:
        """The gradient with respect to the input, from that with respect to the output."""
        for down, _, _ in reversed(self._links):
            self._deltas.append(delta)
            delta = down(delta)
        self._deltas.reverse()
        return delta.reshape(self._outside)

    def up(self, h: Tensor) -> list[Tensor]:
        """The gradients of ``parameters``, from the derivative with respect to what ``down`` gave.

        Biases are not among them: the input gradient does not depend on them.
        """
        grads: list[Tensor] = []
        h = h.reshape(self._inside)
        for (_, up, wanted), delta in zip(self._links, self._deltas, strict=True):
            if len(grads) == len(self.parameters):
                break  # nothing above wants h
            h, grad = up(h, delta, wanted)
            if grad is not None:
                grads.append(grad)
        return grads
