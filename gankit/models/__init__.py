"""Networks, one file per family."""

from __future__ import annotations

from gankit.models import conditional_mlp, dcgan, mlp

__all__ = ["conditional_mlp", "dcgan", "mlp"]
