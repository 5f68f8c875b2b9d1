"""Networks, one file per family."""

from __future__ import annotations

from gankit.models import mlp

__all__ = ["mlp"]
