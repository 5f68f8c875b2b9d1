"""The moving average of a generator."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gankit.errors import ConfigError
from gankit.nn import power_iteration, spectral_layers
from gankit.scalars import is_number
from gankit.training.weights import load_weights

Lists = tuple[list[Tensor], list[Tensor]]


class Average:
    """An exponential moving average of a module's parameters; buffers are copied.

    The singular vectors of a layer with spectral norm are those of the average's own weight.

    For generators: Yazici et al., 2018, arXiv 1806.04498.

    Args:
        module: what is averaged. The attribute ``module`` is a copy in eval mode that takes no
            gradients. Half-precision weights are averaged in float32, where a small step is not
            lost to rounding.
        decay: in [0, 1); after an update ``average = decay average + (1 - decay) module``.

    Raises:
        ConfigError: ``decay`` is not allowed, or the module cannot be copied.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        if not is_number(decay) or not 0.0 <= decay < 1.0:
            raise ConfigError(f"ema is {decay!r}; allowed are None and numbers in [0, 1)")
        try:
            self.module = copy.deepcopy(module).eval().requires_grad_(False)
        except (RuntimeError, TypeError) as error:
            raise ConfigError(
                f"ema={decay} needs a copy of {type(module).__name__}, which cannot be made: "
                f"{error}"
            ) from error
        halves = (torch.bfloat16, torch.float16)
        if any(parameter.dtype in halves for parameter in self.module.parameters()):
            self.module.float()
        self.decay = float(decay)
        self._pairs: Lists = list(self.module.parameters()), list(module.parameters())
        self._spectral = spectral_layers(self.module)
        own = {id(vector) for layer in self._spectral for vector in (layer.u, layer.v)}
        both = zip(self.module.buffers(), module.buffers(), strict=True)
        self._copied = [(mine, theirs) for mine, theirs in both if id(mine) not in own]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the module as it is now."""
        average, new = self._pairs
        new = [n.to(a.dtype) for a, n in zip(average, new, strict=True)]
        torch._foreach_lerp_(average, new, 1.0 - self.decay)
        for mine, theirs in self._copied:
            mine.copy_(theirs)
        power_iteration(self._spectral)

    def load_state_dict(self, weights: Mapping[str, Any]) -> None:
        """Take ``weights``, of a network that may be compiled or wrapped where this is not."""
        load_weights(self.module, weights)
