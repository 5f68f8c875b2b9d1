"""Own parts by import path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from gankit import recipes
from gankit.data import ImageData
from gankit.errors import ConfigError
from gankit.losses import resolve
from gankit.models import mlp
from gankit.runs.build import build_trainer
from gankit.runs.component import create
from gankit.training import Trainer
from gankit.training.config import RunConfig

OWN_PARTS = """
import torch
from torch import nn
from gankit.data import ImageData
from gankit.losses import AdversarialLoss

class MyG(nn.Module):
    def __init__(self, width, z_dim):
        super().__init__()
        self.z_dim = z_dim
        self.net = nn.Sequential(nn.Linear(z_dim, width), nn.Linear(width, 16), nn.Tanh())

    def forward(self, z):
        return self.net(z).view(-1, 1, 4, 4)

class MyD(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(16, 1)

    def forward(self, x):
        return self.net(x.flatten(1))

def hinge(margin=1.0):
    return AdversarialLoss(
        "hinge",
        lambda real, fake: (margin - real).relu().mean() + (margin + fake).relu().mean(),
        lambda fake: -fake.mean(),
    )

def images(image_size):
    return ImageData(torch.zeros(20, 1, 4, 4, dtype=torch.uint8), name=f"asked for {image_size}")

def random_images():
    return ImageData((torch.rand(20, 1, 4, 4) * 255).to(torch.uint8))

class Gated(MyD):
    def __init__(self):
        super().__init__()
        self.gate = nn.Sigmoid()

    def forward(self, x):
        return self.gate(super().forward(x))

class FrozenD(MyD):
    def __init__(self):
        super().__init__()
        self.requires_grad_(False)

class DoubleD(MyD):
    def __init__(self):
        super().__init__()
        self.double()

class SmallG(MyG):
    def forward(self, z):
        return super().forward(z)[..., 1:]

def forgets():
    return len(3)

def refuses():
    raise ValueError("not today")

NUMBER = 3
"""


@pytest.fixture
def own_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "broken_parts.py").write_text("undefined\n")
    (tmp_path / "own_parts.py").write_text(OWN_PARTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "own_parts", raising=False)
    return "own_parts"


def test_own_parts_train_together(own_parts: str) -> None:
    config = recipes.get("gan").config.updated(
        generator={"class_path": "own_parts.MyG", "init_args": {"width": 9}},
        discriminator="own_parts.MyD",
        loss={"class_path": "own_parts.hinge", "init_args": {"margin": 2.0}},
        data="own_parts.images",
        z_dim=6,
        image_size=4,
        batch_size=5,
        device="cpu",
    )
    trainer = build_trainer(config)
    assert trainer.gan_step.loss.name == "hinge"
    assert trainer.data.name == "asked for 4"
    assert trainer.gan_step.G.z_dim == 6
    assert not trainer.gan_step.paired
    assert "MyD" in trainer.gan_step.notes[0]
    trainer.fit(steps=3)
    assert trainer.config["networks"]["G"] == {
        "class_path": "own_parts.MyG",
        "init_args": {"width": 9, "z_dim": 6},
    }


def own_config(**changes: Any) -> RunConfig:
    return recipes.get("gan").config.updated(
        **{
            "generator": {"class_path": "own_parts.MyG", "init_args": {"width": 9}},
            "discriminator": "own_parts.MyD",
            "data": "own_parts.images",
            "batch_size": 5,
            "device": "cpu",
            **changes,
        }
    )


def test_own_random_data_follows_the_seed(own_parts: str) -> None:
    def trained(seed: int, first: int, then: int = 0) -> Trainer:
        trainer = build_trainer(own_config(data="own_parts.random_images", seed=seed))
        trainer.fit(steps=first)
        if then:
            state = trainer.state_dict()
            torch.rand(3)
            trainer = build_trainer(own_config(data="own_parts.random_images", seed=seed))
            trainer.load_state_dict(state)
            trainer.fit(steps=then)
        return trainer

    straight, halves, other = trained(4, 6), trained(4, 3, 6), trained(5, 1)
    assert torch.equal(straight.data.images, halves.data.images)
    assert not torch.equal(straight.data.images, other.data.images)
    pairs = zip(straight.gan_step.G.parameters(), halves.gan_step.G.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_weights_do_not_depend_on_what_the_data_drew(own_parts: str) -> None:
    plain = build_trainer(own_config())
    drawn = build_trainer(own_config(data="own_parts.random_images"))
    pairs = zip(plain.gan_step.G.parameters(), drawn.gan_step.G.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_the_user_says_what_d_returns_where_it_cannot_be_seen(own_parts: str) -> None:
    with pytest.raises(ConfigError, match=r"D \(Gated\).*set from_logits"):
        build_trainer(own_config(discriminator="own_parts.Gated"))
    for said in (True, False):
        config = own_config(discriminator="own_parts.Gated", from_logits=said)
        step = build_trainer(config).gan_step
        assert step.from_logits is said
        expected = resolve("non-saturating", from_logits=said)
        scores = torch.tensor([[0.2], [0.7]])
        assert torch.equal(step.loss.generator(scores), expected.generator(scores))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"discriminator": "own_parts.FrozenD"}, r"discriminator \(FrozenD\) has nothing to train"),
        ({"discriminator": "torch.nn.Flatten"}, r"discriminator \(Flatten\) has nothing to train"),
        ({"generator": "torch.nn.Identity"}, r"generator \(Identity\) has nothing to train"),
        ({"discriminator": "own_parts.DoubleD"}, r"G is torch\.float32, but D is torch\.float64"),
        (
            {"generator": {"class_path": "own_parts.SmallG", "init_args": {"width": 3}}},
            r"G returned images of shape \[5, 1, 4, 3\]",
        ),
    ],
)
def test_parts_that_cannot_train_are_named_when_the_run_is_built(
    own_parts: str, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        build_trainer(own_config(**changes))


def test_given_arguments_win_over_offers() -> None:
    path = "gankit.models.mlp.Generator"
    G = create("generator", {"class_path": path, "init_args": {"z_dim": 3}}, nn.Module, z_dim=8)
    assert isinstance(G, mlp.Generator)
    assert G.z_dim == 3
    assert create("generator", path, nn.Module, z_dim=8, unknown=1).z_dim == 8


@pytest.mark.parametrize(
    ("spec", "kind", "words"),
    [
        ("nothing", nn.Module, "allowed is an import path such as"),
        ("no_such_package.G", nn.Module, "cannot be imported: No module named 'no_such_package'"),
        ("own_parts.Absent", nn.Module, "own_parts has no Absent"),
        ("own_parts.NUMBER", nn.Module, "is a int; allowed is a callable"),
        ("own_parts.MyG", nn.Module, "do not fit: missing a required argument: 'width'"),
        ({"class_path": "own_parts.MyD", "init_args": {"depth": 1}}, nn.Module, "'depth'"),
        ({"class": "own_parts.MyD"}, nn.Module, "class_path with init_args"),
        ({"class_path": 3}, nn.Module, "class_path with init_args"),
        ("own_parts.hinge", nn.Module, "gave a AdversarialLoss; allowed is a Module"),
        ("own_parts.MyD", ImageData, "expected a subclass of ImageData, or a function"),
        ("own_parts.forgets", nn.Module, r"cannot be built: .*has no len.* \(TypeError\)"),
        ("broken_parts.G", nn.Module, r"cannot be imported: .*'undefined' is not defined"),
        ("own_parts.refuses", nn.Module, "cannot be built: not today"),
    ],
)
def test_wrong_parts_are_named(own_parts: str, spec: Any, kind: type, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        create("generator", spec, kind)
    assert "generator" in str(caught.value)


def test_a_generator_without_z_dim_is_named(own_parts: str) -> None:
    class Bare(nn.Module):
        pass

    from gankit.training import noise_for

    with pytest.raises(ConfigError, match="the generator Bare has no attribute z_dim"):
        noise_for(Bare())
    assert noise_for(mlp.Generator(z_dim=4))(2).shape == torch.Size([2, 4])
