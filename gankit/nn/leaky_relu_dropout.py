"""LeakyReLU and dropout as one module."""

from __future__ import annotations

from typing import NoReturn

import torch
import torch.fx
import torch.nn.functional as F
from torch import nn

from ..ops.leaky_relu_dropout import check_slope_and_p, leaky_relu_dropout
from .convert import check_layer
from .recording import records_graph, refuse_scripting
from .traits import declares

# One node of a torch.fx graph, as the modules of torch.nn are.
torch.fx.wrap("leaky_relu_dropout")


@declares(per_sample=True, any_layout=True)
class LeakyReLUDropout(nn.Module):
    """``nn.Sequential(nn.LeakyReLU(negative_slope), nn.Dropout(p))`` in one pass.

    Drop-in: it has no parameters or buffers, so ``state_dict`` keys of its neighbours stay, and in
    ``eval()`` it is a plain LeakyReLU. What differs from the pair (the random stream, the sign of
    zeros) is listed at :func:`gankit.ops.leaky_relu_dropout`.

    Args:
        negative_slope: slope for negative inputs, finite, >= 0.
        p: probability of dropping an element, in [0, 1].
        inplace: overwrite the input. Unlike the pair of in-place torch modules, which today's
            PyTorch refuses to differentiate, this works wherever the input is not a leaf.

    Shape:
        Any; the output has the input's shape and dtype.
    """

    def __init__(self, negative_slope: float = 0.2, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        check_slope_and_p(negative_slope, p)
        self.negative_slope = negative_slope
        self.p = p
        self.inplace = inplace

    @classmethod
    def from_torch(cls, activation: nn.LeakyReLU, dropout: nn.Dropout) -> LeakyReLUDropout:
        """Both layers as one, in the mode of the dropout, in place if the first is.

        Raises:
            TypeError: a layer of another type (``nn.Dropout2d`` too), or one with hooks.
            ValueError: a slope or rate that is not allowed here.
        """
        check_layer("activation", activation, nn.LeakyReLU)
        check_layer("dropout", dropout, nn.Dropout)
        return cls(activation.negative_slope, dropout.p, activation.inplace).train(dropout.training)

    def to_torch(self) -> tuple[nn.LeakyReLU, nn.Dropout]:
        """Both layers of torch; the dropout never in place, which torch cannot differentiate here.

        Raises:
            TypeError: this layer has hooks.
        """
        check_layer("self", self, LeakyReLUDropout)
        dropout = nn.Dropout(self.p).train(self.training)
        return nn.LeakyReLU(self.negative_slope, self.inplace).train(self.training), dropout

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if records_graph():
            y = F.leaky_relu(x, self.negative_slope, self.inplace)
            return F.dropout(y, self.p, self.training, self.inplace)
        return leaky_relu_dropout(x, self.negative_slope, self.p, self.training, self.inplace)

    def __prepare_scriptable__(self) -> NoReturn:
        refuse_scripting(self)

    def extra_repr(self) -> str:
        tail = ", inplace=True" if self.inplace else ""
        return f"negative_slope={self.negative_slope}, p={self.p}{tail}"
