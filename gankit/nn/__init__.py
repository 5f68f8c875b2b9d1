"""Modules, drop-in for their ``torch.nn`` counterparts: same arguments, same ``state_dict``.

VirtualBatchNorm, which torch has not, takes the place of a batch norm; EqualizedConv2d,
EqualizedLinear, MinibatchStdDev and PixelNorm are layers of ProGAN, which it has not either.
ConditionalBatchNormAct2d has a scale and a shift per sample; layers named Spectral... keep the
largest singular value at 1.
"""

from __future__ import annotations

from .batch_norm_act import BatchNormAct1d, BatchNormAct2d
from .bce import BCELoss, BCEWithLogitsLoss
from .conditional_batch_norm_act import ConditionalBatchNormAct2d
from .conv_transpose2d import ConvTransposeAct2d
from .conv_transpose2d_bn_act import ConvTransposeBNAct2d
from .equalized import EqualizedConv2d, EqualizedLinear
from .instance_norm_act import InstanceNormAct2d
from .leaky_relu_dropout import LeakyReLUDropout
from .linear import Linear
from .minibatch_stddev import MinibatchStdDev
from .pixel_norm import PixelNorm
from .spectral_norm import (
    SpectralConv2d,
    SpectralEmbedding,
    SpectralLinear,
    power_iteration,
    spectral_layers,
)
from .virtual_batch_norm import VirtualBatchNorm

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "BatchNormAct1d",
    "BatchNormAct2d",
    "ConditionalBatchNormAct2d",
    "ConvTransposeAct2d",
    "ConvTransposeBNAct2d",
    "EqualizedConv2d",
    "EqualizedLinear",
    "InstanceNormAct2d",
    "LeakyReLUDropout",
    "Linear",
    "MinibatchStdDev",
    "PixelNorm",
    "SpectralConv2d",
    "SpectralEmbedding",
    "SpectralLinear",
    "VirtualBatchNorm",
    "power_iteration",
    "spectral_layers",
]
