"""When one pass of D over both halves is exact, and when not."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.steps import textbook
from gankit.errors import ConfigError
from gankit.nn import BatchNormAct1d, BatchNormAct2d
from gankit.training import GANStep, gan_adam
from gankit.training.pairing import ends_in_sigmoid, examine
from tests.training.nets import SHAPE, small_discriminator, small_generator


class MyLinear(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x - x.mean(0))


class MyDiscriminator(type(small_discriminator())):  # type: ignore[misc]
    """A subclass of a model of ours may look across the batch, so it is not trusted."""


def hooked() -> nn.Module:
    D = small_discriminator()
    D.main[0].register_forward_hook(lambda *_: None)
    return D


def patched() -> nn.Module:
    D = small_discriminator()
    D.main[0].forward = lambda x: x  # type: ignore[method-assign]
    return D


PER_SAMPLE = {
    "our MLP": small_discriminator(),
    "conv": nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten()),
    "dropout": nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(36, 1)),
    "instance norm": nn.Sequential(nn.Conv2d(1, 4, 3), nn.InstanceNorm2d(4)),
    "layer norm": nn.Sequential(nn.Flatten(), nn.LayerNorm(36), nn.Linear(36, 1)),
    "eval batch norm": nn.Sequential(nn.Flatten(), nn.BatchNorm1d(36), nn.Linear(36, 1)).eval(),
    "unflatten": nn.Sequential(nn.Flatten(), nn.Unflatten(1, (1, 6, 6)), nn.Conv2d(1, 1, 6)),
}

MIXES = {
    "batch norm": (
        nn.Sequential(nn.Flatten(), nn.BatchNorm1d(36), nn.Linear(36, 1)),
        "BatchNorm1d",
    ),
    "batch norm without statistics": (
        nn.Sequential(nn.Flatten(), nn.BatchNorm1d(36, track_running_stats=False)).eval(),
        "keeps no running statistics",
    ),
    "tracking instance norm": (
        nn.Sequential(nn.InstanceNorm2d(1, track_running_stats=True)),
        "InstanceNorm2d",
    ),
    "subclassed layer": (nn.Sequential(nn.Flatten(), MyLinear(36, 1)), "MyLinear"),
    "spectral norm": (
        nn.Sequential(nn.Flatten(), nn.utils.parametrizations.spectral_norm(nn.Linear(36, 1))),
        "ParametrizedLinear",
    ),
    "old spectral norm": (
        nn.Sequential(nn.Flatten(), nn.utils.spectral_norm(nn.Linear(36, 1))),
        "hooks",
    ),
    "own forward": (textbook.Discriminator(), "D is a Discriminator"),
    "subclass of ours": (MyDiscriminator(SHAPE), "MyDiscriminator"),
    "hooks": (hooked(), r"D\.main\.0 \(Linear\) has hooks"),
    "patched": (patched(), "patched forward"),
    "flattened batch": (nn.Sequential(nn.Flatten(0), nn.Linear(36, 1)), "batch dimension"),
    "softmax": (nn.Sequential(nn.Flatten(), nn.Softmax(0)), "Softmax"),
}


@pytest.mark.parametrize("D", PER_SAMPLE.values(), ids=PER_SAMPLE.keys())
def test_per_sample_networks_give_the_same_in_one_pass(D: nn.Module) -> None:
    assert examine(D).reason_now() == ""
    D = D.double()
    dropped = [m for m in D.modules() if "Dropout" in type(m).__name__]
    for module in dropped:
        module.eval()
    a, b = torch.randn(2, 3, *SHAPE, dtype=torch.float64)
    torch.testing.assert_close(D(torch.cat([a, b])), torch.cat([D(a), D(b)]))


@pytest.mark.parametrize("momentum", [0.1, None])
def test_our_batch_norm_takes_each_half_by_itself(momentum: float | None) -> None:
    """Outputs, gradients and running statistics are those of two passes."""
    torch.manual_seed(0)
    one = nn.Sequential(
        nn.Conv2d(1, 4, 3),
        BatchNormAct2d(4, momentum=momentum, activation="leaky_relu"),
        nn.Flatten(),
        nn.Linear(64, 6),
        BatchNormAct1d(6, momentum=momentum),
        nn.Linear(6, 1),
    ).double()
    two = copy.deepcopy(one)
    pairing = examine(one)
    assert pairing.reason_now() == ""
    a, b = torch.randn(2, 5, *SHAPE, dtype=torch.float64)
    with pairing.halves():
        found = one(torch.cat([a, 3 * b + 1]))
    assert one[1].groups == 1
    wanted = torch.cat([two(a), two(3 * b + 1)])
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)
    for y in (found, wanted):
        y.square().sum().backward()
    for p, q in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-10, atol=1e-10)
    for p, q in zip(one.buffers(), two.buffers(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-10, atol=1e-10)


def test_our_batch_norm_without_statistics_keeps_halves_apart_in_eval_too() -> None:
    D = nn.Sequential(nn.Flatten(), BatchNormAct1d(36, track_running_stats=False)).double().eval()
    pairing = examine(D)
    assert pairing.reason_now() == ""
    a, b = torch.randn(2, 5, *SHAPE, dtype=torch.float64)
    with pairing.halves():
        found = D(torch.cat([a, 3 * b + 1]))
    torch.testing.assert_close(found, torch.cat([D(a), D(3 * b + 1)]))


@pytest.mark.parametrize(("D", "words"), MIXES.values(), ids=MIXES.keys())
def test_anything_else_makes_two_passes_and_says_why(D: nn.Module, words: str) -> None:
    import re

    reason = examine(D).reason_now()
    assert re.search(words, reason), reason


def make_step(D: nn.Module, **settings: Any) -> GANStep:
    G = small_generator()
    return GANStep(G, D, gan_adam(G.parameters()), gan_adam(D.parameters()), **settings)


def batches_seen(D: nn.Module, step: GANStep) -> list[int]:
    seen: list[int] = []
    handle = D.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[0]))
    step(torch.rand(5, *SHAPE) * 2 - 1)
    handle.remove()
    return seen


@pytest.mark.parametrize(
    ("paired", "expected"), [("auto", [10, 5]), (True, [10, 5]), (False, [5, 5, 5])]
)
def test_d_sees_what_was_asked_for(paired: bool | str, expected: list[int]) -> None:
    D = small_discriminator()
    step = make_step(D, paired=paired)
    assert step.paired is (expected[0] == 10)
    assert batches_seen(D, step) == expected


def test_notes_follow_the_mode_of_a_batch_norm() -> None:
    D = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(36), nn.Linear(36, 1), nn.Sigmoid())
    step = make_step(D)
    assert not step.paired
    assert "D.1 is a BatchNorm1d in training mode" in step.notes[0]
    D.eval()
    assert step.paired
    assert "one pass" in step.notes[0]


def test_a_user_may_vouch_for_their_own_network() -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(36, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x.flatten(1))  # type: ignore[no-any-return]

    D = Plain()
    assert batches_seen(D, make_step(D)) == [5, 5, 5]
    assert batches_seen(D, make_step(D, paired=True)) == [10, 5]


def test_fakes_of_another_shape_make_two_passes() -> None:
    D = nn.Sequential(nn.Flatten(), nn.Linear(36, 1), nn.Sigmoid())
    G = nn.Sequential(nn.Linear(4, 36), nn.Tanh())

    def noise(n: int) -> Tensor:
        return torch.randn(n, 4)

    def step(paired: Any) -> GANStep:
        g, d = gan_adam(G.parameters()), gan_adam(D.parameters())
        return GANStep(G, D, g, d, paired=paired, noise=noise)

    auto = step("auto")
    assert batches_seen(D, auto) == [5, 5, 5]
    assert not auto.paired
    assert "another shape" in auto.notes[0]
    with pytest.raises(ConfigError, match=r"G made \[5, 36\], real is \[5, 1, 6, 6\]"):
        step(True)(torch.rand(5, *SHAPE))


class Gated(nn.Module):
    """Returns logits; its Sigmoid, registered last, opens a gate in the middle."""

    def __init__(self, sigmoid: bool = True) -> None:
        super().__init__()
        self.layer = nn.Linear(36, 1)
        self.gate: nn.Module = nn.Sigmoid() if sigmoid else nn.Tanh()

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.gate(x.flatten(1)))  # type: ignore[no-any-return]


class Squeeze(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.squeeze(1)


@pytest.mark.parametrize(
    ("D", "last"),
    [
        (Gated(), "Gated"),
        (nn.Sequential(nn.Flatten(), Gated()), "Gated"),
        (nn.Sequential(nn.Flatten(), nn.Linear(36, 1), nn.Sigmoid(), Squeeze()), "Squeeze"),
    ],
)
def test_where_code_hides_what_d_returns_the_user_is_asked(D: nn.Module, last: str) -> None:
    with pytest.raises(ConfigError, match=f"but {last} comes last.*set from_logits to True"):
        make_step(D)
    for said in (True, False):
        assert make_step(D, from_logits=said).from_logits is said


def test_one_output_per_image_is_asked_for() -> None:
    D = nn.Sequential(nn.Flatten(0), nn.Linear(2 * 5 * 36, 1), nn.Sigmoid())
    with pytest.raises(ConfigError, match=r"D returned \[1\] for 10 images"):
        make_step(D, paired=True)(torch.rand(5, *SHAPE))


@pytest.mark.parametrize(
    ("D", "expected"),
    [
        (small_discriminator(), True),
        (small_discriminator(output="logit"), False),
        (nn.Sequential(nn.Sigmoid(), nn.Linear(1, 1)), False),
        (textbook.Discriminator(), True),
        (nn.Sequential(nn.Conv2d(1, 1, 6), nn.Sigmoid(), nn.Flatten()), True),
        (nn.Sequential(nn.Conv2d(1, 1, 6), nn.Sequential(nn.Sigmoid(), nn.Identity())), True),
        (nn.Sequential(nn.Linear(1, 1), nn.Sigmoid(), nn.Unflatten(1, (1, 1))), True),
        (nn.Sequential(nn.Linear(1, 1), nn.Sigmoid(), nn.Dropout(), nn.Dropout2d()), True),
        (nn.Sequential(nn.Sigmoid(), nn.Conv2d(1, 1, 6), nn.Flatten(), nn.Identity()), False),
        (Gated(sigmoid=False), False),
    ],
)
def test_the_last_leaf_decides_what_d_returns(D: nn.Module, expected: bool) -> None:
    assert ends_in_sigmoid(D) is expected
