"""Accelerated networks among the rest of PyTorch."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.utils import parametrizations, spectral_norm, weight_norm

import gankit
from gankit.acceleration.run import served
from tests.accelerate.networks import dcgan_discriminator, dcgan_generator, mlp_discriminator

pytestmark = [
    pytest.mark.skipif(not served("cpu"), reason="only the reference backend is here"),
    pytest.mark.filterwarnings("ignore"),
]
Z = (4, 8, 1, 1)
IMAGES = (4, 3, 16, 16)


def pair(network: nn.Module) -> tuple[nn.Module, nn.Module]:
    """The network accelerated, and a copy as it was."""
    plain = copy.deepcopy(network)
    assert gankit.accelerate(network).counts
    return network, plain


def same(a: Tensor, b: Tensor, tolerance: float = 1e-5) -> None:
    assert a.dtype == b.dtype
    scale = max(1.0, b.abs().max().item())
    torch.testing.assert_close(a, b, rtol=10 * tolerance, atol=tolerance * scale)


def gradients(network: nn.Module, y: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(y.float().square().sum(), list(network.parameters())))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("build", [dcgan_generator, lambda: mlp_discriminator(0.0)])
def test_autocast(build: object, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    ours, plain = pair(build())  # type: ignore[operator]
    x = torch.randn(Z if len(plain) == 8 and isinstance(plain[0], nn.ConvTranspose2d) else (6, 20))
    with torch.autocast("cpu", dtype=dtype):
        a, b = ours(x), plain(x)
    same(a, b, 2e-2 if dtype == torch.bfloat16 else 2e-3)
    exact = gradients(plain, plain(x))
    scale = max(g.abs().max().item() for g in exact)
    for network, y in ((ours, a), (plain, b)):
        for g, e in zip(gradients(network, y), exact, strict=True):
            assert (g - e).abs().max().item() < 0.1 * scale


@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (dcgan_generator, Z),
        (lambda: dcgan_discriminator(0.0), IMAGES),
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_compile_without_a_break(build: object, shape: tuple[int, ...], training: bool) -> None:
    torch.manual_seed(0)
    ours, plain = pair(build())  # type: ignore[operator]
    for network in (ours, plain):
        network.train(training)
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
    x = torch.randn(shape)
    y = compiled(x)
    grads = gradients(ours, y)
    expected = plain(x)
    same(y, expected)
    scale = max(1.0, *(g.abs().max().item() for g in grads))
    for a, b in zip(grads, gradients(plain, expected), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5 * scale)
    for a, b in zip(ours.buffers(), plain.buffers(), strict=True):
        same(a, b)


def test_a_compiled_network_follows_what_changes_later() -> None:
    ours, plain = pair(mlp_discriminator(0.5))
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
    x = torch.randn(6, 20)
    assert all(bool(g.isfinite().all() and g.any()) for g in gradients(ours, compiled(x)))
    ours.eval()
    same(compiled(x), plain.eval()(x))


def test_export_gives_a_graph_of_torchs_own_ops() -> None:
    ours, plain = pair(dcgan_generator().eval())
    x = torch.randn(Z)
    program = torch.export.export(ours, (x,))
    assert not any("gankit" in str(node.target) for node in program.graph.nodes)
    same(program.module()(x), plain(x))


def test_trace_and_script_give_torchs_own_ops() -> None:
    ours, plain = pair(dcgan_discriminator().eval())
    x = torch.randn(IMAGES)
    traced = torch.jit.trace(ours, x)
    scripted = torch.jit.script(ours)
    for module in (traced, scripted):
        assert "gankit::" not in str(module.inlined_graph)
        same(module(x), plain(x))


def test_onnx(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    ours, _ = pair(dcgan_generator().eval())
    torch.onnx.export(ours, (torch.randn(Z),), str(tmp_path / "g.onnx"), dynamo=False)
    assert (tmp_path / "g.onnx").stat().st_size > 0


def test_symbolic_trace_sees_every_layer() -> None:
    ours, plain = pair(dcgan_generator().eval())
    graph = torch.fx.symbolic_trace(ours)
    assert [n.target for n in graph.graph.nodes if n.op == "call_module"] == [
        str(i) for i in range(len(plain))
    ]
    x = torch.randn(Z)
    same(graph(x), plain(x))


def test_functional_call_and_the_transforms() -> None:
    ours, plain = pair(mlp_discriminator(0.0).double())
    x = torch.randn(6, 20, dtype=torch.float64)
    other = {name: torch.randn_like(p) for name, p in plain.named_parameters()}
    call = torch.func.functional_call
    same(call(ours, other, (x,)), call(plain, other, (x,)), 1e-9)

    def loss(parameters: dict[str, Tensor], network: nn.Module, x: Tensor) -> Tensor:
        return call(network, parameters, (x,)).sum()

    ours_grad, plain_grad = (torch.func.grad(loss)(other, n, x) for n in (ours, plain))
    for name in other:
        same(ours_grad[name], plain_grad[name], 1e-9)
    per_sample = torch.func.vmap(torch.func.grad(loss), (None, None, 0))
    for a, b in zip(
        per_sample(other, ours, x[:, None]).values(),
        per_sample(other, plain, x[:, None]).values(),
        strict=True,
    ):
        same(a, b, 1e-9)
    jacobian = torch.func.jacfwd(lambda v: ours(v))(x[:1])
    same(jacobian, torch.func.jacfwd(lambda v: plain(v))(x[:1]), 1e-9)


@pytest.mark.parametrize(
    "wrap",
    [
        spectral_norm,
        weight_norm,
        parametrizations.spectral_norm,
        parametrizations.weight_norm,
        parametrizations.orthogonal,
    ],
)
def test_reparametrised_layers_are_right_before_and_after(wrap: object) -> None:
    made = []
    for accelerated in (True, False):
        torch.manual_seed(0)
        network = mlp_discriminator(0.0).double()
        wrap(network[0])  # type: ignore[operator]
        if accelerated:
            gankit.accelerate(network)
        wrap(network[3])  # type: ignore[operator]
        made.append(network)
    network, plain = made
    x = torch.randn(6, 20, dtype=torch.float64)
    for _ in range(2):
        a, b = network(x), plain(x)
        same(a, b, 1e-9)
    for g, e in zip(gradients(network, a), gradients(plain, b), strict=True):
        same(g, e, 1e-6)
    assert list(network.state_dict()) == list(plain.state_dict())


def test_the_users_own_gradient_penalty() -> None:
    torch.manual_seed(0)
    ours, plain = pair(dcgan_discriminator(0.0).double())
    images = torch.randn(IMAGES, dtype=torch.float64)
    found = []
    for network in (ours, plain):
        x = images.clone().requires_grad_()
        y = network(x)
        (slope,) = torch.autograd.grad(y, x, torch.ones_like(y), create_graph=True)
        ((slope.view(len(x), -1).norm(2, dim=1) - 1) ** 2).mean().backward()
        found.append([p.grad for p in network.parameters()])
    for a, b in zip(*found, strict=True):
        if a is None or b is None:
            zero = b if a is None else a
            assert zero is None or not zero.any()
        else:
            same(a, b, 1e-8)


def test_distributed_data_parallel(tmp_path: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        ours, plain = pair(dcgan_generator())
        wrapped = nn.parallel.DistributedDataParallel(ours)
        x = torch.randn(Z)
        wrapped(x).square().sum().backward()
        plain(x).square().sum().backward()
        scale = max(p.grad.abs().max().item() for p in plain.parameters() if p.grad is not None)
        for a, b in zip(ours.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-5 * max(1.0, scale))
    finally:
        dist.destroy_process_group()


def test_forward_mode_dispatch_modes_and_other_tensors() -> None:
    ours, plain = pair(mlp_discriminator(0.0))
    x, tangent = torch.randn(6, 20), torch.randn(6, 20)
    a, b = (torch.func.jvp(n, (x,), (tangent,))[1] for n in (ours, plain))
    same(a, b)
    from torch.utils.flop_counter import FlopCounterMode

    counts = []
    for network in (ours, plain):
        with FlopCounterMode(display=False) as counter:
            network(x)
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 0
    meta = ours.to("meta")
    assert meta(x.to("meta")).shape == (6, 1)


def test_inference_mode_and_dtypes_that_have_no_kernel() -> None:
    torch.manual_seed(0)
    ours, plain = pair(dcgan_discriminator(0.0).eval())
    x = torch.randn(IMAGES)
    with torch.inference_mode():
        same(ours(x), plain(x))
    same(ours.to(torch.bfloat16)(x.bfloat16()), plain.to(torch.bfloat16)(x.bfloat16()), 2e-2)
    for network in (ours, plain):
        with pytest.raises(RuntimeError):
            network(x)  # float32 input, bfloat16 weights: as torch has it


def test_wrong_shapes_raise_what_torch_raises() -> None:
    ours, plain = pair(dcgan_discriminator())
    linear, plain_linear = pair(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)))
    for a, b, x in (
        (ours, plain, torch.randn(2, 5, 16, 16)),
        (linear, plain_linear, torch.randn(4, 7)),
        (linear, plain_linear, torch.randn(1, 3)),
        (linear, plain_linear, torch.randint(3, (4, 3))),
    ):
        with pytest.raises((RuntimeError, ValueError)) as theirs:
            b(x)
        with pytest.raises(theirs.type) as error:
            a(x)
        assert str(error.value) == str(theirs.value)


def test_what_flows_need_not_be_one_tensor() -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x, x

    class One(nn.Module):
        def forward(self, both: tuple[Tensor, Tensor]) -> Tensor:
            return both[0] + both[1]

    ours, plain = pair(nn.Sequential(nn.Linear(4, 4), Two(), One(), nn.Linear(4, 2)))
    x = torch.randn(3, 4)
    same(ours(x), plain(x))
    assert nn.Sequential()(x) is x
    empty = nn.Sequential()
    gankit.accelerate(empty)
    assert empty(x) is x


def test_no_warnings_of_its_own() -> None:
    network = dcgan_generator()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gankit.accelerate(network)
        network(torch.randn(Z)).sum().backward()
