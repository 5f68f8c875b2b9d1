"""Settings of each kind of GAN with values of another type, and data of another kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from torch import nn

from gankit import gans, recipes
from gankit.errors import GankitError
from gankit.runs.build import build_trainer
from gankit.runs.steps import knobs, step_class
from gankit.training import Phase, Step
from gankit.training.config import RunConfig

# One small recipe for each step.
SMALL: dict[str, dict[str, Any]] = {
    "gan": {"image_size": 8},
    "vae": {"image_size": 8},
    "began": {"image_size": 8},
    "ebgan": {"image_size": 8},
    "sgan": {"image_size": 8},
    "progan-digits": {"image_size": 8},
    "biggan-digits": {},
    "pix2pix-toy": {"image_size": 32},
    "cyclegan-toy": {"image_size": 32},
    "discogan-toy": {"image_size": 32},
    "stargan-toy": {"image_size": 32},
    "unrolled": {},
    "segan-toy": {},
    "srresnet": {"image_size": 16},
    "srgan-toy": {
        "image_size": 16,
        "data": {"class_path": "toy:prints", "init_args": {"scale": 2, "n": 2}},
    },
}
WRONG = ("abc", {"x": 1})


def small(name: str) -> RunConfig:
    return recipes.get(name).config.updated(steps=1, batch_size=2, device="cpu", **SMALL[name])


def test_no_step_is_left_out() -> None:
    here = {step_class(small(name).step) for name in SMALL}
    assert here == {step_class(path) for path in ("gankit.training.GANStep", *gans.steps())}


@pytest.mark.parametrize("name", SMALL)
def test_a_wrong_value_is_said_of_its_setting(name: str) -> None:
    config = small(name)
    for knob in knobs(step_class(config.step)):
        for value in WRONG:
            with pytest.raises(GankitError) as caught:
                build_trainer(config.updated(**{knob: value}))
            sentence = str(caught.value)
            assert knob in sentence, (knob, value)
            assert "cannot be built" not in sentence, (knob, value)
            assert " fails on " not in sentence, (knob, value)


@pytest.mark.parametrize("name", ["pix2pix-toy", "cyclegan-toy"])
def test_data_without_the_fields_of_a_step(name: str) -> None:
    with pytest.raises(GankitError, match=r"^digits has the fields image, label, not a$"):
        build_trainer(small(name).updated(data="digits"))


class Own(Step):
    metrics: Mapping[str, str] = {"loss": "loss"}

    @classmethod
    def from_parts(cls, parts: Any, scale: Any = 1.0) -> Own:
        D = parts.discriminator()
        step = cls({"D": D}, {"D": parts.optimizer(D)}, **parts.execution)
        step.scale = scale
        return step

    def schedule(self, call: int) -> tuple[Phase, ...]:
        return (Phase("D", "D"),)

    def phase_loss(self, phase: str, batch: Any) -> Any:
        loss = self.run(self.networks["D"], batch["image"]).mean() * self.scale
        return loss, {"loss": loss.detach()}

    def panels(self, batch: Any, seed: int) -> list[Any]:
        return []


class OfImagesA(Own):
    def __init__(self, *args: Any, **execution: Any) -> None:
        super().__init__(*args, **execution)
        self.fields = ("a",)

    @classmethod
    def from_parts(cls, parts: Any) -> OfImagesA:
        D = parts.discriminator(in_channels=parts.data.fields["a"][0])
        return cls({"D": D}, {"D": parts.optimizer(D)}, **parts.execution)

    def phase_loss(self, phase: str, batch: Any) -> Any:
        return super().phase_loss(phase, {"image": batch["a"]})

    scale = 1.0


def test_an_instance_may_read_other_fields_than_its_class() -> None:
    config = small("pix2pix-toy").updated(step=f"{__name__}.OfImagesA", d_lr=None)
    assert build_trainer(config).gan_step.fields == ("a",)


def test_what_fails_beside_the_networks_is_not_said_of_them() -> None:
    config = small("gan").updated(step=f"{__name__}.Own", scale=nn.Identity)
    words = r"^Own, after the forward of D, fails on a batch of images: .*\(TypeError\)$"
    with pytest.raises(GankitError, match=words):
        build_trainer(config)
