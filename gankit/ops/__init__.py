"""Fused ops as functions. Each takes torch tensors and is differentiable twice."""

from __future__ import annotations

from .backends import backend
from .batch_norm_act import batch_norm_act
from .bce_label_smoothing import bce_label_smoothing
from .conv_transpose2d import conv_transpose2d
from .conv_transpose2d_bn_act import conv_transpose2d_bn_act
from .gan_bce import gan_bce
from .grad_norm_penalty import grad_norm_penalty
from .interpolate import interpolate
from .leaky_relu_dropout import leaky_relu_dropout
from .linear import linear
from .philox import draw_seed

__all__ = [
    "backend",
    "batch_norm_act",
    "bce_label_smoothing",
    "conv_transpose2d",
    "conv_transpose2d_bn_act",
    "draw_seed",
    "gan_bce",
    "grad_norm_penalty",
    "interpolate",
    "leaky_relu_dropout",
    "linear",
]
