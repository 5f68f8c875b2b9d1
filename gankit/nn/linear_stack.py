"""A run of linear layers and activations as one node of the autograd graph.

A fully connected network of a GAN is small: on a CPU the calls of its modules and the nodes that
autograd keeps for them take as long as a fifth of the arithmetic. Here a whole ``nn.Sequential`` is
one function with one backward. It calls the same ops in the same order as the modules do, so the
results are the same to the bit, and so are the random draws.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad

from ..ops import leaky_relu_dropout, linear
from ..ops.leaky_relu_dropout import dropout_scale
from ..ops.leaky_relu_dropout.spec import BACKWARD
from .leaky_relu_dropout import LeakyReLUDropout
from .linear import Linear
from .traits import has_global_hooks, is_watched

_PLAIN = (Tensor, nn.Parameter)
_transforming = torch._C._are_functorch_transforms_active
_dispatch_modes = torch._C._len_torch_dispatch_stack
_function_modes = torch._C._len_torch_function_stack


class _Block(NamedTuple):
    """A linear layer and the activation behind it: none, leaky, dropout, tanh or sigmoid."""

    weight: Tensor
    bias: Tensor | None
    product: Callable[..., Tensor]  # gankit's or, for torch's own layer, torch's
    activation: str = "none"
    slope: float = 0.0
    p: float = 0.0


def run_linear_stack(layers: nn.Sequential, x: Tensor) -> Tensor:
    """``layers(x)``; in one autograd node where every layer is known.

    Known are Linear, LeakyReLU and LeakyReLUDropout, Tanh and Sigmoid behind a Linear, Identity,
    without hooks; x is a matrix on the CPU, of the weights' dtype. All else, and what
    runs under a compiler, ``torch.func``, forward mode, autocast, export or another mode, is
    ``layers(x)`` itself. Differentiable to any order in reverse mode.

    Args:
        layers: the modules.
        x: ``[N, in_features]``.

    Returns:
        ``[N, out_features]``.
    """
    if torch.compiler.is_compiling() or _is_special(x):
        result: Tensor = layers(x)
        return result
    blocks = _blocks(layers, x.dtype)
    if not blocks:
        result = layers(x)
        return result
    if torch.is_grad_enabled():
        tensors = [tensor for block in blocks for tensor in block[:2]]
        if x.requires_grad or any(t is not None and t.requires_grad for t in tensors):
            result = _Stack.apply(x, blocks, *tensors)
            return result
    return _forward(x, blocks)[-1]


def _is_special(x: Tensor) -> bool:
    return (
        type(x) not in _PLAIN
        or x.dim() != 2
        or not x.is_cpu
        or torch._C._get_tracing_state() is not None
        or _transforming()
        or _dispatch_modes() > 0
        or _function_modes() > 0
        or forward_ad._current_level >= 0
        or torch.is_autocast_enabled("cpu")
        or has_global_hooks()
    )


def _blocks(layers: nn.Sequential, dtype: torch.dtype) -> list[_Block]:
    """The layers in pairs; empty if one of them is unknown or watched."""
    if type(layers) is not nn.Sequential or is_watched(layers):
        return []
    blocks: list[_Block] = []
    for layer in layers:
        kind = type(layer)
        if is_watched(layer):
            return []
        if isinstance(layer, nn.Linear) and kind in (Linear, nn.Linear):
            weight, bias = layer.weight, layer.bias
            if type(weight) not in _PLAIN or weight.dtype != dtype or not weight.is_cpu:
                return []
            blocks.append(_Block(weight, bias, linear if kind is Linear else F.linear))
        elif kind is not nn.Identity:
            activation = _activation(layer)
            if activation is None or not blocks or blocks[-1].activation != "none":
                return []
            name, slope, p = activation
            blocks[-1] = blocks[-1]._replace(activation=name, slope=slope, p=p)
    return blocks


def _activation(layer: nn.Module) -> tuple[str, float, float] | None:
    kind = type(layer)
    if kind is nn.Tanh or kind is nn.Sigmoid:
        return kind.__name__.lower(), 0.0, 0.0
    if isinstance(layer, LeakyReLUDropout) and kind is LeakyReLUDropout:
        drops = layer.training and dropout_scale(layer.p) != 1.0
        return "dropout" if drops else "leaky", layer.negative_slope, layer.p
    if isinstance(layer, nn.LeakyReLU) and kind is nn.LeakyReLU and layer.negative_slope >= 0:
        return "leaky", layer.negative_slope, 0.0
    return None


def _forward(x: Tensor, blocks: list[_Block]) -> list[Tensor]:
    """The output of every block; nothing is recorded."""
    outputs = []
    for weight, bias, product, activation, slope, p in blocks:
        x = product(x, weight, bias)
        if activation == "leaky":
            F.leaky_relu_(x, slope)
        elif activation == "dropout":
            leaky_relu_dropout(x, slope, p, True, True)
        elif activation == "tanh":
            x.tanh_()
        elif activation == "sigmoid":
            x.sigmoid_()
        outputs.append(x)
    return outputs


def _through(grad: Tensor, y: Tensor, block: _Block, fresh: bool) -> Tensor:
    """The gradient before an activation, from that behind it and the output.

    ``fresh``: the gradient is nobody else's and may be overwritten.
    """
    result = grad
    if block.activation == "leaky":
        mask = torch.ops.aten.leaky_relu_backward
        if fresh:
            result = mask.grad_input(grad, y, block.slope, True, grad_input=grad)
        else:
            result = mask(grad, y, block.slope, True)
    elif block.activation == "dropout":
        scale = dropout_scale(block.p)
        result = BACKWARD(grad, y, scale, scale * block.slope)
    elif block.activation == "tanh":
        result = torch.ops.aten.tanh_backward(grad, y)
    elif block.activation == "sigmoid":
        result = torch.ops.aten.sigmoid_backward(grad, y)
    return result


class _Stack(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, blocks: list[_Block], *tensors: Tensor | None) -> Tensor:
        outputs = _forward(x, blocks)
        ctx.blocks = blocks
        ctx.save_for_backward(x, *tensors[::2], *outputs)
        return outputs[-1]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        blocks: list[_Block] = ctx.blocks
        saved, needs = ctx.saved_tensors, ctx.needs_input_grad
        count = len(blocks)
        x, weights, outputs = saved[0], saved[1 : 1 + count], saved[1 + count :]
        if torch.is_grad_enabled():
            return _recorded(x, blocks, outputs, grad, needs)
        grads: list[Tensor | None] = [None] * len(needs)
        first = next(i for i, needed in enumerate((*needs[2:], True)) if needed) // 2
        lowest = 0 if needs[0] else first
        for k in range(count - 1, lowest - 1, -1):
            grad = _through(grad, outputs[k], blocks[k], k < count - 1)
            if needs[2 + 2 * k]:
                below = outputs[k - 1] if k > 0 else x
                grads[2 + 2 * k] = blocks[k].product(grad.t(), below.t())
            if needs[3 + 2 * k]:
                grads[3 + 2 * k] = grad.sum(0)
            if k > lowest or needs[0]:
                grad = blocks[k].product(grad, weights[k].t())
        if needs[0]:
            grads[0] = grad
        return tuple(grads)


def _recorded(
    x: Tensor, blocks: list[_Block], outputs: tuple[Tensor, ...], grad: Tensor, needs: Any
) -> Any:
    """The gradients as functions of x, the weights and ``grad``, for a second derivative.

    The layers run again, now recorded, with the masks of the first run: each mask is the factor
    that its layer's output shows.
    """
    h = x
    for block, y in zip(blocks, outputs, strict=True):
        h = block.product(h, block.weight, block.bias)
        if block.activation == "tanh":
            h = h.tanh()
        elif block.activation == "sigmoid":
            h = h.sigmoid()
        elif block.activation != "none":
            h = h * _through(torch.ones_like(y), y.detach(), block, True)
    inputs = [x, None, *(tensor for block in blocks for tensor in block[:2])]
    wanted = [t for t, needed in zip(inputs, needs, strict=True) if needed and t is not None]
    found = iter(torch.autograd.grad(h, wanted, grad, create_graph=True))
    return tuple(next(found) if needed else None for needed in needs)
