"""SEGAN's step against a plain loop, its runs, and what it learns."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gankit import recipes
from gankit.data import load_speech
from gankit.errors import ConfigError, DataError
from gankit.gans.segan import SEGANStep
from gankit.models.segan import Discriminator, Generator
from gankit.runs.build import build_trainer
from gankit.runs.settings import changed, written
from gankit.training import Checkpoint, Trainer, load_checkpoint
from gankit.training.config import RunConfig
from gankit.training.enhancement import enhance_blocks, pre_emphasis

WINDOW = 64


def networks() -> tuple[Generator, Discriminator]:
    torch.manual_seed(0)
    G = Generator(WINDOW, width=2, init="pytorch").double()
    D = Discriminator(2, WINDOW, width=2, references=3, init="pytorch").double()
    D.set_reference(torch.randn(3, 2, WINDOW))
    return G, D


def rmsprop(network: nn.Module) -> torch.optim.RMSprop:
    return torch.optim.RMSprop(network.parameters(), lr=1e-3)


def test_three_calls_are_those_of_the_plain_loop() -> None:
    G, D = networks()
    g, d = copy.deepcopy(G), copy.deepcopy(D)
    step = SEGANStep(G, D, rmsprop(G), rmsprop(D))
    g_optimizer, d_optimizer = rmsprop(g), rmsprop(d)
    torch.manual_seed(1)
    batches = [torch.rand(2, 4, 1, WINDOW).double() - 0.5 for _ in range(3)]
    torch.manual_seed(2)
    scalars = [step({"noisy": noisy, "clean": clean}) for noisy, clean in batches]
    torch.manual_seed(2)
    for (noisy, clean), found in zip(batches, scalars, strict=True):
        noisy, clean = (pre_emphasis(x, 0.95) for x in (noisy, clean))
        fake = g(noisy, torch.randn(4, *g.z_shape(WINDOW), dtype=torch.float64))
        real_score = d(torch.cat([noisy, clean], 1))
        fake_score = d(torch.cat([noisy, fake.detach()], 1))
        d_loss = ((real_score - 1) ** 2).mean() / 2 + (fake_score**2).mean() / 2
        d_optimizer.zero_grad()
        d_loss.backward()
        d_optimizer.step()
        score, l1 = d(torch.cat([noisy, fake], 1)), (fake - clean).abs().mean()
        g_optimizer.zero_grad()
        (((score - 1) ** 2).mean() / 2 + 100 * l1).backward()
        g_optimizer.step()
        torch.testing.assert_close(found["d_loss"], d_loss.detach())
        torch.testing.assert_close(found["g_loss"], ((score - 1) ** 2).mean().detach() / 2)
        torch.testing.assert_close(found["l1"], l1.detach())
    for ours, plain in ((G, g), (D, d)):
        for one, other in zip(ours.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def config(*settings: str) -> RunConfig:
    few = ["data.window=64", "data.n=3", "generator.width=2", "discriminator.width=2"]
    few += ["discriminator.references=3", "batch_size=4", "device=cpu", "ema=0.9", "steps=9"]
    return changed(recipes.get("segan-toy").config, written([*few, *settings]), "--set")


def everything(trainer: Trainer) -> dict[str, Tensor]:
    state = trainer.gan_step.state_dict()
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def test_a_run_that_was_stopped_goes_on_exactly(tmp_path: Path) -> None:
    straight = build_trainer(config("accumulate=2"))
    straight.fit(steps=9)
    stopped = build_trainer(config("accumulate=2"), callbacks=[Checkpoint(tmp_path / "c.pt")])
    stopped.fit(steps=5)
    # What it goes on from is the checkpoint, the reference batch included.
    resumed = build_trainer(config("accumulate=2", "seed=7"))
    assert not torch.equal(everything(resumed)["D.reference"], everything(stopped)["D.reference"])
    resumed.load_state_dict(load_checkpoint(tmp_path / "c.pt"))
    resumed.fit(steps=9)
    torch.testing.assert_close(everything(resumed), everything(straight), rtol=0, atol=0)
    assert "averages.G.down.0.weight" in everything(resumed)


def test_the_reference_batch_is_real_speech_behind_the_filter() -> None:
    step = build_trainer(config()).gan_step
    data = load_speech(window=64, sample_rate=8000, n=3)
    windows = data.batch(torch.arange(len(data)))
    every = torch.cat([windows["noisy"], windows["clean"]], 1)
    every = pre_emphasis(every, step.networks["G"].preemphasis)
    for pair in step.networks["D"].reference:
        assert float((every - pair).abs().amax((1, 2)).min()) == 0


def test_fewer_windows_than_the_reference_batch_are_taken_again() -> None:
    settings = ["data.n=1", "data.window=16384", "data.sample_rate=8000", "batch_size=1"]
    few = config(*settings, "generator.levels=2", "discriminator.levels=2")
    step = build_trainer(few).gan_step
    reference = step.networks["D"].reference
    assert torch.equal(reference[0], reference[2])
    assert not torch.equal(reference[0], reference[1])


def test_the_panels_of_a_sample_grid_are_spectrograms() -> None:
    trainer = build_trainer(config())
    batch = trainer.data.batch(torch.arange(5))
    panels = trainer.gan_step.panels(batch, seed=0)
    assert [panel.caption for panel in panels] == ["noisy", "enhanced", "clean"]
    for panel in panels:
        assert panel.images.shape[:2] == (5, 1)
        assert float(panel.images.abs().max()) <= 1


class Shorter(nn.Conv1d):
    def __init__(self, **_: Any) -> None:
        super().__init__(1, 1, 3)


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        (["data=digits"], DataError, "digits has the fields image, label, not noisy"),
        (["generator.levels=9"], ConfigError, "levels must be an integer from 1 to 11"),
        (["data.sample_rate=5"], DataError, "sample_rate must be an integer from 1,000"),
        ([f"generator={__name__}.Shorter"], ConfigError, "G turned noisy windows of shape"),
        (["direction=b2a"], ConfigError, "has the unknown setting direction"),
        (["augment=diffaugment"], ConfigError, "augment is"),
        (["flip=true"], DataError, "flip is true"),
        (["l1_weight=-1"], ConfigError, "l1_weight is -1"),
    ],
)
def test_settings_that_do_not_fit_are_one_sentence(
    settings: list[str], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        build_trainer(config(*settings))


def improvement(trainer: Trainer, n: int, **data: Any) -> Tensor:
    """SI-SDR of each unseen recording behind the network, over that in front of it, in dB."""
    audio = pytest.importorskip("torchmetrics.functional.audio")
    measure = audio.scale_invariant_signal_distortion_ratio
    test = load_speech(split="test", n=n, **data)
    clean, noisy = (x.double().view(n, -1) / 32768 for x in (test.clean, test.noisy))
    made = enhanced(trainer, noisy, test.window)
    return measure(made, clean) - measure(noisy, clean)  # type: ignore[no-any-return]


def enhanced(trainer: Trainer, sound: Tensor, window: int) -> Tensor:
    G: Any = trainer.gan_step.inference()
    blocks = enhance_blocks(G, [sound], window=window, coefficient=G.preemphasis, batch=64)
    return torch.cat(list(blocks), 1)


SETTINGS = {"window": 512, "sample_rate": 8000}


def trained(seed: int, steps: int | None = None, **data: Any) -> Trainer:
    """The recipe, on other data or for fewer steps where they are given."""
    config = recipes.get("segan-toy").config.updated(device="cpu", seed=seed, steps=steps)
    assert isinstance(config.data, dict)
    arguments = {**config.data["init_args"], **data}
    trainer = build_trainer(config.updated(data={**config.data, "init_args": arguments}))
    trainer.fit(steps=config.steps, epochs=config.epochs)
    return trainer


def test_loud_noise_is_taken_out_of_voices_that_it_has_not_heard() -> None:
    loud: dict[str, Any] = {"snr": (0.0, 5.0), "noises": ["pink", "white"]}
    trainer = trained(0, 300, n=60, **loud)
    assert float(improvement(trainer, 12, **SETTINGS, **loud).mean()) >= 3.0


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_speech_gains_three_decibels_and_silence_stays_silent(seed: int) -> None:
    trainer = trained(seed)
    assert float(improvement(trainer, 30, **SETTINGS).mean()) >= 3.0
    assert not enhanced(trainer, torch.zeros(1, 8000).double(), 512).any()
    # The least that 16 bits can hold, at random: 96 dB below full scale.
    dither = torch.randint(-1, 2, (1, 8000), generator=torch.Generator().manual_seed(0)) / 32768
    loudness = enhanced(trainer, dither.double(), 512).square().mean().sqrt()
    assert 20 * float(loudness.log10()) < -50
