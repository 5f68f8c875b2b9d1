"""``BCELoss`` and ``BCEWithLogitsLoss`` with label smoothing."""

from __future__ import annotations

from torch import Tensor, nn

from ..ops import bce_label_smoothing
from .convert import adopt, check_layer

__all__ = ["BCELoss", "BCEWithLogitsLoss"]


class BCELoss(nn.BCELoss):
    """``torch.nn.BCELoss`` in one pass each way, with label smoothing.

    Args:
        weight, size_average, reduce, reduction: as for ``torch.nn.BCELoss``.
        label_smoothing: e, in [0, 1).
        smoothing_mode: ``"one-sided"`` (a target t becomes t(1 - e)) or ``"two-sided"``
            (t(1 - e) + e/2).

    Shape: input of any shape, probabilities; target likewise, or one bool or float for all. Result
    as ``reduction`` says. See :func:`gankit.ops.bce_label_smoothing` for dtypes and errors.
    """

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
        *,
        label_smoothing: float = 0.0,
        smoothing_mode: str = "one-sided",
    ) -> None:
        super().__init__(weight, size_average, reduce, reduction)
        _check(label_smoothing, smoothing_mode)
        self.label_smoothing = label_smoothing
        self.smoothing_mode = smoothing_mode

    @classmethod
    def from_torch(cls, loss: nn.BCELoss) -> BCELoss:
        """The same loss; TypeError if it is of another type or has hooks."""
        check_layer("loss", loss, nn.BCELoss)
        return adopt(cls, loss, label_smoothing=0.0, smoothing_mode="one-sided")

    def to_torch(self) -> nn.BCELoss:
        """The loss of torch; ValueError if this one smooths labels, TypeError if it has hooks."""
        check_layer("self", self, BCELoss)
        _check_plain(self)
        return adopt(nn.BCELoss, self, ("label_smoothing", "smoothing_mode"))

    def extra_repr(self) -> str:
        return _words(self)

    def forward(self, input: Tensor, target: Tensor | bool | float) -> Tensor:
        """The loss of probabilities ``input`` against ``target``."""
        return bce_label_smoothing(
            input,
            target,
            smoothing=self.label_smoothing,
            mode=self.smoothing_mode,
            from_logits=False,
            reduction=self.reduction,
            weight=self.weight,
        )


class BCEWithLogitsLoss(nn.BCEWithLogitsLoss):
    """``torch.nn.BCEWithLogitsLoss`` in one pass each way, with label smoothing.

    Args:
        weight, size_average, reduce, reduction, pos_weight: as for ``torch.nn.BCEWithLogitsLoss``.
        label_smoothing: e, in [0, 1).
        smoothing_mode: ``"one-sided"`` (a target t becomes t(1 - e)) or ``"two-sided"``
            (t(1 - e) + e/2).

    Shape: input of any shape, logits; target likewise, or one bool or float for all. Result as
    ``reduction`` says. See :func:`gankit.ops.bce_label_smoothing` for dtypes and errors.
    """

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
        pos_weight: Tensor | None = None,
        *,
        label_smoothing: float = 0.0,
        smoothing_mode: str = "one-sided",
    ) -> None:
        super().__init__(weight, size_average, reduce, reduction, pos_weight)
        _check(label_smoothing, smoothing_mode)
        self.label_smoothing = label_smoothing
        self.smoothing_mode = smoothing_mode

    @classmethod
    def from_torch(cls, loss: nn.BCEWithLogitsLoss) -> BCEWithLogitsLoss:
        """The same loss; TypeError if it is of another type or has hooks."""
        check_layer("loss", loss, nn.BCEWithLogitsLoss)
        return adopt(cls, loss, label_smoothing=0.0, smoothing_mode="one-sided")

    def to_torch(self) -> nn.BCEWithLogitsLoss:
        """The loss of torch; ValueError if this one smooths labels, TypeError if it has hooks."""
        check_layer("self", self, BCEWithLogitsLoss)
        _check_plain(self)
        return adopt(nn.BCEWithLogitsLoss, self, ("label_smoothing", "smoothing_mode"))

    def extra_repr(self) -> str:
        return _words(self)

    def forward(self, input: Tensor, target: Tensor | bool | float) -> Tensor:
        """The loss of logits ``input`` against ``target``."""
        return bce_label_smoothing(
            input,
            target,
            smoothing=self.label_smoothing,
            mode=self.smoothing_mode,
            reduction=self.reduction,
            weight=self.weight,
            pos_weight=self.pos_weight,
        )


def _check(label_smoothing: float, smoothing_mode: str) -> None:
    if not 0.0 <= label_smoothing < 1.0:
        raise ValueError(f"label_smoothing: expected a number in [0, 1), got {label_smoothing}")
    if smoothing_mode not in ("one-sided", "two-sided"):
        raise ValueError(
            f"smoothing_mode: expected 'one-sided' or 'two-sided', got {smoothing_mode!r}"
        )


def _check_plain(loss: BCELoss | BCEWithLogitsLoss) -> None:
    if loss.label_smoothing != 0:
        raise ValueError(
            f"label_smoothing: expected 0, as torch's loss has none, got {loss.label_smoothing}"
        )


def _words(loss: BCELoss | BCEWithLogitsLoss) -> str:
    if loss.label_smoothing == 0:
        return ""
    return f"label_smoothing={loss.label_smoothing}, smoothing_mode={loss.smoothing_mode!r}"
