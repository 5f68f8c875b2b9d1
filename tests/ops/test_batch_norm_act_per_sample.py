"""batch_norm_act with a scale and a shift per sample: conditional batch normalization."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import gankit
from gankit.ops import backends, batch_norm_act
from gankit.ops.batch_norm_act import spec
from gankit.ops.registry import Kernel

ACTIVATIONS = {
    "none": lambda z: z,
    "relu": F.relu,
    "leaky_relu": lambda z: F.leaky_relu(z, 0.2),
    "tanh": torch.tanh,
}
SHAPES = [(8, 5), (6, 4, 9), (4, 3, 6, 5), (6, 3, 3, 3), (2, 20, 12, 13)]
# Of scale and shift: one for each sample, one for all, none.
KINDS = [("each", "each"), ("each", "all"), ("all", "each"), ("each", "none"), ("none", "each")]


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def parameter(kind: str, shape: tuple[int, ...], seed: int) -> torch.Tensor | None:
    if kind == "none":
        return None
    return random(*shape[:2], seed=seed) if kind == "each" else random(shape[1], seed=seed)


def plain(
    x: torch.Tensor,
    running: tuple[torch.Tensor, torch.Tensor],
    scale: torch.Tensor | None,
    shift: torch.Tensor | None,
    training: bool,
    activation: str,
    groups: int,
) -> torch.Tensor:
    """The same by torch's operations."""
    parts = [F.batch_norm(part, *running, None, None, training, 0.3) for part in x.chunk(groups)]
    z = torch.cat(parts)
    pixels = (1,) * (x.dim() - 2)
    for number, p in enumerate((scale, shift)):
        if p is not None:
            p = p.reshape(*((1,) if p.dim() == 1 else ()), *p.shape, *pixels)
            z = z + p if number else z * p
    return ACTIVATIONS[activation](z)


@pytest.mark.parametrize("kinds", KINDS, ids="-".join)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_torchs_operations(
    shape: tuple[int, ...], kinds: tuple[str, str], on_target: tuple[str, torch.device]
) -> None:
    """Training in one and two groups, then evaluation: outputs and gradients to the second."""
    backend, device = on_target
    dtype = torch.float32 if backend == "triton" else torch.float64
    tolerance = 2e-3 if backend == "triton" else 1e-9
    names = list(ACTIVATIONS)
    for number, (training, groups) in enumerate(((True, 1), (True, 2), (False, 1))):
        activation = names[(SHAPES.index(shape) + KINDS.index(kinds) + number) % len(names)]
        found: list[list[torch.Tensor]] = []
        for fused in (True, False):
            x = random(*shape, seed=9).to(device, dtype)
            if number == 1 and x.dim() == 4:
                x = x.contiguous(memory_format=torch.channels_last)
            given = [x, *(parameter(k, shape, i) for i, k in enumerate(kinds))]
            leaves = [p.to(device, dtype).requires_grad_() for p in given if p is not None]
            rest = iter(leaves)
            x, scale, shift = (None if p is None else next(rest) for p in given)
            assert x is not None
            running = (
                random(shape[1], seed=3).to(device, dtype),
                (random(shape[1], seed=4).square() + 0.5).to(device, dtype),
            )
            if fused:
                y = batch_norm_act(
                    x, *running, scale, shift, training, 0.3, activation=activation, groups=groups
                )
            else:
                y = plain(x, running, scale, shift, training, activation, groups)
            first = torch.autograd.grad(y.pow(2).sum(), leaves, create_graph=True)
            energy = sum(g.square().mean() for g in first)
            second = torch.autograd.grad(energy, leaves)  # type: ignore[arg-type]
            found.append([y, *first, *second, *running])
        for f, w in zip(*found, strict=True):
            assert f.shape == w.shape
            torch.testing.assert_close(f, w, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("training", [True, False])
def test_scale_of_zero(training: bool, on_target: tuple[str, torch.device]) -> None:
    """Nothing reaches x, and what the scale would change is its gradient: no division by it."""
    device = on_target[1]
    x = random(4, 3, 5).to(device, torch.float32).requires_grad_()
    running = torch.zeros(3, device=device), torch.ones(3, device=device)
    scale = torch.zeros(4, 3, device=device, requires_grad=True)
    shift = torch.ones(4, 3, device=device, requires_grad=True)
    y = batch_norm_act(x, *running, scale, shift, training)
    y.square().sum().backward()
    assert bool((y == 1).all())
    assert x.grad is not None
    assert bool((x.grad == 0).all())
    assert scale.grad is not None
    assert bool((scale.grad != 0).all())
    torch.testing.assert_close(shift.grad, torch.full((4, 3), 10.0, device=device))


def test_rows_of_equal_parameters_are_those_of_all(on_target: tuple[str, torch.device]) -> None:
    """A scale and a shift that the samples share give the outputs of the plain op."""
    device = on_target[1]
    for layout in (torch.contiguous_format, torch.channels_last):
        x = random(6, 5, 12, 12).to(device, torch.float32, memory_format=layout)
        scale, shift = (random(5, seed=s).to(device, torch.float32) for s in (1, 2))
        shared = batch_norm_act(x, None, None, scale, shift, True, groups=2)
        rows = (p.expand(6, 5).contiguous() for p in (scale, shift))
        found = batch_norm_act(x, None, None, *rows, True, groups=2)
        torch.testing.assert_close(found, shared, rtol=1e-6, atol=1e-6)


def test_same_bits_whatever_the_number_of_threads() -> None:
    threads = torch.get_num_threads()
    results: list[tuple[torch.Tensor, ...]] = []
    try:
        for layout in (torch.contiguous_format, torch.channels_last):
            for count in (1, 2, 5):
                torch.set_num_threads(count)
                leaves = [random(16, 24, 14, 14).float().to(memory_format=layout)]
                leaves += [random(16, 24, seed=s).float() for s in (1, 2)]
                leaves = [leaf.requires_grad_() for leaf in leaves]
                x, *scales = leaves
                y = batch_norm_act(x, None, None, *scales, True, activation="tanh", groups=2)
                results.append((y, *torch.autograd.grad(y.pow(3).sum(), leaves)))
    finally:
        torch.set_num_threads(threads)
    for part in (0, 3):
        for other in results[part + 1 : part + 3]:
            assert all(torch.equal(a, b) for a, b in zip(results[part], other, strict=True))


@pytest.mark.parametrize("shape", [(0, 3, 2, 2), (4, 0, 2), (4, 3, 0)], ids=str)
def test_nothing_gives_gradients_of_zero(
    shape: tuple[int, ...], on_target: tuple[str, torch.device]
) -> None:
    device = on_target[1]
    for training in (True, False):
        leaves = [torch.ones(s, device=device) for s in (shape, shape[:2], shape[:2])]
        leaves = [leaf.requires_grad_() for leaf in leaves]
        running = torch.zeros(shape[1], device=device), torch.ones(shape[1], device=device)
        y = batch_norm_act(leaves[0], *running, *leaves[1:], training, activation="tanh")
        first = torch.autograd.grad(y.sum(), leaves, create_graph=True)
        assert [g.shape for g in first] == [leaf.shape for leaf in leaves]
        second = torch.autograd.grad(sum(g.square().sum() for g in first), leaves)  # type: ignore
        assert all(bool((g == 0).all()) for g in (*first, *second))


def test_the_scale_of_a_sample_does_not_reach_the_outputs_of_others() -> None:
    """But through the statistics' part of dL/dx a scale reaches all of its group."""
    scale, shift = random(4, 3, seed=1), random(4, 3, seed=2)
    other = scale.clone()
    other[2] += 1
    outputs, gradients = [], []
    for s in (scale, other):
        x = random(4, 3, 5).requires_grad_()
        y = batch_norm_act(x, None, None, s, shift, True, activation="none", groups=2)
        outputs.append(y)
        gradients.append(torch.autograd.grad(y.pow(3).sum(), x)[0])
    assert torch.equal(outputs[0][[0, 1, 3]], outputs[1][[0, 1, 3]])
    assert torch.equal(gradients[0][:2], gradients[1][:2])
    assert not torch.equal(gradients[0][3], gradients[1][3])


X, STATISTIC, CHANNEL, EACH = torch.ones(4, 3), torch.ones(2, 3), torch.ones(3), torch.ones(4, 3)
SETTINGS = (1e-5, 1, 0.2)


@pytest.mark.skipif(not backends.native_cpu().available, reason=backends.native_cpu().reason)
@pytest.mark.parametrize(
    ("op", "arguments", "words"),
    [
        (spec.FORWARD, (X, torch.ones(2, 3), None, 1, *SETTINGS), "weight: expected 12 values"),
        (spec.FORWARD, (X, torch.ones(3, 4), None, 1, *SETTINGS), r"weight: .* \[N, C\], got \[3"),
        (spec.FORWARD, (X, None, EACH[None], 1, *SETTINGS), "bias: expected "),
        (spec.FORWARD, (X, EACH, CHANNEL, 1, *SETTINGS), "weight, bias: expected both"),
        (spec.APPLY, (X, STATISTIC, STATISTIC, None, EACH.double(), *SETTINGS), "bias: .* compute"),
        (
            spec.GRAD_INPUT,
            (X, X, STATISTIC, STATISTIC, EACH, None, EACH, EACH, *SETTINGS),
            "mean_q: expected 6 values, got 12",
        ),
    ],
)
def test_dispatcher_ops_refuse_what_would_read_foreign_memory(
    op: Kernel, arguments: tuple[object, ...], words: str
) -> None:
    for entry in filter(None, (op.public, op.raw)):
        with pytest.raises(RuntimeError, match=words):
            entry(*arguments)


def test_reference_states_the_formula_in_plain_numbers() -> None:
    x = torch.tensor([[1.0], [3.0], [8.0]], dtype=torch.float64)
    scale = torch.tensor([[2.0], [-1.0], [0.5]], dtype=torch.float64)
    with gankit.backend("reference"):
        y = batch_norm_act(x, None, None, scale, None, True, eps=0.25, activation="none")
    for value, factor, result in zip((1, 3, 8), (2.0, -1.0, 0.5), y[:, 0].tolist(), strict=True):
        wanted = factor * (value - 4) / (26 / 3 + 0.25) ** 0.5
        assert result == pytest.approx(wanted, rel=1e-12)
