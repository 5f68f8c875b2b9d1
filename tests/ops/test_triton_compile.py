"""Every Triton kernel compiles to machine code for sm_80 and sm_90, without a GPU."""

from __future__ import annotations

import os
from typing import Any

import pytest

triton = pytest.importorskip("triton", reason="the package triton is not installed")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("Triton's interpreter is on: nothing is compiled", allow_module_level=True)

from gankit.ops.bce_label_smoothing import triton as bce  # noqa: E402
from gankit.ops.gan_bce import triton as gan_bce  # noqa: E402
from gankit.ops.leaky_relu_dropout import triton as kernels  # noqa: E402

DRAWS = {
    "seed_ptr": "*i64",
    "n": "i64",
    "stream": "i64",
    "threshold": "i32",
    "scale": "fp32",
    "negative_scale": "fp32",
    "samples": "i32",
    "sample_stride": "i64",
    "channels": "i32",
    "channel_stride": "i32",
}


def signature(kernel: Any, dtype: str) -> dict[str, str]:
    names = {**DRAWS, "CHANNELWISE": "constexpr", "BLOCKS": "constexpr"}
    return {name: names.get(name, f"*{dtype}") for name in kernel.arg_names}


LOSS = {
    **dict.fromkeys(("n", "n_real", "n_fake"), "i64"),
    **dict.fromkeys(("steps", "count", "real_programs", "real_steps", "fake_steps"), "i32"),
    **dict.fromkeys(("scale", "shift", "co_shift", "factor"), "fp32"),
    **dict.fromkeys(("real_weight", "real_label", "real_co_label"), "fp32"),
    **dict.fromkeys(("fake_weight", "fake_label", "fake_co_label"), "fp32"),
    "sums_ptr": "*fp32",
}


def loss_signature(kernel: Any, dtype: str, target: str) -> dict[str, str]:
    names = {**LOSS, "target_ptr": f"*{target}"}
    return {
        name: "constexpr" if name.isupper() else names.get(name, f"*{dtype}")
        for name in kernel.arg_names
    }


def compile_kernel(
    kernel: Any,
    dtype: str,
    capability: int,
    constants: dict[str, Any],
    known: dict[str, str] | None = None,
) -> Any:
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    known = known or signature(kernel, dtype)
    # Divisible by 16, as the launcher finds the pointers of whole tensors and most sizes.
    aligned = {
        (i,): [["tt.divisibility", 16]]
        for i, name in enumerate(kernel.arg_names)
        if name == "n" or (known[name].startswith("*") and name != "seed_ptr")
    }
    source = ASTSource(fn=kernel, signature=known, constexprs=constants, attrs=aligned)
    return triton.compile(source, target=GPUTarget("cuda", capability, 32))


@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("channelwise", [False, True])
def test_drawing_kernels(dtype: str, capability: int, channelwise: bool) -> None:
    for kernel in (kernels.forward_kernel, kernels.backward_from_input_kernel):
        constants = {"CHANNELWISE": channelwise, "BLOCKS": kernels._BLOCKS}
        built = compile_kernel(kernel, dtype, capability, constants)
        assert built.asm["cubin"]
        assert f"sm_{capability}" in built.asm["ptx"]
        assert ".local" not in built.asm["ptx"]


@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16"])
def test_backward_kernel_moves_16_bytes(dtype: str, capability: int) -> None:
    built = compile_kernel(kernels.backward_kernel, dtype, capability, {"BLOCKS": kernels._BLOCKS})
    assert "ld.global.v4" in built.asm["ptx"] or "ld.global.v2.b64" in built.asm["ptx"]
    assert "st.global.v4" in built.asm["ptx"] or "st.global.v2.b64" in built.asm["ptx"]


@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("from_logits", [True, False])
def test_loss_kernels(dtype: str, capability: int, from_logits: bool) -> None:
    streaming = (bce.sum_kernel, bce.each_kernel, bce.backward_kernel)
    halves = (gan_bce.sum_kernel, gan_bce.backward_kernel)
    for kernel in (*streaming, *halves, bce.finish_kernel):
        for target in (dtype, "i1") if kernel in streaming else (dtype,):
            constants = {
                "HAS_TARGET": True,
                "SHARED": False,
                "FROM_LOGITS": from_logits,
                "ELEMENTS": bce._ELEMENTS,
            }
            known = loss_signature(kernel, dtype, target)
            constants = {name: value for name, value in constants.items() if name in known}
            built = compile_kernel(kernel, dtype, capability, constants, known)
            assert built.asm["cubin"]
            assert ".local" not in built.asm["ptx"]
            if target == dtype == "fp32" and kernel in (bce.each_kernel, bce.backward_kernel):
                assert "ld.global.v4" in built.asm["ptx"] or "v2.b64" in built.asm["ptx"]
