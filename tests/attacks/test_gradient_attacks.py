"""FGSM and PGD: bounds to the last bit, the model left alone, and what they do to classifiers."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from gankit.attacks import accuracy, fgsm, pgd, predict, project, train_classifier
from gankit.errors import ConfigError, DataError
from tests.attacks.classifiers import convolutional, digits, mlp


@pytest.fixture(scope="module")
def seen() -> tuple[Tensor, Tensor]:
    return digits("train")


@pytest.fixture(scope="module")
def unseen() -> tuple[Tensor, Tensor]:
    return digits("test")


@pytest.fixture(scope="module")
def model(seen: tuple[Tensor, Tensor]) -> nn.Module:
    network = mlp(0, 128)
    train_classifier(network, *seen, epochs=10)
    return network


def assert_within(
    images: Tensor, moved: Tensor, eps: float, norm: str, bounds: tuple[float, float]
) -> None:
    assert moved.dtype == images.dtype
    assert bounds[0] <= float(moved.min())
    assert float(moved.max()) <= bounds[1]
    if norm == "linf":
        assert float((moved - images).abs().max()) <= eps
        assert float((moved.double() - images.double()).abs().max()) <= eps
    else:
        assert float((moved.double() - images.double()).flatten(1).norm(dim=1).max()) <= eps


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**31),
    eps=st.one_of(st.floats(0, 2), st.sampled_from([0.1, 0.3, 8 / 255, 1e-7, 1e-12, 0.5])),
    low=st.sampled_from([0.0, -1.0, -0.1, 0.1]),
    width=st.sampled_from([1.0, 2.0, 0.3]),
    norm=st.sampled_from(["linf", "l2"]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_what_is_projected_is_within_eps_to_the_last_bit(
    seed: int, eps: float, low: float, width: float, norm: Any, dtype: torch.dtype
) -> None:
    random = torch.Generator().manual_seed(seed)
    bounds = (low, low + width)
    images = torch.rand(64, 33, generator=random, dtype=torch.float64) * width + low
    images[:8] *= 10.0 ** -torch.arange(8.0).view(-1, 1).double()
    images = images.to(dtype).clamp(*bounds)
    images = images.clamp(
        *(
            torch.nextafter(torch.tensor(b, dtype=dtype), torch.tensor(t, dtype=dtype))
            for b, t in (bounds, bounds[::-1])
        )
    )
    noise = torch.randn(64, 33, generator=random, dtype=dtype)
    for size in (eps, 3 * eps, 1e-3 * eps, 10.0):
        moved = project(images, images + size * noise, eps, norm=norm, bounds=bounds)
        assert_within(images, moved, eps, norm, bounds)
    inside = project(images, images, eps, norm=norm, bounds=bounds)
    assert torch.equal(inside, images)


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-1.0, 1.0)])
@pytest.mark.parametrize("eps", [8 / 255, 0.1, 0.3])
def test_attacks_stay_within_eps_and_use_it(
    eps: float, bounds: tuple[float, float], model: nn.Module, unseen: tuple[Tensor, Tensor]
) -> None:
    images, labels = unseen[0] * (bounds[1] - bounds[0]) + bounds[0], unseen[1]
    for norm, size in (("linf", eps), ("l2", 8 * eps)):
        attack = partial(pgd, norm=norm, steps=5, restarts=2, bounds=bounds)
        moved = attack(model, images, labels, size)
        assert_within(images, moved, size, norm, bounds)
    moved = fgsm(model, images, labels, eps, bounds=bounds)
    assert_within(images, moved, eps, "linf", bounds)
    assert float((moved - images).abs().max()) >= eps * (1 - 1e-6)


class Talkative(nn.Module):
    """Batch norm, dropout at all times, work in place, a frozen layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.norm = nn.BatchNorm1d(64)
        self.frozen = nn.Linear(64, 32).requires_grad_(False)
        self.last = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1).mul_(2)
        return self.last(nn.functional.dropout(self.frozen(self.norm(x)).relu_(), 0.1, True))


def test_the_model_and_the_random_states_are_left_as_they_were() -> None:
    network = Talkative()
    network.frozen.eval()  # a mode of its own
    network.last.weight.grad = torch.ones(10, 32)
    before = copy.deepcopy(network)
    images, labels = torch.rand(20, 1, 8, 8), torch.arange(20) % 10
    copies = images.clone(), labels.clone()
    state = torch.get_rng_state()
    with torch.inference_mode():
        found = [pgd(network, images, labels, 0.1, steps=3) for _ in range(2)]
        fgsm(network, images, labels, 0.1)
        predict(network, images)
    assert torch.equal(*found)  # also with a model that draws numbers
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(images, copies[0])
    assert torch.equal(labels, copies[1])
    assert [m.training for m in network.modules()] == [m.training for m in before.modules()]
    for (name, value), other in zip(
        network.state_dict().items(), before.state_dict().values(), strict=True
    ):
        assert torch.equal(value, other), name
    assert [p.requires_grad for p in network.parameters()] == [i not in (2, 3) for i in range(6)]
    assert torch.equal(network.last.weight.grad, torch.ones(10, 32))
    assert all(p.grad is None for p in network.parameters() if p is not network.last.weight)


def test_seeds_decide_and_generators_go_on(model: nn.Module, unseen: tuple[Tensor, Tensor]) -> None:
    images, labels = unseen[0][:20], unseen[1][:20]
    first, same, other = (pgd(model, images, labels, 0.3, steps=1, seed=s) for s in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    random = torch.Generator().manual_seed(1)
    a, b = (pgd(model, images, labels, 0.3, steps=1, seed=random) for _ in range(2))
    assert torch.equal(a, first)
    assert not torch.equal(a, b)
    # Without a random start the batches do not matter.
    fixed = partial(pgd, model, images, labels, 0.1, steps=3, random_start=False)
    assert torch.allclose(fixed(), fixed(batch=7), atol=1e-6)


def test_a_linear_model_is_solved_exactly() -> None:
    """The loss of two classes falls along w_0 - w_1, so the best change is known."""
    network = nn.Linear(6, 2).double()
    images = torch.full((3, 6), 0.5, dtype=torch.float64)
    labels = torch.zeros(3, dtype=torch.int64)
    weight = (network.weight[1] - network.weight[0]).detach()
    moved = fgsm(network, images, labels, 0.1)
    assert torch.allclose(moved, images + 0.1 * weight.sign(), atol=1e-7)
    towards = fgsm(network, images, labels, 0.1, targeted=True)
    assert torch.allclose(towards, images - 0.1 * weight.sign(), atol=1e-7)
    moved = pgd(network, images, labels, 0.2, norm="l2", random_start=False)
    assert torch.allclose(moved, images + 0.2 * weight / weight.norm(), atol=1e-5)


def test_a_bfloat16_model_is_attacked_in_float32(
    model: nn.Module, unseen: tuple[Tensor, Tensor]
) -> None:
    images, labels = unseen[0][:100], unseen[1][:100]
    half = copy.deepcopy(model).bfloat16()
    moved = pgd(half, images, labels, 0.2, steps=10)
    assert_within(images, moved, 0.2, "linf", (0.0, 1.0))
    assert accuracy(half, images, labels) > accuracy(half, moved, labels) + 0.5
    assert next(half.parameters()).dtype == torch.bfloat16


def test_restarts_keep_the_worst_of_each_image(
    model: nn.Module, unseen: tuple[Tensor, Tensor]
) -> None:
    images, labels = unseen
    weak = partial(pgd, model, images, labels, 0.15, steps=1)
    once, often = (predict(model, weak(restarts=n)) == labels for n in (1, 8))
    assert int(once.sum()) > int(often.sum())
    assert not bool((often & ~once).any())  # the first try of both is the same
    target = (labels + 1) % 10
    hit = predict(model, pgd(model, images, target, 0.3, targeted=True, steps=10)) == target
    assert float(hit.float().mean()) >= 0.8


def test_clean_above_fgsm_above_pgd(model: nn.Module, unseen: tuple[Tensor, Tensor]) -> None:
    images, labels = unseen
    clean = accuracy(model, images, labels)
    for eps in (0.05, 0.1, 0.2):
        fast = accuracy(model, fgsm(model, images, labels, eps), labels)
        strong = accuracy(model, pgd(model, images, labels, eps), labels)
        assert clean > fast >= strong
    assert strong <= 0.2
    l2 = accuracy(model, pgd(model, images, labels, 1.0, norm="l2"), labels)
    assert clean - 0.3 > l2


def gain(network: Callable[[int], nn.Module], seed: int, eps: float, **training: Any) -> float:
    """By how much adversarial training raises the accuracy under PGD of 40 steps."""
    images, labels = digits("test")
    found = []
    for attack in (None, partial(pgd, eps=eps, steps=training["steps"], seed=torch.Generator())):
        model = network(seed)
        epochs = training["epochs"] if attack else 10
        train_classifier(model, *digits("train"), epochs=epochs, attack=attack, seed=seed)
        found.append(accuracy(model, pgd(model, images, labels, eps), labels))
    return found[1] - found[0]


def test_adversarial_training_regains_what_pgd_takes() -> None:
    assert gain(lambda seed: mlp(seed, 128), 0, 0.2, epochs=15, steps=5) >= 0.25


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_adversarial_training_of_convolutions_regains_forty_points(seed: int) -> None:
    assert gain(convolutional, seed, 0.2, epochs=30, steps=7) >= 0.4


def test_the_attacks_are_those_of_torchattacks(
    model: nn.Module, unseen: tuple[Tensor, Tensor]
) -> None:
    torchattacks = pytest.importorskip("torchattacks", reason="torchattacks is not installed")
    images, labels = unseen
    model.eval()
    theirs = torchattacks.FGSM(model, eps=0.1)(images, labels)
    assert torch.allclose(fgsm(model, images, labels, 0.1), theirs, atol=1e-6)
    for eps in (0.1, 0.2):
        theirs = torchattacks.PGD(model, eps=eps, alpha=eps / 16, steps=40, random_start=False)
        ours = pgd(model, images, labels, eps, random_start=False)
        difference = accuracy(model, theirs(images, labels), labels) - accuracy(model, ours, labels)
        assert abs(difference) <= 0.01
    theirs = torchattacks.PGDL2(model, eps=1.0, alpha=1 / 16, steps=40, random_start=False)
    ours = pgd(model, images, labels, 1.0, norm="l2", random_start=False)
    difference = accuracy(model, theirs(images, labels), labels) - accuracy(model, ours, labels)
    assert abs(difference) <= 0.01


def test_the_attacks_are_those_of_foolbox(model: nn.Module, unseen: tuple[Tensor, Tensor]) -> None:
    foolbox = pytest.importorskip("foolbox", reason="foolbox is not installed")
    images, labels = unseen
    wrapped = foolbox.PyTorchModel(model.eval(), bounds=(0, 1))
    _, theirs, _ = foolbox.attacks.FGSM()(wrapped, images, labels, epsilons=0.1)
    assert torch.allclose(fgsm(model, images, labels, 0.1), theirs, atol=1e-6)
    attack = foolbox.attacks.LinfPGD(abs_stepsize=0.2 / 16, steps=40, random_start=False)
    _, theirs, _ = attack(wrapped, images, labels, epsilons=0.2)
    ours = pgd(model, images, labels, 0.2, random_start=False)
    difference = accuracy(model, theirs, labels) - accuracy(model, ours, labels)
    assert abs(difference) <= 0.01


def test_what_is_not_allowed_is_one_sentence(model: nn.Module) -> None:
    images, labels = torch.rand(4, 1, 8, 8), torch.arange(4)
    wrong: list[tuple[type[Exception], str, Callable[[], object]]] = [
        (ConfigError, "eps is -1", lambda: fgsm(model, images, labels, -1)),
        (ConfigError, "eps is nan", lambda: pgd(model, images, labels, float("nan"))),
        (ConfigError, "norm is 'l1'", lambda: pgd(model, images, labels, 0.1, norm="l1")),  # type: ignore[arg-type]
        (ConfigError, "steps is 0", lambda: pgd(model, images, labels, 0.1, steps=0)),
        (
            ConfigError,
            "restarts is 2 without a random start",
            lambda: pgd(model, images, labels, 0.1, restarts=2, random_start=False),
        ),
        (ConfigError, "bounds is", lambda: fgsm(model, images, labels, 0.1, bounds=(1, 0))),
        (DataError, "images must lie in", lambda: fgsm(model, images - 1, labels, 0.1)),
        (DataError, "images must be float32", lambda: fgsm(model, images.half(), labels, 0.1)),
        (DataError, "labels must be int64", lambda: fgsm(model, images, labels.float(), 0.1)),
        (DataError, "labels must lie in 0 to 9", lambda: fgsm(model, images, labels + 9, 0.1)),
        (DataError, "must return logits", lambda: fgsm(nn.Identity(), images, labels, 0.1)),
        (
            ConfigError,
            "no gradient",
            lambda: fgsm(Rounded(), images, labels, 0.1),
        ),
        (DataError, "at least one image", lambda: accuracy(model, images[:0], labels[:0])),
    ]
    for kind, words, call in wrong:
        with pytest.raises(kind, match=words):
            call()
    assert fgsm(model, images[:0], labels[:0], 0.1).shape == (0, 1, 8, 8)


class Rounded(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1).round().argsort(dim=1).float()
