"""DiscoGAN and StarGAN against plain loops of their papers, in float64."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.data import ImageData, UnpairedData
from gankit.errors import ConfigError, DataError
from gankit.gans.discogan import DiscoGANStep
from gankit.gans.stargan import StarGANStep
from gankit.losses.penalties import gradient_penalty
from gankit.models import discogan, stargan
from gankit.models.patch import PatchDiscriminator
from gankit.training import Checkpoint, Trainer, load_checkpoint
from gankit.training.step import Step
from tests.gans.test_translation_steps import assert_same
from tests.gans.translation_nets import adam, batch_of, some_images
from tests.gans.translation_processes import everything

SIZE, K = 16, 3


def discogan_nets(code: int | None = 5) -> list[nn.Module]:
    """G_ab, G_ba, D_a and D_b of images of 16 pixels, one channel and three."""
    torch.manual_seed(0)
    Gs = [discogan.Generator(a, b, SIZE, width=2, code=code) for a, b in ((1, 3), (3, 1))]
    return [*Gs, *(discogan.Discriminator(channels, SIZE, width=2) for channels in (1, 3))]


def discogan_step(**settings: Any) -> DiscoGANStep:
    nets = discogan_nets()
    return DiscoGANStep(*nets, adam(*nets[:2]), adam(*nets[2:]), **settings)


def stargan_nets() -> list[nn.Module]:
    torch.manual_seed(0)
    G = stargan.Generator(K, 3, width=2, blocks=1)
    return [G, stargan.Discriminator(K, (3, SIZE, SIZE), width=2)]


def stargan_step(exclusive: bool = True, **settings: Any) -> StarGANStep:
    G, D = stargan_nets()
    return StarGANStep(G, D, adam(G), adam(D), "xyz", exclusive=exclusive, **settings)


def stargan_batch(seed: int, exclusive: bool, n: int = 4) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)
    batch = {"image": torch.rand(n, 3, SIZE, SIZE, generator=random, dtype=torch.float64) * 2 - 1}
    if exclusive:
        batch["label"] = torch.randint(K, (n,), generator=random)
    else:
        batch["attributes"] = torch.randint(2, (n, K), generator=random).double()
    return batch


def discogan_loop(nets: list[nn.Module]) -> Callable[[int, dict[str, Tensor]], dict[str, Tensor]]:
    """The authors' loop with images in [0, 1]: D in every third call, else the generators."""
    G_ab, G_ba, D_a, D_b = nets
    g_optimizer, d_optimizer = (
        torch.optim.Adam(
            [p for net in pair for p in net.parameters()], 2e-4, (0.5, 0.999), weight_decay=1e-5
        )
        for pair in (nets[:2], nets[2:])
    )

    def features(real: list[Tensor], fake: list[Tensor]) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for x, y in zip(real, fake, strict=True):
            gap = (x.mean(0) - y.mean(0)) ** 2
            total = total + F.hinge_embedding_loss(gap, torch.ones_like(gap))
        return total

    def loop(iters: int, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        A, B = batch["a"], batch["b"]
        AB, BA = G_ab(A), G_ba(B)
        ABA, BAB = G_ba(AB), G_ab(BA)
        reported, g_losses, d_losses, recs, fms = {}, [], [], [], []
        for name, D, real, fake in (("b", D_b, B, AB), ("a", D_a, A, BA)):
            real_out, real_features = D(real)
            fake_out, fake_features = D(fake)
            ones, zeros = torch.ones_like(real_out), torch.zeros_like(real_out)
            bce = F.binary_cross_entropy
            d_losses.append(bce(real_out.sigmoid(), ones) / 2 + bce(fake_out.sigmoid(), zeros) / 2)
            g_losses.append(bce(fake_out.sigmoid(), ones))
            fms.append(features(real_features, fake_features))
            direction = "g_ab" if name == "b" else "g_ba"
            reported |= {f"d_{name}": 2 * d_losses[-1], direction: g_losses[-1]}
        for back, image in ((ABA, A), (BAB, B)):
            recs.append(((back / 2 - image / 2) ** 2).mean())
        rate = 0.01 if iters < 3 else 0.5
        total = torch.zeros((), dtype=torch.float64)
        for g, fm, rec in zip(g_losses, fms, recs, strict=True):
            total = total + (g * 0.1 + fm * 0.9) * (1 - rate) + rec * rate
        d_learns = iters % 3 == 0
        optimizer, loss = (d_optimizer, sum(d_losses)) if d_learns else (g_optimizer, total)
        for net in nets:
            net.zero_grad()
        loss.backward()
        optimizer.step()
        reported |= {"features": sum(fms) / 2, "reconstruction": 4 * sum(recs) / 2}
        shown = ("d_a", "d_b") if d_learns else ("g_ab", "g_ba", "features", "reconstruction")
        return {name: reported[name].detach() for name in shown}

    return loop


def test_discogan_equals_the_plain_loop() -> None:
    ours = [network.double() for network in discogan_nets()]
    theirs, first = copy.deepcopy(ours), copy.deepcopy(ours)
    optimizers = [
        torch.optim.Adam(
            [p for net in pair for p in net.parameters()], 2e-4, (0.5, 0.999), weight_decay=1e-5
        )
        for pair in (ours[:2], ours[2:])
    ]
    step = DiscoGANStep(*ours, *optimizers, gan_curriculum=3, ema=0.5)
    loop = discogan_loop(theirs)
    for number in range(8):
        batch = batch_of((1, 3), number, size=SIZE)
        reported, expected = step(batch), loop(number, batch)
        assert expected.keys() <= reported.keys()
        found = {name: reported[name] for name in expected}
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
        # The plain loop also runs the networks that do not learn, which moves running means.
        for mine, other in zip(ours, theirs, strict=True):
            for x, y in zip(mine.parameters(), other.parameters(), strict=True):
                torch.testing.assert_close(x, y, rtol=0, atol=1e-9)
    assert step.updates == {"D": 3, "G": 5}
    for mine, before in zip(ours, first, strict=True):
        pairs = zip(mine.parameters(), before.parameters(), strict=True)
        assert any((x - y).abs().max() > 1e-4 for x, y in pairs)
    assert step.inference_keys == {"a2b": "averages.G_ab", "b2a": "averages.G_ba"}


def stargan_loop(
    nets: list[nn.Module], exclusive: bool
) -> Callable[[int, dict[str, Tensor], Tensor], dict[str, Tensor]]:
    """The authors' loop, as of their last release: one update of D, G in every second call."""
    G, D = nets
    g_optimizer, d_optimizer = adam(G), adam(D)

    def entropy(logits: Tensor, batch: dict[str, Tensor], order: Tensor | None) -> Tensor:
        wanted = batch["label"] if exclusive else batch["attributes"]
        wanted = wanted if order is None else wanted[order]
        if exclusive:
            return F.cross_entropy(logits, wanted)
        return F.binary_cross_entropy_with_logits(logits, wanted, reduction="sum") / len(logits)

    def loop(call: int, batch: dict[str, Tensor], order: Tensor) -> dict[str, Tensor]:
        x = batch["image"]
        own = F.one_hot(batch["label"], K).double() if exclusive else batch["attributes"]
        target = own[order]
        real_out, real_logits = D(x)
        class_real = entropy(real_logits, batch, None)
        fake = G(x, target).detach()
        alpha = torch.rand(len(x), 1, 1, 1, dtype=torch.float64)
        between = (alpha * x + (1 - alpha) * fake).requires_grad_()
        out, _ = D(between)
        (slope,) = torch.autograd.grad(out, between, torch.ones_like(out), create_graph=True)
        penalty = 10 * ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()
        d_loss = D(fake)[0].mean() - real_out.mean() + penalty
        d_optimizer.zero_grad()
        (d_loss + class_real).backward()
        d_optimizer.step()
        reported = {"d_loss": d_loss, "class_real": class_real}
        if call % 2 == 0:
            fake = G(x, target)
            fake_out, fake_logits = D(fake)
            cycle = (G(fake, own) - x).abs().mean()
            class_fake = entropy(fake_logits, batch, order)
            g_optimizer.zero_grad()
            (-fake_out.mean() + class_fake + 10 * cycle).backward()
            g_optimizer.step()
            reported |= {"g_loss": -fake_out.mean(), "class_fake": class_fake, "cycle": cycle}
        return {name: value.detach() for name, value in reported.items()}

    return loop


@pytest.mark.parametrize("exclusive", [True, False])
def test_stargan_equals_the_plain_loop(exclusive: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def at_the_middle(critic: Any, real: Tensor, fake: Tensor, **settings: Any) -> Tensor:
        middle = (real + fake) / 2
        return gradient_penalty(critic, middle, middle, at="real", **settings)

    # Where the penalty is taken is a draw of the op, tested with it.
    monkeypatch.setattr("gankit.gans.stargan.gradient_penalty", at_the_middle)
    monkeypatch.setattr(torch, "rand", _halves(torch.rand))
    ours = [network.double() for network in stargan_nets()]
    theirs, first = copy.deepcopy(ours), copy.deepcopy(ours)
    G, D = ours
    step = StarGANStep(G, D, adam(G), adam(D), "xyz", exclusive=exclusive, n_critic=2, ema=0.5)
    loop = stargan_loop(theirs, exclusive)
    for number in range(1, 7):
        batch = stargan_batch(number, exclusive)
        torch.manual_seed(number)
        order = torch.rand(4).argsort()
        torch.manual_seed(number)
        reported, expected = step(batch), loop(number, batch, order)
        found = {name: reported[name] for name in expected}
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    assert_same(ours, theirs, first)
    assert step.updates == {"D": 6, "G": 3}
    assert step.inference_keys == {"domains": "averages.G"}


def _halves(rand: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """torch.rand, but the weights of interpolation are 1/2."""

    def draw(*shape: int, **settings: Any) -> Tensor:
        drawn = rand(*shape, **settings)
        return torch.full_like(drawn, 0.5) if len(shape) == 4 else drawn

    return draw


def test_a_step_without_features_or_reconstruction_leaves_them_out() -> None:
    nets = discogan_nets()
    for number in (2, 3):  # whose score is all that they return
        nets[number] = PatchDiscriminator((1, 3)[number - 2], width=2, layers=1)
    step = DiscoGANStep(
        *nets, adam(*nets[:2]), adam(*nets[2:]), feature_weight=0, rate=0, starting_rate=0
    )
    batch = {name: x.float() for name, x in batch_of((1, 3), 0, size=SIZE).items()}
    for _ in range(2):
        reported = step(batch)
    assert step.reported == {"d_a", "d_b", "g_ab", "g_ba"}
    assert reported["features"].isnan()
    with pytest.raises(ConfigError, match="D_b returned no features; allowed is "):
        DiscoGANStep(*nets, adam(*nets[:2]), adam(*nets[2:])).dry_run(batch)


@pytest.mark.parametrize("make", [discogan_step, stargan_step])
def test_bf16_and_channels_last_train_like_float32(
    make: Callable[..., Step],
) -> None:
    own = {"gan_curriculum": 1, "d_every": 2} if make is discogan_step else {"n_critic": 1}
    plain, step = make(**own), make(precision="bf16", channels_last=True, **own)
    for number in range(3):
        batch = batch_of((1, 3), 0, size=SIZE)
        batch = batch if make is discogan_step else stargan_batch(0, True)
        batch = {k: v.float() if v.is_floating_point() else v for k, v in batch.items()}
        torch.manual_seed(number)
        expected = plain(batch)
        torch.manual_seed(number)
        found = step(batch)
        torch.testing.assert_close(found, expected, rtol=0.1, atol=0.05, equal_nan=True)
    assert all(p.dtype == torch.float32 for p in step.parameters())


def test_micro_batches_of_stargan_add_up_to_its_batch() -> None:
    """Where the images of each half are the same, so that each half has the whole's targets."""
    half = {name: x.float() for name, x in stargan_batch(0, False, 2).items()}
    batch = {name: torch.cat([x, x]) for name, x in half.items()}
    found = []
    for parts in (1, 2):
        step = stargan_step(False, n_critic=1, penalty_weight=0, accumulate=parts)
        step.draw = lambda phase, n: (
            {"order": torch.arange(n).float()} if phase == "prepare" else {}
        )  # type: ignore[method-assign]
        found.append(
            (step(batch), [p.grad.clone() for p in step.parameters() if p.grad is not None])
        )
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-6)


def test_what_does_not_fit_is_one_sentence() -> None:
    for name in ("gan_weight", "feature_weight"):
        with pytest.raises(ConfigError, match=f"{name} is -1; allowed are finite numbers from 0"):
            discogan_step(**{name: -1})
    for name in ("class_weight", "cycle_weight", "penalty_weight"):
        with pytest.raises(ConfigError, match=f"{name} is -1; allowed are finite numbers from 0"):
            stargan_step(**{name: -1})
    G, D = stargan_nets()
    optimizers = adam(G), adam(D)
    with pytest.raises(ConfigError, match="domains are x; allowed are at least two that exclude"):
        StarGANStep(G, D, *optimizers, "x", exclusive=True)
    batch = {k: v.float() if k == "image" else v for k, v in stargan_batch(0, True).items()}
    rows = torch.ones(4, K)
    for step, given, words in (
        (stargan_step(), {**batch, "label": batch["label"] + 1}, "labels lie in 2 to 3; allowed"),
        (stargan_step(), {**batch, "label": rows}, r"label is torch.float32 of shape \[4, 3\]"),
        (stargan_step(False), {**batch, "attributes": rows[:, :2]}, r"shape \[4, 2\]; allowed is"),
        (stargan_step(), {"image": batch["image"]}, "lacks label, which the step reads"),
        (
            StarGANStep(G, D, *optimizers, "xyzw", exclusive=True),
            batch,
            r"target must have shape \[N, 3\], got \[4, 4\]",
        ),
    ):
        with pytest.raises((ConfigError, DataError), match=words):
            step.dry_run(given)
    patch = PatchDiscriminator(3, width=2, layers=1)
    step = StarGANStep(G, patch, adam(G), adam(patch), "xyz", exclusive=True)
    with pytest.raises(ConfigError, match=r"beside its score it returned nothing for 4 images"):
        step.dry_run(batch)


def test_attributes_of_integers_are_taken() -> None:
    batch = {name: x.float() for name, x in stargan_batch(0, False).items()}
    found = []
    for rows in (batch["attributes"], batch["attributes"].long()):
        step = stargan_step(False)
        torch.manual_seed(0)
        found.append(step({**batch, "attributes": rows}))
    torch.testing.assert_close(*found, rtol=0, atol=0, equal_nan=True)


def test_a_grid_shows_each_domain() -> None:
    for exclusive in (True, False):
        step = stargan_step(exclusive, ema=0.5)
        batch = stargan_batch(0, exclusive)
        batch["image"] = batch["image"].float()
        batch = {**batch, "attributes": batch["attributes"].float()} if not exclusive else batch
        panels = step.panels(batch, 0)
        other = "" if exclusive else "other "
        assert [p.caption for p in panels] == ["images", *(f"{other}{name}" for name in "xyz")]
        images = [panel.images for panel in panels]
        assert all(x.shape == images[0].shape for x in images)
        assert not torch.equal(images[1], images[2])


@pytest.mark.parametrize("kind", ["discogan", "stargan"])
def test_a_run_that_was_stopped_goes_on_exactly(kind: str, tmp_path: Path) -> None:
    def make(name: str) -> Trainer:
        torch.manual_seed(1)
        data: UnpairedData | ImageData
        if kind == "discogan":
            step: Step = discogan_step(gan_curriculum=4, ema=0.9)
            data = UnpairedData(some_images(9, 1, 0, 18), some_images(7, 3, 1, 18), crop_size=SIZE)
        else:
            step = stargan_step(n_critic=2, ema=0.9)
            labels = torch.arange(9) % K
            data = ImageData(some_images(9, 3, 0, SIZE).images, labels)
        order = data.sampler(4, generator=torch.Generator().manual_seed(0))
        return Trainer(step, data, order, callbacks=[Checkpoint(tmp_path / f"{name}.pt")])

    straight = make("straight")
    straight.fit(steps=7)
    make("stopped").fit(steps=3)
    resumed = make("stopped")
    resumed.load_state_dict(load_checkpoint(tmp_path / "stopped.pt"))
    resumed.fit(steps=7)
    torch.testing.assert_close(everything(resumed), everything(straight), rtol=0, atol=0)
