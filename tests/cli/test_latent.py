"""gankit sample's ways through the latent space, and gankit invert."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import gankit
from gankit.cli import main

SMALL = """
generator: {class_path: gankit.models.mlp.Generator, init_args: {hidden: [64]}}
discriminator: {class_path: gankit.models.mlp.Discriminator, init_args: {hidden: [64]}}
z_dim: 8
image_size: 8
device: cpu
sample_every: 1000
"""
CONDITIONAL = SMALL.replace("models.mlp", "models.conditional_mlp")
CLASSIFIER = """
import torch
from torch import nn

class Halves(nn.Module):
    '''Class 0: the upper half is brighter; class 1: the lower one is.'''
    def forward(self, x):
        upper, lower = x[:, :, :4].mean((1, 2, 3)), x[:, :, 4:].mean((1, 2, 3))
        return 50 * torch.stack([upper - lower, lower - upper], dim=1)
"""
pytestmark = pytest.mark.usefixtures("in_a_folder_of_its_own")


def train(recipe: str, out: str, config: str = "small.yaml") -> None:
    assert main(["train", recipe, "--config", config, "--steps", "2", "--out", out, "--quiet"]) == 0


def arrays(path: str) -> tuple[np.ndarray, np.ndarray]:
    with np.load(path) as found:
        return found["z"], found["images"]


def test_ways_through_the_latent_space(refused: Callable[..., str]) -> None:
    train("nsgan", "run")
    Path("my_classifiers.py").write_text(CLASSIFIER)
    G = gankit.load("run")

    def drawn(*more: str) -> tuple[np.ndarray, np.ndarray]:
        assert main(["sample", "run", *more, "--out", "a.npz"]) == 0
        return arrays("a.npz")

    # The ends of a walk are the images of `gankit sample --seed ... --n 1`.
    z, images = drawn("--walk", "3", "5", "--steps", "4")
    for end, seed in ((0, 3), (-1, 5)):
        assert np.allclose(images[end], G.sample(1, seed=seed)[0].numpy(), atol=1e-6)
    assert np.allclose(z[1], z[0] + (z[-1] - z[0]) / 3, atol=1e-6)
    slerp, _ = drawn("--walk", "3", "5", "--steps", "4", "--slerp")
    assert np.allclose(slerp[[0, -1]], z[[0, -1]], atol=1e-6)
    assert not np.allclose(slerp[1], z[1], atol=1e-3)
    z, images = drawn("--grid", "1", "2", "3", "4", "--steps", "3")
    assert z.shape == (9, 8)
    assert images.shape == (9, 1, 8, 8)
    assert np.allclose(images[8], G.sample(1, seed=4)[0].numpy(), atol=1e-6)
    z, _ = drawn("--sefa", "2", "--steps", "5", "--seed", "7")
    moves = np.diff(z.reshape(2, 5, 8), axis=1)
    assert np.allclose(np.linalg.norm(moves, axis=2), 1.5, atol=1e-4)
    assert abs(float(moves[0, 0] @ moves[1, 0])) < 1e-4
    by = ["--classifier", "my_classifiers.Halves"]
    z, images = drawn("--toward", "1", "--n", "2", "--steps", "3", *by)
    assert z.shape == (6, 8)
    lower = images[:, :, 4:].mean((1, 2, 3)) - images[:, :, :4].mean((1, 2, 3))
    assert (np.diff(lower.reshape(2, 3), axis=1) > 0).all()
    z, _ = drawn("--arithmetic", "1 - 0", *by)
    columns = z.reshape(4, 3, 8)
    assert np.allclose(columns[:3].mean(0)[:2], columns[3, :2], atol=1e-5)
    assert np.allclose(columns[3, 2], columns[3, 0] - columns[3, 1], atol=1e-5)
    # The same as pictures and as a movie.
    for more in (["--walk", "3", "5"], ["--grid", "1", "2", "3", "4"], ["--sefa", "2"]):
        assert main(["sample", "run", *more, "--out", "new/a.png"]) == 0
        with Image.open("new/a.png") as picture:
            assert picture.width >= 9 * 8 * 7
    assert (
        main(["sample", "run", "--walk", "3", "5", "--slerp", "--steps", "5", "--out", "a.gif"])
        == 0
    )
    with Image.open("a.gif") as movie:
        assert (movie.n_frames, movie.size) == (5, (68, 68))
    # Samples with truncated z are nearer to the middle.
    for threshold in ("0.1", "3"):
        assert main(["sample", "run", "--truncation", threshold, "--out", f"{threshold}.npz"]) == 0
    spread = [np.load(f"{t}.npz")["images"].astype("f4").std(axis=0).mean() for t in ("0.1", "3")]
    assert spread[0] < 0.3 * spread[1]
    for words, argv in (
        ("--walk and --grid exclude each other", ["--walk", "1", "2", "--grid", *"1234"]),
        ("--steps is for --walk, --grid", ["--steps", "3"]),
        ("--slerp is for --walk", ["--slerp", "--sefa", "1"]),
        (
            "--out is a.gif; allowed for --grid are .png, .npz",
            ["--grid", *"1234", "--out", "a.gif"],
        ),
        ("--out is a/; allowed for --walk are", ["--walk", "1", "2", "--out", "a/"]),
        ("the expression is '7 +'", ["--arithmetic", "7 +"]),
        ("--toward is 2; allowed are 0 to 1", ["--toward", "2", *by]),
        ("has class 5; allowed are 0 to 1", ["--arithmetic", "5", *by]),
        ("count is 9; allowed are 1 to 8", ["--sefa", "9"]),
        ("--columns is for a grid of samples", ["--sefa", "1", "--columns", "3"]),
        ("threshold is 0.0", ["--truncation", "0"]),
        ("--label is 1, but the run in run has no labels", ["--sefa", "1", "--label", "1"]),
    ):
        assert words in refused("sample", "run", *argv)


def test_a_movie_of_mp4(refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    train("nsgan", "run")
    walk = ["sample", "run", "--walk", "1", "2", "--steps", "5", "--out", "a.mp4"]
    with monkeypatch.context() as without:
        without.setitem(__import__("sys").modules, "av", None)
        assert "pip install 'gankit[video]'" in refused(*walk)
    assert not Path("a.mp4").exists()
    av = pytest.importorskip("av", reason="av is not installed")
    assert main(walk) == 0
    with av.open("a.mp4") as movie:
        frames = [frame.to_ndarray(format="rgb24") for frame in movie.decode(video=0)]
    assert len(frames) == 5
    assert frames[0].shape == (68, 68, 3)


def test_a_conditional_run_walks_within_a_class_and_is_inverted_to_its_class(
    capfd: pytest.CaptureFixture[str], refused: Callable[..., str]
) -> None:
    Path("cgan.yaml").write_text(CONDITIONAL)
    train("cgan", "run", "cgan.yaml")
    G = gankit.load("run")
    assert main(["sample", "run", "--walk", "3", "5", "--label", "4", "--out", "a.npz"]) == 0
    assert np.allclose(arrays("a.npz")[1][0], G.sample(1, seed=3, label=4)[0].numpy(), atol=1e-6)
    for mode, value in (("arithmetic", "7"), ("toward", "1")):
        assert f"--{mode} is for generators of noise alone" in refused(
            "sample", "run", f"--{mode}", value
        )
    # An image that a program has drawn is found again, with its class, from its file.
    assert main(["sample", "run", "--n", "3", "--label", "4", "--out", "images/"]) == 0
    capfd.readouterr()
    assert (
        main(["invert", "run", "images", "--steps", "30", "--starts", "1", "--out", "new/a.npz"])
        == 0
    )
    lines = capfd.readouterr().out.splitlines()
    assert lines[-1] == "z and images are in new/a.npz"
    for number, line in enumerate(lines[:3]):
        assert line.startswith(f"0000{number}_class_4.png  mean squared error ")
        assert line.endswith("dB, class 4")
    with np.load("new/a.npz") as found:
        assert (found["psnr"] > 30).all()
        assert (found["labels"] == 4).all()
        images = G(torch.from_numpy(found["z"]), torch.full((3,), 4))
        assert np.allclose(images, found["images"], atol=1e-5)
    # A file that is none is named, and left out.
    Path("images/00001_bad.png").write_text("no image")
    some = ["invert", "run", "images", "--label", "4", "--steps", "2", "--out", "some.npz"]
    assert main(some) == 1
    assert "skipped images/00001_bad.png: not an image" in capfd.readouterr().err
    with np.load("some.npz") as found:
        assert len(found["z"]) == 3
    assert "not an image" in refused("invert", "run", "images/00001_bad.png")
    one = ["invert", "run", "images/00000_class_4.png", "--label", "4", "--steps", "2"]
    assert main(one) == 0
    with Image.open("invert.png") as picture:
        assert picture.height == 18 + 2 * 58 + 2
    assert "there is no file or folder nothing" in refused("invert", "run", "nothing")
    assert "--out is a.jpg" in refused("invert", "run", "images", "--out", "a.jpg")
    assert "label is 10" in refused("invert", "run", "images", "--label", "10")


def test_the_classes_of_the_data_are_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gankit.metrics.digit_classifier._STEPS", 20)
    train("nsgan", "run")
    assert main(["sample", "run", "--toward", "3", "--n", "1", "--out", "a.png"]) == 0


def test_points_have_no_pictures_of_a_way(refused: Callable[..., str]) -> None:
    config = ["--config", "small.yaml", "--steps", "1", "--quiet"]
    assert main(["train", "gan", "--data", "toy:normal", *config, "--out", "points"]) == 0
    assert "samples of this run are points" in refused("sample", "points", "--walk", "1", "2")
    assert main(["sample", "points", "--walk", "1", "2", "--out", "a.npz"]) == 0
    assert arrays("a.npz")[1].shape == (9, 1, 1, 1)
    Image.new("L", (8, 8)).save("a.png")
    assert "which no image file has" in refused("invert", "points", "a.png")
