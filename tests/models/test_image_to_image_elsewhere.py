"""The networks of pix2pix and CycleGAN under accelerate, compilers, export, half precision."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gankit
from gankit.acceleration.run import served
from gankit.models.patch import PatchDiscriminator
from gankit.models.resnet import ResNetGenerator
from gankit.models.unet import UNetGenerator
from tests.models import public_layout

Make = Callable[[], nn.Module]


def unet(norm: str) -> nn.Module:
    return UNetGenerator(2, 3, 16, 4, norm, dropout=0.0, init="pytorch")


def resnet(norm: str) -> nn.Module:
    return ResNetGenerator(2, 3, width=4, blocks=2, norm=norm, init="pytorch")


def patch(norm: str) -> nn.Module:
    return PatchDiscriminator(2, 4, 2, norm, init="pytorch")


NETWORKS: dict[str, Make] = {
    f"{make.__name__}, {norm}": lambda make=make, norm=norm: make(norm)  # type: ignore[misc]
    for make in (unet, resnet, patch)
    for norm in ("instance", "batch")
}
networks = pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)


def results(network: nn.Module, images: Tensor) -> list[Tensor]:
    """The output, the gradients, and the buffers that a pass in training leaves."""
    x = images.clone().requires_grad_()
    y = network(x)
    weights = (y * torch.linspace(-1, 1, y[0].numel(), dtype=y.dtype).view_as(y[0])).sum()
    grads = torch.autograd.grad(weights, [x, *network.parameters()])
    return [y.detach(), *grads, *(b.clone() for b in network.buffers())]


def check(found: list[Tensor], expected: list[Tensor], tolerance: float) -> None:
    scale = max(1.0, *(t.abs().max().item() for t in expected))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=10 * tolerance, atol=tolerance * scale)


@pytest.mark.skipif(not served("cpu"), reason="only the reference backend is here")
@pytest.mark.parametrize(
    "make",
    [
        lambda norm: public_layout.resnet((2, 3), 8, 1, norm),
        lambda norm: public_layout.unet((2, 3), 5, 4, norm),
        lambda norm: public_layout.patch(2, 8, 2, norm),
    ],
    ids=["resnet", "unet", "patch"],
)
@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_the_public_code_accelerated_computes_the_same(
    make: Callable[[str], nn.Module], norm: str
) -> None:
    torch.manual_seed(0)
    plain = make(norm).double()
    fast = copy.deepcopy(plain)
    report = gankit.accelerate(fast)
    assert any(op.startswith("batch_norm_act") for op in report.counts)
    images = torch.randn(2, 2, 128, 96, dtype=torch.float64)
    check(results(fast, images), results(plain, images), 1e-10)


@networks
def test_accelerate_leaves_what_is_fused_already(make: Make) -> None:
    torch.manual_seed(0)
    plain = make().double()
    fast = copy.deepcopy(plain)
    gankit.accelerate(fast, trace=True)
    images = torch.randn(2, 2, 32, 32, dtype=torch.float64)
    check(results(fast, images), results(plain, images), 1e-10)
    gankit.restore(fast)
    assert [type(m) for m in fast.modules()] == [type(m) for m in plain.modules()]


@networks
def test_channels_last_computes_the_same(make: Make) -> None:
    torch.manual_seed(0)
    plain = make().double()
    turned = copy.deepcopy(plain).to(memory_format=torch.channels_last)
    images = torch.randn(3, 2, 32, 16, dtype=torch.float64)
    expected = results(plain, images)
    found = results(turned, images.contiguous(memory_format=torch.channels_last))
    check(found, expected, 1e-10)


@networks
def test_bfloat16_autocast_is_near(make: Make) -> None:
    torch.manual_seed(0)
    network = make()
    images = torch.randn(2, 2, 32, 32)
    expected = network(images)
    with torch.autocast("cpu", torch.bfloat16):
        found = network(images)
    scale = expected.abs().max().item()
    assert (found.float() - expected).abs().mean().item() < 0.03 * scale
    found.float().sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in network.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["unet, batch", "resnet, instance", "patch, instance"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_compiles_whole(name: str) -> None:
    torch._dynamo.reset()
    torch.manual_seed(0)
    network = NETWORKS[name]().double()
    twin = copy.deepcopy(network)
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
    for size in (16, 32):  # the second time with sizes as variables
        images = torch.randn(2, 2, size, size, dtype=torch.float64)
        check(results(compiled, images), results(twin, images), 1e-10)


@networks
@pytest.mark.filterwarnings("ignore")
def test_a_plain_copy_is_scripted_for_every_size(make: Make) -> None:
    torch.manual_seed(0)
    network = make().eval()
    scripted = torch.jit.script(gankit.plain_copy(network))
    for shape in ((1, 2, 16, 16), (2, 2, 48, 32)):
        images = torch.randn(shape)
        torch.testing.assert_close(scripted(images), network(images), rtol=1e-4, atol=1e-5)
    with pytest.raises(Exception, match="images must have shape"):
        scripted(torch.randn(1, 2, 15, 4))


def any_size(multiple: int) -> tuple[dict[int, Any]]:
    Dim = torch.export.Dim
    height, width = Dim("h", min=2, max=1024), Dim("w", min=2, max=1024)
    return ({0: Dim("n", min=1), 2: multiple * height, 3: multiple * width},)


@pytest.mark.parametrize(
    ("make", "multiple"), [(unet, 16), (resnet, 4), (patch, 4)], ids=["unet", "resnet", "patch"]
)
def test_one_exported_graph_is_for_every_size(
    make: Callable[[str], nn.Module], multiple: int
) -> None:
    torch.manual_seed(0)
    network = make("instance").eval()
    images = torch.randn(2, 2, 48, 32)
    program = torch.export.export(network, (images,), dynamic_shapes=any_size(multiple))
    assert not any("gankit" in str(node.target) for node in program.graph.nodes)
    for shape in ((1, 2, 32, 80), (3, 2, 64, 64)):
        images = torch.randn(shape)
        torch.testing.assert_close(
            program.module()(images), network(images), rtol=1e-4, atol=1e-5
        )  # fmt: skip


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("make", "multiple", "norm"),
    [(unet, 16, "batch"), (resnet, 4, "instance")],
    ids=["unet", "resnet"],
)
def test_an_onnx_file_is_for_every_size(
    make: Callable[[str], nn.Module], multiple: int, norm: str
) -> None:
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    network = make(norm).eval()
    images = torch.randn(2, 2, 48, 32)
    program = torch.onnx.export(
        gankit.plain_copy(network), (images,), dynamo=True, verbose=False,
        dynamic_shapes=any_size(multiple), input_names=["images"],
    )  # fmt: skip
    assert program is not None
    data = program.model_proto.SerializeToString()
    session = runtime.InferenceSession(data, providers=["CPUExecutionProvider"])
    for shape in ((1, 2, 32, 80), (3, 2, 64, 64)):
        images = torch.randn(shape)
        found = torch.from_numpy(session.run(None, {"images": images.numpy()})[0])
        torch.testing.assert_close(found, network(images), rtol=1e-4, atol=1e-5)
