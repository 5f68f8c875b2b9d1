"""The linear layer over :func:`gankit.ops.linear`."""

from __future__ import annotations

from typing import NoReturn

import torch
import torch.fx
from torch import nn

from ..ops import linear
from .convert import adopt, check_layer
from .recording import refuse_scripting
from .traits import declares

# One node of a torch.fx graph, as the modules of torch.nn are.
torch.fx.wrap("linear")


@declares(per_sample=True, any_layout=True)
class Linear(nn.Linear):
    """``nn.Linear`` by what is fastest on this processor.

    Drop-in: the same arguments, parameters, ``state_dict`` and initialisation. Where
    :func:`gankit.ops.linear` says so the products are ours or oneDNN's and differ from MKL's in the
    last bits of float32; elsewhere they are those of ``nn.Linear`` to the bit.

    Args:
        in_features, out_features, bias, device, dtype: as for ``nn.Linear``.

    Shape:
        ``[..., in_features]`` to ``[..., out_features]``.
    """

    @classmethod
    def from_torch(cls, layer: nn.Linear) -> Linear:
        """The same layer over the very same parameters.

        Raises:
            TypeError: a layer of another type, or one with hooks.
        """
        check_layer("layer", layer, nn.Linear)
        return adopt(cls, layer)

    def to_torch(self) -> nn.Linear:
        """The ``nn.Linear`` over the very same parameters; TypeError if this layer has hooks."""
        check_layer("self", self, Linear)
        return adopt(nn.Linear, self)

    def __prepare_scriptable__(self) -> NoReturn:
        refuse_scripting(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return linear(x, self.weight, self.bias)
