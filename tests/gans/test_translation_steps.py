"""pix2pix and CycleGAN against plain loops of their papers, in float64."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.data import Batch, ImageData, UnpairedData
from gankit.errors import ConfigError
from gankit.gans.cyclegan import CycleGANStep
from gankit.gans.pix2pix import Pix2PixStep
from gankit.training.step import Step
from tests.gans.test_image_pool import OneByOne
from tests.gans.translation_nets import (
    SIZE,
    adam,
    batch_of,
    cyclegan_nets,
    cyclegan_step,
    pix2pix_nets,
    pix2pix_step,
)

Loop = Callable[[dict[str, Tensor]], dict[str, Tensor]]


def pix2pix_loop(nets: list[nn.Module], parts: int) -> Loop:
    """Section 3 of the paper: D on pairs, its loss halved; G on D's answer and 100 times L1."""
    G, D = nets
    g_optimizer, d_optimizer = adam(G), adam(D)

    def loop(batch: dict[str, Tensor]) -> dict[str, Tensor]:
        rows = list(zip(batch["a"].chunk(parts), batch["b"].chunk(parts), strict=True))
        fakes, d_losses, g_losses, l1s = [G(a) for a, _ in rows], [], [], []
        d_optimizer.zero_grad()
        for (a, b), fake in zip(rows, fakes, strict=True):
            real_out, fake_out = D(torch.cat([a, b], 1)), D(torch.cat([a, fake.detach()], 1))
            loss = F.softplus(-real_out).mean() + F.softplus(fake_out).mean()
            (loss / 2 / parts).backward()
            d_losses.append(loss)
        d_optimizer.step()
        g_optimizer.zero_grad()
        for (a, b), fake in zip(rows, fakes, strict=True):
            loss, l1 = F.softplus(-D(torch.cat([a, fake], 1))).mean(), (fake - b).abs().mean()
            ((loss + 100 * l1) / parts).backward()
            g_losses.append(loss)
            l1s.append(l1)
        g_optimizer.step()
        sums = {"d_loss": d_losses, "g_loss": g_losses, "l1": l1s}
        return {name: torch.stack(values).mean().detach() for name, values in sums.items()}

    return loop


def cyclegan_loop(nets: list[nn.Module], pools: list[OneByOne], drawn: list[Tensor]) -> Loop:
    """Sections 3 and 4 of the paper: both generators, then both discriminators."""
    G, F_, D_x, D_y = nets
    g_optimizer, d_optimizer = adam(G, F_), adam(D_x, D_y)

    def loop(batch: dict[str, Tensor]) -> dict[str, Tensor]:
        x, y = batch["a"], batch["b"]
        fake_y, fake_x = G(x), F_(y)
        g_ab, g_ba = (D_y(fake_y) - 1).square().mean(), (D_x(fake_x) - 1).square().mean()
        cycles = (F_(fake_y) - x).abs().mean(), (G(fake_x) - y).abs().mean()
        identities = (G(y) - y).abs().mean(), (F_(x) - x).abs().mean()
        g_optimizer.zero_grad()
        (g_ab + g_ba + 10 * sum(cycles) + 5 * sum(identities)).backward()
        g_optimizer.step()
        losses = []
        d_optimizer.zero_grad()
        fakes = (fake_x, fake_y)
        for D, real, fake, pool, u in zip((D_x, D_y), (x, y), fakes, pools, drawn, strict=True):
            earlier = pool(fake.detach(), u)
            losses.append((D(real) - 1).square().mean() + D(earlier).square().mean())
        (sum(losses) / 2).backward()
        d_optimizer.step()
        reported = {"g_ab": g_ab, "g_ba": g_ba, "d_a": losses[0], "d_b": losses[1]}
        reported |= {"cycle": sum(cycles) / 2, "identity": sum(identities) / 2}
        return {name: value.detach() for name, value in reported.items()}

    return loop


def assert_same(ours: list[nn.Module], theirs: list[nn.Module], first: list[nn.Module]) -> None:
    for mine, other, before in zip(ours, theirs, first, strict=True):
        for x, y in zip(mine.state_dict().values(), other.state_dict().values(), strict=True):
            torch.testing.assert_close(x, y, rtol=0, atol=1e-9)
        pairs = zip(mine.parameters(), before.parameters(), strict=True)
        assert any((x - y).abs().max() > 1e-4 for x, y in pairs)


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("direction", ["a2b", "b2a"])
def test_pix2pix_equals_the_plain_loop(parts: int, direction: str) -> None:
    ours = [network.double() for network in pix2pix_nets()]
    theirs, first = copy.deepcopy(ours), copy.deepcopy(ours)
    step = Pix2PixStep(
        *ours, adam(ours[0]), adam(ours[1]), direction=direction, accumulate=parts, ema=0.5
    )
    loop = pix2pix_loop(theirs, parts)
    average = [p.clone() for p in ours[0].parameters()]
    for number in range(5):
        batch = batch_of((1, 3), number, size=16)
        shown = batch if direction == "a2b" else {"a": batch["b"], "b": batch["a"]}
        torch.testing.assert_close(step(shown), loop(batch), rtol=0, atol=1e-9)
        average = [(m + p) / 2 for m, p in zip(average, theirs[0].parameters(), strict=True)]
    assert_same(ours, theirs, first)
    torch.testing.assert_close(list(step.averages["G"].parameters()), average, rtol=0, atol=1e-9)
    assert step.inference_keys == {direction: "averages.G"}


@pytest.mark.parametrize("parts", [1, 2])
def test_cyclegan_equals_the_plain_loop(parts: int) -> None:
    ours = [network.double() for network in cyclegan_nets()]
    theirs, first = copy.deepcopy(ours), copy.deepcopy(ours)
    shapes = {"a": (3, SIZE, SIZE), "b": (3, SIZE, SIZE)}
    step = CycleGANStep(
        *ours, adam(*ours[:2]), adam(*ours[2:]), shapes, pool_size=6, accumulate=parts, ema=0.5
    )
    drawn: list[Tensor] = []
    loop = cyclegan_loop(theirs, [OneByOne(6), OneByOne(6)], drawn)
    averages = [[p.clone() for p in G.parameters()] for G in ours[:2]]
    for number in range(6):
        batch = batch_of((3, 3), number)
        torch.manual_seed(number)
        drawn[:] = [torch.rand(4, 2), torch.rand(4, 2)]
        torch.manual_seed(number)
        torch.testing.assert_close(step(batch), loop(batch), rtol=0, atol=1e-9)
        averages = [
            [(m + p) / 2 for m, p in zip(average, G.parameters(), strict=True)]
            for average, G in zip(averages, theirs[:2], strict=True)
        ]
    assert_same(ours, theirs, first)
    for name, average in zip(("G_ab", "G_ba"), averages, strict=True):
        mine = list(step.averages[name].parameters())
        torch.testing.assert_close(mine, average, rtol=0, atol=1e-9)
    assert step.inference_keys == {"a2b": "averages.G_ab", "b2a": "averages.G_ba"}


def test_the_parts_of_a_loss_can_be_left_out() -> None:
    batch = {name: x.float() for name, x in batch_of((1, 3), 0, size=16).items()}
    plain = pix2pix_step(gan_weight=0.0, l1_weight=1.0)
    G = copy.deepcopy(plain.networks["G"])
    (G(batch["a"]) - batch["b"]).abs().mean().backward()
    plain(batch)
    for mine, theirs in zip(plain.networks["G"].parameters(), G.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)
    images = {name: x.float() for name, x in batch_of((3, 3), 0).items()}
    step = cyclegan_step(identity=0.0, pool_size=0)
    assert set(step(images)) == {"g_ab", "g_ba", "d_a", "d_b", "cycle"}


@pytest.mark.parametrize("make", [pix2pix_step, cyclegan_step])
def test_a_dry_run_leaves_no_trace(make: Callable[..., Step]) -> None:
    step = make(ema=0.9)
    channels, size = ((1, 3), 16) if make is pix2pix_step else ((3, 3), SIZE)
    before = {name: copy.deepcopy(value) for name, value in step.state_dict().items()}
    state = torch.get_rng_state()
    step.dry_run({name: x.float() for name, x in batch_of(channels, 0, size=size).items()})
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in step.state_dict().items():
        assert value == before[name] if name == "_extra_state" else torch.equal(value, before[name])


@pytest.mark.parametrize("make", [pix2pix_step, cyclegan_step])
def test_bf16_and_channels_last_train_like_float32(make: Callable[..., Step]) -> None:
    channels, size = ((1, 3), 16) if make is pix2pix_step else ((3, 3), SIZE)
    batch = {name: x.float() for name, x in batch_of(channels, 0, size=size).items()}
    plain, step = make(), make(precision="bf16", channels_last=True)
    for _ in range(3):
        torch.manual_seed(0)
        expected = plain(batch)
        torch.manual_seed(0)
        torch.testing.assert_close(step(batch), expected, rtol=0.05, atol=0.02)
    assert all(p.dtype == torch.float32 for p in step.parameters())


def test_what_does_not_fit_is_one_sentence() -> None:
    G, D = pix2pix_nets()
    with pytest.raises(ConfigError, match="direction is 'ab'; allowed are 'a2b' and 'b2a'"):
        pix2pix_step(direction="ab")
    for name, make in (("l1_weight", pix2pix_step), ("cycle_weight", cyclegan_step)):
        with pytest.raises(ConfigError, match=f"{name} is -1; allowed are finite numbers from 0"):
            make(**{name: -1})
    with pytest.raises(ConfigError, match="g_optimizer holds a parameter that is not G's"):
        Pix2PixStep(G, D, adam(D), adam(G))
    smaller = nn.Sequential(G, nn.AvgPool2d(2))
    step = Pix2PixStep(smaller, D, adam(G), adam(D))
    batch = {name: x.float() for name, x in batch_of((1, 3), 0, size=16).items()}
    words = r"G turned images of shape \[4, 1, 16, 16\] into \[4, 3, 8, 8\]; allowed is \[4, 3, 16"
    with pytest.raises(ConfigError, match=words):
        step.dry_run(batch)
    nets = cyclegan_nets()
    shapes = {"a": (1, SIZE, SIZE), "b": (3, SIZE, SIZE)}
    with pytest.raises(ConfigError, match=r"identity is 0.5, .* 1 channels and images b 3"):
        CycleGANStep(*nets, adam(*nets[:2]), adam(*nets[2:]), shapes)
    images = {name: x.float() for name, x in batch_of((3, 3), 0, size=16).items()}
    with pytest.raises(ConfigError, match=r"the pool keeps images of shape \[3, 12, 12\]"):
        cyclegan_step().dry_run(images)


def test_unpaired_images_are_gathered_by_the_step_itself() -> None:
    """As on CUDA, where the rows of indices that the sampler draws are a part of the graph."""
    bytes_ = torch.randint(0, 256, (9, 3, SIZE, SIZE), generator=torch.Generator().manual_seed(2))
    data = UnpairedData(*(ImageData(x.to(torch.uint8).contiguous()) for x in bytes_.split((5, 4))))
    rows = next(data.sampler(4, generator=torch.Generator().manual_seed(0)))
    found = []
    for resident in (True, False):
        step = cyclegan_step()
        batch = {name: x.to(step.dtype) for name, x in data.batch(rows).items()}
        torch.manual_seed(3)
        found.append(step(Batch(data, rows) if resident else batch))
    assert found[0] == found[1]
    with pytest.raises(ConfigError, match=r"shape \[4, 3\]; allowed are int64 indices \[B, 2\]"):
        step(Batch(data, torch.zeros(4, 3, dtype=torch.int64)))
