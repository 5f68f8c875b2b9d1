"""Labels, the moving average, lazy penalties, channels last; and what a step does not do."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gankit.errors import CheckpointError, ConfigError
from gankit.losses import gradient_penalty
from gankit.models import dcgan
from gankit.nn import BatchNormAct1d
from gankit.training import GANStep, Noise, gan_adam
from gankit.training.average import Average
from tests.training.nets import SHAPE, Z_DIM, small_discriminator, small_generator

CLASSES = 3


class ConditionalGenerator(nn.Module):
    z_dim = Z_DIM

    def __init__(self) -> None:
        super().__init__()
        self.main = small_generator()
        self.label = nn.Embedding(CLASSES, Z_DIM)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        images: Tensor = self.main(z + self.label(labels))
        return images


class ConditionalDiscriminator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.main = small_discriminator(0.0, "logit")
        self.label = nn.Embedding(CLASSES, 36)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        scores: Tensor = self.main(images + self.label(labels).view(images.shape))
        return scores


def make_step(G: nn.Module, D: nn.Module, **settings: Any) -> GANStep:
    settings.setdefault("noise", Noise((Z_DIM,), generator=torch.Generator().manual_seed(3)))
    return GANStep(G, D, gan_adam(G.parameters()), gan_adam(D.parameters()), **settings)


def images(n: int = 8) -> Tensor:
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("penalty", [None, gradient_penalty])
def test_labels_reach_both_networks(paired: bool, penalty: Any) -> None:
    torch.manual_seed(0)
    G, D = ConditionalGenerator(), ConditionalDiscriminator()
    labels = torch.tensor([0, 1, 0, 1, 0, 1, 0, 1])
    before = [m.label.weight.detach().clone() for m in (G, D)]
    step = make_step(G, D, paired=paired, penalty=penalty)
    step.dry_run(images(), labels)
    step(images(), labels)
    for module, old in zip((G, D), before, strict=True):
        moved = (module.label.weight.detach() - old).abs().amax(1)
        assert (moved[:2] > 0).all(), "classes of the batch learn"
        assert moved[2] == 0, "a class that is not in the batch does not"


def test_labels_in_one_pass_equal_two_passes() -> None:
    labels = torch.arange(8) % CLASSES
    results = []
    for paired in (True, False):
        torch.manual_seed(0)
        step = make_step(ConditionalGenerator(), ConditionalDiscriminator(), paired=paired)
        for _ in range(3):
            scalars = step(images(), labels)
        results.append((scalars, [p.detach() for p in step.D.parameters()]))
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (torch.zeros(7), r"labels are \[7\] for 8 images"),
        (torch.tensor(1), r"labels are \[\] for 8 images"),
        ([1] * 8, "labels are list for 8 images"),
        (torch.zeros(8, device="meta"), "labels are on meta"),
    ],
)
def test_labels_that_do_not_fit_are_named(labels: Any, words: str) -> None:
    step = make_step(ConditionalGenerator(), ConditionalDiscriminator(), paired=True)
    with pytest.raises(ConfigError, match=words):
        step(images(), labels)


def test_the_average_follows_its_formula_and_copies_buffers() -> None:
    torch.manual_seed(0)
    G, D = dcgan.Generator(Z_DIM, width=2), dcgan.Discriminator(width=2)
    step = make_step(G, D, ema=0.9, n_critic=2)
    average = copy.deepcopy(G)
    real = torch.rand(4, 1, 28, 28) * 2 - 1
    for call in range(6):
        step(real)
        if call % 2 == 1:
            with torch.no_grad():
                for mine, new in zip(average.parameters(), G.parameters(), strict=True):
                    mine.copy_(0.9 * mine + 0.1 * new)
    assert step.ema is step.sampled
    assert step.ema is not None
    assert not step.ema.training
    assert G.training
    for found, wanted in zip(step.ema.parameters(), average.parameters(), strict=True):
        torch.testing.assert_close(found, wanted)
        assert not found.requires_grad
    # Fakes for D move G's running statistics too, after which the average was not updated.
    assert step.ema.main[1].num_batches_tracked == G.main[1].num_batches_tracked


def test_the_average_resumes() -> None:
    def build(**settings: Any) -> GANStep:
        torch.manual_seed(0)
        return make_step(small_generator(), small_discriminator(), **settings)

    first = build(ema=0.5)
    for _ in range(3):
        first(images())
    second = build(ema=0.5)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for mine, theirs in zip(first.ema.parameters(), second.ema.parameters(), strict=True):  # type: ignore[union-attr]
        assert torch.equal(mine, theirs)
    with pytest.raises(CheckpointError, match="average of G, and here is one of nothing"):
        build().load_state_dict(first.state_dict())
    with pytest.raises(CheckpointError, match="average of nothing, and here is one of G"):
        first.load_state_dict(build().state_dict())


def test_without_an_average_g_itself_is_sampled() -> None:
    step = make_step(small_generator(), small_discriminator())
    assert step.ema is None
    assert step.sampled is step.G


def test_a_lazy_penalty_enters_rarely_and_as_much_stronger() -> None:
    calls = []

    def penalty(D: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        calls.append(step.calls + 1)
        return sum(p.square().sum() for p in D.parameters())  # type: ignore[return-value]

    torch.manual_seed(0)
    step = make_step(small_generator(), small_discriminator(0.0), penalty=penalty, penalty_every=3)
    losses = [step(images())["d_loss"].item() for _ in range(7)]
    assert calls == [3, 6]
    once = penalty(step.D, images(), images()).item()
    assert 2 < (losses[2] - losses[1]) / once < 4, "three times it"


@pytest.mark.parametrize("capability", ["AVX2", "AVX512"])
def test_channels_last_changes_strides_and_nothing_else(
    capability: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    faster = torch.backends.mkldnn.is_available() and capability == "AVX512"
    results = []
    for asked in (True, False, "auto"):
        torch.manual_seed(0)
        G, D = dcgan.Generator(Z_DIM, width=4), dcgan.Discriminator(width=4)
        step = make_step(G, D, channels_last=asked)
        wanted = asked is True or (asked == "auto" and faster)
        assert step.channels_last is wanted
        weight = G.main[3].weight
        assert weight.is_contiguous(memory_format=torch.channels_last) is wanted
        assert any("channels last" in note for note in step.notes) is wanted
        real = torch.rand(6, 1, 28, 28, generator=torch.Generator().manual_seed(2)) * 2 - 1
        results.append([step(real)["d_loss"] for _ in range(3)])
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-5)


def test_a_forward_of_ones_own_that_flattens_by_view_still_trains() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution, self.last = nn.Conv2d(1, 4, 3), nn.Linear(64, 1)

        def forward(self, x: Tensor) -> Tensor:
            y = self.convolution(x)
            scores: Tensor = self.last(y.view(y.size(0), -1))
            return scores

    step = make_step(small_generator(), Own())
    assert not step.channels_last
    step(images())


def test_networks_without_convolutions_and_float64_stay_as_they_are() -> None:
    assert not make_step(small_generator(), small_discriminator()).channels_last
    G, D = dcgan.Generator(Z_DIM, width=2).double(), dcgan.Discriminator(width=2).double()
    assert not make_step(G, D).channels_last


@pytest.mark.parametrize("late", ["the constructor", "loading"])
def test_an_optimizer_with_state_of_the_other_layout_goes_on_exactly(late: str) -> None:
    """Torch's fused Adam walks weights and moments as they lie in memory."""
    results = []
    real = torch.rand(6, 1, 28, 28, generator=torch.Generator().manual_seed(2)) * 2 - 1
    for channels_last in (False, True):
        torch.manual_seed(0)
        G, D = dcgan.Generator(Z_DIM, width=3), dcgan.Discriminator(width=3)
        optimizers = [gan_adam(m.parameters(), 1e-2) for m in (G, D)]
        first = GANStep(G, D, *optimizers, channels_last=False)
        for _ in range(3):
            first(real)
        if late == "loading":
            saved = [copy.deepcopy(o.state_dict()) for o in optimizers]
            optimizers = [gan_adam(m.parameters(), 1e-2) for m in (G, D)]
        second = GANStep(G, D, *optimizers, channels_last=channels_last)
        if late == "loading":
            for optimizer, state in zip(optimizers, saved, strict=True):
                optimizer.load_state_dict(state)
        torch.manual_seed(1)
        for _ in range(3):
            second(real)
        results.append([p.detach() for p in (*G.parameters(), *D.parameters())])
    torch.testing.assert_close(results[0], results[1], rtol=1e-3, atol=2e-4)


def test_labels_and_a_penalty_that_does_not_take_them() -> None:
    G, D = ConditionalGenerator(), ConditionalDiscriminator()
    step = make_step(G, D, penalty=lambda D, real, fake: real.mean())
    with pytest.raises(ConfigError, match="penalty has no parameter critic_args"):
        step(images(), torch.zeros(8, dtype=torch.int64))


def test_a_network_of_ones_own_with_our_batch_norm_keeps_its_halves_apart() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.norm = nn.Linear(36, 6, bias=False), BatchNormAct1d(6)
            self.last = nn.Linear(6, 1)

        def forward(self, x: Tensor) -> Tensor:
            scores: Tensor = self.last(self.norm(self.layer(x.flatten(1))))
            return scores

    results = []
    for paired in (True, False):
        torch.manual_seed(0)
        D = Own()
        make_step(small_generator(), D, paired=paired)(images())
        results.append([t.detach() for t in (*D.parameters(), *D.buffers())])
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-6)


def operations(step: GANStep) -> Counter[str]:
    """How often a step runs each of torch's operations, seen from outside."""
    step(images())
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        step(images())
    return Counter(event.name for event in profile.events())


@pytest.mark.parametrize("loss", ["non-saturating", "wasserstein"])
def test_nothing_waits_for_the_device(loss: str) -> None:
    G, D = small_generator(), small_discriminator(0.5, "logit")
    # Adam on the CPU reads its own step counters.
    optimizers = [torch.optim.SGD(m.parameters(), lr=1e-3) for m in (G, D)]
    counts = operations(GANStep(G, D, *optimizers, loss=loss, penalty=gradient_penalty, ema=0.9))
    assert counts["aten::mm"] > 0
    for name in ("_local_scalar_dense", "item", "nonzero", "is_nonzero", "equal"):
        assert counts[f"aten::{name}"] == 0


def test_no_gradient_is_computed_that_nobody_uses() -> None:
    """Products: forward one per layer, backward one for the weight and one for the input."""
    counts = operations(make_step(small_generator(), small_discriminator(0.0)))
    g_layers = d_layers = 3
    forward = 2 * g_layers + 2 * d_layers  # G for each turn, D for both halves at once and for G
    weights = d_layers + g_layers  # each network's in its own turn
    inputs = (d_layers - 1) + d_layers + (g_layers - 1)  # D's turn, G's through D and through G
    assert counts["aten::addmm"] == forward
    assert counts["aten::mm"] == weights + inputs


def test_the_average_of_half_precision_weights_does_not_stall() -> None:
    weight = nn.Linear(1, 1, bias=False).bfloat16()
    nn.init.ones_(weight.weight)
    average = Average(weight, 0.999)
    nn.init.constant_(weight.weight, 1.03125)
    for _ in range(5000):
        average.update()
    assert average.module.weight.item() == pytest.approx(1.03125, abs=1e-3)
