"""One derivative formula, three ways to run it.

Which form is fastest depends on who is looking:

* nobody differentiates: the raw kernel alone;
* eager autograd and ``torch.compile``: a ctx-style ``autograd.Function`` over the raw kernel;
* ``torch.func`` transforms: a ``setup_context`` Function, which they require;
* the public dispatcher op: ``torch.library.register_autograd``.

A formula is written once and serves all of them. The gradient of an op calls the op's backward
kernel through another :class:`Differentiable`, which runs the raw kernel unless a second
derivative is being recorded, so derivatives of any order come from the same lines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.autograd import forward_ad

from .namespace import NAMESPACE
from .registry import Kernel

Tensors = tuple[torch.Tensor, ...]
_transforming = torch._C._are_functorch_transforms_active
_ORDINARY_VIEW = torch._C._autograd.CreationMeta.DEFAULT


class Differentiable:
    """A kernel with its derivative; call it like the kernel.

    Args:
        kernel: the raw operation. Its first ``tensors`` arguments are tensors (or None where the
            schema says ``Tensor?``), the rest are not.
        tensors: how many leading arguments are tensors.
        save: ``(inputs, output) -> tensors`` kept for the gradient; ``output`` is a tuple where
            the kernel returns several tensors.
        gradient: ``(needs, grad, saved, rest) -> gradients`` of the tensor arguments, in their
            order, None where ``needs`` is False or the argument has none. ``grad`` is a tuple
            where the kernel returns several tensors, with None for those that nothing depends
            on; it is called only where there is a gradient. ``rest`` holds the arguments that are
            not tensors.
        non_differentiable: which of several outputs are constants to autograd, by index.
        register: give the public dispatcher op this derivative.
    """

    def __init__(
        self,
        kernel: Kernel,
        *,
        tensors: int,
        save: Callable[[Sequence[Any], Any], Tensors],
        gradient: Callable[
            [Sequence[bool], Any, Tensors, Sequence[Any]],
            tuple[torch.Tensor | None, ...],
        ],
        non_differentiable: tuple[int, ...] = (),
        register: bool = True,
    ) -> None:
        self.kernel = kernel
        self.public = kernel.public
        self.tensors = tensors
        keep = _keep(tensors, save, non_differentiable)
        self.eager = _eager_function(kernel, tensors, keep, gradient)
        self.functional = _functional_function(kernel, tensors, keep, gradient)
        if register and kernel.public is not None:
            torch.library.register_autograd(
                f"{NAMESPACE}::{kernel.name}",
                self.functional.backward,
                setup_context=self.functional.setup_context,
            )

    def __call__(self, *inputs: Any) -> Any:
        if forward_ad._current_level >= 0:
            self.refuse_tangents(inputs)
        if _transforming():
            return self.functional.apply(*inputs)
        recording = torch.compiler.is_exporting() or torch._C._get_tracing_state() is not None
        if recording and self.public is not None:
            # A graph keeps ops, not Functions: this op has its derivative registered.
            return self.public(*inputs)
        if torch.is_grad_enabled():
            for x in inputs[: self.tensors]:
                if x is not None and x.requires_grad:
                    return self.eager.apply(*inputs)
        return self.kernel(*inputs)

    def refuse_tangents(self, inputs: Sequence[Any]) -> None:
        # A raw kernel would drop them without a word, and Dynamo takes no Function with a jvp.
        for x in inputs[: self.tensors]:
            if x is not None and forward_ad.unpack_dual(x).tangent is not None:
                raise RuntimeError(
                    f"{NAMESPACE}::{self.kernel.name} has no forward-mode derivative (jvp, jacfwd, "
                    "dual tensors); use reverse mode"
                )


def _function_parts(kernel: Kernel, tensors: int, gradient: Any, suffix: str) -> dict[str, Any]:
    """What every form of a Function shares: its name and the gradient."""
    name = "".join(part.title() for part in kernel.name.split("_")) + suffix

    def backward(ctx: Any, *grads: torch.Tensor | None) -> Any:
        rest = ctx.rest
        if all(grad is None for grad in grads):
            return (None,) * (tensors + len(rest))
        grad = grads[0] if len(grads) == 1 else grads
        return gradient(ctx.needs_input_grad, grad, ctx.saved_tensors, rest) + (None,) * len(rest)

    return {
        "__qualname__": name,
        "__module__": __name__,
        "backward": staticmethod(backward),
        "name": name,
    }


def _build(parts: dict[str, Any], **methods: Any) -> Any:
    return type(parts.pop("name"), (torch.autograd.Function,), {**parts, **methods})


def _keep(tensors: int, save: Any, non_differentiable: tuple[int, ...]) -> Any:
    """What both forms do after the kernel has run."""

    def keep(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*save(inputs, output))
        ctx.rest = inputs[tensors:]
        # No gradient and a gradient of zeros differ: an optimizer skips the first.
        ctx.set_materialize_grads(False)
        if non_differentiable:
            ctx.mark_non_differentiable(*(output[i] for i in non_differentiable))

    return keep


def _eager_function(kernel: Kernel, tensors: int, keep: Any, gradient: Any) -> Any:
    def forward(ctx: Any, *inputs: Any) -> Any:
        output = kernel(*inputs)
        keep(ctx, inputs, output)
        return output

    return _build(
        _function_parts(kernel, tensors, gradient, "Function"), forward=staticmethod(forward)
    )


def _functional_function(kernel: Kernel, tensors: int, keep: Any, gradient: Any) -> Any:
    return _build(
        _function_parts(kernel, tensors, gradient, "Functional"),
        forward=staticmethod(kernel.__call__),
        setup_context=staticmethod(keep),
        generate_vmap_rule=True,
    )


class InplaceDifferentiable:
    """The in-place form of an op whose gradient needs its output alone.

    Args:
        differentiable: the functional form.
        inplace: the raw kernel that overwrites its first argument.
        gradient: as for :class:`Differentiable`, with ``saved == (output,)``.
    """

    def __init__(self, differentiable: Differentiable, inplace: Kernel, gradient: Any) -> None:
        tensors = differentiable.tensors

        def forward(ctx: Any, *inputs: Any) -> torch.Tensor:
            x: torch.Tensor = inputs[0]
            inplace(*inputs)
            ctx.mark_dirty(x)
            ctx.save_for_backward(x)
            ctx.rest = inputs[tensors:]
            ctx.set_materialize_grads(False)
            return x

        self.differentiable = differentiable
        self.inplace = inplace
        self.eager = _build(
            _function_parts(differentiable.kernel, tensors, gradient, "Inplace"),
            forward=staticmethod(forward),
        )

    def __call__(self, *inputs: Any) -> torch.Tensor:
        x: torch.Tensor = inputs[0]
        shared = any(step == 0 and size > 1 for step, size in zip(x.stride(), x.shape, strict=True))
        if shared and x.numel() > 0:
            raise RuntimeError(
                f"{self.differentiable.kernel.name}: inplace=True on an expanded tensor, several "
                f"elements of which share memory (strides {x.stride()}); use inplace=False"
            )
        if forward_ad._current_level >= 0:
            self.differentiable.refuse_tangents(inputs)
        if _transforming() or torch.compiler.is_compiling() or x.is_neg():
            # copy_ is understood by every transform and by views that negate, and a compiler fuses
            # it away.
            return x.copy_(self.differentiable(*inputs))
        if torch.is_grad_enabled() and x.requires_grad:
            self._refuse_what_autograd_refuses(x)
            return self.eager.apply(*inputs)
        self.inplace(*inputs)
        if not x.is_inference():
            # A stable-ABI kernel with a mutated argument does not bump the version counter, and
            # autograd would use an overwritten saved tensor without noticing.
            torch.autograd.graph.increment_version(x)
        return x

    def _refuse_what_autograd_refuses(self, x: torch.Tensor) -> None:
        # Autograd itself says so only after the kernel has run and the data are gone.
        base = x._base if x._is_view() else x
        if x.is_leaf or (base is not None and base.is_leaf and base.requires_grad):
            problem = "would overwrite a leaf tensor that requires grad (or a view of one)"
        elif x._is_view() and torch._C._autograd._get_creation_meta(x) != _ORDINARY_VIEW:
            problem = "cannot be differentiated on a view that chunk() or no_grad() made"
        else:
            return
        name = self.differentiable.kernel.name
        raise RuntimeError(f"{name}: inplace=True {problem}; use inplace=False")


def is_row_major(x: torch.Tensor) -> bool:
    """Whether x lies as a new tensor would, in dimensions of one element too.

    Torch reads channels last from the strides of such dimensions, and its result then is so too.
    """
    expected = 1
    for size, stride in zip(reversed(x.shape), reversed(x.stride()), strict=True):
        if stride != expected:
            return False
        expected *= size
    return True


def row_major(x: torch.Tensor) -> torch.Tensor:
    """x, or a copy of it that :func:`is_row_major`.

    ``x.contiguous()`` is x itself where only dimensions of one element have other strides.
    """
    return x if is_row_major(x) else x.clone(memory_format=torch.contiguous_format)


def _row_major_gradient(grad: torch.Tensor | None) -> torch.Tensor | None:
    return None if grad is None else row_major(grad)


def with_contiguous_gradient(x: torch.Tensor) -> torch.Tensor:
    """x; where it is row-major, so is its gradient, whatever the op that takes it returns.

    ``backward()`` lays out what it writes to ``.grad`` itself, but what ``torch.autograd.grad`` and
    hooks get may be flattened by ``view``.
    """
    if not (x.requires_grad and torch.is_grad_enabled()):
        return x
    if torch.compiler.is_compiling() or torch.compiler.is_exporting() or _transforming():
        return x
    if torch._C._get_tracing_state() is not None or forward_ad._current_level >= 0:
        return x
    if not is_row_major(x):
        return x
    # A plain view with a hook: autograd's own words for a tensor that was modified too early name
    # this view's operation, where those for the view of a Function speak of custom Functions.
    y = x.view_as(x)
    y.register_hook(_row_major_gradient)
    return y
