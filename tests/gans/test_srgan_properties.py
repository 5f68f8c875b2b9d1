"""What SRResNet and SRGAN learn on drawn pages: sharper images, and their power spectrum."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import MultiStepLR

from gankit.data.high_resolution import HighResolutionData
from gankit.data.toy_prints import load_prints
from gankit.gans.srgan import SRGANStep, SRResNetStep
from gankit.losses.fitted_features import fit_features
from gankit.models.srresnet import SRResNet, VGGDiscriminator
from gankit.training import Trainer, gan_adam
from gankit.training.schedules import LinearDecay
from gankit.training.step import Step
from gankit.training.upscaling import bicubic, upscale

SIDE = 32


def psnr(made: Tensor, truth: Tensor) -> float:
    return float(10 * (4 / F.mse_loss(made, truth)).log10())


def log_spectrum(images: Tensor) -> Tensor:
    """The logarithm of the mean power at each whole distance from frequency 0, of grey squares."""
    side = images.shape[-1]
    window = torch.hann_window(side, periodic=False, dtype=torch.float64)
    centered = (images - images.mean((2, 3), keepdim=True)).double() * window * window[:, None]
    power = torch.fft.fft2(centered).abs().square().mean((0, 1)).flatten()
    frequency = torch.fft.fftfreq(side, 1 / side)
    distance = (frequency[:, None].square() + frequency.square()).sqrt().round().long().flatten()
    sums, counts = (torch.zeros(side, dtype=torch.float64) for _ in range(2))
    sums.index_add_(0, distance, power)
    counts.index_add_(0, distance, torch.ones_like(power))
    return (sums / counts)[1 : side // 2].log()


def spectral_distance(made: Tensor, truth: Tensor) -> float:
    return float((log_spectrum(made) - log_spectrum(truth)).abs().mean())


def generator() -> SRResNet:
    return SRResNet(1, 2, width=16, blocks=1, init="zero-residual")


def adam(network: nn.Module, lr: float) -> torch.optim.Adam:
    return gan_adam(network.parameters(), lr, (0.9, 0.999))


def trainer_of(step: Step, data: HighResolutionData, seed: int, *schedulers: object) -> Trainer:
    order = torch.Generator().manual_seed(seed)
    return Trainer(step, data, data.sampler(8, generator=order), schedulers=[*schedulers])  # type: ignore[list-item]


def srresnet_gain(seed: int, steps: int) -> float:
    """By how many dB SRResNet is better than bicubic on pages of letters and lines, unseen."""
    data, test = (
        load_prints(n=n, image_size=SIDE, scale=2, textures=False, split=split)
        for n, split in ((24, "train"), (6, "test"))
    )
    torch.manual_seed(seed)
    G = generator()
    optimizer = adam(G, 3e-3)
    step = SRResNetStep(G, optimizer)
    trainer_of(step, data, seed, LinearDecay(optimizer, steps, 0.3)).fit(steps=steps)
    batch = test.batch(torch.arange(len(test)))
    made = upscale(G, batch["low"], 2)
    return psnr(made, batch["high"]) - psnr(bicubic(batch["low"], 2), batch["high"])


def srgan_distances(seed: int, pretrain: int, adversarial: int) -> tuple[float, float]:
    """The distance of the spectrum from the truth's after SRResNet, and after SRGAN."""
    data, test = (
        load_prints(n=n, image_size=SIDE, scale=2, split=split)
        for n, split in ((24, "train"), (6, "test"))
    )
    some = data.batch(torch.arange(128))
    torch.manual_seed(seed)
    G, D = generator(), VGGDiscriminator((1, SIDE, SIDE), width=16, stages=3, hidden=64)
    optimizers = adam(G, 3e-3), adam(D, 3e-3)
    features = fit_features(some["low"], some["high"])
    step = SRGANStep(G, D, *optimizers, features, pretrain_steps=pretrain)
    milestones = [pretrain * 2 // 3, pretrain + adversarial // 2]
    schedulers = [MultiStepLR(optimizer, milestones, 0.2) for optimizer in optimizers]
    trainer = trainer_of(step, data, seed, *schedulers)
    batch = test.batch(torch.arange(len(test)))
    found = []
    for steps in (pretrain, pretrain + adversarial):
        trainer.fit(steps=steps)
        found.append(spectral_distance(upscale(G, batch["low"], 2), batch["high"]))
    return found[0], found[1]


def test_the_spectrum_tells_what_is_blurred() -> None:
    test = load_prints(n=2, image_size=SIDE, scale=2, split="test")
    batch = test.batch(torch.arange(len(test)))
    assert spectral_distance(batch["high"], batch["high"]) == 0
    assert spectral_distance(bicubic(batch["low"], 2), batch["high"]) > 1
    # As much power in other places is the same spectrum.
    assert spectral_distance(batch["high"].flip(0, 3), batch["high"]) < 1e-6


def test_srresnet_is_sharper_than_bicubic() -> None:
    assert srresnet_gain(0, 700) >= 1


def test_srgan_has_the_spectrum_of_the_truth_sooner_than_srresnet() -> None:
    before, after = srgan_distances(0, 300, 120)
    assert after < 0.95 * before, (before, after)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_both_hold_after_longer_training(seed: int) -> None:
    assert srresnet_gain(seed, 1500) >= 2
    before, after = srgan_distances(seed, 1000, 400)
    assert after < 0.7 * before, (before, after)
