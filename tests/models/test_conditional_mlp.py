"""The conditional networks: what a label does, and labels that are none."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gankit.errors import ConfigError, DataError
from gankit.models import conditional_mlp, mlp


@pytest.mark.parametrize("embedding", [None, 3])
def test_the_label_decides_beside_the_noise(embedding: int | None) -> None:
    torch.manual_seed(0)
    G = conditional_mlp.Generator(5, 4, (1, 3, 2), hidden=(8,), embedding=embedding)
    D = conditional_mlp.Discriminator(5, (1, 3, 2), hidden=(8,), dropout=0.0, embedding=embedding)
    z = torch.randn(1, 4).expand(5, 4)
    images = G(z, torch.arange(5))
    assert images.shape == (5, 1, 3, 2)
    assert (torch.cdist(images.flatten(1), images.flatten(1)) > 0).sum() == 20
    torch.testing.assert_close(G(z, torch.full((5,), 2)), images[2:3].expand(5, 1, 3, 2))
    answers = D(images[:1].expand(5, 1, 3, 2), torch.arange(5))
    assert answers.shape == (5, 1)
    assert len(answers.unique()) == 5
    assert ((answers > 0) & (answers < 1)).all()


def test_one_hot_is_what_a_plain_network_would_see() -> None:
    torch.manual_seed(0)
    G = conditional_mlp.Generator(3, 4, (1, 2, 2), hidden=(8,))
    plain = mlp.Generator(7, (1, 2, 2), hidden=(8,))
    plain.main.load_state_dict(G.main.state_dict())
    z, labels = torch.randn(6, 4), torch.tensor([0, 2, 1, 1, 0, 2])
    assert torch.equal(G(z, labels), plain(torch.cat([z, torch.eye(3)[labels]], dim=1)))


def test_an_embedding_learns_only_the_classes_it_saw() -> None:
    D = conditional_mlp.Discriminator(4, (1, 2, 2), hidden=(8,), dropout=0.0, embedding=2)
    D(torch.randn(3, 1, 2, 2), torch.tensor([1, 3, 3])).sum().backward()
    assert isinstance(D.label, nn.Linear)
    gradient = D.label.weight.grad
    assert gradient is not None
    assert gradient.any(dim=0).tolist() == [False, True, False, True]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (torch.tensor([0, 3]), "labels must lie in 0 to 2, got 0 to 3"),
        (torch.tensor([-1, 0]), "labels must lie in 0 to 2, got -1 to 0"),
        (torch.tensor([0]), r"labels must be int64 of shape \[2\], got torch.int64 of \[1\]"),
        (torch.tensor([0.0, 1.0]), "got torch.float32"),
    ],
)
def test_labels_that_are_none_are_named(labels: torch.Tensor, words: str) -> None:
    G = conditional_mlp.Generator(3, 2, (1, 1, 2), hidden=(4,))
    D = conditional_mlp.Discriminator(3, (1, 1, 2), hidden=(4,))
    with pytest.raises(DataError, match=words):
        G(torch.zeros(2, 2), labels)
    with pytest.raises(DataError, match=words):
        D(torch.zeros(2, 1, 1, 2), labels)


def test_wrong_settings_and_shapes_are_named() -> None:
    with pytest.raises(ConfigError, match="n_classes must be at least 1, got 0"):
        conditional_mlp.Generator(0)
    with pytest.raises(ConfigError, match="embedding must be at least 1, got 0"):
        conditional_mlp.Discriminator(3, embedding=0)
    with pytest.raises(ConfigError, match="z_dim must be at least 1"):
        conditional_mlp.Generator(3, z_dim=0)
    with pytest.raises(DataError, match=r"z must have shape \[N, 100\]"):
        conditional_mlp.Generator(3)(torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(DataError, match=r"images must have shape \[N, 1, 28, 28\]"):
        conditional_mlp.Discriminator(3)(torch.zeros(2, 784), torch.zeros(2, dtype=torch.int64))
