"""Which convolutions of an accelerated network run channels last, and what they compute there."""

from __future__ import annotations

import copy
import itertools
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gankit
from benchmarks.scripts.networks import CASES
from gankit.acceleration import layout, run
from gankit.acceleration.layout import CONVOLUTIONS, Stretch, plan
from gankit.acceleration.patched import patched
from gankit.acceleration.run import served
from tests.accelerate.random_networks import plain_twin, random_case
from tests.accelerate.test_fused_optimizers import FusedSteps

pytestmark = pytest.mark.skipif(
    not served("cpu") or not torch.backends.mkldnn.is_available(),
    reason="only the reference backend is here, or torch has no oneDNN",
)


@pytest.fixture
def avx512(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a processor with AVX-512."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")


@pytest.fixture
def whatever_it_costs(avx512: None, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Channels last wherever it is right; gives the inputs of the convolutions that ran so."""
    monkeypatch.setattr(layout, "_COPY", 0)
    monkeypatch.setattr(layout, "MIN_SAVED", 0)
    monkeypatch.setattr(layout, "MIN_INPUT", 0)
    inputs: list[Tensor] = []
    convolve = run.convolve

    def note(child: Any, x: Tensor) -> Tensor:
        inputs.append(x)
        y = convolve(child, x)
        for image in (x, y):
            assert image.is_contiguous(memory_format=torch.channels_last)
            assert image.shape[1] > 1
            assert min(image.shape[2:]) >= 4
        assert child.groups == 1
        assert all(k >= s for k, s in zip(child.kernel_size, child.stride, strict=True))
        return y

    monkeypatch.setattr(run, "convolve", note)
    return inputs


def stretches(network: nn.Sequential, x: Tensor) -> Iterator[Stretch]:
    """The plans of a network and of the Sequentials in it, on tensors without data."""
    children, end = tuple(network), 0
    for index, child in enumerate(children):
        if type(child) in CONVOLUTIONS and index >= end:
            found = plan(children, index, torch.empty(x.shape, device="meta", requires_grad=True))
            end = found.end
            if found.enter >= 0:
                yield found
        inner = child if type(child) is nn.Sequential else getattr(child, "layers", None)
        if inner is not None:
            yield from stretches(inner, x)
        x = child(x)


# Children of the Sequential, from the first in channels last to the one behind the last.
EXPECTED = {
    "StarGAN D, 128 px, batch 2": [],
    "StarGAN D, 128 px, batch 16": [(0, 6)],  # of thirteen; the weights are in the others
    "context encoder G, 128 px, batch 4": [(0, 8), (24, 29)],  # of 31
    "CycleGAN patch D, 128 px, batch 1": [],
    "CycleGAN patch D, 256 px, batch 1": [(0, 5)],
    "SRGAN D, 64 px, batch 4": [(0, 11)],  # of 24
    "SRGAN G, 16 px, batch 4": [],
    "VGG-19 to layer 18, 64 px, batch 2": [(0, 5)],
    "residual blocks, 128 channels, 32 px, batch 1": [],
    "residual blocks, 64 channels, 64 px, batch 4": [],
    "DCGAN D, batch 16": [(0, 5)],
    "DCGAN D, batch 64": [(0, 8)],
    "DCGAN G, batch 16": [(9, 14)],
    "DCGAN G, batch 64": [(6, 14)],
    "upsampling G, batch 32": [(2, 11)],
}


@pytest.mark.parametrize("name", CASES)
def test_large_weights_and_few_pixels_stay_contiguous(name: str) -> None:
    case = CASES[name]
    with torch.device("meta"):
        network = case.build()
    found = list(stretches(network, torch.empty(case.shape, device="meta")))  # type: ignore[arg-type]
    assert [(stretch.enter, stretch.leave) for stretch in found] == EXPECTED[name]


@pytest.mark.parametrize("batch", [1, 4, 16, 64, 256])
def test_the_activations_of_a_stretch_outweigh_its_weights(batch: int) -> None:
    draw = random.Random(batch)
    found = 0
    for _ in range(100):
        widths = [3, *(draw.choice((16, 64, 128, 512, 2048)) for _ in range(5))]
        pairs = list(itertools.pairwise(widths))
        children = [nn.Conv2d(a, b, 3, 1, 1, device="meta") for a, b in pairs]
        side = draw.choice((4, 16, 64))
        x = torch.empty(batch, 3, side, side, device="meta", requires_grad=True)
        enter, leave, _ = plan(children, 0, x)
        if enter >= 0:
            found += 1
            activations = batch * side**2 * sum(a + b for a, b in pairs[enter:leave])
            assert activations > 5 * 9 * sum(a * b for a, b in pairs[enter:leave])
    assert found or batch == 1


def small_images(width: int = 32) -> nn.Sequential:
    """Small weights and many pixels."""
    return nn.Sequential(
        nn.Conv2d(3, width, 3, 1, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(width, width, 1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, 4, 3, 1, 1),
    )


@pytest.mark.parametrize(
    ("capability", "dtype", "count"),
    [
        ("AVX512", torch.float32, 3),
        ("AVX2", torch.float32, 0),
        ("AVX512", torch.float64, 0),
        ("AVX512", torch.bfloat16, 0),
    ],
)
def test_the_layout_is_for_float32_with_avx512(
    capability: str, dtype: torch.dtype, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Tensor] = []
    convolve = run.convolve
    monkeypatch.setattr(run, "convolve", lambda c, x: (calls.append(x), convolve(c, x))[1])
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    network = small_images().to(dtype)
    gankit.accelerate(network)
    network(torch.randn(16, 3, 32, 32, dtype=dtype))
    assert len(calls) == count
    with torch.autocast("cpu", dtype=torch.bfloat16):
        network(torch.randn(16, 3, 32, 32, dtype=dtype))
    assert len(calls) == count


def results(network: nn.Module, x: Tensor) -> list[Tensor]:
    """The output, and the gradients of the input and of the parameters."""
    leaf = x.clone().requires_grad_()
    y = network(leaf)
    weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape)
    parameters = [p for p in network.parameters() if p.requires_grad]
    return [y, *torch.autograd.grad((y * weights).sum(), [leaf, *parameters])]


Chain = tuple[Callable[[], nn.Sequential], tuple[int, ...], int]
CHAINS: dict[str, Chain] = {
    "1x1 kernel": (lambda: small_images(6), (2, 3, 8, 8), 3),
    "one channel behind": (
        lambda: nn.Sequential(
            nn.Conv2d(8, 16, 3, 1, 1), nn.ReLU(), nn.Conv2d(16, 6, 1), nn.Conv2d(6, 1, 3, 1, 1)
        ),
        (2, 8, 6, 6),
        2,
    ),
    "to one pixel": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 4, 2, 1), nn.LeakyReLU(0.2, True), nn.Conv2d(8, 5, 4), nn.Flatten()
        ),
        (3, 3, 8, 8),
        1,
    ),
    "from one pixel": (
        lambda: nn.Sequential(
            nn.ConvTranspose2d(5, 8, 4, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.ConvTranspose2d(8, 6, 4, 2, 1),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(6, 6, 3, 1, 1),
            nn.ConvTranspose2d(6, 1, 4, 2, 1),
            nn.Tanh(),
        ),
        (2, 5, 1, 1),
        2,
    ),
    "one image": (
        lambda: nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(4, 8, 3),
            nn.InstanceNorm2d(8, affine=True),
            nn.ReLU(True),
            nn.AvgPool2d(2),
            nn.Conv2d(8, 8, 3, 1, 1),
        ),
        (1, 4, 8, 8),
        2,
    ),
    "grouped and dilated": (
        lambda: nn.Sequential(
            nn.Conv2d(8, 8, 3, 1, 1, groups=8),
            nn.Conv2d(8, 8, 3, 1, 2, dilation=2),
            nn.Conv2d(8, 8, 3, 1, 1, padding_mode="circular"),
            nn.Conv2d(8, 8, 1, 2),
            nn.Conv2d(8, 8, 3, 1, "same"),
            nn.ConvTranspose2d(8, 8, 1, 2, output_padding=1),
        ),
        (2, 8, 12, 12),
        0,
    ),
    "one column": (
        lambda: nn.Sequential(
            nn.Conv2d(4, 8, (3, 1), padding=(1, 0)),
            nn.LeakyReLU(0.2),
            nn.ConvTranspose2d(8, 2, (4, 3), (1, 3), 1, dilation=(2, 1)),
        ),
        (8, 4, 18, 1),
        0,
    ),
}


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("mode", ["accelerate", "run"])
def test_numbers_and_strides_of_plain_torch(
    chain: str, mode: str, whatever_it_costs: list[Tensor]
) -> None:
    build, shape, count = CHAINS[chain]
    torch.manual_seed(0)
    network, x = build(), torch.randn(shape)
    exact = results(copy.deepcopy(network).double(), x.double())
    plain = results(copy.deepcopy(network), x)
    if mode == "accelerate":
        gankit.accelerate(network)
        actual = results(network, x)
    else:
        with patched():
            actual = results(network, x)
    assert len(whatever_it_costs) == count
    assert [t.stride() for t in actual] == [t.stride() for t in plain]
    # Some gradients, such as a bias's in front of a normalization, are zero but for rounding.
    scale = max(t.abs().max().item() for t in exact)
    for a, b in zip(actual, exact, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-3, atol=1e-4 * scale)


def test_adam_steps_fused_behind_a_chain_in_channels_last(whatever_it_costs: list[Tensor]) -> None:
    torch.manual_seed(0)
    network = small_images(8)
    plain = copy.deepcopy(network)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    gankit.accelerate(network, optimizer)
    x = torch.randn(4, 3, 12, 12)
    for _ in range(3):
        for module in (network, plain):
            module.zero_grad()
            module(x).square().mean().backward()
        for a, b in zip(network.parameters(), plain.parameters(), strict=True):
            assert a.grad is not None
            assert b.grad is not None
            assert a.grad.stride() == b.grad.stride()
        with FusedSteps() as fused:
            optimizer.step()
        assert fused.count == 1
    assert len(whatever_it_costs) == 9


def strides(network: nn.Module, x: Tensor, seed: int) -> list[tuple[int, ...] | None] | None:
    """Of the output and of the gradients; None where torch refuses to differentiate it."""
    torch.manual_seed(seed)
    leaf = x.clone().requires_grad_()
    parameters = [p for p in network.parameters() if p.requires_grad]
    try:
        y = network(leaf)
        start = torch.ones_like(y, memory_format=torch.contiguous_format)
        found = torch.autograd.grad(y, [leaf, *parameters], start, allow_unused=True)
    except RuntimeError:
        return None
    return [y.stride(), *(None if g is None else g.stride() for g in found)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_random_networks_have_the_strides_of_plain_torch(
    memory_format: torch.memory_format, whatever_it_costs: list[Tensor]
) -> None:
    compared = 0
    for seed in range(9000, 9300):
        network, x = random_case(seed)
        network, x = network.float(), x.float()
        if x.dim() != 4:
            continue
        kinds = {type(module) for module in network.modules()}
        if memory_format == torch.channels_last and kinds & {nn.ConvTranspose2d, nn.Conv2d}:
            # Some of torch's own write past the end of a tensor in this layout.
            continue
        if kinds & {nn.Dropout, nn.Dropout2d}:
            continue
        x = x.contiguous(memory_format=memory_format)
        expected = strides(plain_twin(copy.deepcopy(network)), x, seed)
        if expected is None:
            continue
        with patched():
            assert strides(copy.deepcopy(network), x, seed) == expected, f"seed {seed}\n{network}"
        gankit.accelerate(network)
        assert strides(network, x, seed) == expected, f"seed {seed}\n{network}"
        compared += 1
    assert compared > 20
    assert bool(whatever_it_costs) is (memory_format == torch.contiguous_format)


ONE_CHANNEL, ONE_PIXEL = (6, 1, 8, 8), (6, 4, 1, 1)


@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (lambda: nn.BatchNorm2d(1), ONE_CHANNEL),
        (lambda: nn.BatchNorm2d(4), ONE_PIXEL),
        (lambda: nn.Sequential(nn.BatchNorm2d(1), nn.ReLU()), ONE_CHANNEL),
        (lambda: nn.Dropout(0.5), ONE_CHANNEL),
        (lambda: nn.Dropout(0.5), ONE_PIXEL),
        (lambda: nn.Dropout2d(0.5), ONE_CHANNEL),
        (lambda: nn.Sequential(nn.LeakyReLU(0.2), nn.Dropout(0.5)), ONE_CHANNEL),
        (lambda: nn.Sequential(nn.LeakyReLU(0.2), nn.Dropout(0.5)), ONE_PIXEL),
    ],
)
def test_strides_that_are_those_of_both_layouts(
    build: Callable[[], nn.Module], shape: tuple[int, ...]
) -> None:
    # A convolution behind them reads its layout from the strides of one channel, or of one pixel.
    x = torch.randn(shape).contiguous(memory_format=torch.channels_last)
    x = x.as_strided(shape, (x[0].numel(), 1, x.shape[1] * x.shape[3], x.shape[1]))
    network = nn.Sequential(build(), nn.Identity())
    expected = network(x).stride()
    with patched():
        assert network(x).stride() == expected
    gankit.accelerate(network)
    assert network(x).stride() == expected


def test_the_plan_knows_the_shapes() -> None:
    draw = random.Random(0)
    checked = 0
    for _ in range(400):
        shape = (2, 4, draw.randint(3, 9), draw.randint(3, 9))
        k, s, p = (draw.choice((1, 2, 3, 4)), draw.choice((2, 3))), draw.choice((1, 2)), (1, 0)
        kinds: list[Callable[[], nn.Module]] = [
            lambda k=k, s=s, p=p: nn.Conv2d(4, 6, k, s, p, dilation=s),
            lambda k=k, s=s, p=p: nn.ConvTranspose2d(4, 6, k, s, p, s - 1),
            lambda k=k: nn.MaxPool2d(k),
            lambda s=s: nn.MaxPool2d(3, s, 1, dilation=s),
            lambda k=k, s=s: nn.AvgPool2d(k, s),
            lambda: nn.ReflectionPad2d((0, 1, 2, 1)),
            lambda: nn.Upsample(scale_factor=1.5),
            lambda: nn.UpsamplingNearest2d(scale_factor=(2, 3)),
        ]
        layer = draw.choice(kinds)()
        try:
            y = layer(torch.zeros(shape))
        except RuntimeError:
            continue
        found = layout._SHAPES[type(layer)](layer, shape)
        assert found == tuple(y.shape), layer
        checked += 1
    assert checked > 300
    for odd in (nn.MaxPool2d(2, ceil_mode=True), nn.MaxPool2d(2, return_indices=True)):
        assert layout._SHAPES[nn.MaxPool2d](odd, shape) is None
