"""The contract of batch_norm_act: torch's semantics, groups, numerical soundness, errors."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

import gankit
from gankit.ops import backends, batch_norm_act
from gankit.ops.batch_norm_act import spec
from gankit.ops.registry import Kernel

EAGER = {
    "none": lambda z, _: z,
    "relu": lambda z, _: F.relu(z),
    "leaky_relu": F.leaky_relu,
    "tanh": lambda z, _: torch.tanh(z),
}
SHAPES = [(8, 5), (6, 4, 9), (4, 3, 6, 5), (4, 3, 2, 3, 4)]


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def parameters(channels: int, device: torch.device | str) -> list[torch.Tensor]:
    """Running mean and variance, weight and bias."""
    values = [random(channels, seed=i).to(device) for i in range(4)]
    return [values[0], values[1].square() + 0.5, values[2] + 1, values[3]]


@pytest.fixture
def exact(on_target: tuple[str, torch.device]) -> torch.device:
    """The device, where the backend computes in float64."""
    if on_target[0] == "triton":
        pytest.skip("Triton: no kernel for float64")
    return on_target[1]


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("activation", sorted(EAGER))
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_batch_norm_and_activation(
    exact: torch.device, shape: tuple[int, ...], activation: str, affine: bool
) -> None:
    """Training and then evaluation: outputs, gradients to the second, running statistics."""
    found, wanted = [], []
    for results, fused in ((found, True), (wanted, False)):
        mean, var, weight, bias = parameters(shape[1], exact)
        x = random(*shape, seed=9).to(exact).requires_grad_()
        leaves = [x]
        if affine:
            leaves += [weight.requires_grad_(), bias.requires_grad_()]
        scale = (weight, bias) if affine else (None, None)
        for training in (True, False):
            arguments = (x, mean, var, *scale, training, 0.3, 1e-3)
            if fused:
                y = batch_norm_act(*arguments, activation=activation, negative_slope=0.1)
            else:
                y = EAGER[activation](F.batch_norm(*arguments), 0.1)
            first = torch.autograd.grad(y.pow(3).sum(), leaves, create_graph=True)
            loss = sum(g.pow(2).sum() for g in first)
            results += [y, *first, *torch.autograd.grad(loss, leaves)]  # type: ignore[arg-type]
            results += [mean.clone(), var.clone()]
    for f, w in zip(found, wanted, strict=True):
        torch.testing.assert_close(f, w, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("momentum", [0.1, None])
def test_groups_equal_one_pass_each(
    exact: torch.device, momentum: float | None, channels_last: bool
) -> None:
    """D on cat([real, fake]) with groups=2: outputs, both gradients, running statistics."""
    halves = [random(4, 3, 5, 6, seed=i).to(exact) * (i + 1) + i for i in range(2)]
    if channels_last:
        halves = [h.contiguous(memory_format=torch.channels_last) for h in halves]
    results = []
    for together in (True, False):
        mean, var, weight, bias = parameters(3, exact)
        leaves = [h.clone().requires_grad_() for h in halves]
        leaves += [weight.requires_grad_(), bias.requires_grad_()]
        batches = torch.tensor(5, device=exact)

        def run(
            x: torch.Tensor,
            groups: int,
            batches: torch.Tensor,
            stats: tuple[torch.Tensor, ...] = (mean, var),
            scale: tuple[torch.Tensor, ...] = (weight, bias),
        ) -> torch.Tensor:
            return batch_norm_act(
                x, *stats, *scale, True, momentum, activation="leaky_relu", groups=groups,
                num_batches_tracked=batches,
            )  # fmt: skip

        if together:
            y = run(torch.cat(leaves[:2]), 2, batches)
        else:
            y = torch.cat((run(leaves[0], 1, batches), run(leaves[1], 1, batches + 1)))
        first = torch.autograd.grad(y.pow(3).sum(), leaves, create_graph=True)
        loss = sum(g.pow(2).sum() for g in first)
        second = torch.autograd.grad(loss, leaves)  # type: ignore[arg-type]
        results.append((y, *first, *second, mean, var))
    for f, w in zip(*results, strict=True):
        torch.testing.assert_close(f, w, rtol=1e-10, atol=1e-10)


def test_frozen_parameters_get_no_gradient_and_x_the_same(exact: torch.device) -> None:
    _, _, weight, bias = parameters(3, exact)
    gradients = []
    for frozen in (False, True):
        x = random(5, 3, 4).to(exact).requires_grad_()
        scale = [p.clone().requires_grad_(not frozen) for p in (weight, bias)]
        y = batch_norm_act(x, None, None, *scale, True, activation="tanh")
        (first,) = torch.autograd.grad(y.pow(3).sum(), x, create_graph=True)
        first.square().sum().backward()
        assert all((p.grad is None) == frozen for p in scale)
        gradients.append((first, x.grad))
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-12, atol=1e-12)


def test_parameters_alone(exact: torch.device) -> None:
    """The first layer's x needs no gradient: weight and bias still get theirs."""
    _, _, weight, bias = parameters(3, exact)
    weight.requires_grad_()
    x = random(5, 3, 4).to(exact)
    y = batch_norm_act(x, None, None, weight, bias, True)
    z = F.relu(F.batch_norm(x, None, None, weight, bias, True))
    found, wanted = (torch.autograd.grad(r.pow(3).sum(), weight)[0] for r in (y, z))
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("shape", [(64, 3, 14, 14), (700, 5, 2, 1), (64, 40)], ids=str)
def test_mean_far_beyond_the_deviation(
    on_target: tuple[str, torch.device], shape: tuple[int, ...]
) -> None:
    """Mean 1e4, deviation 1e-2: a plain sum of squares in float32 would leave nothing."""
    x = (random(*shape) * 1e-2 + 1e4).to(on_target[1], torch.float32)
    mean, var = (torch.zeros(shape[1], device=on_target[1]) for _ in range(2))
    batch_norm_act(x, mean, var, None, None, True, 1.0)
    dims = [d for d in range(x.dim()) if d != 1]
    torch.testing.assert_close(mean.double(), x.double().mean(dims), rtol=2e-7, atol=0)
    torch.testing.assert_close(var.double(), x.double().var(dims), rtol=2e-2, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bits_keep_float32_statistics(
    on_target: tuple[str, torch.device], dtype: torch.dtype
) -> None:
    backend, device = on_target
    if backend == "triton" and device.type == "cpu" and dtype == torch.bfloat16:
        pytest.skip("Triton's interpreter has no bfloat16")
    x = random(64, 6, 5).to(device, dtype) * 3 + 5
    mean, var = torch.zeros(6, device=device), torch.ones(6, device=device)
    weight = torch.ones(6, device=device, requires_grad=True)
    y = batch_norm_act(x, mean, var, weight, None, True, 1.0)
    assert y.dtype == dtype
    y.sum().backward()
    assert weight.grad is not None
    assert weight.grad.dtype == torch.float32
    torch.testing.assert_close(mean, x.float().mean((0, 2)), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(var, x.float().var((0, 2)), rtol=1e-5, atol=1e-5)
    # A network cast whole has its parameters and running statistics in 16 bits too.
    cast = [torch.zeros(6, device=device, dtype=dtype) for _ in range(2)]
    batch_norm_act(x, *cast, weight.detach().to(dtype), None, True, 1.0)
    assert torch.equal(cast[0], mean.to(dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_running_statistics_keep_their_version_as_with_torch(
    on_target: tuple[str, torch.device], dtype: torch.dtype
) -> None:
    """Of any strides and in either dtype; what lies between their elements stays as it was."""
    device = on_target[1]
    if on_target[0] == "triton" and device.type == "cpu" and dtype == torch.bfloat16:
        pytest.skip("Triton's interpreter has no bfloat16")
    x = torch.randn(4, 3, device=device).to(dtype)
    wide = torch.zeros(6, 2, device=device, dtype=dtype)
    for mean in (torch.zeros(3, device=device, dtype=dtype), wide[::2, 0]):
        var = torch.ones(3, device=device, dtype=dtype)
        before = mean._version, var._version
        batch_norm_act(x, mean, var, None, None, True, 0.5)
        assert (mean._version, var._version) == before
        torch.testing.assert_close(mean, (x.float().mean(0) / 2).to(dtype))
    assert bool((wide[1::2] == 0).all())
    assert bool((wide[:, 1] == 0).all())


@pytest.mark.parametrize("name", ["running_mean", "running_var"])
@pytest.mark.parametrize("training", [True, False])
def test_running_statistics_that_require_grad_are_refused(name: str, training: bool) -> None:
    statistics = {"running_mean": torch.zeros(3), "running_var": torch.ones(3)}
    statistics[name].requires_grad_()
    x = torch.randn(4, 3, requires_grad=True)
    with pytest.raises(RuntimeError, match=r"running_mean, running_var: .* do not require grad"):
        batch_norm_act(x, **statistics, training=training)
    with torch.no_grad():  # torch takes them here too
        batch_norm_act(x, **statistics, training=training)


def test_same_bits_whatever_the_number_of_threads() -> None:
    x = random(32, 24, 14, 14, dtype=torch.float32)
    threads = torch.get_num_threads()
    results = []
    try:
        for layout in (torch.contiguous_format, torch.channels_last):
            for count in (1, 2, 5):
                torch.set_num_threads(count)
                leaf = x.to(memory_format=layout).requires_grad_()
                y = batch_norm_act(leaf, None, None, None, None, True, activation="tanh", groups=2)
                results.append((y, torch.autograd.grad(y.pow(3).sum(), leaf)[0]))
    finally:
        torch.set_num_threads(threads)
    for part in range(0, 6, 3):
        for other in results[part + 1 : part + 3]:
            assert all(torch.equal(a, b) for a, b in zip(results[part], other, strict=True))


@pytest.mark.parametrize("activation", ["none", "relu", "leaky_relu", "tanh"])
@pytest.mark.parametrize("shape", [(3, 2), (3, 2, 5)])
def test_infinite_values_and_constant_statistics_give_the_gradients_of_the_reference(
    activation: str, shape: tuple[int, ...], on_target: tuple[str, torch.device]
) -> None:
    backend, device = on_target
    x = torch.linspace(-2, 2, 6 * (5 if len(shape) == 3 else 1), device=device).view(shape)
    x[0], x[1] = torch.inf, -torch.inf
    found = []
    for name in (backend, "reference"):
        leaf = x.clone().requires_grad_()
        mean, var = torch.zeros(2, device=device), torch.ones(2, device=device)
        with gankit.backend(name):
            batch_norm_act(leaf, mean, var, activation=activation).sum().backward()
        found.append(leaf.grad)
    torch.testing.assert_close(found[0], found[1], equal_nan=True)
    assert found[0] is not None
    assert bool(found[0].isfinite().all())


def test_empty_batch_leaves_the_running_statistics(on_target: tuple[str, torch.device]) -> None:
    device = on_target[1]
    mean, var = torch.zeros(3, device=device), torch.ones(3, device=device)
    x = torch.empty(0, 3, 4, 4, device=device, requires_grad=True)
    y = batch_norm_act(x, mean, var, None, None, True)
    y.sum().backward()
    assert y.shape == x.shape
    assert x.grad is not None
    assert bool((mean == 0).all())


EMPTY = [(8, 4, 0), (0, 4), (0, 4, 3), (4, 0), (4, 0, 3), (16, 4, 0, 3), (16, 4, 3, 0), (0, 0, 2)]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", EMPTY, ids=str)
def test_nothing_gives_nothing_and_gradients_of_zero(
    shape: tuple[int, ...], training: bool, on_target: tuple[str, torch.device]
) -> None:
    """No samples, channels or positions: two derivatives, groups, every activation."""
    device = on_target[1]
    for activation in EAGER:
        for groups in (1, 2) if training else (1,):
            x = torch.empty(shape, device=device, requires_grad=True)
            mean, var, weight, bias = (t.float() for t in parameters(shape[1], device))
            before = mean.clone(), var.clone()
            scale = [weight.requires_grad_(), bias.requires_grad_()]
            y = batch_norm_act(x, mean, var, *scale, training, activation=activation, groups=groups)
            assert y.shape == shape
            first = torch.autograd.grad(y.sum(), [x, *scale], create_graph=True)
            energy = sum(g.square().sum() for g in first)
            second = torch.autograd.grad(energy, [x, *scale], allow_unused=True)  # type: ignore[arg-type]
            for gradient in (*first, *second):
                assert gradient is None or bool((gradient == 0).all())
            assert torch.equal(mean, before[0])
            assert torch.equal(var, before[1])


@pytest.mark.parametrize("values", [(math.inf,), (math.inf, -math.inf), (math.nan,)], ids=str)
@pytest.mark.parametrize("shape", [(40, 3), (600, 3, 2), (40, 3, 300)], ids=str)
def test_running_statistics_of_infinite_values_are_torchs(
    shape: tuple[int, ...], values: tuple[float, ...]
) -> None:
    """The mean of an infinity is infinite, that of both is not a number."""
    x = random(*shape, dtype=torch.float32)
    for sample, value in enumerate(values):
        x[sample * 20].view(3, -1)[0, 0] = value
    for layout in (x, x.movedim(1, -1).contiguous().movedim(-1, 1)):
        found = torch.zeros(3), torch.ones(3)
        wanted = torch.zeros(3), torch.ones(3)
        batch_norm_act(layout, *found, training=True)
        F.batch_norm(x, *wanted, training=True)
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4, equal_nan=True)


def test_third_derivative(device: str) -> None:
    weight = random(2, seed=5).to(device).requires_grad_()
    x = random(5, 2).to(device).requires_grad_()

    def gradient(x: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, ...]:
        y = batch_norm_act(x, None, None, weight, None, True, activation="tanh")
        return torch.autograd.grad(y.pow(3).sum(), (x, weight), create_graph=True)

    assert torch.autograd.gradgradcheck(gradient, (x, weight))


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"x": [1.0]}, TypeError, "x: expected a tensor, got list"),
        ({"x": torch.ones(4, 3).int()}, TypeError, "x: expected dtype .* got torch.int32"),
        ({"x": torch.ones(4)}, ValueError, r"x: expected \[N, C\] .* got shape \(4,\)"),
        ({"x": torch.ones(4, 5)}, ValueError, r"\(5,\) or \(4, 5\) for x .* got \(3,\)"),
        ({"x": torch.ones(1, 3, 1, 1)}, ValueError, r"more than 1 value .*\(\[1, 3, 1, 1\]\)"),
        ({"groups": 4}, ValueError, r"more than 1 value .* torch.Size\(\[1, 3\]\)"),
        ({"groups": 3}, ValueError, r"groups: 3 does not divide .* \(4, 3\)"),
        ({"groups": 0}, ValueError, "groups: 0"),
        ({"groups": 2.0}, TypeError, "groups: expected an int, got float"),
        ({"weight": torch.ones(4)}, ValueError, r"weight: .* got \(4,\)"),
        ({"weight": torch.ones(1, 3)}, ValueError, r"\(3,\) or \(4, 3\) .* got \(1, 3\)"),
        ({"running_mean": torch.ones(4, 3)}, ValueError, r"running_mean: .* \(3,\) for x"),
        ({"bias": torch.ones(3).double()}, TypeError, "bias: .* got torch.float64"),
        ({"running_var": None}, ValueError, "running_mean, running_var: expected both"),
        ({"running_mean": None, "running_var": None, "training": False}, ValueError, "needed when"),
        ({"activation": "gelu"}, ValueError, "activation: .* got 'gelu'"),
        ({"negative_slope": math.nan}, ValueError, "negative_slope: .* got nan"),
        ({"eps": -1.0}, ValueError, "eps: .* got -1.0"),
        ({"momentum": None}, ValueError, "num_batches_tracked: needed"),
        ({"process_group": "world"}, RuntimeError, "process_group: .* not initialised"),
    ],
    ids=str,
)  # fmt: skip
def test_bad_arguments(change: dict[str, object], error: type[Exception], words: str) -> None:
    arguments: dict[str, object] = {
        "x": torch.ones(4, 3),
        "running_mean": torch.zeros(3),
        "running_var": torch.ones(3),
        "weight": torch.ones(3),
        "bias": torch.ones(3),
        "training": True,
        **change,
    }
    with pytest.raises(error, match=words):
        batch_norm_act(**arguments)  # type: ignore[arg-type]


X, STATISTIC, CHANNEL = torch.ones(4, 3), torch.ones(2, 3), torch.ones(3)
SETTINGS = (1e-5, 1, 0.2)
KNOWN = (STATISTIC, STATISTIC, CHANNEL, CHANNEL)
HALF = torch.ones(2, 3).half()


@pytest.mark.skipif(not backends.native_cpu().available, reason=backends.native_cpu().reason)
@pytest.mark.parametrize(
    ("op", "arguments", "words"),
    [
        (spec.FORWARD, (torch.ones(4), None, None, 1, *SETTINGS), "x: expected .N, C."),
        (spec.FORWARD, (X, None, None, 3, *SETTINGS), "groups: 3 does not divide"),
        (spec.FORWARD, (X, None, None, 0, *SETTINGS), "groups: 0 does not divide"),
        (spec.FORWARD, (X, torch.ones(2), None, 1, *SETTINGS), "weight: expected 3 values, got 2"),
        (spec.FORWARD, (X, None, CHANNEL.double(), 1, *SETTINGS), "bias: expected x's compute"),
        (spec.FORWARD, (X, None, None, 1, 1e-5, 4, 0.2), "activation: .* got 4"),
        (spec.FORWARD, (X.int(), None, None, 1, *SETTINGS), "x: expected dtype .* got Int"),
        (spec.STATISTICS, (X, -1), "groups: -1 does not divide"),
        (spec.APPLY, (torch.ones(4), *KNOWN, *SETTINGS), "x: expected .N, C."),
        (spec.APPLY, (X, torch.ones(2), *KNOWN[1:], *SETTINGS), "mean: expected .* a last .* of 3"),
        (spec.APPLY, (X, torch.ones(3, 3), *KNOWN[1:], *SETTINGS), "mean: .* divides .* got 3"),
        (spec.APPLY, (X, STATISTIC, CHANNEL, None, None, *SETTINGS), "var: expected 6 values"),
        (spec.APPLY, (X, HALF, HALF, None, None, *SETTINGS), "mean: expected x's compute"),
        (spec.SUMS, (torch.ones(3, 3), X, *KNOWN, *SETTINGS), "grad: expected the shape of x"),
        (spec.SUMS, (X.double(), X, *KNOWN, *SETTINGS), "grad: expected the dtype of x"),
        (
            spec.GRAD_INPUT,
            (X, X, *KNOWN, STATISTIC, CHANNEL, *SETTINGS),
            "mean_qx: expected 6 values, got 3",
        ),
        (
            spec.GRAD_INPUT,
            (torch.ones(1, 3), X, *KNOWN, None, None, *SETTINGS),
            "grad: expected the shape of x",
        ),
        (
            spec.BACKWARD,
            (torch.ones(2, 3), X, *KNOWN, *SETTINGS, True, True, True),
            "grad: expected the shape of x",
        ),
        (
            spec.BACKWARD,
            (X, X, *KNOWN[:2], torch.ones(6), None, *SETTINGS, True, True, True),
            "weight: expected 3 values, got 6",
        ),
        (spec.UPDATE, (torch.ones(2), CHANNEL, *KNOWN[:2], None, 0.1, 8), "running_mean: .* of 3"),
        (spec.UPDATE, (CHANNEL, CHANNEL.half(), *KNOWN[:2], None, 0.1, 8), "running_var: .*dtype"),
        (spec.UPDATE, (CHANNEL, CHANNEL, HALF, HALF, None, 0.1, 8), "mean: expected .* float32"),
        (spec.UPDATE, (CHANNEL, CHANNEL, STATISTIC, CHANNEL, None, 0.1, 8), "var: .*shape of mean"),
        (spec.UPDATE, (CHANNEL, CHANNEL, *KNOWN[:2], CHANNEL, 0.1, 8), "batches: expected one"),
    ],
)
def test_dispatcher_ops_refuse_what_would_read_foreign_memory(
    op: Kernel, arguments: tuple[object, ...], words: str
) -> None:
    for entry in filter(None, (op.public, op.raw)):
        with pytest.raises(RuntimeError, match=words):
            entry(*arguments)


def test_no_channels() -> None:
    """Nothing to do, and nothing to divide by."""
    x = torch.ones(4, 0, requires_grad=True)
    y = batch_norm_act(x, None, None, torch.ones(0), None, True, groups=2)
    y.sum().backward()
    assert y.shape == (4, 0)
    assert x.grad is not None
    for device in ("cpu", "meta"):
        x, mean = torch.ones(4, 0, device=device), torch.ones(1, 0, device=device)
        sums = spec.SUMS.public(x, x, mean, mean, None, None, 1e-5, 1, 0.0)
        assert [s.shape for s in sums] == [(1, 0), (1, 0)]


def test_reference_states_the_formula_in_plain_numbers() -> None:
    x = torch.tensor([[1.0], [3.0], [8.0]], dtype=torch.float64)
    weight, bias = torch.tensor([2.0]).double(), torch.tensor([-0.5]).double()
    with gankit.backend("reference"):
        y = batch_norm_act(x, None, None, weight, bias, True, eps=0.25, activation="leaky_relu")
    for value, result in zip((1.0, 3.0, 8.0), y[:, 0].tolist(), strict=True):
        z = (value - 4) / math.sqrt(26 / 3 + 0.25) * 2 - 0.5
        assert result == pytest.approx(z if z > 0 else 0.2 * z, rel=1e-12)
