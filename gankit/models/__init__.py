"""Networks, one file per family."""

from gankit.models import mlp

__all__ = ["mlp"]
