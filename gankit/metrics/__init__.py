"""What generated samples are worth, in numbers."""

from __future__ import annotations

from gankit.metrics.judge import Judge, Verdict
from gankit.metrics.near_copies import near_copies

__all__ = ["Judge", "Verdict", "near_copies"]
