"""A class declares what its code does; neither its folder nor its ancestors say anything."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import gankit
from gankit.losses import gradient_penalty
from gankit.losses.chain import objection
from gankit.models import autoencoder, conditional_mlp, mlp, semi_supervised
from gankit.nn.traits import declares, is_altered, is_watched, runs_in_order, traits_of
from gankit.training.modules import take_channels_last
from gankit.training.pairing import ends_in_sigmoid, examine, last_layer

SHAPE = (1, 4, 4)


class MinibatchDeviation(nn.Module):
    """Adds the deviation over the batch, as a layer of a progressively grown D does."""

    def forward(self, x: Tensor) -> Tensor:
        return x + x.std(0)


class Subclass(mlp.Discriminator):
    """A user's D: what its forward does is not what that of its parent does."""

    def forward(self, images: Tensor) -> Tensor:
        scores = super().forward(images)
        return scores - scores.mean(0) + images.flatten(1).square().sum(1, keepdim=True)


class Renamed(mlp.Discriminator):
    """A user's D that changes nothing, and promises nothing."""


@declares(per_sample=True, output="body")
class Declared(nn.Module):
    """A user's D with a forward of its own and a promise about it."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(16, 1), nn.Sigmoid())
        self.registered_last = nn.Linear(1, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.body(images.flatten(1))  # type: ignore[no-any-return]


def critic(kind: type[mlp.Discriminator] = mlp.Discriminator) -> mlp.Discriminator:
    return kind(SHAPE, (6, 5), dropout=0.0, output="logit").double()


def energies() -> nn.Module:
    return autoencoder.Discriminator(SHAPE, (6,), 3).double()


def classes() -> nn.Module:
    return semi_supervised.Discriminator(3, SHAPE, (6, 5), dropout=0.0).double()


def as_gankits_own(kind: type[nn.Module], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kind, "__module__", "gankit.models.of_a_user")


@pytest.mark.parametrize("kind", [Subclass, Renamed])
def test_a_subclass_of_a_model_inherits_no_promise(
    kind: type[mlp.Discriminator], monkeypatch: pytest.MonkeyPatch
) -> None:
    as_gankits_own(kind, monkeypatch)
    assert kind.__name__ in examine(critic(kind)).reason
    assert kind.__name__ in objection(critic(kind))
    assert not traits_of(critic(kind)).any_layout


@pytest.mark.parametrize(
    "make",
    [lambda: critic(Subclass), lambda: critic(Renamed), energies, classes],
    ids=["subclass", "subclass that changes nothing", "no main", "semi-supervised"],
)
def test_the_penalty_of_a_critic_that_is_no_chain_is_autograds(make: object) -> None:
    assert callable(make)
    torch.manual_seed(0)
    one = make()
    two = copy.deepcopy(one)
    real, fake = torch.randn(2, 5, *SHAPE, dtype=torch.float64)
    seed = torch.tensor([3])
    found = gradient_penalty(one, real, fake, seed=seed)
    wanted = gradient_penalty(two, real, fake, seed=seed, path="autograd")
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=0)
    found.backward()
    wanted.backward()
    for p, q in zip(one.parameters(), two.parameters(), strict=True):
        assert (p.grad is None) == (q.grad is None)
        if p.grad is not None:
            torch.testing.assert_close(p.grad, q.grad, rtol=1e-10, atol=1e-12)
    assert found.item() > 0.1


def test_models_that_are_chains_say_so() -> None:
    assert objection(critic()) == ""
    assert "Discriminator" in objection(classes())
    assert "Discriminator" in objection(energies())
    bare = critic()
    del bare.main
    assert "Discriminator" in objection(bare)


def test_a_layer_that_mixes_samples_is_found_inside_a_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    as_gankits_own(MinibatchDeviation, monkeypatch)
    for D in (critic(), classes()):
        assert examine(D).reason_now() == ""
        D.main.insert(2, MinibatchDeviation())  # type: ignore[operator, union-attr]
        assert "D.main.2 is a MinibatchDeviation" in examine(D).reason_now()
        a, b = torch.randn(2, 5, *SHAPE, dtype=torch.float64)
        assert not torch.allclose(D(torch.cat([a, b])), torch.cat([D(a), D(b)]))


def test_a_class_of_a_user_may_declare_what_it_does() -> None:
    D = Declared()
    assert examine(D).reason_now() == ""
    assert ends_in_sigmoid(D)
    D.register_forward_hook(lambda *_: None)
    assert "hooks" in examine(D).reason_now()


def test_what_comes_last_is_what_is_declared() -> None:
    """Layers that stand behind it among the children do not count."""
    G = conditional_mlp.Generator(3, 4, SHAPE, (6,), embedding=2)
    assert isinstance(last_layer(G), nn.Tanh)
    D = energies()
    assert last_layer(D) is D  # the error is the code's


def test_an_accelerated_sequential_runs_in_order_too() -> None:
    class Mine(nn.Sequential):
        pass

    class Reversed(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            for layer in reversed(list(self)):
                x = layer(x)
            return x

    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    gankit.accelerate(net)
    assert type(net) is not nn.Sequential
    assert traits_of(net) == traits_of(nn.Sequential())._replace(any_layout=True)
    assert [runs_in_order(m) for m in (net, Mine(), Reversed())] == [True, True, False]
    assert not traits_of(Mine()).in_order


@pytest.mark.parametrize(
    "install",
    [
        lambda m: m.register_forward_hook(lambda *_: None),
        lambda m: m.register_forward_pre_hook(lambda *_: None),
        lambda m: m.register_full_backward_hook(lambda *_: None),
        lambda m: m.register_full_backward_pre_hook(lambda *_: None),
        lambda m: setattr(m, "forward", lambda x: x),
    ],
    ids=["forward", "forward pre", "backward", "backward pre", "own forward"],
)
def test_hooks_of_every_kind_are_seen(install: object) -> None:
    assert callable(install)
    layer = nn.Linear(2, 2)
    assert not is_watched(layer)
    install(layer)
    assert is_watched(layer)
    assert is_altered(layer)


def test_a_compiled_layer_is_altered_but_not_watched() -> None:
    layer = nn.Linear(2, 2)
    layer.compile(backend="eager")
    assert is_altered(layer)
    assert not is_watched(layer)


def test_channels_last_is_for_code_that_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A view in somebody's forward fails on it."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")

    @declares(any_layout=True)
    class Takes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(2, 2, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x).flatten(1)  # type: ignore[no-any-return]

    class Views(Takes):
        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x).view(len(x), -1)  # type: ignore[no-any-return]

    monkeypatch.setattr(Views, "__module__", "gankit.models.of_a_user")
    assert take_channels_last("auto", "fp32", Takes()) is torch.backends.mkldnn.is_available()
    assert not take_channels_last("auto", "fp32", Views())
