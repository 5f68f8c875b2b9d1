"""The Triton kernels of conv_transpose2d compile for sm_80 and sm_90, without a GPU."""

from __future__ import annotations

import os
from typing import Any

import pytest

triton = pytest.importorskip("triton", reason="the package triton is not installed")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("Triton's interpreter is on: nothing is compiled", allow_module_level=True)

from gankit.ops.conv_transpose2d import triton as kernels  # noqa: E402

CONSTANTS = {"KERNEL_H": 4, "KERNEL_W": 4, "STRIDE_H": 2, "STRIDE_W": 2, "BLOCK": kernels._BLOCK}


@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("activation", range(4))
def test_compiles(dtype: str, capability: int, activation: int) -> None:
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    for kernel in (kernels.fold_kernel, kernels.unfold_kernel):
        known: dict[str, Any] = {"ACTIVATION": activation, "CHANNELS_LAST": activation % 2 == 1}
        known |= {"HAS_BIAS": activation % 2 == 0, **CONSTANTS}
        constants = {name: known[name] for name in kernel.arg_names if name in known}
        types = dict.fromkeys(kernel.arg_names, "i32")
        types |= {"n": "i64", "negative_slope": "fp32"}
        types |= {name: f"*{dtype}" for name in kernel.arg_names if name.endswith("_ptr")}
        types |= dict.fromkeys(constants, "constexpr")
        source = ASTSource(fn=kernel, signature=types, constexprs=constants)
        built = triton.compile(source, target=GPUTarget("cuda", capability, 32))
        assert built.asm["cubin"]
        assert f"sm_{capability}" in built.asm["ptx"]
        assert ".local" not in built.asm["ptx"]
