"""Fused ops as functions. Each takes torch tensors and is differentiable twice."""

from __future__ import annotations

from .backends import backend
from .leaky_relu_dropout import leaky_relu_dropout
from .philox import draw_seed

__all__ = ["backend", "draw_seed", "leaky_relu_dropout"]
