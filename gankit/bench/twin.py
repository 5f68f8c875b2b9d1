"""A network of gankit's layers as one trains it without gankit: torch's own layers in their places.

Unlike :func:`gankit.plain.plain_copy`, which is for finished networks, nothing is folded: batch
norm keeps its batch's statistics, dropout drops, and spectral norm is torch's parametrization.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from gankit.nn import (
    BatchNormAct1d,
    BatchNormAct2d,
    ConditionalBatchNormAct2d,
    ConvTransposeAct2d,
    ConvTransposeBNAct2d,
    InstanceNormAct2d,
    LeakyReLUDropout,
    Linear,
    SpectralConv2d,
    SpectralEmbedding,
    SpectralLinear,
)
from gankit.nn.convert import activation_layer, adopt

_FUSED = (
    BatchNormAct1d,
    BatchNormAct2d,
    ConvTransposeAct2d,
    ConvTransposeBNAct2d,
    InstanceNormAct2d,
    LeakyReLUDropout,
    Linear,
)
_SPECTRAL = (SpectralConv2d, SpectralEmbedding, SpectralLinear)
# They move no data, or do nothing.
_FREE = (nn.Identity, nn.Flatten, nn.Unflatten)


@dataclass
class Fused:
    """How many layers of networks gankit's ops run, ``kinds`` of them, and how many there are.

    A layer is one of torch's: batch norm and the activation behind it are two.
    """

    layers: int = 0
    fused: int = 0
    kinds: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        share = self.fused / self.layers if self.layers else 0.0
        kinds = ", ".join(f"{name} {count}" for name, count in sorted(self.kinds.items()))
        return f"{self.fused} of {self.layers} layers fused ({share:.0%}): {kinds or 'none'}"


class _ConditionalBatchNorm(nn.Module):
    """Batch norm with a scale and a shift per sample, and an activation, from torch's functions."""

    def __init__(self, layer: ConditionalBatchNormAct2d) -> None:
        super().__init__()
        extra = ("activation", "negative_slope", "groups", "process_group")
        self.norm = adopt(nn.BatchNorm2d, layer, extra)
        self.activation = activation_layer(layer.activation, layer.negative_slope)

    def forward(self, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        y = torch.addcmul(shift[..., None, None], self.norm(x), scale[..., None, None])
        activated: Tensor = self.activation(y)
        return activated


def make_plain(network: nn.Module) -> Fused:
    """Put torch's layers in the places of gankit's inside ``network``, over the same parameters.

    The modes and the values that it computes stay, but for those of dropout, whose masks are drawn
    otherwise. Layers that torch has not stay, as does the random state.
    """
    found = Fused()
    with torch.random.fork_rng(devices=()):
        _replace(network, found)
    return found


def _replace(module: nn.Module, found: Fused) -> None:
    for name, child in module.named_children():
        made = _plain(child)
        if made is None:
            if next(child.children(), None) is None and not isinstance(child, _FREE):
                found.layers += 1
            _replace(child, found)
            continue
        counted = sum(not isinstance(part, _FREE) for part in made)
        if isinstance(child, ConditionalBatchNormAct2d):
            counted = 1 + (child.activation != "none")
        found.layers += counted
        if not isinstance(child, _SPECTRAL):
            found.fused += counted
            found.kinds[type(child).__name__] += 1
        setattr(module, name, made[0] if len(made) == 1 else nn.Sequential(*made))


def _plain(layer: nn.Module) -> Sequence[nn.Module] | None:
    """Torch's layers in place of one of gankit's; None for another's and for what torch has not."""
    if isinstance(layer, _SPECTRAL):
        return [_spectral(layer)]
    if type(layer) is ConditionalBatchNormAct2d:
        return [_ConditionalBatchNorm(layer)]
    if type(layer) in _FUSED:
        made = layer.to_torch()  # type: ignore[operator]
        return list(made) if isinstance(made, tuple) else [made]
    return None


def _spectral(layer: SpectralConv2d | SpectralEmbedding | SpectralLinear) -> nn.Module:
    kind = next(k for k in type(layer).__mro__ if k.__module__.startswith("torch.nn."))
    plain: nn.Module = adopt(kind, layer)
    plain._buffers = {}
    spectral_norm(plain)
    vectors = plain.get_submodule("parametrizations.weight.0")
    for name in ("u", "v"):
        vectors.get_buffer(f"_{name}").copy_(layer.get_buffer(name))
    return plain
