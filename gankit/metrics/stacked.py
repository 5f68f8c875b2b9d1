"""Which of the 1,000 modes of stacked digits samples show."""

from __future__ import annotations

import torch
from torch import Tensor

from gankit.errors import DataError
from gankit.metrics.digit_classifier import DigitClassifier
from gankit.metrics.points import ModeCount

_CHANNELS, _DIGITS = 3, 10
_SURE = 0.5


def count_stacked_modes(samples: Tensor, classifier: DigitClassifier) -> ModeCount:
    """Count the modes of ``toy:stacked`` that ``samples`` show.

    A sample counts for the mode of the digits that ``classifier`` reads in its three channels, if
    it is sure of each, with a probability above 0.5; a mode is found if one sample counts for it.
    Metz et al. (2016, arXiv:1611.02163, section 3.3.2) and those after them take a classifier that
    has to name a digit, which finds hundreds of modes in noise.

    Args:
        samples: floating point ``[N, 3, H, W]`` in [-1, 1], N >= 1.
        classifier: of grey digits of that size, with the classes 0 to 9.

    Returns:
        The counts of the modes 0 to 999; ``near`` is the share of samples that are sure.

    Raises:
        DataError: samples of another shape or type or with values outside [-1, 1], or other
            classes.
    """
    if classifier.classes != tuple(range(_DIGITS)):
        raise DataError(f"classifier has the classes {classifier.classes}, expected 0 to 9")
    if samples.ndim != 4 or samples.shape[1] != _CHANNELS:
        raise DataError(f"samples must have shape [N, 3, H, W], got {list(samples.shape)}")
    read = classifier.probabilities(samples.flatten(0, 1).unsqueeze(1)).max(dim=1)
    digits = read.indices.view(-1, _CHANNELS)
    sure = (read.values.view(-1, _CHANNELS) > _SURE).all(1)
    modes = (digits * torch.tensor([100, 10, 1])).sum(1)[sure]
    counts = modes.bincount(minlength=_DIGITS**_CHANNELS)
    return ModeCount(tuple(counts.tolist()), len(samples), int((counts > 0).sum()))
