"""pix2pix and CycleGAN so small that a CPU trains them in minutes, on images that are drawn."""

from __future__ import annotations

from typing import Any

from gankit.gans.cyclegan import CYCLEGAN
from gankit.gans.pix2pix import PIX2PIX
from gankit.training.config import Recipe

_NORM = "instance"
_DISCRIMINATOR = {
    "class_path": "gankit.models.patch.PatchDiscriminator",
    "init_args": {"width": 16, "layers": 2, "norm": _NORM},
}
_SETTINGS: dict[str, Any] = {"image_size": 32, "discriminator": _DISCRIMINATOR, "lr": 2e-3}
_SOURCE = "Small networks, 32 pixels, Adam 2e-3: ours; all else as in the recipe {}"

RECIPES = (
    Recipe(
        name="pix2pix-toy",
        summary="pix2pix (Isola et al., 2016) on outlines of polygons: minutes on a CPU",
        config=PIX2PIX.config.updated(
            recipe="pix2pix-toy",
            generator={
                "class_path": "gankit.models.unet.UNetGenerator",
                "init_args": {"width": 16, "norm": _NORM},
            },
            epochs=12,
            batch_size=8,
            schedule="gankit.training.schedules.LinearDecay",
            **_SETTINGS,
        ),
        sources=(_SOURCE.format("pix2pix"), "Linear decay: as in the recipe cyclegan"),
    ),
    Recipe(
        name="cyclegan-toy",
        summary="CycleGAN (Zhu et al., 2017) on red and orange discs: minutes on a CPU",
        config=CYCLEGAN.config.updated(
            recipe="cyclegan-toy",
            generator={
                "class_path": "gankit.models.resnet.ResNetGenerator",
                "init_args": {"width": 16, "blocks": 1, "norm": "batch"},
            },
            epochs=6,
            batch_size=4,
            **_SETTINGS,
        ),
        sources=(
            _SOURCE.format("cyclegan"),
            "Batch norm in the generators: instance norm forgets the mean color of an image: ours",
        ),
    ),
)
