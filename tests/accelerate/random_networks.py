"""Random ``nn.Sequential`` networks for the property test."""

from __future__ import annotations

import random

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.ops import leaky_relu_dropout
from gankit.ops.leaky_relu_dropout import dropout_scale


class Doubles(nn.Module):
    """A layer of the user's own, which works in place and returns what it was given."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mul_(2) if not x.is_leaf and not x.requires_grad else x * 2


class SeededDropout(nn.Module):
    """Plain torch with the masks that gankit draws, one number per call from torch's generator."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.p = layer.p
        self.channelwise = isinstance(layer, nn.Dropout2d)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or dropout_scale(self.p) == 1.0:
            return x
        if self.channelwise and x.dim() != 4:
            return F.dropout2d(x, self.p)
        mask = leaky_relu_dropout(
            torch.ones_like(x, requires_grad=False), 1.0, self.p, channelwise=self.channelwise
        )
        return x * mask


def plain_twin(network: nn.Module) -> nn.Module:
    """``network`` itself, its dropout layers replaced by :class:`SeededDropout`."""
    for name, child in network.named_children():
        if isinstance(child, (nn.Dropout, nn.Dropout2d)):
            if child._forward_hooks:
                continue  # accelerated networks leave it alone, so the masks are torch's
            setattr(network, name, SeededDropout(child).train(child.training))
        else:
            plain_twin(child)
    return network


def random_case(seed: int) -> tuple[nn.Sequential, Tensor]:
    """A network in float64, in train or eval mode, and its input."""
    draw = random.Random(seed)
    torch.manual_seed(seed)
    shape: tuple[int, ...]
    if draw.random() < 0.35:
        shape = (draw.choice((2, 3, 5)), draw.choice((1, 3, 8)))
    else:
        side = draw.choice((1, 2, 4, 5))
        shape = (draw.choice((1, 2, 3)), draw.choice((1, 3, 4)), side, draw.choice((side, 3)))
    x = torch.randn(shape, dtype=torch.float64)
    network = _layers(draw, shape, draw.randint(1, 9), 0).double()
    network.train(draw.random() < 0.8)
    for module in network.modules():
        if draw.random() < 0.1:
            module.train(not module.training)
        if isinstance(module, nn.modules.batchnorm._NormBase) and module.affine:
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
        if draw.random() < 0.05:
            module.requires_grad_(False)
        if draw.random() < 0.05:
            module.register_forward_hook(lambda module, inputs, output: output * 1.5)
    if draw.random() < 0.2 and x.dim() == 4:
        x = x.contiguous(memory_format=torch.channels_last)
    return network, x


def _layers(draw: random.Random, shape: tuple[int, ...], count: int, depth: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(count):
        # Tried on one sample more than one, so that a layer sees what shapes it is given.
        for _ in range(20):
            layer = _layer(draw, shape, depth)
            try:
                with torch.no_grad():
                    y = layer.eval()(torch.zeros(shape))
            except (RuntimeError, ValueError, IndexError):
                continue
            one_value = isinstance(layer, nn.modules.batchnorm._NormBase) and _is_one(layer, shape)
            if y.numel() <= 4096 and y.numel() > 0 and not one_value:
                layer.train()
                layers.append(layer)
                shape = tuple(y.shape)
                break
    return nn.Sequential(*layers)


def _is_one(layer: nn.Module, shape: tuple[int, ...]) -> bool:
    area = 1
    for size in shape[2:]:
        area *= size
    return area == 1 if isinstance(layer, nn.InstanceNorm2d) else shape[0] * area == 1


def _layer(draw: random.Random, shape: tuple[int, ...], depth: int) -> nn.Module:
    c = shape[1]
    yes = draw.random() < 0.5
    p = draw.choice((0.0, 0.25, 0.5, 1.0))
    slope = draw.choice((0.0, 0.01, 0.2, 0.2, 1.0, 2.0, -0.1))
    out = draw.choice((1, 2, 3, 6))
    eps = draw.choice((1e-5, 1e-3, 0.8))
    momentum = draw.choice((0.1, 0.8, None))
    track = draw.random() < 0.7
    k, s = draw.choice((1, 2, 3, 4)), draw.choice((1, 2))
    pad = draw.choice((0, 1))
    groups = c if draw.random() < 0.15 else 1
    common = [
        lambda: nn.ReLU(yes),
        lambda: nn.LeakyReLU(slope, yes),
        lambda: nn.LeakyReLU(0.2, yes),
        nn.Tanh,
        nn.Sigmoid,
        lambda: nn.ELU(inplace=yes),
        nn.PReLU,
        nn.Identity,
        lambda: nn.Dropout(p),
        # In place some run as torch's own, whose masks are others: only without any.
        lambda: nn.Dropout(0.0, True),
        lambda: nn.Dropout(0.5),
        nn.Flatten,
        Doubles,
    ]
    flat = [
        lambda: nn.Linear(shape[-1], out, bias=yes),
        lambda: nn.BatchNorm1d(c, eps, momentum, yes, track),
        lambda: nn.BatchNorm1d(c),
        lambda: nn.LayerNorm(shape[-1]),
    ]
    deep = [
        lambda: nn.Conv2d(c, groups * out, k, s, pad, groups=groups, bias=yes),
        lambda: nn.ConvTranspose2d(c, groups * out, k, s, min(pad, k // 2), groups=groups),
        lambda: nn.ConvTranspose2d(c, out, k, s, 0, s - 1, bias=yes),
        lambda: nn.ConvTranspose2d(c, 6, 4, 2, 1, bias=False),
        lambda: nn.BatchNorm2d(c, eps, momentum, yes, track),
        lambda: nn.BatchNorm2d(c),
        lambda: nn.InstanceNorm2d(c, eps, affine=yes, track_running_stats=draw.random() < 0.2),
        lambda: nn.InstanceNorm2d(c),
        lambda: nn.Dropout2d(p),
        lambda: nn.Dropout2d(0.0, True),
        lambda: nn.Dropout2d(0.25),
        lambda: nn.GroupNorm(1, c),
        lambda: nn.MaxPool2d(2),
        lambda: nn.AvgPool2d(2),
        lambda: nn.Upsample(scale_factor=2),
        lambda: nn.ReflectionPad2d(1),
    ]
    if depth < 2 and draw.random() < 0.1:
        return _layers(draw, shape, draw.randint(0, 4), depth + 1)
    return draw.choice(common + (flat + flat + flat if len(shape) == 2 else deep))()
