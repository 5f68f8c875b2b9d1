"""A layer that runs as torch's in one call and as the op in the next, before one backward."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F

from gankit.ops import batch_norm_act
from gankit.ops.autograd import with_contiguous_gradient

MODES = ("training", "groups", "evaluation")
Call = tuple[str, str]  # who runs it, and in which mode


def two_backwards(calls: Sequence[Call], momentum: float | None) -> list[torch.Tensor]:
    """First and second gradients of a sum over calls of one layer, and its running statistics."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    mean, var, batches = random(3), random(3).square() + 0.5, torch.tensor(2)
    weight, bias = random(3).requires_grad_(), random(3).requires_grad_()
    inputs = [random(4, 3, 2, 2).requires_grad_() for _ in calls]
    loss = torch.zeros((), dtype=torch.float64)
    for number, ((who, mode), x) in enumerate(zip(calls, inputs, strict=True)):
        training, groups = mode != "evaluation", 2 if mode == "groups" else 1
        if who == "op":
            y = batch_norm_act(
                x, mean, var, weight, bias, training, momentum, groups=groups,
                num_batches_tracked=batches,
            )  # fmt: skip
        else:
            parts = []
            for i, part in enumerate(x.chunk(groups)):
                step = momentum if momentum is not None else 1 / float(batches + i + 1)
                parts.append(F.batch_norm(part, mean, var, weight, bias, training, step))
            y = torch.cat(parts).relu()
        if training:
            batches += groups
        loss = loss + (number + 1) * y.pow(3).sum()
    leaves = [*inputs, weight, bias]
    first = torch.autograd.grad(loss, leaves, create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), leaves)  # type: ignore[arg-type]
    return [*first, *second, mean, var, batches]


@pytest.mark.parametrize("momentum", [0.3, None])
def test_batch_norm_in_any_mixture_and_order(
    momentum: float | None, on_target: tuple[str, torch.device]
) -> None:
    if on_target[0] == "triton" or on_target[1].type != "cpu":
        pytest.skip("the question is who counts versions, which no device changes; in float64")
    compared = 0
    for calls in itertools.product(itertools.product(("op", "torch"), MODES), repeat=2):
        for order in (calls, (calls[0], ("torch", "training"), calls[1])):
            if any(
                call == ("torch", "evaluation") and any(m != "evaluation" for _, m in order[i:])
                for i, call in enumerate(order)
            ):
                continue  # torch's own evaluation reads statistics that training has moved since
            # In evaluation the op is the truth: it keeps the statistics that it has used.
            alone = [(w if m == "evaluation" else "torch", m) for w, m in order]
            found, wanted = two_backwards(order, momentum), two_backwards(alone, momentum)
            for f, w in zip(found, wanted, strict=True):
                torch.testing.assert_close(f, w, rtol=1e-8, atol=1e-8)
            compared += 1
    assert compared > 40


def test_evaluation_keeps_the_statistics_that_it_has_used() -> None:
    """However they are moved before its backward."""
    x = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    gradients = []
    for later in ("nothing", "training", "assignment"):
        mean, var = torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
        y = batch_norm_act(x, mean, var, activation="tanh")
        if later == "training":
            batch_norm_act(x.detach() * 9, mean, var, training=True, momentum=1.0)
        elif later == "assignment":
            var.fill_(100.0)
        gradients.append(torch.autograd.grad(y.sum(), x)[0])
    assert torch.equal(gradients[0], gradients[1])
    assert torch.equal(gradients[0], gradients[2])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("activation", ["none", "relu", "leaky_relu", "tanh"])
def test_a_bias_may_change_before_its_backward(
    activation: str, training: bool, on_target: tuple[str, torch.device]
) -> None:
    """As with torch's batch norm and activation, neither of which keeps it."""
    backend, device = on_target
    dtype = torch.float32 if backend == "triton" else torch.float64
    generator = torch.Generator().manual_seed(0)
    x, *values = (torch.randn(s, generator=generator).to(device, dtype) for s in ((6, 3), 3, 3))
    found = []
    for change in (0.0, 5.0):
        weight, bias, leaf = (v.clone().requires_grad_() for v in (*values, x))
        y = batch_norm_act(
            leaf, values[0] * 0, values[0] * 0 + 1, weight, bias, training, activation=activation
        )
        (first,) = torch.autograd.grad(y.pow(3).sum(), leaf, create_graph=True)
        with torch.no_grad():
            bias += change
        second = torch.autograd.grad(
            first.square().sum(), (leaf, weight, bias), allow_unused=True, retain_graph=True
        )
        found.append((first, *second, *torch.autograd.grad(y.sum(), bias)))
    for unchanged, changed in zip(*found, strict=True):
        assert (unchanged is None) == (changed is None)
        assert unchanged is None or torch.equal(unchanged, changed)


def test_a_weight_that_changes_too_early_is_refused_in_torchs_words() -> None:
    words = "modified by an inplace operation"
    convolution = torch.randn(2, 3, 3, 3, requires_grad=True)
    y = F.conv2d(torch.randn(1, 3, 5, 5), with_contiguous_gradient(convolution))
    with torch.no_grad():
        convolution += 1
    with pytest.raises(RuntimeError, match=words):
        y.sum().backward()
    scale = torch.randn(3, requires_grad=True)
    y = batch_norm_act(torch.randn(4, 3), None, None, scale, None, True)
    with torch.no_grad():
        scale += 1
    with pytest.raises(RuntimeError, match=words):
        y.sum().backward()


def test_a_gradient_that_is_contiguous_again_has_its_own_derivative() -> None:
    weight = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    x = torch.randn(3, 4, dtype=torch.float64)
    y = with_contiguous_gradient(weight).t().square() * x
    (first,) = torch.autograd.grad(y.sum(), weight, create_graph=True)
    assert first.is_contiguous()
    (second,) = torch.autograd.grad(first.sum(), weight)
    torch.testing.assert_close(second, 2 * x.t())
