"""BCELoss and BCEWithLogitsLoss as drop-ins for torch's."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any

import pytest
import torch
from torch import nn

import gankit.nn

PAIRS = [(gankit.nn.BCELoss, nn.BCELoss), (gankit.nn.BCEWithLogitsLoss, nn.BCEWithLogitsLoss)]


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand((6, 4), generator=generator), torch.rand((6, 4), generator=generator)


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_same_constructor_arguments(ours: Any, theirs: Any) -> None:
    own = list(inspect.signature(ours).parameters)
    assert own[:-2] == list(inspect.signature(theirs).parameters)
    assert own[-2:] == ["label_smoothing", "smoothing_mode"]


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_same_loss(ours: Any, theirs: Any, weighted: bool, reduction: str) -> None:
    x, t = batch()
    weight = torch.rand(4) if weighted else None
    one, other = ours(weight, reduction=reduction), theirs(weight, reduction=reduction)
    torch.testing.assert_close(one(x, t), other(x, t))
    assert one.state_dict().keys() == other.state_dict().keys()
    other.load_state_dict(one.state_dict())


def test_pos_weight() -> None:
    x, t = batch()
    pos_weight = torch.rand(4) + 1
    one = gankit.nn.BCEWithLogitsLoss(pos_weight=pos_weight)
    other = nn.BCEWithLogitsLoss(pos_weight=pos_weight)
    torch.testing.assert_close(one(x, t), other(x, t))
    assert set(one.state_dict()) == set(other.state_dict()) == {"pos_weight"}


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_label_smoothing(ours: Any, theirs: Any) -> None:
    x, t = batch()
    torch.testing.assert_close(ours(label_smoothing=0.2)(x, t), theirs()(x, 0.8 * t))
    two = ours(label_smoothing=0.2, smoothing_mode="two-sided")
    torch.testing.assert_close(two(x, t), theirs()(x, 0.8 * t + 0.1))
    assert repr(two).endswith("Loss(label_smoothing=0.2, smoothing_mode='two-sided')")
    for copied in (copy.deepcopy(two), pickle.loads(pickle.dumps(two))):
        assert torch.equal(copied(x, t), two(x, t))
    assert torch.equal(two(x, True), two(x, torch.ones_like(x)))


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_errors(ours: Any, theirs: Any) -> None:
    with pytest.raises(ValueError, match="label_smoothing"):
        ours(label_smoothing=1.0)
    with pytest.raises(ValueError, match="smoothing_mode"):
        ours(smoothing_mode="both")
    x, t = batch()
    for loss in (ours(), theirs()):
        with pytest.raises(ValueError, match=r"6, 4.*|4, 6.*"):
            loss(x, t.T)
