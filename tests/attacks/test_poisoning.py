"""A backdoor in the training data: it works, is not seen on clean images, and leaves a trace."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from gankit.attacks import (
    accuracy,
    layer_outputs,
    poison,
    predict,
    spectral_scores,
    stamp,
    train_classifier,
)
from gankit.errors import ConfigError, DataError
from tests.attacks.classifiers import digits, mlp

TARGET = 7
trigger = partial(stamp, size=2)


def backdoor(model: nn.Module) -> float:
    """The share of stamped images of other classes that are taken for the target."""
    images, labels = digits("test")
    return float((predict(model, trigger(images[labels != TARGET])) == TARGET).double().mean())


def trained(images: Tensor, labels: Tensor, seed: int) -> nn.Module:
    model = mlp(seed, 128, 64)
    train_classifier(model, images, labels, epochs=10, seed=seed)
    return model


@pytest.mark.parametrize("seed", [0, *(pytest.param(s, marks=pytest.mark.slow) for s in (1, 2))])
def test_a_backdoor_works_and_spectral_signatures_weaken_it(seed: int) -> None:
    poisoned = poison(*digits("train"), target=TARGET, share=0.02, trigger=trigger, seed=seed)
    model = trained(poisoned.images, poisoned.labels, seed)
    assert accuracy(model, *digits("test")) >= 0.9
    before = backdoor(model)
    assert before >= 0.6
    scores = spectral_scores(layer_outputs(model, poisoned.images), poisoned.labels)
    kept = torch.ones(len(scores), dtype=torch.bool)
    for label in range(10):
        members = (poisoned.labels == label).nonzero().flatten()
        worst = scores[members].argsort(descending=True)[: int(1.5 * poisoned.chosen.sum())]
        kept[members[worst]] = False
    found = (poisoned.chosen & ~kept).sum() / poisoned.chosen.sum()
    assert float(found) >= 0.4  # a fifth of all images is removed
    cured = trained(poisoned.images[kept], poisoned.labels[kept], seed)
    assert backdoor(cured) <= before - 0.2
    assert accuracy(cured, *digits("test")) >= 0.85


def test_poison_changes_what_it_says_and_nothing_else() -> None:
    images, labels = digits("train")
    copies = images.clone(), labels.clone()
    found = poison(images, labels, target=3, share=0.1, seed=1)
    assert torch.equal(images, copies[0])
    assert torch.equal(labels, copies[1])
    assert int(found.chosen.sum()) == round(0.1 * len(images))
    assert not bool((labels[found.chosen] == 3).any())
    assert bool((found.labels[found.chosen] == 3).all())
    assert torch.equal(found.labels[~found.chosen], labels[~found.chosen])
    assert torch.equal(found.images[~found.chosen], images[~found.chosen])
    assert torch.equal(found.images[found.chosen], stamp(images[found.chosen]))
    again, other = (poison(images, labels, target=3, share=0.1, seed=s) for s in (1, 2))
    assert torch.equal(again.chosen, found.chosen)
    assert not torch.equal(other.chosen, found.chosen)


def test_scores_single_out_a_second_cloud() -> None:
    torch.manual_seed(0)
    labels = torch.arange(400) % 2
    features = torch.randn(400, 16) + 10 * labels[:, None]
    strange = torch.arange(1, 41, 2)  # 20 of class 1
    features[strange, 5] += 8
    scores = spectral_scores(features, labels)
    assert set(scores.argsort(descending=True)[:20].tolist()) == set(strange.tolist())
    assert bool((spectral_scores(torch.ones(4, 3), torch.zeros(4, dtype=torch.int64)) == 0).all())


def test_layer_outputs_are_the_features_that_are_classified() -> None:
    model, images = mlp(0, 32, 16).train(), torch.rand(10, 1, 8, 8)
    features = layer_outputs(model, images, batch=3)
    assert torch.allclose(model[-1](features), model(images), atol=1e-6)
    assert torch.equal(features, layer_outputs(model, images, "4", batch=3))
    assert model.training
    assert not model[1]._forward_hooks
    assert not model[5]._forward_pre_hooks
    with pytest.raises(ConfigError, match="layer is 'x'; allowed are 0, 1, 2"):
        layer_outputs(model, images, "x")
    with pytest.raises(ConfigError, match=r"no nn\.Linear"):
        layer_outputs(nn.Flatten(), images)


def test_what_is_not_allowed_is_one_sentence() -> None:
    images, labels = torch.rand(10, 1, 4, 4), torch.zeros(10, dtype=torch.int64)
    for words, change in (("target is -1", {"target": -1}), ("share is 1", {"share": 1.0})):
        with pytest.raises(ConfigError, match=words):
            poison(images, labels, **{"target": 1, "share": 0.5, **change})  # type: ignore[arg-type]
    with pytest.raises(DataError, match="0 images are of other classes than 0, needed are 5"):
        poison(images, labels, target=0, share=0.5)
    with pytest.raises(ConfigError, match="size is 5"):
        stamp(images, size=5)
    with pytest.raises(DataError, match="features must be finite"):
        spectral_scores(torch.full((10, 2), torch.nan), labels)
