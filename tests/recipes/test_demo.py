"""The demo's exit code follows the classifier; the training itself is tested in the slow tests."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from examples import demo
from gankit import data, recipes
from gankit.metrics import DigitClassifier
from gankit.runs.build import build_trainer
from gankit.training import generate


@dataclass
class ClassCoverage:
    answer: bool

    def passed(self) -> bool:
        return self.answer


class FakeClassifier:
    accuracy = 0.99
    answer = True
    seen: tuple[int, ...] = ()

    @classmethod
    def fit(cls, images: data.ImageData, *, seed: int) -> FakeClassifier:
        assert len(images) == 1797
        return cls()

    def __call__(self, samples: torch.Tensor) -> ClassCoverage:
        type(self).seen = tuple(samples.shape)
        return ClassCoverage(self.answer)


@pytest.mark.parametrize(("answer", "code"), [(True, 0), (False, 1)])
def test_the_classifier_decides_the_exit_code(
    answer: bool,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "DigitClassifier", FakeClassifier)
    monkeypatch.setattr(FakeClassifier, "answer", answer)
    for name, value in (("STEPS", 2), ("BLOCKS", 1), ("STEPS_PER_BLOCK", 1)):
        monkeypatch.setattr(demo, name, value)
    assert demo.main() == code
    assert FakeClassifier.seen == (1000, 1, 28, 28)
    out = capsys.readouterr().out
    assert "images/s, the plain PyTorch loop" in out
    assert f"ClassCoverage(answer={answer})" in out
    assert "epoch_0001_step_0000002.png" in os.listdir("runs/demo/samples")


def test_an_occupied_folder_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "demo").mkdir(parents=True)
    (tmp_path / "runs" / "demo" / "mine.txt").write_text("mine")
    for name, value in (("BLOCKS", 1), ("STEPS_PER_BLOCK", 1)):
        monkeypatch.setattr(demo, name, value)
    assert demo.main() == 2
    assert "not a gankit run" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_demos_training_passes_the_classifier(seed: int) -> None:
    changes: dict[str, Any] = {"steps": demo.STEPS, "seed": seed, "device": "cpu"}
    trainer = build_trainer(recipes.get("gan").config.updated(**changes))
    trainer.fit(steps=demo.STEPS)
    classifier = DigitClassifier.fit(data.load("digits", split="all"), seed=0)
    coverage = classifier(generate(trainer.gan_step.G, 1000, seed=seed))
    assert coverage.passed(), str(coverage)
