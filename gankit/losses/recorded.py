"""Critics whose output is piecewise linear in their input, recorded while they run.

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

from collections.abc import Sequence
from numbers import Number
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten

from gankit.losses.chain import Chain, objection
from gankit.losses.linearized import RULES, Call, Node, UnsupportedError, functions, name_of
from gankit.nn.traits import has_global_hooks

__all__ = ["RecordedCritic", "UnsupportedError", "recorded"]

# Autograd has no gradient for them either.
_CUTS = functions(
    *("detach", "new_zeros", "new_ones", "new_empty", "new_full", "zeros_like", "ones_like"),
    *("empty_like", "full_like", "rand_like", "randn_like"),
)
# What functions return that compute nothing and change nothing.
_PLAIN = (Number, str, torch.Size, torch.dtype, torch.device, torch.layout, torch.memory_format)


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
        with torch.enable_grad(), tape:
            output = critic(tape.values[0], *arguments)
        if not isinstance(output, Tensor):
            raise UnsupportedError(f"the critic returns a {type(output).__name__}")
        tape.check_seen(output)
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
                delta = self._deltas.get(number)  # not pop: a graph may be gone through again
                grads.append(
                    torch.zeros_like(node.weight) if delta is None
                    else node.gradient(inputs[0], delta).reshape(node.weight.shape)
                )  # fmt: skip
                if len(grads) == len(self.parameters):
                    break  # nothing above wants the derivative
            derivatives[number] = node.up(inputs)
        return grads


class _Tape(TorchFunctionMode):
    """Runs torch functions, and keeps those that are given what depends on the input.

    What depends on the input is given to the critic as leaves that require grad. So what code makes
    of them out of this mode's sight (TorchScript, extensions) has autograd's graph behind it, in
    which they are found.
    """

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        self.values: list[Tensor] = [x.detach().requires_grad_()]
        self.nodes: dict[int, Node] = {}
        self._numbers = {id(self.values[0]): 0}
        self._cuts: list[Tensor] = []
        self._seen: dict[int, Any] = {}

    def number(self, value: object) -> int | None:
        """The number of a value that depends on the input, None of any other."""
        return self._numbers.get(id(value))

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        leaves, structure = tree_flatten((args, kwargs))
        places = [place for place, leaf in enumerate(leaves) if self.number(leaf) is not None]
        if not places:
            return func(*args, **kwargs)
        if func in _CUTS:
            self._cuts.append(func(*args, **kwargs))
            return self._cuts[-1]
        if not torch.is_grad_enabled() and not _is_property(func):
            raise UnsupportedError(
                f"the critic calls {name_of(func)} under no_grad, or in an autograd.Function whose "
                "backward is its own"
            )
        if torch.is_autocast_enabled(self.values[0].device.type):
            raise UnsupportedError(f"the critic calls {name_of(func)} under an autocast of its own")
        for leaf in leaves:
            if isinstance(leaf, Tensor):
                self.check_seen(leaf)
        rule = RULES.get(func)
        if rule is None:
            return self._without_gradient(func, args, kwargs)
        call = Call(func, leaves, structure, places)
        result, node = rule(call)
        if not result.is_floating_point():
            raise call.unsupported("for integers")
        result = result.detach().requires_grad_()
        if call.in_place:
            result = self._assign(leaves[places[0]], result)
        node.inputs = tuple(self._numbers[id(leaves[place])] for place in places)
        number = len(self.values)
        self.values.append(result)
        self.nodes[number] = node
        self._numbers[id(result)] = number
        return result

    def check_seen(self, value: Tensor) -> None:
        """Raise UnsupportedError if ``value`` depends on the input in a way that was not seen."""
        last = value.grad_fn
        if last is None or id(last) in self._seen:
            return
        self._seen[id(last)] = last
        stack, known = [last], set()
        while stack:
            node = stack.pop()
            if self.number(getattr(node, "variable", None)) is not None:
                raise UnsupportedError(
                    "the critic computes something of its input that torch functions do not show, "
                    "as TorchScript and extensions do"
                )
            for before, _ in node.next_functions:
                if before is not None and before not in known:
                    known.add(before)
                    stack.append(before)

    def _without_gradient(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Of a function that is not known: shapes, numbers and masks, which have no gradient.

        One that returns nothing, or another object, is called for what it does to its arguments, as
        ``y[mask] = 0`` or a hook are.
        """
        unknown = UnsupportedError(
            f"the critic calls {name_of(func)}, which is not known to be piecewise linear"
        )
        try:
            with torch.no_grad():
                result = func(*args, **kwargs)
        except RuntimeError as error:  # what it misses may be autograd's graph
            raise unknown from error
        for leaf in [result] if result is None else tree_flatten(result)[0]:
            if isinstance(leaf, Tensor):
                allowed = not (leaf.is_floating_point() or leaf.is_complex())
            else:
                allowed = isinstance(leaf, _PLAIN) or (leaf is None and _is_property(func))
            if not allowed:
                raise unknown
        return result

    def _assign(self, target: Tensor, result: Tensor) -> Tensor:
        """Let ``target`` be ``result``, as a function that works in place does."""
        storage = target.untyped_storage().data_ptr()
        for value in (*self.values, *self._cuts):
            if value is not target and value.untyped_storage().data_ptr() == storage:
                raise UnsupportedError("the critic modifies a tensor of which it has views")
        target.data = result.detach()
        return target


def _is_property(func: Any) -> bool:
    return getattr(func, "__name__", "") == "__get__"


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
