"""Layers whose weight has a largest singular value of 1 (Miyato et al., 2018, arXiv:1802.05957).

Unlike ``torch.nn.utils.parametrizations.spectral_norm``, no forward changes a buffer: the singular
vectors move when :func:`power_iteration` is called. A ``gankit.training.Step`` calls it once after
each update, so the number of forwards of an update, micro-batches and samples in between do not
matter, and a resumed run has what the uninterrupted one had. In a loop of your own call it after
``optimizer.step()``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .traits import declares

__all__ = [
    "SpectralConv2d",
    "SpectralEmbedding",
    "SpectralLinear",
    "power_iteration",
    "spectral_layers",
]

_EPS = 1e-12
# After which the estimate of a drawn weight is good, as for torch's parametrization.
_FIRST = 15


class _SpectralNorm(nn.Module):
    """``weight`` is what is trained; the layer computes with ``weight / sigma``.

    ``sigma = u^T W v``, with W the weight as a matrix of its first dimension by the others, and the
    buffers u and v, constants to autograd, its estimated first singular vectors.
    """

    weight: Tensor
    u: Tensor
    v: Tensor

    def _add_vectors(self) -> None:
        rows = self.weight.detach().flatten(1)
        for name, length in (("u", rows.shape[0]), ("v", rows.shape[1])):
            self.register_buffer(name, F.normalize(rows.new_empty(length).normal_(), dim=0))
        power_iteration([self], _FIRST)

    def normalized(self) -> Tensor:
        """``weight / sigma``."""
        # A product and a sum, as autocast would round a matrix product to half precision.
        sigma = (torch.outer(self.u, self.v) * self.weight.flatten(1)).sum()
        return self.weight / sigma

    def to_torch(self) -> nn.Module:
        """torch's layer with the normalized weight."""
        kind = next(k for k in type(self).__mro__ if k.__module__.startswith("torch.nn."))
        assert issubclass(kind, nn.Module)
        plain = kind.__new__(kind)
        plain.__dict__.update(self.__dict__)
        kept = {name: p for name, p in self._parameters.items() if name != "weight"}
        plain.__dict__["_parameters"] = kept
        plain.__dict__["_buffers"] = {}
        weight = nn.Parameter(self.normalized().detach(), self.weight.requires_grad)
        plain.register_parameter("weight", weight)
        return plain


@declares(per_sample=True, any_layout=True)
class SpectralConv2d(_SpectralNorm, nn.Conv2d):
    """``nn.Conv2d`` with spectral norm and zero padding; beside its ``state_dict``, u and v."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._add_vectors()

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.normalized(), self.bias)


@declares(per_sample=True, any_layout=True)
class SpectralLinear(_SpectralNorm, nn.Linear):
    """``nn.Linear`` with spectral norm; beside its ``state_dict``, u and v."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._add_vectors()

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.normalized(), self.bias)


@declares(per_sample=True, any_layout=True)
class SpectralEmbedding(_SpectralNorm, nn.Embedding):
    """``nn.Embedding(n, length)`` with spectral norm; beside its ``state_dict``, u and v."""

    def __init__(self, num_embeddings: int, embedding_dim: int) -> None:
        super().__init__(num_embeddings, embedding_dim)
        self._add_vectors()

    def forward(self, labels: Tensor) -> Tensor:
        return F.embedding(labels, self.normalized())


def spectral_layers(*modules: nn.Module) -> list[_SpectralNorm]:
    """The layers with spectral norm in ``modules``, each once."""
    every = (child for module in modules for child in module.modules())
    return [layer for layer in dict.fromkeys(every) if isinstance(layer, _SpectralNorm)]


@torch.no_grad()
def power_iteration(layers: Iterable[_SpectralNorm], iterations: int = 1) -> None:
    """Move the singular vectors of ``layers`` towards those of their weights."""
    for layer in layers:
        if layer.weight.is_meta:  # which has no values
            continue
        rows = layer.weight.detach().flatten(1)
        for _ in range(iterations):
            F.normalize(torch.mv(rows.t(), layer.u), dim=0, eps=_EPS, out=layer.v)
            F.normalize(torch.mv(rows, layer.v), dim=0, eps=_EPS, out=layer.u)
