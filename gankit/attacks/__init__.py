"""Images that a classifier gets wrong, made by changes that a person hardly sees or by bad data.

Functions of any ``torch.nn.Module`` that returns logits ``[N, K]``.
"""

from __future__ import annotations

from gankit.attacks.bounds import project
from gankit.attacks.classifier import accuracy, layer_outputs, predict, train_classifier
from gankit.attacks.gradient import fgsm, pgd
from gankit.attacks.poisoning import Poisoned, poison, spectral_scores, stamp

__all__ = [
    "Poisoned",
    "accuracy",
    "fgsm",
    "layer_outputs",
    "pgd",
    "poison",
    "predict",
    "project",
    "spectral_scores",
    "stamp",
    "train_classifier",
]
