"""The class that accelerated ``nn.Sequential`` modules get."""

from __future__ import annotations

import torch
from torch import nn

from ..nn.traits import declares
from .run import run_children


@declares(per_sample=True, in_order=True, any_layout=True)
class Sequential(nn.Sequential):
    """``nn.Sequential`` whose forward runs the children that match a fused op as that op.

    It holds nothing of its own: whatever is changed, added, hooked or sliced later counts from the
    next call. Scripting (``torch.jit.script``), tracing and export see plain torch.
    """

    def forward(self, input):  # type: ignore[no-untyped-def]
        """The layers in order."""
        if torch.jit.is_scripting():  # type: ignore[attr-defined]
            for module in self:
                input = module(input)
            return input
        else:
            return run_children(tuple(self._modules.values()), input)
