"""gankit attack: classifiers of runs and of one's own, what it prints and what it writes."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gankit import data
from gankit.cli import main

SMALL = """
generator: {class_path: gankit.models.mlp.Generator, init_args: {hidden: [16]}}
discriminator: {class_path: gankit.models.semi_supervised.Discriminator,
                init_args: {hidden: [64], dropout: 0.0}}
image_size: 8
device: cpu
sample_every: 1000
"""
OWN = '''
import torch
from torch import nn

class Linear(nn.Sequential):
    """The class of a grey level of 8x8 pixels in 0 to 1."""
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(64, 2))
        with torch.no_grad():
            self[1].weight.copy_(torch.tensor([[-1.0], [1.0]]).expand(2, 64))
            self[1].bias.copy_(torch.tensor([32.0, -32.0]))

made = Linear()

def three():
    return 3
'''
pytestmark = pytest.mark.usefixtures("in_a_folder_of_its_own")


def test_a_run_of_sgan_is_attacked(
    capfd: pytest.CaptureFixture[str], refused: Callable[..., str]
) -> None:
    train = ["train", "sgan", "--config", "small.yaml", "--steps", "100", "--out", "run", "--quiet"]
    assert main(train) == 0
    attack = ["attack", "run", "digits", "--split", "test", "--eps", "0.2", "--n", "100"]
    assert main([*attack, "--steps", "5", "--out", "deep/er/a.png"]) == 0
    said = capfd.readouterr().out
    found = re.search(
        r"correctly: (.*)% of 100 images, (.*)% under PGD \(L-inf\) with eps 0.2", said
    )
    assert found is not None
    clean, under = map(float, found.groups())
    assert clean >= 60
    assert under <= clean - 30
    with Image.open("deep/er/a.png") as picture:
        assert picture.width > 10 * 8 * 7
    # Files have 256 levels, and differ from the images by whole levels within eps.
    assert (
        main([*attack[:5], "--eps", "8/255", "--method", "fgsm", "--n", "20", "--out", "new/"]) == 0
    )
    originals = data.load("digits", image_size=8, split="test").images[:, 0]
    for name in sorted(os.listdir("new")):
        with Image.open(Path("new", name)) as picture:
            found = torch.from_numpy(np.array(picture)).int()
        distance = (originals.int() - found).abs().amax((1, 2))
        assert int(distance.min()) == 8
    assert "rounded to the 256 levels" in capfd.readouterr().out
    # The arrays are the attacked images themselves.
    assert main([*attack, "--norm", "l2", "--steps", "3", "--target", "3", "--out", "a.npz"]) == 0
    assert "taken for class 3" in capfd.readouterr().out
    with np.load("a.npz") as arrays:
        change = arrays["images"].astype("f8") - arrays["originals"]
        assert (np.sqrt((change**2).sum((1, 2, 3))) <= 0.2).all()
        assert arrays["labels"].shape == arrays["predictions"].shape == (100,)
    assert "does not classify" in refused("attack", str(other_run()), "digits", "--eps", "0.1")


def other_run() -> Path:
    text = "generator.hidden=[8]", "discriminator.hidden=[8]"
    sets = [word for name in text for word in ("--set", name)]
    train = ["train", "nsgan", "--steps", "1", "--out", "other", "--quiet", *sets]
    assert main(train) == 0
    return Path("other")


def test_a_module_of_ones_own_is_attacked(
    capfd: pytest.CaptureFixture[str], refused: Callable[..., str]
) -> None:
    Path("my_models.py").write_text(OWN)
    for number, grey in enumerate((100, 120, 134)):
        Image.fromarray(np.full((8, 8), grey, np.uint8)).save(f"{number}.png")
    for what in ("my_models.Linear", "my_models.made"):
        # It takes its own prediction for the label: 120 of 255 is 0.03 away from one half.
        assert main(["attack", what, "1.png", "--eps", "0.01"]) == 0
        assert "classified as before: 100.0% of 1 images, 100.0%" in capfd.readouterr().out
        assert main(["attack", what, "1.png", "--eps", "0.04", "--method", "fgsm"]) == 0
        assert "classified as before: 100.0% of 1 images, 0.0%" in capfd.readouterr().out
    Path("set").mkdir()
    for number in range(3):
        Path(f"{number}.png").rename(f"set/{number}.png")
    assert main(["attack", "my_models.made", "set", "--eps", "0.04"]) == 0
    assert "100.0% of 3 images, 33.3% under PGD" in capfd.readouterr().out
    # Read as values of -1 to 1 the boundary is elsewhere, and all three are far from it.
    arguments = ["attack", "my_models.made", "set", "--eps", "0.04", "--range", "-1", "1"]
    assert main(arguments) == 0
    assert "100.0% of 3 images, 100.0% under PGD" in capfd.readouterr().out
    assert "gave a int; allowed is a Module" in refused(
        "attack", "my_models.three", "set", "--eps", "1"
    )


@pytest.mark.parametrize(
    ("words", "argv"),
    [
        ("'8/0' is not a number from 0", ["m.M", "digits", "--eps", "8/0"]),
        ("'-1' is not a number from 0", ["m.M", "digits", "--eps=-1"]),
        ("m.M' cannot be imported", ["m.M", "digits", "--eps", "0.1"]),
        ("neither a run, a checkpoint nor an import path", ["nothing", "digits", "--eps", "0.1"]),
        ("--out is 'a.jpg'", ["m.M", "digits", "--eps", "0.1", "--out", "a.jpg"]),
        (
            "--norm l2 is for --method pgd",
            ["m.M", "x", "--eps", "1", "--method", "fgsm", "--norm", "l2"],
        ),
        (
            "--steps is for --method pgd",
            ["m.M", "x", "--eps", "1", "--method", "fgsm", "--steps", "2"],
        ),
        ("images is 'nothing'", ["my_models.made", "nothing", "--eps", "1"]),
        ("no single images", ["my_models.made", "toy:ring", "--eps", "1"]),
        (
            "--range is 1 0; allowed",
            ["my_models.made", "digits", "--eps", "1", "--range", "1", "0"],
        ),
        ("cannot take images", ["my_models.made", "digits", "--eps", "1", "--image-size", "9"]),
    ],
)
def test_what_is_wrong_is_one_sentence(
    words: str, argv: list[str], refused: Callable[..., str]
) -> None:
    Path("my_models.py").write_text(OWN)
    assert words in refused("attack", *argv)
    assert not Path("attack.png").exists()
