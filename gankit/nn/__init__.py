"""Modules, drop-in for their ``torch.nn`` counterparts: same arguments, same ``state_dict``.

VirtualBatchNorm, which torch has not, takes the place of a batch norm.
"""

from __future__ import annotations

from .batch_norm_act import BatchNormAct1d, BatchNormAct2d
from .bce import BCELoss, BCEWithLogitsLoss
from .conv_transpose2d import ConvTransposeAct2d
from .conv_transpose2d_bn_act import ConvTransposeBNAct2d
from .instance_norm_act import InstanceNormAct2d
from .leaky_relu_dropout import LeakyReLUDropout
from .linear import Linear
from .virtual_batch_norm import VirtualBatchNorm

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "BatchNormAct1d",
    "BatchNormAct2d",
    "ConvTransposeAct2d",
    "ConvTransposeBNAct2d",
    "InstanceNormAct2d",
    "LeakyReLUDropout",
    "Linear",
    "VirtualBatchNorm",
]
