"""What conv_transpose2d promises beyond conformance: torch's results, the algorithm, errors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from op_specs import layouts

import gankit
from gankit.ops import backends, conv_transpose2d
from gankit.ops.conv_transpose2d import reference, spec
from gankit.ops.registry import Kernel

GEOMETRIES: list[dict[str, Any]] = [
    {"stride": 2, "padding": 1},
    {"stride": 1, "padding": 0},
    {"stride": (3, 2), "padding": (0, 1), "output_padding": (2, 1)},
    {"stride": 5, "padding": 1},
    {"stride": 2, "padding": 1, "dilation": 2, "output_padding": 1},
    {"stride": 2, "groups": 2},
]
TORCH = {
    "none": lambda y, slope: y,
    "relu": lambda y, slope: F.relu(y),
    "leaky_relu": F.leaky_relu,
    "tanh": lambda y, slope: torch.tanh(y),
}


def inputs(channels: int, kernel: tuple[int, int], size: tuple[int, int], groups: int) -> Any:
    torch.manual_seed(3)
    x = torch.randn(3, 4, *size, dtype=torch.float64)
    weight = torch.randn(4, channels // groups, *kernel, dtype=torch.float64)
    return x, weight, torch.randn(channels, dtype=torch.float64)


@pytest.mark.parametrize("activation", sorted(TORCH))
@pytest.mark.parametrize("settings", GEOMETRIES, ids=str)
@pytest.mark.parametrize("size", [(1, 1), (3, 5)], ids=str)
@pytest.mark.parametrize("channels", [2, 8])
def test_equals_torch(
    activation: str,
    settings: dict[str, Any],
    size: tuple[int, int],
    channels: int,
    on_target: tuple[str, torch.device],
) -> None:
    """Results, first gradients and a second one, with and without bias."""
    if on_target[0] == "triton":
        pytest.skip("Triton: no kernel for float64")
    tensors = inputs(channels, (4, 5), size, settings.get("groups", 1))
    for count in (2, 3):
        results = []
        for ours in (True, False):
            leaves = [t.to(on_target[1]).clone().requires_grad_() for t in tensors[:count]]
            if ours:
                y = conv_transpose2d(*leaves, activation=activation, negative_slope=0.3, **settings)
            else:
                y = TORCH[activation](F.conv_transpose2d(*leaves, **settings), 0.3)
            first = torch.autograd.grad(y.pow(3).sum(), leaves, create_graph=True)
            second = torch.autograd.grad(sum(g.square().sum() for g in first), leaves)
            results.append((y, *first, *second))
        for found, wanted in zip(*results, strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("activation", range(4))
def test_fold_and_unfold_to_the_last_place(
    activation: int, channels_last: bool, dtype: torch.dtype, on_target: tuple[str, torch.device]
) -> None:
    """The kernels alone, against the reference in float64 and rounded to ``dtype``."""
    backend, device = on_target
    if backend == "triton" and device.type == "cpu" and dtype == torch.bfloat16:
        pytest.skip("Triton's interpreter has no bfloat16")
    torch.manual_seed(1)
    sizes = ((5, 7), (10, 15), (4, 5), (2, 2), (1, 1), activation, 0.2)
    rtol = {torch.float32: 2e-6, torch.bfloat16: 8e-3, torch.float16: 1e-3}[dtype]
    atol = 2e-6 if dtype == torch.float32 else 1e-5
    columns = torch.randn(3, 2 * 20, 5, 7).to(device, dtype)
    bias = torch.randn(2).to(device, dtype)
    grad = torch.randn(3, 2, 10, 15).to(device, dtype)
    for _, laid_out in layouts(columns):
        for shift in (bias, None):
            y = spec.FOLD(laid_out, shift, *sizes, channels_last)
            wide = None if shift is None else shift.double()
            wanted = reference.fold(columns.double(), wide, *sizes, channels_last)
            assert y.stride() == wanted.stride()
            torch.testing.assert_close(y.double(), wanted, rtol=rtol, atol=atol)
    for _, laid_out in layouts(grad):
        for saved in (y, None):
            found = spec.UNFOLD(laid_out, saved, *sizes, channels_last)
            wide = None if saved is None else saved.double()
            wanted = reference.unfold(grad.double(), wide, *sizes, channels_last)
            assert found.stride() == wanted.stride()
            torch.testing.assert_close(found.double(), wanted, rtol=rtol, atol=atol)


@pytest.mark.parametrize("activation", ["none", "leaky_relu", "tanh"])
def test_tanh_and_kinks_at_special_values(activation: str, device: str) -> None:
    """NaN stays, infinities and signed zeros are torch's."""
    special = [math.nan, math.inf, -math.inf, 0.0, -0.0, 1e-30, -1e-30, 80.0, -80.0, 0.3]
    x = torch.tensor(special, device=device).view(1, 1, 2, 5)
    y = conv_transpose2d(x, torch.ones(1, 1, 1, 1, device=device), activation=activation)
    torch.testing.assert_close(y, TORCH[activation](x, 0.2), equal_nan=True)


def names_of_calls(*args: Any, **kwargs: Any) -> set[str]:
    """The ops that a forward pass runs."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as record:
        conv_transpose2d(*args, **kwargs)
    return {event.key for event in record.key_averages()}


def test_the_algorithm_follows_the_shape() -> None:
    fold, vendor = "gankit::_conv_transpose2d_fold", "aten::conv_transpose2d"
    few, many = torch.randn(5, 3, 4, 4), torch.randn(5, 8, 4, 4)
    one, image = torch.randn(2, 5, 1, 1), torch.randn(2, 5, 6, 6)
    with gankit.backend("auto"):
        if not backends.native_cpu().available:
            pytest.skip(backends.native_cpu().reason)
        called = names_of_calls(image, few, stride=2, padding=1)
        assert fold in called
        assert vendor not in called
        for x, weight, settings in (
            (image, many, {"stride": 2}),
            (image, few, {"dilation": 2}),
            (image, torch.randn(5, 1, 9, 9), {}),  # 81 overlapping patches
            (one, few, {"padding": 1}),
            (torch.randn(0, 5, 6, 6), few, {}),
        ):
            called = names_of_calls(x, weight, **settings)
            assert (vendor in called) != (fold in called)
            if x is not one:
                assert vendor in called
        called = names_of_calls(one, many)
        assert fold not in called
        assert vendor not in called


def test_layouts_follow_the_input() -> None:
    x, weight = torch.randn(2, 5, 6, 6), torch.randn(5, 3, 4, 4)
    last = torch.channels_last
    expected = F.conv_transpose2d(x, weight, stride=2)
    y = conv_transpose2d(x.contiguous(memory_format=last), weight, stride=2)
    assert y.is_contiguous(memory_format=last)
    torch.testing.assert_close(y, expected)
    assert conv_transpose2d(x, weight, stride=2).is_contiguous()
    one, many = torch.randn(2, 5, 1, 1), torch.randn(5, 8, 4, 4)
    y = conv_transpose2d(one, many.contiguous(memory_format=last), torch.ones(8))
    assert y.is_contiguous(memory_format=last)
    torch.testing.assert_close(y, F.conv_transpose2d(one, many, torch.ones(8)))


@pytest.mark.parametrize("channels", [2, 8])
@pytest.mark.parametrize("size", [1, 5])
def test_autocast_casts_all_three(channels: int, size: int) -> None:
    x, weight, bias = (t.float() for t in inputs(channels, (4, 4), (size, size), 1))
    weight.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        y = conv_transpose2d(x, weight, bias, 2, activation="tanh")
        wide = conv_transpose2d(x.double(), weight.double(), bias.double(), 2, activation="tanh")
    assert (y.dtype, wide.dtype) == (torch.bfloat16, torch.float64)
    y.float().sum().backward()
    assert weight.grad is not None
    assert weight.grad.dtype == torch.float32
    torch.testing.assert_close(y.double(), wide, rtol=2e-2, atol=5e-2)


def test_without_a_batch_dimension_and_with_an_empty_batch() -> None:
    for weight in (torch.randn(5, 2, 4, 4), torch.randn(5, 8, 4, 4)):
        for size in (1, 3):
            x = torch.randn(5, size, size)
            found = conv_transpose2d(x, weight, stride=2, activation="relu")
            torch.testing.assert_close(found, F.conv_transpose2d(x, weight, stride=2).relu())
        x = torch.randn(0, 5, 3, 3, requires_grad=True)
        y = conv_transpose2d(x, weight, stride=2, activation="tanh")
        assert y.shape == F.conv_transpose2d(x, weight, stride=2).shape
        y.sum().backward()
        assert x.grad is not None
        assert x.grad.shape == x.shape


def test_a_changed_output_is_noticed() -> None:
    x, weight = torch.randn(2, 5, 4, 4), torch.randn(5, 1, 4, 4, requires_grad=True)
    y = conv_transpose2d(x, weight, stride=2, activation="tanh")
    y.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


X, W = torch.zeros(2, 4, 3, 3), torch.zeros(4, 2, 4, 4)


@pytest.mark.parametrize(
    ("arguments", "settings", "error", "message"),
    [
        (([1.0], W), {}, TypeError, "x: expected a tensor, got list"),
        ((X, None), {}, TypeError, "weight: expected a tensor, got NoneType"),
        ((X.int(), W), {}, TypeError, "x: expected dtype float32.* got torch.int32"),
        ((X, W.half()), {}, TypeError, "weight: expected x's dtype torch.float32"),
        ((X, W, torch.zeros(2).half()), {}, TypeError, "bias: expected x's dtype"),
        ((X[0, 0], W), {}, ValueError, r"x: expected \[N, Cin, H, W\].* got shape \(3, 3\)"),
        ((X, W[0]), {}, ValueError, r"weight: expected .* got shape \(2, 4, 4\)"),
        (
            (X, torch.zeros(5, 2, 4, 4)),
            {},
            ValueError,
            r"weight: expected 4 input channels for x of shape \(2, 4, 3, 3\), got shape \(5,",
        ),
        ((X, W, torch.zeros(3)), {}, ValueError, r"bias: expected shape \(2,\).* got \(3,\)"),
        ((X, W), {"groups": 3}, ValueError, "groups: expected a divisor of the 4 channels, got 3"),
        ((X, W), {"stride": 0}, ValueError, "stride: expected one or two numbers >= 1, got 0"),
        ((X, W), {"padding": np.array([1, 1])}, TypeError, "padding: expected one or two integers"),
        ((X, W), {"padding": (1, -1)}, ValueError, r"padding: .* >= 0, got \(1, -1\)"),
        ((X, W), {"dilation": (1, 2, 3)}, ValueError, "dilation: expected one or two numbers"),
        ((X, W), {"stride": 2, "output_padding": 2}, ValueError, "output_padding: expected less"),
        ((X, W), {"padding": 3}, ValueError, "a 3x3 input with kernel .* an output of 0x0"),
        ((X, W), {"activation": "gelu"}, ValueError, "activation: expected one of .* got 'gelu'"),
        ((X, W), {"negative_slope": -0.1}, ValueError, "negative_slope: expected a finite number"),
    ],
)
def test_bad_arguments(arguments: Any, settings: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        conv_transpose2d(*arguments, **settings)


REST = ((3, 5), (6, 10), (4, 4), (2, 2), (1, 1), reference.TANH, 0.2, False)
COLUMNS, GRAD = torch.ones(2, 32, 3, 5), torch.ones(2, 2, 6, 10)


def rest(**changes: Any) -> tuple[Any, ...]:
    """``REST`` with other values in some places."""
    names = ("input_size", "output_size", "kernel_size", "stride", "padding", "activation")
    return (*(changes.get(n, v) for n, v in zip(names, REST[:6], strict=True)), *REST[6:])


@pytest.mark.skipif(not backends.native_cpu().available, reason=backends.native_cpu().reason)
@pytest.mark.parametrize(
    ("op", "arguments", "words"),
    [
        (spec.FOLD, (COLUMNS[0], None, *REST), "columns: expected four dimensions, got 3"),
        (spec.FOLD, (COLUMNS[:, :31], None, *REST), "columns: expected a multiple of 16 channels"),
        (spec.FOLD, (COLUMNS[:, :, :2], None, *REST), "columns: expected input_size 3.* got 2"),
        (spec.FOLD, (COLUMNS.int(), None, *REST), "expected dtype .* got Int"),
        (spec.FOLD, (COLUMNS, torch.ones(1), *REST), r"bias: expected shape \(2,\)"),
        (spec.FOLD, (COLUMNS, torch.ones(2, 1), *REST), r"bias: expected shape \(2,\)"),
        (spec.FOLD, (COLUMNS, torch.ones(2).half(), *REST), "bias: expected the dtype of columns"),
        (spec.FOLD, (COLUMNS, None, *rest(output_size=(6, 12))), "output_size: .* got 12"),
        (spec.FOLD, (COLUMNS, None, *rest(output_size=(5, 10))), "output_size: .* got 5"),
        (spec.FOLD, (COLUMNS, None, *rest(kernel_size=(0, 4))), "kernel_size: .* got 0"),
        (spec.FOLD, (COLUMNS, None, *rest(stride=(2, 2**40))), "stride: expected numbers from 1"),
        (spec.FOLD, (COLUMNS, None, *rest(padding=(-1, 1))), "padding: .* got -1"),
        (spec.FOLD, (COLUMNS, None, *rest(activation=4)), "activation: .* got 4"),
        (spec.UNFOLD, (GRAD[0], None, *REST), "grad: expected four dimensions, got 3"),
        (spec.UNFOLD, (GRAD[..., :8], None, *REST), "grad: expected output_size 10.* got 8"),
        (spec.UNFOLD, (GRAD, None, *rest(input_size=(4, 5))), "output_size: .* got 6"),
        (spec.UNFOLD, (GRAD, None, *rest(input_size=(0, 5))), "input_size: .* got 0"),
        (spec.UNFOLD, (GRAD, GRAD[:, :1], *REST), "y: expected the shape of grad"),
        (spec.UNFOLD, (GRAD, GRAD.bfloat16(), *REST), "y: expected the dtype of grad"),
    ],
)
def test_dispatcher_ops_refuse_what_would_read_foreign_memory(
    op: Kernel, arguments: tuple[object, ...], words: str
) -> None:
    assert op.public is not None
    with pytest.raises(RuntimeError, match=words):
        op.public(*arguments)
    with pytest.raises(RuntimeError, match=words):
        op.raw(*arguments)


def test_settings_beyond_the_kernels_go_to_the_vendor() -> None:
    x, weight = torch.ones(1, 1, 1, 2), torch.ones(1, 1, 1, 1)
    y = conv_transpose2d(x, weight, stride=(1, 2**16))
    assert y.shape == (1, 1, 1, 2**16 + 1)
    assert y.sum() == 2
