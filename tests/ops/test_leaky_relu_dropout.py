"""The contract of leaky_relu_dropout on the bits, its statistics and its errors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from op_specs import layouts

import gankit
from gankit.ops import backends, leaky_relu_dropout
from gankit.ops.leaky_relu_dropout import reference, spec
from gankit.ops.philox import draws16
from gankit.ops.registry import Kernel

SEED = torch.tensor([20261120])
INTEGER = {2: torch.int16, 4: torch.int32, 8: torch.int64}
DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]


def bits(x: torch.Tensor) -> torch.Tensor:
    """Storage bits in row-major order, with every NaN reduced to its sign."""
    raw = x.detach().contiguous().view(INTEGER[x.element_size()]).clone()
    return torch.where(torch.isnan(x.contiguous()), raw.sign() | 1, raw)


def special(dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    limits = torch.finfo(dtype)
    values = [0.0, -0.0, math.nan, -math.nan, math.inf, -math.inf, 1.0, -1.0]
    values += [limits.tiny, -limits.tiny, limits.max, limits.min, limits.smallest_normal / 2]
    return torch.tensor(values * 40, dtype=torch.float64).to(device, dtype)


def skip_unless_native_dtype(backend: str, dtype: torch.dtype, device: torch.device) -> None:
    lacking = [torch.float64] + ([torch.bfloat16] if device.type == "cpu" else [])
    if backend == "triton" and dtype in lacking:
        pytest.skip(f"Triton on {device} has no {dtype}")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("slope", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("p", [0.0, 1e-6, 0.3, 1 - 1e-6, 1.0])
def test_special_values(
    on_target: tuple[str, torch.device], dtype: torch.dtype, slope: float, p: float
) -> None:
    """x = 0, -0, NaN, infinity, subnormals: zero bits if dropped, sign set unless x > 0."""
    backend, device = on_target
    skip_unless_native_dtype(backend, dtype, device)
    x = special(dtype, device)
    seed = SEED.to(device)
    y = leaky_relu_dropout(x, slope, p, seed=seed)
    threshold = math.floor(p * 65536 + 0.5)
    if threshold == 0:
        assert torch.equal(bits(y), bits(F.leaky_relu(x, slope)))
        return
    dropped = draws16(seed, 0, x.numel()) < threshold
    assert bool((bits(y)[dropped] == 0).all())
    kept, positive = y[~dropped], x[~dropped] > 0
    assert bool((torch.signbit(kept) == ~positive).all())
    assert bool((kept[positive] > 0).all())
    assert bool(
        (torch.isnan(kept) == torch.isnan(x[~dropped] * (slope if slope else 1.0)))[
            ~torch.isinf(x[~dropped])
        ].all()
    )
    if threshold == 65536:
        assert bool(dropped.all())


@pytest.mark.parametrize("channelwise", [False, True])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_same_bits_as_the_reference(
    on_target: tuple[str, torch.device], dtype: torch.dtype, channelwise: bool
) -> None:
    """Same seed, same bits: forward, both backwards, in place, in every layout and tail length."""
    backend, device = on_target
    skip_unless_native_dtype(backend, dtype, device)
    generator = torch.Generator().manual_seed(3)
    seed = torch.tensor([-8_000_000_000_000_000_001], device=device)
    shapes = [(3, 5, 7, 9), (2, 16, 4, 4), (1, 3, 1, 5), (4, 1, 3, 3), (1024, 9), (513, 1), (1, 1)]
    shapes += [] if channelwise else [(), (1,), (7,), (8,), (511,), (513,), (4097,)]
    for shape in shapes:
        base = torch.randn(shape, generator=generator, dtype=torch.float64).to(device, dtype)
        for layout, x in layouts(base):
            results = {}
            for name in (backend, "reference"):
                with gankit.backend(name):
                    for save in ("output", "input"):
                        leaf = x.detach().requires_grad_()
                        y = leaky_relu_dropout(
                            leaf, 0.2, 0.4, seed=seed, stream=2**33 + 5,
                            channelwise=channelwise, save=save,
                        )  # fmt: skip
                        grad = torch.linspace(-2, 2, max(y.numel(), 1), device=device).to(dtype)
                        (g,) = torch.autograd.grad(y, leaf, grad[: y.numel()].reshape(y.shape))
                        results[name, save] = bits(y), bits(g), y.stride()
                    z = torch.empty_like(x).copy_(x)
                    kwargs = {"seed": seed, "stream": 2**33 + 5, "channelwise": channelwise}
                    assert leaky_relu_dropout(z, 0.2, 0.4, inplace=True, **kwargs) is z
                    results[name, "inplace"] = bits(z), z.stride()
            for save in ("output", "input"):
                for found, wanted in zip(
                    results[backend, save], results["reference", save], strict=True
                ):
                    same = (
                        torch.equal(found, wanted)
                        if isinstance(found, torch.Tensor)
                        else (found == wanted)
                    )
                    assert same, (shape, layout, save)
            assert torch.equal(results[backend, "output"][1], results[backend, "input"][1])
            assert torch.equal(results[backend, "inplace"][0], results["reference", "output"][0])


def test_draws_are_those_of_philox(on_target: tuple[str, torch.device]) -> None:
    """Element i is dropped by draw i of (seed, stream), counted in memory order."""
    _, device = on_target
    seed = SEED.to(device)
    x = torch.ones(4, 6, device=device).t()  # memory order is column by column
    y = leaky_relu_dropout(x, 0.2, 0.5, seed=seed, stream=9)
    dropped = (draws16(seed, 9, 24) < 32768).reshape(4, 6).t()
    assert torch.equal(y == 0, dropped)
    y = leaky_relu_dropout(
        torch.ones(4, 6, 3, 3, device=device), 0.2, 0.5, seed=seed, stream=9, channelwise=True
    )
    wanted = (draws16(seed, 9, 24) < 32768).reshape(4, 6, 1, 1).expand(4, 6, 3, 3)
    assert torch.equal(y == 0, wanted)


def test_statistics_of_dropping(on_target: tuple[str, torch.device]) -> None:
    """The share dropped is p within five standard errors, and the mean is kept."""
    backend, device = on_target
    n = 2**14 if (backend, device.type) == ("triton", "cpu") else 2**20
    for p in (0.1, 0.5, 0.9):
        x = torch.ones(n, device=device)
        y = leaky_relu_dropout(x, 0.2, p, seed=SEED.to(device), stream=int(p * 10))
        error = 5 * math.sqrt(p * (1 - p) / n)
        assert abs((y == 0).double().mean().item() - p) < error
        assert abs(y.double().mean().item() - 1) < error / (1 - p)


def test_streams_and_seeds_are_independent(device: str) -> None:
    x = torch.ones(2**16, device=device)
    masks = [
        leaky_relu_dropout(x, seed=torch.tensor([s], device=device), stream=t) == 0
        for s, t in ((1, 0), (1, 1), (2, 0), (1, 2**40), (2**40, 1))
    ]
    for i, a in enumerate(masks):
        for b in masks[:i]:
            assert abs((a ^ b).double().mean().item() - 0.5) < 0.01


def test_follows_manual_seed(device: str) -> None:
    x = torch.ones(256, device=device)
    torch.manual_seed(5)
    first, second = leaky_relu_dropout(x), leaky_relu_dropout(x)
    torch.manual_seed(5)
    assert torch.equal(leaky_relu_dropout(x), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("kwargs", [{"training": False}, {"p": 0.0}, {"p": 1e-6}])
def test_plain_leaky_relu_where_nothing_is_dropped(kwargs: dict[str, float]) -> None:
    x = torch.randn(50, requires_grad=True)
    y = leaky_relu_dropout(x, 0.3, **kwargs)  # type: ignore[arg-type]
    assert torch.equal(y, F.leaky_relu(x, 0.3))
    z = x.detach().clone()
    assert leaky_relu_dropout(z, 0.3, inplace=True, **kwargs) is z  # type: ignore[arg-type]
    assert torch.equal(z, y)


def test_gradient_is_that_of_the_plain_pair(device: str) -> None:
    """With the same mask, torch's own ops give the same first derivative."""
    x = torch.randn(64, 33, device=device, dtype=torch.float64, requires_grad=True)
    seed = SEED.to(device)
    y = leaky_relu_dropout(x, 0.2, 0.5, seed=seed)
    mask = (draws16(seed, 0, x.numel()) >= 32768).reshape(x.shape)
    plain = F.leaky_relu(x, 0.2) * mask * 2.0
    torch.testing.assert_close(y, plain, rtol=1e-15, atol=0)
    weights = torch.randn_like(y)
    (a,) = torch.autograd.grad(y, x, weights)
    (b,) = torch.autograd.grad(plain, x, weights)
    torch.testing.assert_close(a, b, rtol=1e-15, atol=0)


def test_output_must_not_be_modified_unless_input_is_saved(device: str) -> None:
    x = torch.randn(32, device=device, requires_grad=True)
    seed = SEED.to(device)
    (wanted,) = torch.autograd.grad(leaky_relu_dropout(x, seed=seed).sum(), x)
    y = leaky_relu_dropout(x, seed=seed)
    y += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
    y = leaky_relu_dropout(x, seed=seed, save="input")
    y += 1
    (found,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(found, wanted)


@pytest.mark.parametrize("channelwise", [False, True])
def test_dropout_alone_lets_its_input_be_modified(channelwise: bool, device: str) -> None:
    x = torch.randn(4, 6, 5, 7, device=device).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(4, 6, 5, 7, device=device)
    seed = SEED.to(device)
    settings: dict[str, Any] = {"seed": seed, "save": "input", "channelwise": channelwise}
    mask = leaky_relu_dropout(torch.ones_like(x), 1.0, 0.25, **settings)
    leaf = x.clone().requires_grad_()
    hidden = leaf * 1
    y = leaky_relu_dropout(hidden, 1.0, 0.25, **settings)
    hidden += y  # as in a residual connection; torch's dropout keeps its mask alone
    (found,) = torch.autograd.grad((hidden * weight).sum(), leaf)
    torch.testing.assert_close(found, weight + weight * mask)


# --- in place ---------------------------------------------------------------------------------


def test_inplace_differentiates_where_the_torch_pair_refuses(device: str) -> None:
    weight = torch.randn(16, 16, device=device, requires_grad=True)
    x = torch.randn(8, 16, device=device)
    seed = SEED.to(device)
    hidden = x @ weight
    y = leaky_relu_dropout(hidden, inplace=True, seed=seed)
    assert y is hidden
    (found,) = torch.autograd.grad(y.square().sum(), weight)
    (wanted,) = torch.autograd.grad(
        leaky_relu_dropout(x @ weight, seed=seed).square().sum(), weight
    )
    assert torch.equal(found, wanted)


def test_inplace_on_a_leaf_is_refused_and_leaves_it_whole(device: str) -> None:
    for leaf in (
        torch.randn(8, device=device, requires_grad=True),
        torch.nn.Parameter(torch.randn(4, 2, device=device)),
    ):
        before = leaf.detach().clone()
        for victim in (leaf, leaf[1:], leaf.view(-1), leaf.detach()[1:].requires_grad_()):
            with pytest.raises(RuntimeError, match="leaf tensor that requires grad"):
                leaky_relu_dropout(victim, inplace=True)
        assert torch.equal(leaf, before)
        with torch.no_grad():
            assert leaky_relu_dropout(leaf, inplace=True) is leaf


def test_inplace_on_a_view_reaches_the_base(device: str) -> None:
    weight = torch.randn(6, 6, device=device, requires_grad=True)
    seed = SEED.to(device)
    base = weight * 2
    leaky_relu_dropout(base[1:4], inplace=True, seed=seed)
    (found,) = torch.autograd.grad(base.square().sum(), weight)
    parts = weight * 2
    whole = torch.cat((parts[:1], leaky_relu_dropout(parts[1:4], seed=seed), parts[4:]))
    (wanted,) = torch.autograd.grad(whole.square().sum(), weight)
    assert torch.equal(base, whole)
    assert torch.equal(found, wanted)


def test_inplace_on_views_that_share_or_negate() -> None:
    """A view that negates is written through; nothing, and one element, share no memory."""
    seed = torch.tensor([3])
    negated = torch.randn(5, 4, dtype=torch.complex64).conj().imag
    assert negated.is_neg()
    wanted = leaky_relu_dropout(negated.clone(), seed=seed)
    leaky_relu_dropout(negated, inplace=True, seed=seed)
    assert torch.equal(negated, wanted)
    for shared in (torch.empty(0, 1).expand(0, 3), torch.ones(1).expand(1)):
        assert leaky_relu_dropout(shared, inplace=True).shape == shared.shape


def test_inplace_bumps_the_version(on_target: tuple[str, torch.device]) -> None:
    """Else autograd would use the overwritten tensor, and give wrong gradients without a word."""
    _, device = on_target
    x = torch.randn(8, device=device)
    before = x._version
    leaky_relu_dropout(x, inplace=True)
    assert x._version > before
    weight = torch.ones(8, device=device, requires_grad=True)
    x = torch.randn(8, device=device)
    product = weight * x
    leaky_relu_dropout(x, inplace=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.sum().backward()
    with torch.inference_mode():
        x = torch.ones(8, device=device)
        assert leaky_relu_dropout(x, inplace=True) is x


def test_inplace_on_sliced_memory(on_target: tuple[str, torch.device]) -> None:
    _, device = on_target
    seed = SEED.to(device)
    wide = torch.randn(6, 10, device=device)
    before = wide.clone()
    wanted = leaky_relu_dropout(wide[:, ::2].clone(), seed=seed)
    leaky_relu_dropout(wide[:, ::2], inplace=True, seed=seed)
    assert torch.equal(wide[:, ::2], wanted)
    assert torch.equal(wide[:, 1::2], before[:, 1::2])
    with pytest.raises(RuntimeError, match="expanded tensor"):
        leaky_relu_dropout(torch.ones(1, 4, device=device).expand(3, 4), inplace=True)


def test_inplace_on_a_view_that_autograd_refuses_leaves_it_whole(device: str) -> None:
    weight = torch.randn(4, 6, device=device, requires_grad=True)
    hidden = weight * 2
    before = hidden.detach().clone()
    with torch.no_grad():
        under_no_grad = hidden[1:]
    for victim in (hidden.chunk(2)[0], under_no_grad):
        with pytest.raises(RuntimeError, match=r"inplace=True (cannot be|would overwrite)"):
            leaky_relu_dropout(victim, inplace=True)
    assert torch.equal(hidden, before)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_inplace_compiles(device: str) -> None:
    torch._dynamo.reset()
    seed = SEED.to(device)
    x = torch.randn(8, 9, device=device, requires_grad=True)

    def loss(x: torch.Tensor) -> torch.Tensor:
        return leaky_relu_dropout(x * 1, inplace=True, seed=seed).square().sum()

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    assert torch.equal(torch.autograd.grad(compiled(x), x)[0], torch.autograd.grad(loss(x), x)[0])


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_compiled_code_notices_a_change_of_backend(device: str) -> None:
    torch._dynamo.reset()
    seed = SEED.to(device)
    x = torch.randn(64, device=device, requires_grad=True)
    compiled = torch.compile(
        lambda x: leaky_relu_dropout(x, seed=seed).square().sum(),
        fullgraph=True,
        backend="aot_eager",
    )
    wanted = torch.autograd.grad(compiled(x), x)[0]
    with gankit.backend("reference"):
        assert torch.equal(torch.autograd.grad(compiled(x), x)[0], wanted)


# --- arguments --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"x": [1.0]}, TypeError, "x: expected a tensor, got list"),
        ({"x": torch.ones(3).int()}, TypeError, "x: expected dtype .* got torch.int32"),
        ({"x": torch.ones(3, dtype=torch.complex64)}, TypeError, "x: expected dtype"),
        ({"negative_slope": -0.1}, ValueError, "negative_slope: .* got -0.1"),
        ({"negative_slope": math.nan}, ValueError, "negative_slope: .* got nan"),
        ({"negative_slope": math.inf}, ValueError, "negative_slope: .* got inf"),
        ({"p": -1e-9}, ValueError, r"p: expected a probability in \[0, 1\], got -1e-09"),
        ({"p": 1.5}, ValueError, "p: .* got 1.5"),
        ({"p": math.nan}, ValueError, "p: .* got nan"),
        ({"negative_slope": "a"}, TypeError, "negative_slope: expected a number, got str"),
        ({"negative_slope": 1e38, "p": 0.9}, ValueError, "negative_slope: .* overflows float32"),
        ({"p": None}, TypeError, "p: expected a number, got NoneType"),
        ({"stream": 1.5}, TypeError, "stream: expected an int, got float"),
        ({"stream": 2**64}, ValueError, "stream: expected a 64-bit number"),
        ({"x": torch.ones(3).to_sparse()}, TypeError, "x: expected a strided tensor"),
        ({"seed": 7}, TypeError, "seed: expected an int64 tensor .* got int"),
        ({"seed": torch.tensor([1.0])}, TypeError, "seed: .* got torch.float32"),
        ({"seed": torch.tensor([1, 2])}, ValueError, r"seed: .* got shape \(2,\)"),
        ({"seed": torch.empty(1, dtype=torch.int64, device="meta")}, ValueError, "seed: .* device"),
        ({"channelwise": True}, ValueError, r"channelwise .* got shape \(3,\)"),
        ({"save": "mask"}, ValueError, "save: expected 'output' or 'input', got 'mask'"),
        ({"save": "input", "inplace": True}, ValueError, "save: .* inplace"),
    ],
    ids=str,
)  # fmt: skip
def test_bad_arguments(change: dict[str, object], error: type[Exception], words: str) -> None:
    arguments: dict[str, object] = {"x": torch.ones(3), **change}
    with pytest.raises(error, match=words):
        leaky_relu_dropout(**arguments)  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None)
@given(
    shape=st.lists(st.integers(0, 6), max_size=4),
    p=st.floats(0, 1),
    slope=st.floats(0, 1e3),
    seed=st.integers(-(2**63), 2**63 - 1),
    stream=st.integers(-(2**63), 2**63 - 1),
    dtype=st.sampled_from(DTYPES),
)
def test_any_argument_gives_the_reference_bits(
    shape: list[int], p: float, slope: float, seed: int, stream: int, dtype: torch.dtype
) -> None:
    x = torch.from_numpy(np.random.default_rng(1).standard_normal(shape)).to(dtype)
    key = torch.tensor([seed])
    y = leaky_relu_dropout(x, slope, p, seed=key, stream=stream)
    with gankit.backend("reference"):
        wanted = leaky_relu_dropout(x, slope, p, seed=key, stream=stream)
    assert torch.equal(bits(y), bits(wanted))


def test_stream_is_a_64_bit_number() -> None:
    x = torch.ones(64)
    for stream in (2**63, 2**64 - 1):
        wanted = leaky_relu_dropout(x, seed=SEED, stream=stream - 2**64)
        assert torch.equal(leaky_relu_dropout(x, seed=SEED, stream=stream), wanted)


FORWARD = (SEED, 0, 32768, 2.0, 0.4, False)


@pytest.mark.skipif(not backends.native_cpu().available, reason=backends.native_cpu().reason)
@pytest.mark.parametrize(
    ("op", "arguments", "words"),
    [
        (spec.FORWARD, (torch.ones(4), torch.empty(0).long(), *FORWARD[1:]), "seed: .*one element"),
        (spec.FORWARD, (torch.ones(4), SEED.int(), *FORWARD[1:]), "seed: expected dtype int64"),
        (spec.FORWARD, (torch.ones(4), *FORWARD[:5], True), "x: channelwise"),
        (spec.FORWARD, (torch.ones(4), SEED, 0, -1, 2.0, 0.4, False), "threshold: .* got -1"),
        (spec.FORWARD, (torch.ones(4).int(), *FORWARD), "x: expected dtype .* got Int"),
        (spec.BACKWARD, (torch.ones(4).bfloat16(), torch.ones(4), 2.0, 0.4), "grad: .*dtype of y"),
        (spec.BACKWARD, (torch.ones(6), torch.ones(4, 6), 2.0, 0.4), "grad: .*shape of y"),
        (
            spec.BACKWARD_FROM_INPUT,
            (torch.ones(3, 4), torch.ones(4, 3), *FORWARD),
            "grad: expected the shape of x",
        ),
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


def test_reference_states_the_formula_in_plain_numbers() -> None:
    """The reference itself, against a loop over scalars."""
    x = torch.tensor([1.5, -2.0, 0.0, 3.0, -1.0, 4.0, -0.5, 2.0, 7.0])
    draws = draws16(SEED, 0, 9).tolist()
    y = reference.forward(x, SEED, 0, 20000, 65536 / 45536, 65536 / 45536 * 0.25, False)
    for value, draw, result in zip(x.tolist(), draws, y.tolist(), strict=True):
        keep = 0.0 if draw < 20000 else 65536 / 45536
        assert result == pytest.approx(keep * (value if value > 0 else 0.25 * value), rel=1e-6)
