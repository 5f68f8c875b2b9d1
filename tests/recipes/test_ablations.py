"""The ablations: every variant trains, and differs from the run as it is in what it says."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from examples import ablations
from gankit.recipes.build import build_trainer


@pytest.mark.parametrize("variant", ablations.VARIANTS)
def test_a_variant_trains_and_changes_its_settings_alone(variant: str) -> None:
    settings = ablations.config(variant, 0, 2)
    trainer = build_trainer(settings)
    trainer.fit(steps=2)
    assert trainer.gan_step.paired
    plain = ablations.config("as it is", 0, 2)
    changed = {
        field.name
        for field in dataclasses.fields(plain)
        if getattr(plain, field.name) != getattr(settings, field.name)
    }
    run, generator, discriminator = ablations.VARIANTS[variant]
    networks = {"generator": generator, "discriminator": discriminator}
    assert changed == {*run, *(name for name, settings in networks.items() if settings)}


def test_the_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Verdict:
        classes_found, median_confidence = 8, 0.75

    class FakeJudge:
        @classmethod
        def fit(cls, images: object, *, seed: int) -> FakeJudge:
            return cls()

        def __call__(self, samples: torch.Tensor) -> Verdict:
            return Verdict()

    monkeypatch.setattr(ablations, "Judge", FakeJudge)
    assert ablations.main(["--variants", "uniform z", "--seeds", "0", "1", "--steps", "1"]) == 0
    assert "| uniform z | 8, 8 | 0.75 (0.75 to 0.75) |" in capsys.readouterr().out
