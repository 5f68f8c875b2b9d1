"""The Triton kernels of batch_norm_act compile to machine code for sm_80 and sm_90."""

from __future__ import annotations

import os
from typing import Any

import pytest

triton = pytest.importorskip("triton", reason="the package triton is not installed")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("Triton's interpreter is on: nothing is compiled", allow_module_level=True)

from gankit.ops.batch_norm_act import triton as kernels  # noqa: E402
from gankit.ops.batch_norm_act.launchers import _BLOCK, _CHANNELS  # noqa: E402

DATA = ("x_ptr", "y_ptr", "grad_ptr", "grad_x_ptr")
SCALARS = {"slope": "fp32", "momentum": "fp32", "correction": "fp32", "batches_ptr": "*i64"}
LONG = ("n", "group_size", "count")


def compile_kernel(kernel: Any, dtype: str, capability: int, constants: dict[str, Any]) -> Any:
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    def kind(name: str) -> str:
        if name in constants:
            return "constexpr"
        if name in SCALARS:
            return SCALARS[name]
        if name.endswith("_ptr"):
            return f"*{dtype}" if name in DATA else "*fp32"
        return "i64" if name in LONG else "i32"

    known = {name: kind(name) for name in kernel.arg_names}
    # Pointers of whole tensors are divisible by 16.
    aligned = {
        (i,): [["tt.divisibility", 16]]
        for i, name in enumerate(kernel.arg_names)
        if known[name].startswith("*")
    }
    source = ASTSource(fn=kernel, signature=known, constexprs=constants, attrs=aligned)
    return triton.compile(source, target=GPUTarget("cuda", capability, 32))


def check(built: Any, capability: int) -> None:
    assert built.asm["cubin"]
    assert f"sm_{capability}" in built.asm["ptx"]
    assert ".local" not in built.asm["ptx"]


@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("rows", [False, True])
@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16"])
def test_kernels_over_elements(dtype: str, rows: bool, capability: int) -> None:
    tile = _CHANNELS if rows else 1
    part = {"ROWS": rows, "BLOCK": _BLOCK // tile, "PART": 8, "CHANNELS": tile}
    check(compile_kernel(kernels.moments_kernel, dtype, capability, part), capability)
    for activation in (2, 3):
        sums = {**part, "ACTIVATION": activation}
        check(compile_kernel(kernels.sums_kernel, dtype, capability, sums), capability)
        each = {"ROWS": rows, "BLOCK": _BLOCK, "ACTIVATION": activation}
        for kernel in (kernels.apply_kernel, kernels.grad_input_kernel):
            check(compile_kernel(kernel, dtype, capability, each), capability)


@pytest.mark.parametrize("capability", [80, 90])
def test_kernels_over_channels(capability: int) -> None:
    join = {"BLOCK": _BLOCK, "PART": 8, "CHANNELS": _CHANNELS}
    check(compile_kernel(kernels.join_moments_kernel, "fp32", capability, join), capability)
    for cumulative in (False, True):
        update = {"CUMULATIVE": cumulative, "CHANNELS": _CHANNELS}
        check(compile_kernel(kernels.update_kernel, "fp32", capability, update), capability)
