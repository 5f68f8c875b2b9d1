"""The comparison of all losses: that its two ways play one game, and its table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from PIL import Image

from examples import compare_losses
from gankit.errors import ConfigError
from gankit.losses import resolve


@pytest.mark.parametrize("name", compare_losses.PLAIN)
def test_the_plain_losses_are_gankits(name: str) -> None:
    random = torch.Generator().manual_seed(0)
    real = torch.randn(9, 1, generator=random, dtype=torch.float64)
    fake = torch.randn(9, 1, generator=random, dtype=torch.float64)
    game = resolve(name, from_logits=True)
    d_loss, g_loss = compare_losses.PLAIN[name]
    torch.testing.assert_close(d_loss(real, fake), game.discriminator(real, fake))
    ours = game.generator(fake, real) if game.relativistic else game.generator(fake)
    torch.testing.assert_close(g_loss(fake, real), ours)


def test_every_loss_is_compared() -> None:
    with pytest.raises(ConfigError) as caught:
        resolve("none of them", from_logits=True)
    names = str(caught.value).split("allowed are ")[1].split(", and an ")[0]
    assert set(names.split(", ")) == set(compare_losses.PLAIN)


def test_the_times_of_both_ways(capsys: pytest.CaptureFixture[str]) -> None:
    few = ["--times", "--losses", "hinge", "--steps", "2", "--rounds", "3"]
    assert compare_losses.main(few) == 0
    (row,) = [line for line in capsys.readouterr().out.splitlines() if "hinge" in line]
    ours, plain, ratio = re.findall(r"[\d.]+", row)[:3]
    assert float(ours) > 0
    assert float(plain) > 0
    assert float(ratio) > 0


def test_a_table_and_a_picture_from_few_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class ClassCoverage:
        classes_found, median_confidence = 7, 0.5

    class FakeClassifier:
        @classmethod
        def fit(cls, images: object, *, seed: int) -> FakeClassifier:
            return cls()

        def __call__(self, samples: torch.Tensor) -> ClassCoverage:
            assert samples.shape == (1000, 1, 8, 8)
            return ClassCoverage()

    monkeypatch.setattr(compare_losses, "DigitClassifier", FakeClassifier)
    arguments = ["--losses", "wasserstein", "hinge", "--seeds", "0", "1", "--steps", "2"]
    arguments += ["--cache", str(tmp_path / "cache"), "--picture", str(tmp_path / "all.png")]
    assert compare_losses.main(arguments) == 0
    table = capsys.readouterr().out
    assert "| `hinge` | 7, 7 | 7, 7 | 0.50 (0.50 to 0.50) | 0.50 (0.50 to 0.50) |" in table
    with Image.open(tmp_path / "all.png") as picture:
        assert picture.height == 2 * (8 * 5 + 2)
        assert picture.width > 16 * (8 * 5 + 2)
    assert len(list((tmp_path / "cache").iterdir())) == 8
    monkeypatch.setattr(compare_losses, "train", None)
    assert compare_losses.main(arguments) == 0  # all from the cache
    assert capsys.readouterr().out == table
