"""What generated samples are worth, in numbers."""

from __future__ import annotations

from gankit.metrics.digit_classifier import ClassCoverage, DigitClassifier
from gankit.metrics.near_copies import near_copies
from gankit.metrics.points import ModeCount, count_modes, ks_distance
from gankit.metrics.sharpness import sharpness

__all__ = [
    "DigitClassifier",
    "ModeCount",
    "ClassCoverage",
    "count_modes",
    "ks_distance",
    "near_copies",
    "sharpness",
]
