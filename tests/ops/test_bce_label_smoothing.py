"""bce_label_smoothing beside torch's own losses: values, derivatives, edges, errors."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gankit.ops import bce_label_smoothing, gan_bce

REDUCTIONS = ("mean", "sum", "none")


def pair(from_logits: bool, shape: tuple[int, ...] = (5, 37)) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    t = torch.rand(shape, generator=generator, dtype=torch.float64)
    return (x if from_logits else x.sigmoid()), t


def torch_loss(x: Tensor, t: Tensor, from_logits: bool, **settings: Any) -> Tensor:
    function = F.binary_cross_entropy_with_logits if from_logits else F.binary_cross_entropy
    return function(x, t, **settings)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("from_logits", [True, False])
def test_equals_torch_with_both_derivatives(
    from_logits: bool, reduction: str, on_target: tuple[str, torch.device]
) -> None:
    backend, device = on_target
    dtype = torch.float32 if backend == "triton" else torch.float64
    tolerance = {"rtol": 2e-5, "atol": 1e-5} if backend == "triton" else {}
    results = []
    for function in (bce_label_smoothing, torch_loss):
        x, t = (z.to(device, dtype) for z in pair(from_logits))
        x.requires_grad_()
        y = function(x, t, from_logits=from_logits, reduction=reduction)
        outer = torch.linspace(0.5, 2, y.numel(), device=device, dtype=dtype)
        outer = outer.reshape(y.shape).requires_grad_()
        (first,) = torch.autograd.grad(y, x, outer, create_graph=True)
        second = torch.autograd.grad(first.square().sum(), (x, outer))
        results.append((y, first, *second))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, **tolerance)


@pytest.mark.parametrize("from_logits", [True, False])
@pytest.mark.parametrize(("mode", "shift"), [("one-sided", 0.0), ("two-sided", 0.1)])
@pytest.mark.parametrize("kind", ["tensor", "bool", "True", "0.25"])
def test_smoothed_labels(
    kind: str, mode: str, shift: float, from_logits: bool, on_target: tuple[str, torch.device]
) -> None:
    x, t = (z.to(on_target[1], torch.float32) for z in pair(from_logits))
    target = {"tensor": t, "bool": t > 0.5, "True": True, "0.25": 0.25}[kind]
    labels = target.to(x.dtype) if isinstance(target, Tensor) else torch.full_like(x, target)
    wanted = torch_loss(x, 0.8 * labels + shift, from_logits)
    found = bce_label_smoothing(x, target, smoothing=0.2, mode=mode, from_logits=from_logits)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=0)


def test_a_scalar_target_saves_the_input_alone() -> None:
    x = torch.randn(1000, requires_grad=True)
    saved: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda z: saved.append(z) or z, lambda z: z):
        bce_label_smoothing(x, True, smoothing=0.1)
    assert [z.data_ptr() for z in saved] == [x.data_ptr()]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_tails_of_logits(dtype: torch.dtype, on_target: tuple[str, torch.device]) -> None:
    """Where softplus(x) - t x cancels to nothing, the loss is exp(-|x|)."""
    backend, device = on_target
    if backend == "triton" and device.type == "cpu" and dtype == torch.bfloat16:
        pytest.skip("Triton's interpreter has no bfloat16")
    x = torch.tensor([8.0, 10.0, 6.5], dtype=dtype, device=device)
    for sign, target in ((1, True), (-1, False)):
        loss = bce_label_smoothing(sign * x, target, reduction="none")
        wanted = torch.log1p(torch.exp(-x.double()))
        tolerance = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 1e-2}[dtype]
        torch.testing.assert_close(loss.double(), wanted, rtol=tolerance, atol=0)


def test_ends_of_probabilities_as_torch(on_target: tuple[str, torch.device]) -> None:
    p = torch.tensor([0.0, 0.0, 1.0, 1.0, 1e-44, 1e-30], device=on_target[1])
    t = torch.tensor([0.0, 1.0, 0.0, 1.0, 1.0, 1.0], device=on_target[1])
    results = []
    for function in (bce_label_smoothing, torch_loss):
        x = p.clone().requires_grad_()
        y = function(x, t, from_logits=False, reduction="none")
        (first,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), x)
        results.append((y, first, second))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("bad", [-0.01, 1.01, math.nan, math.inf])
def test_outside_the_unit_interval(bad: float, on_target: tuple[str, torch.device]) -> None:
    backend, device = on_target
    good = torch.full((70,), 0.5, device=device)
    for place in (0, 69):
        wrong = good.clone()
        wrong[place] = bad
        for x, t in ((wrong, good), (good, wrong)):
            for reduction in ("sum", "none"):
                settings: Any = {"from_logits": False, "reduction": reduction}
                if device.type == "cpu" and backend != "triton":
                    with pytest.raises(RuntimeError, match="between 0 and 1"):
                        bce_label_smoothing(x, t, **settings)
                else:
                    assert bool(bce_label_smoothing(x, t, **settings).isnan().any())


def test_targets_outside_are_allowed_beside_logits() -> None:
    x, t = pair(True)
    torch.testing.assert_close(
        bce_label_smoothing(x, 3 * t - 1), F.binary_cross_entropy_with_logits(x, 3 * t - 1)
    )


def test_nothing(on_target: tuple[str, torch.device]) -> None:
    x = torch.empty((0, 3), device=on_target[1], requires_grad=True)
    target = torch.empty((0, 3), device=on_target[1])
    for from_logits in (True, False):
        mean = bce_label_smoothing(x, target, from_logits=from_logits)
        assert bool(mean.isnan())
        assert bce_label_smoothing(x, True, from_logits=from_logits, reduction="sum").item() == 0
        none = bce_label_smoothing(x, target, from_logits=from_logits, reduction="none")
        assert none.shape == (0, 3)
        (grad,) = torch.autograd.grad(mean, x)
        assert grad.shape == (0, 3)
    assert bool(gan_bce(x, torch.ones(2, device=on_target[1])).isnan())


def test_same_bits_whatever_the_threads() -> None:
    x = torch.randn(200_003)
    t = torch.rand_like(x)
    threads = torch.get_num_threads()
    found = set()
    try:
        for count in (1, 2, 4):
            torch.set_num_threads(count)
            found.add(bce_label_smoothing(x, t).item())
            found.add(bce_label_smoothing(x, t).item())
    finally:
        torch.set_num_threads(threads)
    assert len(found) == 1


def test_sums_do_not_drift() -> None:
    """A running float32 sum of so many equal numbers would be off in the third digit."""
    x = torch.full((2**22,), 0.3)
    one = bce_label_smoothing(x[:1].double(), True).item()
    assert bce_label_smoothing(x, True).item() == pytest.approx(one, rel=1e-6)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("from_logits", [True, False])
def test_weights_and_target_gradients_as_torch(from_logits: bool, reduction: str) -> None:
    x, t = pair(from_logits)
    weight = torch.rand(37, dtype=torch.float64)
    settings: dict[str, Any] = {"reduction": reduction, "weight": weight}
    if from_logits:
        settings["pos_weight"] = 2 * torch.rand(37, dtype=torch.float64)
    results = []
    for smooth in (True, False):
        leaves = [x.clone().requires_grad_(), t.clone().requires_grad_()]
        if smooth:
            y = bce_label_smoothing(
                *leaves, smoothing=0.2, mode="two-sided", from_logits=from_logits, **settings
            )
        else:
            y = torch_loss(leaves[0], 0.8 * leaves[1] + 0.1, from_logits, **settings)
        results.append((y, *torch.autograd.grad(y.square().sum(), leaves)))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_weight_with_a_scalar_target() -> None:
    x, _ = pair(True)
    weight = torch.rand_like(x)
    torch.testing.assert_close(
        bce_label_smoothing(x, True, smoothing=0.1, weight=weight),
        F.binary_cross_entropy_with_logits(x, torch.full_like(x, 0.9), weight),
    )


@pytest.mark.parametrize("from_logits", [True, False])
def test_autocast_computes_in_float32(from_logits: bool) -> None:
    x, t = pair(from_logits)
    x, t = x.bfloat16(), t.bfloat16()
    assert bce_label_smoothing(x, t, from_logits=from_logits).dtype == torch.bfloat16
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = bce_label_smoothing(x, t, from_logits=from_logits)
        weighted = bce_label_smoothing(x, t, from_logits=from_logits, weight=torch.ones(37))
        both = gan_bce(x, x, from_logits=from_logits)
    wanted = torch_loss(x.float(), t.float(), from_logits)
    assert found.dtype == both.dtype == torch.float32
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(weighted, wanted)


def test_mixed_dtypes_are_promoted_as_torch_does() -> None:
    x, t = pair(True)
    found = bce_label_smoothing(x.bfloat16(), t.float())
    wanted = F.binary_cross_entropy_with_logits(x.bfloat16(), t.float())
    assert found.dtype == wanted.dtype == torch.float32
    # torch takes part of its formula in bfloat16.
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=0)
    exact = F.binary_cross_entropy_with_logits(x.bfloat16().double(), t.float().double())
    torch.testing.assert_close(found.double(), exact, rtol=1e-6, atol=0)


X = torch.zeros(2, 3)


@pytest.mark.parametrize(
    ("arguments", "settings", "error", "words"),
    [
        (([0.0], 1.0), {}, TypeError, "input: expected a tensor, got list"),
        ((X.int(), 1.0), {}, TypeError, r"input: .*got torch\.int32"),
        ((X, "1"), {}, TypeError, "target: .*got str"),
        ((X, X.long()), {}, TypeError, r"target: .*got torch\.int64"),
        ((X, X.double()), {"from_logits": False}, TypeError, r"target: .*got torch\.float64"),
        ((X, X[:1]), {}, ValueError, r"target: expected input's shape \(2, 3\), got \(1, 3\)"),
        ((X, 1.5), {"from_logits": False}, ValueError, r"target: .*\[0, 1\].*got 1\.5"),
        ((X, X), {"smoothing": 1.0}, ValueError, r"smoothing: .*\[0, 1\), got 1\.0"),
        ((X, X), {"smoothing": -0.1}, ValueError, "smoothing: "),
        ((X, X), {"smoothing": math.nan}, ValueError, "smoothing: "),
        ((X, X), {"mode": "both"}, ValueError, "mode: .*'both'"),
        ((X, X), {"reduction": "batchmean"}, ValueError, "reduction: .*'batchmean'"),
        ((X, X), {"from_logits": False, "pos_weight": X}, ValueError, "pos_weight: "),
        ((X, X.to("meta")), {}, ValueError, "target: expected a tensor on cpu, got meta"),
    ],
)
def test_errors(arguments: Any, settings: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        bce_label_smoothing(*arguments, **settings)


def test_the_dispatcher_op_refuses_a_target_that_needs_a_gradient() -> None:
    x, t = (z.requires_grad_() for z in pair(True))
    loss = torch.ops.gankit.bce_label_smoothing(x, t, 1.0, 0.0, True, 1)
    with pytest.raises(RuntimeError, match="target"):
        loss.backward()
