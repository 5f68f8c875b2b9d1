"""What pix2pix and CycleGAN learn on images that are drawn, judged without a network."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from gankit.data.toy_images import DiscData, disc_masks, load_discs
from gankit.gans.cyclegan import CycleGANStep
from gankit.models.patch import PatchDiscriminator
from gankit.training import Trainer
from gankit.training.schedules import LinearDecay
from gankit.training.translation import translate
from tests.gans.translation_nets import adam

SIZE = 32
# Between the greens of red and of orange discs, in [-1, 1].
BETWEEN = -0.35


class Recolor(nn.Module):
    """Adds to each pixel what three convolutions make of its neighborhood."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(3, width, 3, 1, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, width, 3, 1, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 3, 3, 1, 1),
        )

    def forward(self, images: Tensor) -> Tensor:
        made: Tensor = images + self.main(images)
        return made


def cyclegan(Gs: list[nn.Module], data: DiscData, steps: int, seed: int) -> CycleGANStep:
    Ds = [PatchDiscriminator(3, width=16, layers=1, norm="instance") for _ in "ab"]
    optimizers = adam(*Gs, lr=2e-3), adam(*Ds, lr=2e-3)
    step = CycleGANStep(*Gs, *Ds, *optimizers, data.fields)
    order = torch.Generator().manual_seed(seed)
    schedulers = [LinearDecay(optimizer, steps) for optimizer in optimizers]
    Trainer(step, data, data.sampler(4, generator=order), schedulers=schedulers).fit(steps=steps)
    return step


def check_discs(networks: Mapping[str, nn.Module], data: DiscData) -> None:
    """Translated discs have the color of the other domain and stay where they are; and back."""
    batch = data.batch(torch.arange(len(data)))
    masks = {"a": data.masks_a, "b": data.masks_b}
    for x, y in ("ab", "ba"):
        made = translate(networks[f"G_{x}{y}"], batch[x], seed=0)
        found = disc_masks(made)
        green = torch.stack(
            [image[1][mask].mean() for image, mask in zip(made, found, strict=True)]
        )
        orange = green > BETWEEN  # a disc that was lost is NaN, and so is neither
        right = orange if y == "b" else (green <= BETWEEN)
        assert right.float().mean() >= 0.95, f"{x}2{y}"
        overlap = (found & masks[x]).sum((1, 2)) / (found | masks[x]).sum((1, 2))
        assert overlap.mean() >= 0.9, f"{x}2{y}"
        back = translate(networks[f"G_{y}{x}"], made, seed=0)
        assert (back - batch[x]).abs().mean() < 0.05, f"{x}2{y}"


def test_the_judge_of_discs_knows_them() -> None:
    data = load_discs(image_size=SIZE, n=200, split="test")
    batch = data.batch(torch.arange(len(data)))
    for name, masks in (("a", data.masks_a), ("b", data.masks_b)):
        found = disc_masks(batch[name])
        overlap = (found & masks).sum((1, 2)) / (found | masks).sum((1, 2))
        assert overlap.mean() > 0.95
        green = batch[name][:, 1][found].mean()
        assert (green > BETWEEN) == (name == "b")
    with pytest.raises(AssertionError, match="a2b"):
        check_discs({"G_ab": nn.Identity(), "G_ba": nn.Identity()}, data)


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_cyclegan_recolors_discs_and_leaves_the_rest(seed: int) -> None:
    torch.manual_seed(seed)
    data = load_discs(image_size=SIZE, n=500)
    step = cyclegan([Recolor(), Recolor()], data, 300, seed)
    check_discs(step.networks, load_discs(image_size=SIZE, n=100, split="test"))
