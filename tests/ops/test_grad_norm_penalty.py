"""The contract of grad_norm_penalty: norms per sample, zeros, determinism, errors."""

from __future__ import annotations

import math

import pytest
import torch

from gankit.ops import grad_norm_penalty

MODES = ("two-sided", "one-sided", "zero-centred")


def plainly(g: torch.Tensor, target: float, mode: str) -> torch.Tensor:
    """The formula sample by sample, in Python."""
    total = torch.zeros((), dtype=torch.float64)
    for sample in g.double():
        norm = math.sqrt(float(sample.square().sum()))
        total += {
            "two-sided": (norm - target) ** 2,
            "one-sided": max(0.0, norm - target) ** 2,
            "zero-centred": norm**2,
        }[mode]
    return total / len(g)


@pytest.mark.parametrize("mode", MODES)
def test_formula(on_target: tuple[str, torch.device], mode: str) -> None:
    _, device = on_target
    g = (
        torch.randn(7, 3, 5, device=device)
        * torch.linspace(0.1, 2, 7, device=device)[:, None, None]
    )
    for target in (0.0, 1.0, 3.5):
        found = grad_norm_penalty(g, target=target, mode=mode)
        torch.testing.assert_close(
            found.double().cpu(), plainly(g.cpu(), target, mode), rtol=1e-5, atol=1e-7
        )


def test_the_norm_is_per_sample_not_over_the_batch(on_target: tuple[str, torch.device]) -> None:
    """Four unit gradients have no penalty; the norm over the whole batch would be 2."""
    _, device = on_target
    g = torch.eye(4, device=device)
    assert float(grad_norm_penalty(g)) == 0.0
    assert float(grad_norm_penalty(2 * g)) == 1.0
    assert float(grad_norm_penalty(2 * g, mode="zero-centred")) == 4.0
    assert float(grad_norm_penalty(2 * g, mode="zero-centered")) == 4.0


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-12])
def test_derivatives_at_and_near_zero_are_finite(
    on_target: tuple[str, torch.device], mode: str, scale: float
) -> None:
    _, device = on_target
    g = (torch.ones(3, 4, device=device) * scale).requires_grad_()
    penalty = grad_norm_penalty(g, mode=mode)
    (first,) = torch.autograd.grad(penalty, g, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), g)
    for found in (penalty, first, second):
        assert bool(torch.isfinite(found).all())
    if scale == 0.0:
        assert float(penalty) == (1.0 if mode == "two-sided" else 0.0)
        assert not bool(first.any())


def test_third_derivative_sees_the_norms() -> None:
    g = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)

    def second(x: torch.Tensor) -> torch.Tensor:
        (first,) = torch.autograd.grad(grad_norm_penalty(x), x, create_graph=True)
        return torch.autograd.grad(first.square().sum(), x, create_graph=True)[0]

    assert torch.autograd.gradcheck(second, (g,))


def test_same_bits_each_time_and_with_any_thread_count(
    on_target: tuple[str, torch.device],
) -> None:
    _, device = on_target
    g = torch.randn(50, 3000, device=device)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 1):
            torch.set_num_threads(count)
            results.append(grad_norm_penalty(g))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_half_types_accumulate_in_float32(on_target: tuple[str, torch.device]) -> None:
    """A float16 sum of 4,096 squares of 8 would stop growing, and the square be infinite."""
    backend, device = on_target
    kinds = (torch.float16,) if backend == "triton" else (torch.float16, torch.bfloat16)
    for dtype in kinds:
        g = torch.full((2, 4096), 0.25, dtype=dtype, device=device)
        found = grad_norm_penalty(g, target=6.0)  # norm 16
        assert found.dtype == dtype
        assert float(found) == 100.0


def test_empty(on_target: tuple[str, torch.device]) -> None:
    _, device = on_target
    g = torch.empty(0, 5, device=device, requires_grad=True)
    penalty = grad_norm_penalty(g)
    assert math.isnan(float(penalty))
    (first,) = torch.autograd.grad(penalty, g)
    assert first.shape == (0, 5)
    assert float(grad_norm_penalty(torch.empty(3, 0, device=device), target=2.0)) == 4.0


def test_not_a_number_spreads(on_target: tuple[str, torch.device]) -> None:
    _, device = on_target
    g = torch.ones(3, 4, device=device)
    g[1, 2] = math.nan
    for mode in MODES:
        assert math.isnan(float(grad_norm_penalty(g, mode=mode)))


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"grad": [1.0]}, TypeError, "grad: expected a tensor, got list"),
        ({"grad": torch.ones(3).int()}, TypeError, "grad: expected dtype .* got torch.int32"),
        ({"grad": torch.ones(())}, ValueError, "grad: expected a batch"),
        ({"target": -1.0}, ValueError, "target: .* got -1.0"),
        ({"target": math.nan}, ValueError, "target: .* got nan"),
        ({"target": math.inf}, ValueError, "target: .* got inf"),
        ({"mode": "both"}, ValueError, "mode: expected one of two-sided, .* got 'both'"),
    ],
    ids=str,
)
def test_bad_arguments(change: dict[str, object], error: type[Exception], words: str) -> None:
    arguments: dict[str, object] = {"grad": torch.ones(3, 2), **change}
    grad = arguments.pop("grad")
    with pytest.raises(error, match=words):
        grad_norm_penalty(grad, **arguments)  # type: ignore[arg-type]
