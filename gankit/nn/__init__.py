"""Modules, drop-in for their ``torch.nn`` counterparts: same arguments, same ``state_dict``."""

from __future__ import annotations

from .bce import BCELoss, BCEWithLogitsLoss
from .leaky_relu_dropout import LeakyReLUDropout

__all__ = ["BCELoss", "BCEWithLogitsLoss", "LeakyReLUDropout"]
