"""Networks, one file per family."""

from __future__ import annotations

from gankit.models import dcgan, mlp

__all__ = ["dcgan", "mlp"]
