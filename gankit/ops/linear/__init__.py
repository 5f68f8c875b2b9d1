"""The matrix product of a linear layer, by what is fastest on this processor."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch.autograd import forward_ad

from .. import backends
from ..namespace import NAMESPACE
from ..registry import LIBRARY

__all__ = ["linear", "why_not_onednn"]

Product = Callable[[torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor]

# Measured once; README.md has the tables. A call of oneDNN costs some 11 us more than one of MKL.
_LEAST_MULTIPLICATIONS = 2**22
_LEAST_SIDE = 4
_LEAST_OUTPUTS = 8
# An x that is not contiguous is copied first, which fewer outputs do not repay.
_LEAST_OUTPUTS_FOR_A_COPY = 64
# The same for our own kernel: an x that the second cache holds, enough rows to fill its vectors,
# and work that repays the call.
_MOST_PACKED = 2**18
_LEAST_PACKED_ROWS = 8
_LEAST_PACKED_MULTIPLICATIONS = 2**19

_taken = _packs = False
_transforming = torch._C._are_functorch_transforms_active
_dispatch_modes = torch._C._len_torch_dispatch_stack
_function_modes = torch._C._len_torch_function_stack
_tracing_state = torch._C._get_tracing_state
_PLAIN = (torch.Tensor, torch.nn.Parameter)


@functools.cache
def why_not_onednn() -> str:
    """Why this machine keeps to torch's own choice of library; empty where oneDNN is taken."""
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return "this torch has no oneDNN"
    if not torch.backends.mkl.is_available():
        return "torch's products are not MKL's here"
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        return "the processor has no AVX-512"
    try:
        described = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "the processor's maker is not known"
    return "" if "AuthenticAMD" in described else "MKL is fast on this processor"


def _onednn(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    if bias is not None:
        bias = bias.contiguous()  # oneDNN reads it as if it were, whatever its stride
    y: torch.Tensor = torch.ops.mkldnn._linear_pointwise.default(
        x, _by_rows_or_columns(weight), bias, "none", [], ""
    )
    return y


def _onednn_op(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """What the dispatcher runs, for callers other than :func:`linear`."""
    for name, tensor, dim in (("x", x, 2), ("weight", weight, 2), ("bias", bias, 1)):
        if tensor is None:
            continue
        if tensor.dtype != torch.float32 or tensor.device.type != "cpu":
            raise RuntimeError(
                f"{name}: expected float32 on the CPU, got {tensor.dtype} on {tensor.device}"
            )
        size = (x if name == "weight" else weight).shape[0 if name == "bias" else -1]
        if tensor.dim() != dim or (name != "x" and tensor.shape[-1] != size):
            last = "" if name == "x" else f", the last of {size}"
            raise RuntimeError(
                f"{name}: expected {dim} dimensions{last}, got shape {tuple(tensor.shape)}"
            )
    return _onednn(x, weight, bias)


def _by_rows_or_columns(weight: torch.Tensor) -> torch.Tensor:
    # oneDNN also takes a weight with gaps between its rows, but hundreds of times slower.
    if weight.is_contiguous() or weight.t().is_contiguous():
        return weight
    return weight.contiguous()


def _fake(x: torch.Tensor, weight: torch.Tensor, bias: Any) -> torch.Tensor:
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is not None and tensor.device != x.device:
            raise RuntimeError(
                f"{name}: expected a tensor on the device of x, {x.device}, got {tensor.device}"
            )
    return x.new_empty(x.shape[0], weight.shape[0])


# For compilers: they keep it whole, where they would rewrite torch's own operation.
LIBRARY.define(
    "_linear_onednn(Tensor x, Tensor weight, Tensor? bias) -> Tensor",
    tags=(torch.Tag.pt2_compliant_tag,),
)
LIBRARY.impl("_linear_onednn", _onednn_op, "CPU")
torch.library.register_fake(f"{NAMESPACE}::_linear_onednn", _fake, lib=LIBRARY)
_opaque: Product = getattr(torch.ops, NAMESPACE)._linear_onednn.default


LIBRARY.define(
    "_linear_packed(Tensor x, Tensor weight, Tensor? bias) -> Tensor",
    tags=(torch.Tag.pt2_compliant_tag,),
)
# In place of the compiled kernel, where the build has none.
LIBRARY.impl("_linear_packed", F.linear, "CompositeExplicitAutograd")
torch.library.register_fake(f"{NAMESPACE}::_linear_packed", _fake, lib=LIBRARY)
_packed: Product = getattr(torch.ops, NAMESPACE)._linear_packed.default


def _is_packed(x: torch.Tensor) -> bool:
    return _packs and _LEAST_PACKED_ROWS * x.shape[-1] <= x.numel() <= _MOST_PACKED


def _product(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    if _is_packed(x):
        return _packed(x, weight, bias)
    return (_opaque if torch.compiler.is_compiling() else _onednn)(x, weight, bias)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        for_x, for_weight, _ = ctx.needs_input_grad
        ctx.save_for_backward(x if for_weight else None, weight if for_x else None)
        ctx.by_columns = not weight.is_contiguous()
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        x, weight = ctx.saved_tensors
        needs = ctx.needs_input_grad
        grad_weight = None
        if needs[1] and ctx.by_columns:
            # As the weight lies: a second derivative adds it to a gradient that lies so too.
            grad_weight = linear(x.t(), grad.t()).t()
        elif needs[1]:
            grad_weight = linear(grad.t(), x.t())
        return (
            linear(grad, weight.t()) if needs[0] else None,
            grad_weight,
            grad.sum(0) if needs[2] else None,
        )


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """``F.linear(x, weight, bias)``, by faster code on AMD processors with AVX-512.

    On x86 torch hands float32 products to MKL, which on processors of another maker takes code of
    half their speed. There, our own kernel serves small batches (``gankit::_linear_packed``: at
    least 8 rows, at most 2^18 elements of x, at least 2^19 multiplications) and oneDNN, which torch
    carries too, larger ones (at least 4 rows and inputs, 8 outputs, 2^22 multiplications). Both
    compute in float32 and sum in another order. All else is ``F.linear``: other dtypes, processors
    and devices, autocast, ``torch.func``, forward mode, export, and everything under
    ``gankit.backend("reference")``.

    Differentiable to any order in reverse mode; each gradient's product is chosen alike.

    Args:
        x: ``[..., in]``.
        weight: ``[out, in]``.
        bias: ``[out]`` or None.

    Returns:
        ``[..., out]``.

    Raises:
        What ``F.linear`` raises.
    """
    if not _taken or not _suits(x, weight, bias):
        return F.linear(x, weight, bias)
    if x.dim() != 2:
        return linear(x.reshape(-1, x.shape[-1]), weight, bias).view(*x.shape[:-1], -1)
    if torch.is_grad_enabled() and (
        x.requires_grad or weight.requires_grad or (bias is not None and bias.requires_grad)
    ):
        y: torch.Tensor = _Linear.apply(x, weight, bias)
        return y
    return _product(x, weight, bias)


def _suits(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> bool:
    # An exported graph is for other machines, and for any size of a dynamic batch.
    if torch.compiler.is_exporting():
        return False
    compiling = torch.compiler.is_compiling()
    if not compiling and _tracing_state() is not None:
        return False
    # Sizes first, so that small layers wait for nothing else.
    if x.dim() < 2 or weight.dim() != 2 or (bias is not None and bias.shape != weight.shape[:1]):
        return False
    outputs, inputs = weight.shape
    packed = _is_packed(x)
    least = _LEAST_PACKED_MULTIPLICATIONS if packed else _LEAST_MULTIPLICATIONS
    if x.numel() * outputs < least or x.numel() < _LEAST_SIDE * inputs:
        return False
    if x.shape[-1] != inputs or inputs < _LEAST_SIDE or outputs < _LEAST_OUTPUTS:
        return False
    for tensor in (x, weight) if bias is None else (x, weight, bias):
        if type(tensor) not in _PLAIN or tensor.dtype != torch.float32 or not tensor.is_cpu:
            return False
        # A compiler, which knows dense tensors alone, refuses the question in a backward.
        if not compiling and tensor.layout != torch.strided:
            return False
    if _transforming() or forward_ad._current_level >= 0 or torch.is_autocast_enabled("cpu"):
        return False
    if not packed and outputs < _LEAST_OUTPUTS_FOR_A_COPY and not x.is_contiguous():
        return False
    if compiling:
        return True
    # Whoever records operations knows F.linear, but not the calls taken here.
    return torch._C._get_mkldnn_enabled() and _dispatch_modes() == 0 and _function_modes() == 0


_here = why_not_onednn() == ""
# The question about our library loads it, and so comes first.
_built = backends.native_cpu().available and torch._C._dispatch_has_kernel_for_dispatch_key(
    f"{NAMESPACE}::_linear_packed", "CPU"
)


def _choose() -> None:
    global _taken, _packs
    _taken = _here and backends.requested() != "reference"
    _packs = _taken and _built


backends.on_change.append(_choose)
_choose()
