"""What a discriminator may return, and how a loss of one score per image reads it.

One value per image; a map of scores, one for each patch (Isola et al., 2016, arXiv 1611.07004); a
list of either, one for each scale (Wang et al., 2017, arXiv 1711.11585); and beside the score
features, or the logits of a class head (Odena et al., 2016, arXiv 1610.09585).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.errors import ConfigError
from gankit.losses.scores import widened

_ALLOWED = (
    "allowed is one value per image, [N, 1] or [N], a map of one channel [N, 1, h, w], a list of "
    "these, (score, features) and {'score': ..., 'logits': ...}"
)


class Output(NamedTuple):
    """D's output on N images.

    Attributes:
        scores: for each scale ``[N]``, ``[N, 1]`` or ``[N, 1, ...]``.
        logits: those of a class head ``[N, K]``, or None.
        alone: D returned one tensor, the score.
    """

    scores: tuple[Tensor, ...]
    logits: Tensor | None = None
    alone: bool = True

    def halves(self, n: int) -> tuple[Output, Output]:
        """The outputs on the first ``n`` images and on the others."""
        logits = (None, None) if self.logits is None else (self.logits[:n], self.logits[n:])
        first, second = zip(*(score.split(n) for score in self.scores), strict=True)
        return Output(first, logits[0], self.alone), Output(second, logits[1], self.alone)

    def mean(self, read: Callable[[Tensor], Tensor] = lambda x: x) -> Tensor:
        """The mean of ``read(score)``, each scale with the same weight; 0-d."""
        return over_scales(lambda score: read(score).mean(), self)

    def per_image(self) -> Tensor:
        """For each image the mean of its scores, each scale with the same weight; ``[N]``."""
        rows = [score.reshape(len(score), -1).mean(1) for score in self.scores]
        return rows[0] if len(rows) == 1 else torch.stack(rows).mean(0)


def over_scales(loss: Callable[..., Tensor], *outputs: Output) -> Tensor:
    """``loss`` of the scores of ``outputs``; of several scales the mean, so that the weight of a
    penalty means the same for any number of them."""
    values = [loss(*scores) for scores in zip(*(out.scores for out in outputs), strict=True)]
    return values[0] if len(values) == 1 else torch.stack(values).mean()


def read_output(returned: Any, n: int, *, classifies: bool = False) -> Output:
    """What D ``returned`` for ``n`` images.

    Of a tuple the first entry is the score, of a dict the entry ``"score"``. The second entry of a
    tuple, or the dict's ``"logits"``, are class logits where D ``classifies``; what else stands
    there, and in the tuples that a list may hold, is not looked at.

    Raises ConfigError for anything else.
    """
    score, beside = returned, None
    if isinstance(returned, Mapping):
        score, beside = returned.get("score"), returned.get("logits")
    elif isinstance(returned, tuple):
        score, beside = (*returned, None, None)[:2]
    scales = score if isinstance(score, list) and score else [score]
    scores = tuple(scale[0] if isinstance(scale, tuple) and scale else scale for scale in scales)
    for one in scores:
        if not _is_score(one, n):
            what = list(one.shape) if isinstance(one, Tensor) else f"a {type(one).__name__}"
            where = "" if one is returned else f" as the score in a {type(returned).__name__}"
            raise ConfigError(f"D returned {what}{where} for {n} images; {_ALLOWED}")
    if not classifies:
        return Output(scores, None, returned is scores[0])
    if not isinstance(beside, Tensor) or beside.ndim != 2 or len(beside) != n:
        kind = "nothing" if beside is None else f"a {type(beside).__name__}"
        what = list(beside.shape) if isinstance(beside, Tensor) else kind
        raise ConfigError(
            f"D's forward takes no labels, and beside its score it returned {what} for {n} images; "
            "a conditional step needs a D that takes labels as its second argument or returns "
            "(score, logits) with logits [N, classes]"
        )
    return Output(scores, beside, False)


def _is_score(value: Any, n: int) -> bool:
    if not isinstance(value, Tensor) or value.ndim == 0 or len(value) != n:
        return False
    return value.numel() == n or (value.ndim > 2 and value.shape[1] == 1)


def classification_loss(output: Output, labels: Tensor) -> Tensor:
    """The cross entropy of the class head of ``output`` and ``labels`` int64 ``[N]``; 0-d."""
    assert output.logits is not None
    return F.cross_entropy(widened(output.logits), labels)


class PerImage(nn.Module):
    """D as a penalty can take it: images to one value each, ``[N]``, the mean of its scores."""

    def __init__(self, D: nn.Module) -> None:
        super().__init__()
        self.D = D

    def forward(self, images: Tensor, *condition: Tensor) -> Tensor:
        """``D(images, *condition)``, read as one score per image."""
        return read_output(self.D(images, *condition), len(images)).per_image()
