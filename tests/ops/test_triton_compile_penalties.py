"""The Triton kernels of interpolate and grad_norm_penalty compile for sm_80 and sm_90."""

from __future__ import annotations

import os
from typing import Any

import pytest

triton = pytest.importorskip("triton", reason="the package triton is not installed")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("Triton's interpreter is on: nothing is compiled", allow_module_level=True)

from gankit.ops.grad_norm_penalty import triton as penalty  # noqa: E402
from gankit.ops.interpolate import triton as between  # noqa: E402

KNOWN = {
    "seed_ptr": "*i64",
    "norms_ptr": "*fp32",
    "n": "i64",
    "length": "i64",
    "rows": "i64",
    "stream": "i64",
    "samples": "i32",
    "sample_stride": "i64",
    "target": "fp32",
    "BLOCK": "constexpr",
    "MODE": "constexpr",
    "OF_FAKE": "constexpr",
}


def compile_kernel(kernel: Any, dtype: str, capability: int, **constants: Any) -> Any:
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    known = {name: KNOWN.get(name, f"*{dtype}") for name in kernel.arg_names}
    aligned = {
        (i,): [["tt.divisibility", 16]]
        for i, name in enumerate(kernel.arg_names)
        if name in ("n", "length") or (known[name].startswith("*") and name != "seed_ptr")
    }
    source = ASTSource(fn=kernel, signature=known, constexprs=constants, attrs=aligned)
    built = triton.compile(source, target=GPUTarget("cuda", capability, 32))
    assert built.asm["cubin"]
    assert ".local" not in built.asm["ptx"]
    return built


@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16"])
def test_interpolate(dtype: str, capability: int) -> None:
    kernels = (
        compile_kernel(between.forward_kernel, dtype, capability, BLOCK=between._BLOCK),
        compile_kernel(
            between.backward_kernel, dtype, capability, BLOCK=between._BLOCK, OF_FAKE=True
        ),
    )
    for built in kernels:
        assert "st.global.v" in built.asm["ptx"]


@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("mode", [0, 1, 2])
def test_grad_norm_penalty(dtype: str, capability: int, mode: int) -> None:
    compile_kernel(penalty.norms_kernel, dtype, capability, BLOCK=penalty._BLOCK)
    compile_kernel(penalty.mean_kernel, dtype, capability, BLOCK=penalty._BLOCK, MODE=mode)
    compile_kernel(penalty.backward_kernel, dtype, capability, BLOCK=penalty._BLOCK, MODE=mode)
