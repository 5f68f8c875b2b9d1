"""SRResNet and SRGAN against plain loops of their paper, stages, resume, bad input."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.data.high_resolution import HighResolutionData
from gankit.errors import CheckpointError, ConfigError
from gankit.gans.srgan import SRGANStep, SRResNetStep
from gankit.losses.fitted_features import FittedFeatures
from gankit.models.srresnet import SRResNet, VGGDiscriminator
from gankit.training import Callback, Checkpoint, Trainer, gan_adam, load_checkpoint
from tests.data.test_high_resolution import some_images
from tests.gans.translation_processes import everything

SIDE, BATCH = 8, 4


def nets() -> list[nn.Module]:
    torch.manual_seed(0)
    return [SRResNet(2, 2, 4, 1), VGGDiscriminator((2, SIDE, SIDE), 4, 2, 8), features()]


def features() -> FittedFeatures:
    torch.manual_seed(7)
    return FittedFeatures(2).eval().requires_grad_(False)


def adam(network: nn.Module) -> torch.optim.Adam:
    return gan_adam(network.parameters(), 1e-3, (0.9, 0.999))


def srgan(**settings: Any) -> SRGANStep:
    G, D, features = nets()
    return SRGANStep(G, D, adam(G), adam(D), features, **settings)


def batch_of(seed: int, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)
    high = torch.rand(BATCH, 2, SIDE, SIDE, generator=random, dtype=torch.float64) * 2 - 1
    return {"low": F.avg_pool2d(high, 2).to(dtype), "high": high.to(dtype)}


@pytest.mark.parametrize("parts", [1, 2])
def test_both_stages_equal_the_plain_loop(parts: int) -> None:
    ours = [network.double() for network in nets()]
    theirs = copy.deepcopy(ours)
    step = SRGANStep(
        ours[0],
        ours[1],
        adam(ours[0]),
        adam(ours[1]),
        ours[2],
        pretrain_steps=2,
        gan_weight=0.01,
        accumulate=parts,
        ema=0.5,
    )
    G, D, features = theirs
    g_optimizer, d_optimizer = adam(G), adam(D)
    average = [p.clone() for p in G.parameters()]
    for number in range(5):
        batch = batch_of(number)
        rows = list(zip(batch["low"].chunk(parts), batch["high"].chunk(parts), strict=True))
        found = step(batch)
        losses: dict[str, list[Tensor]] = {}
        if number < 2:
            g_optimizer.zero_grad()
            for low, high in rows:
                mse = (G(low) - high).square().mean()
                (mse / parts).backward()
                losses.setdefault("mse", []).append(mse)
        else:
            fakes = [G(low) for low, _ in rows]
            d_optimizer.zero_grad()
            for fake, (_, high) in zip(fakes, rows, strict=True):
                loss = F.softplus(-D(high)).mean() + F.softplus(D(fake.detach())).mean()
                (loss / parts).backward()
                losses.setdefault("d_loss", []).append(loss)
            d_optimizer.step()
            g_optimizer.zero_grad()
            for fake, (_, high) in zip(fakes, rows, strict=True):
                content = (features(fake) - features(high)).square().mean()
                loss = F.softplus(-D(fake)).mean()
                ((content + 0.01 * loss) / parts).backward()
                losses.setdefault("g_loss", []).append(loss)
                losses.setdefault("perceptual", []).append(content)
                losses.setdefault("mse", []).append((fake - high).square().mean())
        g_optimizer.step()
        average = [(m + p) / 2 for m, p in zip(average, G.parameters(), strict=True)]
        for name, values in losses.items():
            mean = torch.stack(values).mean().detach()
            torch.testing.assert_close(found[name], mean, rtol=0, atol=1e-9)
        if number < 2:
            assert all(math.isnan(found[name]) for name in ("d_loss", "g_loss", "perceptual"))
    for mine, other in zip(ours, theirs, strict=True):
        for x, y in zip(mine.state_dict().values(), other.state_dict().values(), strict=True):
            torch.testing.assert_close(x, y, rtol=0, atol=1e-9)
    torch.testing.assert_close(list(step.averages["G"].parameters()), average, rtol=0, atol=1e-9)
    assert step.inference_keys == {"upscale": "averages.G"}
    assert step.updates == {"G": 5, "D": 3}


def test_the_first_stage_alone_is_srresnet() -> None:
    G, *_ = nets()
    alone, both = SRResNetStep(G, adam(G)), srgan(pretrain_steps=9)
    for number in range(3):
        batch = batch_of(number, torch.float32)
        torch.testing.assert_close(alone(batch)["mse"], both(batch)["mse"], rtol=0, atol=0)
    for x, y in zip(G.parameters(), both.networks["G"].parameters(), strict=True):
        assert torch.equal(x, y)
    assert alone.summarize({"mse": 0.04})["psnr"] == pytest.approx(20)


def test_a_dry_run_goes_through_both_stages_and_leaves_no_trace() -> None:
    step = srgan(pretrain_steps=3, ema=0.9)
    assert [phase.name for phase in step.all_phases()] == ["pretrain", "D", "G"]
    assert [phase.name for phase in srgan(pretrain_steps=0).all_phases()] == ["D", "G"]
    before = {name: copy.deepcopy(value) for name, value in step.state_dict().items()}
    step.dry_run(batch_of(0, torch.float32))
    for name, value in step.state_dict().items():
        assert value == before[name] if name == "_extra_state" else torch.equal(value, before[name])


def trainer_of(*callbacks: Callback) -> Trainer:
    step = srgan(pretrain_steps=4, ema=0.9)
    images = some_images((20, 9), (17, 30))
    data = HighResolutionData.from_images(images, crop=SIDE, scale=2, flip=True)
    rates = torch.optim.lr_scheduler.MultiStepLR
    return Trainer(
        step,
        data,
        data.sampler(BATCH, generator=torch.Generator().manual_seed(0)),
        callbacks=callbacks,
        schedulers=[rates(optimizer, [6], 0.1) for optimizer in step.optimizers.values()],
    )


@pytest.mark.parametrize("stop", [2, 4, 7])
def test_a_run_that_was_stopped_in_either_stage_goes_on_exactly(stop: int, tmp_path: Path) -> None:
    torch.manual_seed(1)
    straight = trainer_of()
    torch.manual_seed(1)
    straight.fit(steps=9)
    stopped = trainer_of(Checkpoint(tmp_path / "c.pt"))
    torch.manual_seed(1)
    stopped.fit(steps=stop)
    resumed = trainer_of()
    resumed.load_state_dict(load_checkpoint(tmp_path / "c.pt"))
    resumed.fit(steps=9)
    torch.testing.assert_close(everything(resumed), everything(straight), rtol=0, atol=0)


def test_features_of_the_run_come_out_of_its_checkpoint() -> None:
    first, second = srgan(), srgan()
    with torch.no_grad():
        for p in second.features.parameters():
            p.add_(1)
    state = first.state_dict()
    assert "features.main.0.weight" in state
    second.load_state_dict(state)
    for x, y in zip(first.features.parameters(), second.features.parameters(), strict=True):
        assert torch.equal(x, y)
    with pytest.raises(
        CheckpointError, match=r"features of kind 'vgg19'.* set step.features=vgg19"
    ):
        second.features.load_state_dict({"digest": torch.zeros(32, dtype=torch.uint8)})


def test_bf16_and_channels_last_train_like_float32() -> None:
    plain = srgan(pretrain_steps=1)
    step = srgan(pretrain_steps=1, precision="bf16", channels_last=True)
    for number in range(3):
        batch = batch_of(number, torch.float32)
        expected, made = plain(batch), step(batch)
        torch.testing.assert_close(made, expected, rtol=0.06, atol=0.03, equal_nan=True)
    assert all(p.dtype == torch.float32 for p in step.parameters())


def test_pictures_show_four_images_of_one_size() -> None:
    panels = srgan().panels(batch_of(0, torch.float32), seed=0)
    assert [panel.caption for panel in panels] == ["low", "bicubic", "made", "original"]
    assert {panel.images.shape for panel in panels} == {(BATCH, 2, SIDE, SIDE)}


def test_what_does_not_fit_is_one_sentence() -> None:
    with pytest.raises(ConfigError, match="pretrain_steps is -1; allowed are integers from 0"):
        srgan(pretrain_steps=-1)
    with pytest.raises(ConfigError, match="gan_weight is -1; allowed are finite numbers from 0"):
        srgan(gan_weight=-1)
    G, D, made = nets()
    with pytest.raises(ConfigError, match="g_optimizer holds a parameter that is not G's"):
        SRGANStep(G, D, adam(D), adam(G), made)
    with pytest.raises(ConfigError, match="g_optimizer holds a parameter that is not G's"):
        SRResNetStep(G, adam(D))
    batch = batch_of(0, torch.float32)
    words = r"G turned images of shape \[4, 2, 8, 8\] into \[4, 2, 16, 16\]; allowed is \[4, 2, 8,"
    with pytest.raises(ConfigError, match=words):
        srgan().dry_run({**batch, "low": batch["high"]})
