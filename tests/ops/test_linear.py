"""gankit.ops.linear: our and oneDNN's products against float64, torch's own everywhere else."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

import gankit
import gankit.nn
from gankit.ops import linear

MODULE: Any = importlib.import_module("gankit.ops.linear")  # the function hides its name
SHAPES = [(64, 256, 288), (61, 333, 227), (4, 1024, 1100), (2100, 250, 8)]


def has_packed() -> bool:
    try:
        torch.ops.gankit._linear_packed(torch.ones(2, 2), torch.ones(2, 2), None)
    except RuntimeError:
        return False
    return True


@pytest.fixture(params=["onednn", "packed"])
def products(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> list[tuple[int, ...]]:
    """oneDNN in force wherever this torch has it, with or without our kernel before it; gives the
    shapes of the products that either computed."""
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        pytest.skip("this torch has no oneDNN")
    if request.param == "packed" and not has_packed():
        pytest.skip("the kernel of small products is not built, or the processor has no AVX-512")
    seen: list[tuple[int, ...]] = []

    def counted(product: Any) -> Any:
        def call(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> Any:
            seen.append((x.shape[0], x.shape[1], weight.shape[0]))
            return product(x, weight, bias)

        return call

    monkeypatch.setattr(MODULE, "_taken", True)
    monkeypatch.setattr(MODULE, "_packs", request.param == "packed")
    for name in ("_onednn", "_packed"):
        monkeypatch.setattr(MODULE, name, counted(getattr(MODULE, name)))
    return seen


class _Calls(torch.overrides.TorchFunctionMode):
    """What is called of torch's functions."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.append(func)
        return func(*args, **(kwargs or {}))


def tensors(rows: int, inputs: int, outputs: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(rows)
    shapes = ((rows, inputs), (outputs, inputs), (outputs,))
    return [torch.randn(shape, generator=generator) for shape in shapes]


def derivatives(function: Any, leaves: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """Output, gradients, and gradients of a gradient penalty."""
    y = function(*leaves)
    first = torch.autograd.grad(y.square().sum(), leaves, create_graph=True)
    second = torch.autograd.grad(first[0].square().sum(), leaves)
    return (y, *first, *second)


def assert_near(found: Any, wanted: Any) -> None:
    """Within the rounding of a sum of float32 products, relative to the largest value."""
    for f, w in zip(found, wanted, strict=True):
        assert f.shape == w.shape
        assert f.dtype == torch.float32
        assert (f.double() - w).abs().max() <= 3e-6 * w.abs().max()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_output_and_two_derivatives(shape: tuple[int, int, int], products: list[Any]) -> None:
    leaves = [x.requires_grad_() for x in tensors(*shape)]
    wide = [x.detach().double().requires_grad_() for x in leaves]
    assert_near(derivatives(linear, leaves), derivatives(F.linear, wide))
    assert set(products) >= {shape, (shape[0], shape[2], shape[1]), (shape[2], shape[0], shape[1])}


@pytest.mark.parametrize("shape", [(1100, 4, 1024), (1100, 1024, 4), (9000, 32, 64)], ids=str)
def test_narrow_layers_mix_the_libraries(shape: tuple[int, int, int], products: list[Any]) -> None:
    rows, inputs, outputs = shape
    leaves = [x.requires_grad_() for x in tensors(*shape)]
    wide = [x.detach().double().requires_grad_() for x in leaves]
    assert_near(derivatives(linear, leaves), derivatives(F.linear, wide))
    # The weight's gradient has to copy dL/dy, which few inputs do not repay.
    assert (shape in products) == (outputs >= 8)
    assert ((outputs, rows, inputs) in products) == (inputs >= 64 and outputs >= 8)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_bits_again(threads: int, products: list[Any]) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        leaves = [x.requires_grad_() for x in tensors(61, 333, 227)]
        first, again = (derivatives(linear, leaves) for _ in range(2))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert len(products) > 0


def expanded(x: torch.Tensor) -> torch.Tensor:
    return x[:1].expand(x.shape)


@pytest.mark.parametrize(
    "laid_out",
    [
        lambda x: x.t().contiguous().t(),
        lambda x: torch.stack((x, x), 2)[..., 0],
        lambda x: torch.cat((x, x), 1)[:, : x.shape[1]],
        lambda x: torch.cat((x.flatten()[:1], x.flatten()))[1:].view_as(x),
        expanded,
    ],
    ids=["transposed", "sliced", "gaps", "misaligned", "expanded"],
)
def test_every_layout(laid_out: Any, products: list[Any]) -> None:
    x, weight, bias = tensors(64, 256, 288)
    for arguments in ((laid_out(x), weight, bias), (x, laid_out(weight), bias)):
        assert_near([linear(*arguments)], [F.linear(*(a.double() for a in arguments))])
    assert len(products) == 2


def test_onednn_reads_no_gaps() -> None:
    """It can, but by plain loops: a matrix product then takes hundreds of times as long."""
    weight = torch.randn(64, 96)
    for dense in (weight, weight.t()):
        assert MODULE._by_rows_or_columns(dense) is dense
    for gaps in (weight[:, :32], weight[:, ::2], weight[:32].t()[::2], weight[:1].expand(64, 96)):
        found = MODULE._by_rows_or_columns(gaps)
        assert found.is_contiguous()
        assert torch.equal(found, gaps)


def test_nothing_is_saved_in_vain(products: list[Any]) -> None:
    x, weight, bias = tensors(64, 256, 288)
    saved: list[torch.Tensor] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        saved.append(tensor)
        return tensor

    for index, kept in ((0, weight), (1, x), (2, None)):
        inputs = [x.clone(), weight.clone(), bias.clone()]
        inputs[index].requires_grad_()
        saved.clear()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            linear(*inputs)
        assert len(saved) == (kept is not None)
        assert kept is None or torch.equal(saved[0], kept)


@pytest.mark.parametrize("expand", [False, True])
def test_gradients_as_autograd_hands_them_over(expand: bool, products: list[Any]) -> None:
    leaves = [x.requires_grad_() for x in tensors(64, 256, 288)]
    wide = [x.detach().double().requires_grad_() for x in leaves]
    for function, inputs in ((linear, leaves), (F.linear, wide)):
        y = function(*inputs)
        (y.sum() if expand else y.t().contiguous().square().sum()).backward()
    assert_near([x.grad for x in leaves], [x.grad for x in wide])


def test_more_and_fewer_dimensions(products: list[Any]) -> None:
    x, weight, bias = tensors(64, 256, 288)
    found = linear(x.view(4, 2, 8, 256), weight, bias)
    assert found.shape == (4, 2, 8, 288)
    assert_near([found.flatten(0, 2)], [F.linear(x.double(), weight.double(), bias.double())])
    assert products == [(64, 256, 288)]
    assert torch.equal(linear(x[0], weight, bias), F.linear(x[0], weight, bias))


def test_only_what_is_asked_for_is_computed(products: list[Any]) -> None:
    x, weight, bias = tensors(64, 256, 288)
    for index, others in ((0, 1), (1, 1), (2, 0)):
        inputs = [x.clone(), weight.clone(), bias.clone()]
        inputs[index].requires_grad_()
        y = linear(*inputs)
        products.clear()
        y.sum().backward()
        assert inputs[index].grad is not None
        assert len(products) == others


def test_a_weight_that_changed_is_noticed(products: list[Any]) -> None:
    x, weight, bias = tensors(64, 256, 288)
    y = linear(x.requires_grad_(), weight.requires_grad_(), bias)
    with torch.no_grad():
        weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


@pytest.mark.parametrize(
    "change",
    [
        lambda x, w, b: (x.double(), w.double(), b.double()),
        lambda x, w, b: (x.bfloat16(), w.bfloat16(), b.bfloat16()),
        lambda x, w, b: (x[:3], w, b),
        lambda x, w, b: (x[:0], w, b),
        lambda x, w, b: (x, w[:3], b[:3]),
        lambda x, w, b: (x, w[:4], b[:4]),
        lambda x, w, b: (x, w.to_sparse_csr(), b),
        lambda x, w, b: (x, w[0], None),
        lambda x, w, b: (x.to("meta"), w.to("meta"), b.to("meta")),
    ],
    ids=[
        "float64",
        "bfloat16",
        "3 rows",
        "empty",
        "3 outputs",
        "4 outputs",
        "sparse",
        "vector",
        "meta",
    ],
)
def test_torch_serves_the_rest(change: Any, products: list[Any]) -> None:
    arguments = change(*tensors(64, 256, 288))
    found, wanted = linear(*arguments), F.linear(*arguments)
    assert found.shape == wanted.shape
    assert found.dtype == wanted.dtype
    assert found.is_meta or torch.equal(found, wanted)
    assert products == []


def test_torch_serves_autocast_and_the_reference_backend(products: list[Any]) -> None:
    x, weight, bias = tensors(64, 256, 288)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(linear(x, weight, bias), F.linear(x, weight, bias))
    with gankit.backend("reference"):
        assert torch.equal(linear(x, weight, bias), F.linear(x, weight, bias))
    assert products == []


@pytest.mark.filterwarnings("ignore")  # torch.jit.trace and mkldnn.flags warn of themselves
def test_torch_serves_those_who_record_or_switch_off(products: list[Any]) -> None:
    x, weight, bias = tensors(64, 256, 288)
    traced = torch.jit.trace(gankit.nn.Linear(256, 288), x, check_trace=False)
    assert "aten::linear" in str(traced.inlined_graph)
    with FlopCounterMode(display=False) as counter:
        linear(x, weight, bias)
    assert counter.get_total_flops() == 2 * 64 * 256 * 288
    with torch.backends.mkldnn.flags(enabled=False):
        assert torch.equal(linear(x, weight, bias), F.linear(x, weight, bias))
    assert products == []
    with _Calls() as calls:
        linear(x, weight, bias)
    assert F.linear in calls.seen
    assert products == []
    linear(x, weight, bias)
    assert len(products) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        lambda x, w, b: (x[:, 1:], w, b),
        lambda x, w, b: (x, w, b[1:]),
        lambda x, w, b: (x.double(), w, b),
        lambda x, w, b: (x, w.double(), b),
    ],
    ids=["inputs", "bias", "x's dtype", "weight's dtype"],
)
def test_errors_are_torchs(wrong: Any, products: list[Any]) -> None:
    arguments = wrong(*tensors(64, 256, 288))
    with pytest.raises(RuntimeError) as theirs:
        F.linear(*arguments)
    with pytest.raises(RuntimeError) as ours:
        linear(*arguments)
    assert str(ours.value) == str(theirs.value)


def test_transforms(products: list[Any]) -> None:
    x, weight, bias = tensors(64, 256, 288)

    def loss(w: torch.Tensor) -> torch.Tensor:
        return linear(x, w, bias).square().sum()

    wide = weight.double().requires_grad_()
    (wanted,) = torch.autograd.grad(F.linear(x.double(), wide, bias.double()).square().sum(), wide)
    assert_near([torch.func.grad(loss)(weight)], [wanted])
    _, tangent = torch.func.jvp(loss, (weight,), (weight,))
    assert abs(tangent / (wanted * weight).sum() - 1) < 1e-4
    batched = torch.func.vmap(lambda w: linear(x, w, bias))(torch.stack((weight, weight)))
    torch.testing.assert_close(batched[1], F.linear(x, weight, bias))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("packs", [False, True])
def test_compiles_whole_and_exports(packs: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        pytest.skip("this torch has no oneDNN")
    if packs and not has_packed():
        pytest.skip("the kernel of small products is not built, or the processor has no AVX-512")
    monkeypatch.setattr(MODULE, "_taken", True)
    monkeypatch.setattr(MODULE, "_packs", packs)
    torch._dynamo.reset()
    compiled = torch.compile(linear, fullgraph=True, backend="aot_eager")
    leaves = [x.requires_grad_() for x in tensors(64, 256, 288)]
    for x in (leaves[0], leaves[0].detach().view(8, 8, 256)):
        inputs = [x, *leaves[1:]]
        asked = [x for x in inputs if x.requires_grad]
        results = [
            torch.autograd.grad(function(*inputs).square().sum(), asked)
            for function in (compiled, linear)
        ]
        torch.testing.assert_close(*results)
    module = gankit.nn.Linear(256, 288)
    exported = torch.export.export(module, (leaves[0].detach(),))
    torch.testing.assert_close(exported.module()(leaves[0]), module(leaves[0]))


@pytest.mark.parametrize("name", ["_linear_onednn", "_linear_packed"])
def test_opcheck(name: str) -> None:
    if name == "_linear_onednn" and not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        pytest.skip("this torch has no oneDNN")
    if name == "_linear_packed" and not has_packed():
        pytest.skip("the kernel of small products is not built, or the processor has no AVX-512")
    x, weight, bias = tensors(8, 16, 12)
    for arguments in ((x, weight, bias), (x.t().contiguous().t(), weight, None)):
        torch.library.opcheck(getattr(torch.ops.gankit, name).default, arguments)


def test_small_products_have_the_same_bits_for_any_number_of_threads() -> None:
    if not has_packed():
        pytest.skip("the kernel of small products is not built, or the processor has no AVX-512")
    before = torch.get_num_threads()
    packed = torch.ops.gankit._linear_packed
    for rows, inputs, outputs in ((60, 784, 1024), (61, 333, 227), (130, 1030, 70)):
        x, weight, bias = tensors(rows, inputs, outputs)
        found = []
        for threads in (1, 2, 3, 7):
            torch.set_num_threads(threads)
            found.append((packed(x, weight, bias), packed(x, weight.t().contiguous().t(), bias)))
        torch.set_num_threads(before)
        for results in found:
            assert torch.equal(results[0], found[0][0])
            assert torch.equal(results[1], found[0][1])


def test_small_products_refuse_what_they_cannot_read() -> None:
    if not has_packed():
        pytest.skip("the kernel of small products is not built, or the processor has no AVX-512")
    packed = torch.ops.gankit._linear_packed
    x, weight, bias = tensors(16, 12, 8)
    for arguments, message in (
        ((x.double(), weight, bias), "x: expected dtype float32"),
        ((x, weight[:, 1:], bias), "weight: expected 2 dimensions, the last of size 12"),
        ((x, weight, bias[1:]), "bias: expected 1 dimension, of size 8"),
        ((x[0], weight, bias), "x: expected 2 dimensions"),
    ):
        with pytest.raises(RuntimeError, match=message):
            packed(*arguments)
    assert packed(x[:0], weight, bias).shape == (0, 8)
    torch.testing.assert_close(packed(x[:, :0], weight[:, :0], bias), bias.expand(16, 8))


def test_the_module_is_torchs_linear() -> None:
    torch.manual_seed(0)
    plain = torch.nn.Linear(256, 288)
    torch.manual_seed(0)
    ours = gankit.nn.Linear(256, 288)
    assert isinstance(ours, torch.nn.Linear)
    assert repr(ours) == repr(plain)
    for key, value in plain.state_dict().items():
        assert torch.equal(ours.state_dict()[key], value)
    x = tensors(64, 256, 288)[0]
    torch.testing.assert_close(ours(x), plain(x), rtol=1e-5, atol=1e-6)
    traced = torch.fx.symbolic_trace(ours)
    assert linear in [node.target for node in traced.graph.nodes]
    assert torch.equal(traced(x), ours(x))


def test_the_reason_is_in_words_or_onednn_is_in_force() -> None:
    reason = MODULE.why_not_onednn()
    assert MODULE._taken == (reason == "" and gankit.ops.backends.requested() != "reference")


def _strided(x: torch.Tensor) -> torch.Tensor:
    return torch.stack((x, torch.full_like(x, 1e9)), -1)[..., 0]


def _expanded(x: torch.Tensor) -> torch.Tensor:
    return x[:1].expand(x.shape)


def _padded(x: torch.Tensor) -> torch.Tensor:
    return torch.cat((x, torch.full_like(x, 1e9)), -1)[..., : x.shape[-1]]


@pytest.mark.parametrize("change", [_strided, _expanded, _padded], ids=lambda f: f.__name__)
@pytest.mark.parametrize("number", [0, 1, 2], ids=["x", "weight", "bias"])
def test_strides_of_any_argument(number: int, change: Any, products: list[tuple[int, ...]]) -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(s, generator=generator) for s in ((1024, 64), (130, 64), (130,))]
    inputs[number] = change(inputs[number])
    found = [x.detach().requires_grad_() for x in inputs]
    wanted = [x.double().contiguous().requires_grad_() for x in inputs]
    for leaves, function in ((found, linear), (wanted, F.linear)):
        y = function(*leaves)
        leaves.append(y)
        leaves += torch.autograd.grad(y.square().mean(), leaves[:3])
    assert products
    for f, w in zip(found[3:], wanted[3:], strict=True):
        torch.testing.assert_close(f, w.float(), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("number", "wrong"),
    [(0, torch.ones(3)), (1, torch.ones(9, 5)), (2, torch.ones(7)), (2, torch.ones(9).double())],
    ids=["x", "weight", "bias", "dtype"],
)
def test_the_raw_ops_name_what_they_refuse(number: int, wrong: torch.Tensor) -> None:
    ops = [torch.ops.gankit._linear_onednn]
    if has_packed():
        ops.append(torch.ops.gankit._linear_packed)
    arguments = [torch.ones(8, 4), torch.ones(9, 4), torch.ones(9)]
    arguments[number] = wrong
    for op in ops:
        with pytest.raises(RuntimeError, match=f"{('x', 'weight', 'bias')[number]}: expected"):
            op(*arguments)
