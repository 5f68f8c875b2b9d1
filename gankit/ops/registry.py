"""Dispatcher entries of gankit's ops, and what the conformance tests need to know of each op.

Every kernel is registered twice under ``torch.ops.gankit``: the public op, which carries its
derivative (for ``torch.export``, ``opcheck`` and direct callers), and the raw ``_op`` without one.
An ``autograd.Function`` over a raw op costs 7-9 us on the CPU, over an op with a registered
derivative 11-14 us, and ``register_autograd`` alone 20-36 us: so the Python functions call the raw
form, and the public form is there for those who want an op.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from . import backends
from .namespace import NAMESPACE

LIBRARY = torch.library.Library(NAMESPACE, "FRAGMENT")

Implementation = Callable[..., Any]


class Kernel:
    """One raw operation: a schema, a shape function, and its implementations.

    Calling it runs the implementation of the backend in force for the first argument's device.

    Args:
        name: public name in ``torch.ops.gankit``; the raw op is ``_name``.
        schema: argument list and result in PyTorch's schema language.
        fake: computes the result's shape, strides and dtype without data.
        reference: pure PyTorch; defines the op.
        triton: returns the Triton launcher; imported on first use.
        triton_dtypes: dtypes of the first argument that the Triton kernel takes.
        public: also register ``name`` itself. In-place kernels have the raw form alone.
    """

    def __init__(
        self,
        name: str,
        schema: str,
        *,
        fake: Implementation,
        reference: Implementation,
        triton: Callable[[], Implementation] | None = None,
        triton_dtypes: tuple[torch.dtype, ...] = (torch.float32, torch.bfloat16, torch.float16),
        public: bool = True,
    ) -> None:
        self.name = name
        self.fake = fake
        self.reference = reference
        self.triton_dtypes = triton_dtypes
        self._chosen: dict[str, Implementation] = {}
        self._triton = triton
        self.raw = self._define(f"_{name}", schema)
        self.public = self._define(name, schema) if public else None
        self.triton_op = self._define_triton(f"_{name}_triton", schema) if triton else None
        backends.on_change.append(self._choose_ahead)
        self._choose_ahead()

    def _define(self, name: str, schema: str) -> Any:
        LIBRARY.define(name + schema, tags=(torch.Tag.pt2_compliant_tag,))
        # Compiled kernels are registered for CPU and CUDA and go before this entry.
        LIBRARY.impl(name, self._checked(self.reference, schema), "CompositeExplicitAutograd")
        if self._triton is not None and not backends.native_cuda().available:
            LIBRARY.impl(name, self._checked(self._run_triton, schema), "CUDA")
        torch.library.register_fake(
            f"{NAMESPACE}::{name}", self._checked(self.fake, schema), lib=LIBRARY
        )
        return getattr(getattr(torch.ops, NAMESPACE), name).default

    def _checked(self, implementation: Implementation, schema: str) -> Implementation:
        """The implementation for the dispatcher, which also hands on what compiled kernels refuse.

        It takes None for a tensor, and calls the shape function where only one of several tensors
        is on the meta device: a tensor of uninitialised numbers would be the result.
        """
        parsed = torch._C.parse_schema(self.name + schema).arguments
        needed = [(argument.name, str(argument.type) == "Tensor") for argument in parsed]

        def checked(*arguments: Any) -> Any:
            first: tuple[str, torch.device] | None = None
            for (name, is_tensor), value in zip(needed, arguments, strict=False):
                if value is None and is_tensor:
                    raise RuntimeError(f"{name}: expected a tensor, got None")
                if not isinstance(value, torch.Tensor):
                    continue
                if first is None:
                    first = name, value.device
                elif value.device != first[1]:
                    raise RuntimeError(
                        f"{name}: expected a tensor on the device of {first[0]}, {first[1]}, "
                        f"got {value.device}"
                    )
            return implementation(*arguments)

        return checked

    def _define_triton(self, name: str, schema: str) -> Any:
        LIBRARY.define(name + schema, tags=(torch.Tag.pt2_compliant_tag,))
        for key in ("CPU", "CUDA"):
            LIBRARY.impl(name, self._checked(self._run_triton, schema), key)
        torch.library.register_fake(
            f"{NAMESPACE}::{name}", self._checked(self.fake, schema), lib=LIBRARY
        )
        return getattr(getattr(torch.ops, NAMESPACE), name).default

    def _run_triton(self, x: torch.Tensor, *arguments: Any) -> Any:
        if x.dtype in self.triton_dtypes:
            assert self._triton is not None
            return self._triton()(x, *arguments)
        if backends.requested() == "triton":
            allowed = ", ".join(str(dtype).removeprefix("torch.") for dtype in self.triton_dtypes)
            raise TypeError(f"{self.name}: the Triton kernel takes {allowed}, got {x.dtype}")
        return self.reference(x, *arguments)

    def implementation(self, backend: str) -> Implementation:
        """The callable that ``backend`` runs (whether it is available here or not)."""
        if backend == "native":
            return self.raw
        if backend == "triton":
            if self.triton_op is None:
                raise RuntimeError(f"{self.name} has no Triton kernel")
            return self.triton_op
        return self.reference

    def choose(self, device_type: str) -> Implementation:
        if device_type == "meta":  # shapes alone; the dispatcher runs `fake`
            return self.raw
        return self.implementation(backends.choose(device_type)[0])

    def _choose_ahead(self) -> None:
        # Outside of calls, because Dynamo lets no call that it traces fill a table.
        self._chosen = {
            device_type: self.choose(device_type)
            for device_type in ("cpu", "cuda")
            if backends.servable(device_type)
        }

    def __call__(self, x: torch.Tensor, *arguments: Any) -> Any:
        device_type = x.device.type
        if device_type in self._chosen:
            return self._chosen[device_type](x, *arguments)
        return self.choose(device_type)(x, *arguments)


@dataclass(frozen=True)
class Sample:
    """One call of a public op function.

    Args:
        tensors: positional tensor arguments; the conformance tests vary their layout.
        kwargs: the other arguments.
        grad: which of ``tensors`` the result is differentiated by.
    """

    tensors: tuple[torch.Tensor, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    grad: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class OpSpec:
    """What the conformance tests need to know of an op; see ``CONTRIBUTING.md``.

    Args:
        name: the stem, also the name of the public function in ``gankit.ops``.
        kernels: every dispatcher entry of the op.
        samples: yields calls of the public function for a dtype and a device.
        raw_samples: yields ``(op, arguments)`` for ``torch.library.opcheck``.
        large_sample: one call on meta tensors of more than 2**31 elements.
        tolerances: ``(rtol, atol)`` by dtype against the float64 reference. Looser values than
            fp32 1e-5, fp16 1e-3, bf16 2e-2 need a written reason beside them.
    """

    name: str
    kernels: tuple[Kernel, ...]
    samples: Callable[[torch.dtype, torch.device], Iterator[Sample]]
    raw_samples: Callable[[torch.dtype, torch.device], Iterator[tuple[Any, tuple[Any, ...]]]]
    large_sample: Callable[[], Sample]
    tolerances: Mapping[torch.dtype, tuple[float, float]]
