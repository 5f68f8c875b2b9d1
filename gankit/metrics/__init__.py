"""What generated samples are worth, in numbers."""

from __future__ import annotations

from gankit.metrics.digit_classifier import ClassCoverage, DigitClassifier
from gankit.metrics.evaluation import Evaluation, compute
from gankit.metrics.features import FeatureExtractor
from gankit.metrics.metric import Images, Inputs, LatentGenerator, Metric, Value
from gankit.metrics.near_copies import near_copies
from gankit.metrics.points import ModeCount, count_modes, ks_distance
from gankit.metrics.registry import METRICS
from gankit.metrics.sharpness import sharpness
from gankit.metrics.small_features import small_features
from gankit.metrics.stacked import count_stacked_modes

__all__ = [
    "METRICS",
    "ClassCoverage",
    "DigitClassifier",
    "Evaluation",
    "FeatureExtractor",
    "Images",
    "Inputs",
    "LatentGenerator",
    "Metric",
    "ModeCount",
    "Value",
    "compute",
    "count_modes",
    "count_stacked_modes",
    "ks_distance",
    "near_copies",
    "sharpness",
    "small_features",
]
