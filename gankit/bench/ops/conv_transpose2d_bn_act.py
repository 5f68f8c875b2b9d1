"""gankit.nn.ConvTransposeBNAct2d beside torch's three layers, eager, channels last and compiled."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from gankit.bench.races import Call, Contender, Race, Settings
from gankit.nn import ConvTransposeBNAct2d

# Input, then the layer's output channels, kernel, stride and padding: the two of the tutorial's
# generator, then two of larger ones.
CASES: dict[str, tuple[tuple[int, int, int, int], tuple[int, int, int, int]]] = {
    "1x1 to 7x7": ((60, 100, 1, 1), (224, 7, 1, 0)),
    "7x7 to 14x14": ((60, 224, 7, 7), (112, 4, 2, 1)),
    "8x8 to 16x16": ((64, 256, 8, 8), (128, 4, 2, 1)),
    "16x16 to 32x32": ((64, 128, 16, 16), (64, 4, 2, 1)),
}
MODES = ("evaluation", "training")


def races(settings: Settings) -> Iterator[Race]:
    """One race per layer and mode: a forward in evaluation, forward and backward in training."""
    for name in CASES:
        for mode in MODES:
            contenders = tuple(_contenders(name, mode == "training", settings.device))
            group = f"conv_transpose2d_bn_act {mode} {name}"
            yield Race(group, contenders, settings.device, settings.seconds)


def _contenders(name: str, training: bool, device: torch.device) -> Iterator[Contender]:
    def build(make: Callable[[nn.Sequential], nn.Module], channels_last: bool) -> Call:
        return _call(name, make, training, channels_last, device)

    yield Contender("plain eager", "plain", lambda: build(lambda layers: layers, False))
    yield Contender("tuned eager, channels last", "peer", lambda: build(lambda la: la, True))
    yield Contender(
        "torch.compile, channels last",
        "peer",
        lambda: build(lambda la: torch.compile(la, dynamic=False, fullgraph=True), True),  # type: ignore[arg-type,return-value]
    )
    yield Contender(
        "gankit", "gankit", lambda: build(lambda la: ConvTransposeBNAct2d.from_torch(*la), True)
    )


def _call(
    name: str,
    make: Callable[[nn.Sequential], nn.Module],
    training: bool,
    channels_last: bool,
    device: torch.device,
) -> Call:
    shape, (channels, kernel, stride, padding) = CASES[name]
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.ConvTranspose2d(shape[1], channels, kernel, stride, padding, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
    )
    layers = layers.to(device).train(training)
    x = torch.randn(shape, device=device)
    expected = copy.deepcopy(layers)(x)
    if channels_last:
        layers = layers.to(memory_format=torch.channels_last)
        x = x.contiguous(memory_format=torch.channels_last)
    module = make(layers)
    torch.testing.assert_close(module(x), expected, rtol=5e-3, atol=5e-3)
    if not training:
        return lambda: _evaluate(module, x)
    x.requires_grad_()
    inputs = (x, *layers.parameters())
    grad = torch.randn_like(module(x))
    return lambda: torch.autograd.grad(module(x), inputs, grad)


@torch.no_grad()
def _evaluate(module: nn.Module, x: Tensor) -> Tensor:
    y: Tensor = module(x)
    return y
