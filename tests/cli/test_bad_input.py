"""Each kind of bad input: exit code 2, one sentence on stderr, nothing written."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gankit.cli import main
from tests.small_runs import SMALL

pytestmark = pytest.mark.usefixtures("in_a_folder_of_its_own")
TRAIN = ["train", "gan", "--config", "small.yaml", "--steps", "3", "--quiet"]


def files() -> set[str]:
    return {str(path) for path in Path().rglob("*")}


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["train", "dcgann"], "there is no recipe 'dcgann'; allowed are ae, vae, began"),
        (["train"], "which recipe? Give one of ae, vae, began"),
        (["train", "gan", "--data", "nothing"], "unknown data 'nothing', allowed are digits"),
        (["train", "gan", "--data", "idx:absent"], "absent"),
        (["train", "gan", "--data", "idx:cut"], "cut"),
        (["train", "gan", "--data", "my.data"], "cannot be imported"),
        (["train", "gan", "--batch-size", "100000"], "batch_size is 100000"),
        (["train", "gan", "--batch-size", "0"], "--batch-size: '0' is not an integer from 1"),
        (["train", "gan", "--epochs", "none"], "--epochs: 'none' is not an integer from 1"),
        (["train", "gan", "--epochs", "1", "--steps", "1"], "not allowed with argument"),
        (["train", "gan", "--lr", "nan"], "lr is nan"),
        (["train", "gan", "--lr", "-1"], "lr is -1.0"),
        (["train", "gan", "--z-dim", "-5"], "--z-dim"),
        (["train", "gan", "--seed", "-5"], "--seed"),
        (["train", "gan", "--device", "tpu"], "--device"),
        (["train", "gan", "--config", "absent.yaml"], "there is no config file absent.yaml"),
        (["train", "gan", "--config", "."], "Is a directory"),
        (["train", "gan-keras", "--config", "other.yaml"], "other.yaml is for 'gan'"),
        (["train", "gan", "--config", "broken.yaml"], "unknown setting lrr"),
        (["train", "gan", "--config", "wide.yaml"], "dropout"),
        (["train", "gan", "--set", "recipe=dcgan"], "come with its name: gankit train dcgan"),
        (["train", "gan", "--set", "=5"], "--set is '=5'; allowed are NAME=VALUE"),
        (["train", "gan", "--resume"], "runs/gan has no checkpoint.pt to resume from"),
        (["train", "gan", "--resume", "--overwrite"], "not allowed with argument"),
        (["train", "gan", "--out", "small.yaml"], "small.yaml is a file"),
        (["train", "gan", "--out", ""], "--out is ''; allowed is a folder"),
        (["run", "full"], "full: a folder; expected the path of a Python script"),
        (["train", "gan", "--out", "full"], "full is not empty; pass --overwrite"),
        (["train", "gan", "--out", "full", "--overwrite"], "not a gankit run"),
        (["train", "gan", "--frobnicate"], "--frobnicate (see gankit train --help)"),
        (["sample", "absent"], "absent holds no checkpoint.pt"),
        (["sample", "foreign"], "not a gankit checkpoint"),
        (["sample", "foreign", "--n", "0"], "--n: '0' is not an integer from 1"),
        (["sample", "foreign", "--out", "grid.jpg"], "allowed are FILE.png, a grid, and FILE.npz"),
        (["sample", "foreign", "--out", "all/", "--columns", "2"], "--columns is for a grid"),
        (["frobnicate"], "invalid choice: 'frobnicate'"),
        ([], "required: COMMAND"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input(argv: list[str], words: str, refused: Callable[..., str]) -> None:
    Path("cut").mkdir()
    Path("cut/train-images-idx3-ubyte").write_bytes(bytes([0, 0, 8, 3, 0, 0, 0, 9]))
    Path("full").mkdir()
    Path("full/thesis.tex").write_text("mine")
    Path("foreign").mkdir()
    torch.save({"weight": torch.ones(1)}, "foreign/checkpoint.pt")
    Path("other.yaml").write_text("recipe: gan\n")
    Path("broken.yaml").write_text("lrr: 1\n")
    Path("wide.yaml").write_text(
        "discriminator: {class_path: gankit.models.mlp.Discriminator, init_args: {dropout: 2}}\n"
    )
    before = files()
    sentence = refused(*argv)
    assert words in sentence
    assert files() == before


def test_a_missing_cuda_is_named(refused: Callable[..., str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    assert "device 'cuda' is not available here" in refused("train", "gan", "--device", "cuda")
    assert not Path("runs").exists()


@pytest.mark.parametrize("package", ["torchvision", "matplotlib", "jsonargparse"])
def test_a_missing_extra_is_named_before_anything_is_written(
    package: str, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import gankit.runs.training as command

    find = command.find_spec
    monkeypatch.setattr(command, "find_spec", lambda n: None if n == package else find(n))
    before = files()
    assert f"{package} is not installed: pip install 'gankit[train]'" in refused(*TRAIN)
    assert files() == before


def test_a_folder_that_cannot_be_made(refused: Callable[..., str]) -> None:
    sentence = refused(*TRAIN, "--out", "small.yaml/run")
    assert "small.yaml" in sentence
    assert "Not a directory" in sentence


def test_a_folder_that_cannot_be_written(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: Any) -> None:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "replace", denied)
    before = files()
    assert "config.yaml: Permission denied" in refused(*TRAIN, "--out", "a/b")
    assert files() == before


def test_a_disk_that_is_full_from_the_start(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    before = files()
    assert "No space left on device" in refused(*TRAIN)
    assert files() == before


def test_a_disk_that_fills_up_later(refused: Callable[..., str]) -> None:
    """A limit on file size stands in for the disk: the settings fit, the checkpoint does not."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        sentence = refused(*TRAIN)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "runs/gan/checkpoint.pt: File too large; no checkpoint was written yet" in sentence
    assert sorted(os.listdir("runs/gan")) == ["config.yaml", "metrics.csv"]


def test_a_run_that_fails_after_a_checkpoint_stays(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "grid.png")

    monkeypatch.setattr("gankit.training.callbacks.sample_grid.save_grid", full)
    assert "No space left" in refused(*TRAIN)
    assert torch.load("runs/gan/checkpoint.pt", weights_only=True)["step"] == 3
    assert sorted(os.listdir("runs/gan")) == [
        "checkpoint.pt",
        "config.yaml",
        "losses.png",
        "metrics.csv",
        "report.html",
        "samples",
    ]


@pytest.fixture
def a_run(capfd: pytest.CaptureFixture[str]) -> Path:
    assert main(TRAIN) == 0
    return Path("runs/gan")


def test_a_finished_run_is_not_written_over(a_run: Path, refused: Callable[..., str]) -> None:
    assert "runs/gan is not empty; pass --overwrite" in refused(*TRAIN)


def test_overwrite_keeps_the_old_run_when_the_new_one_cannot_start(
    a_run: Path, refused: Callable[..., str]
) -> None:
    before = files()
    refused(*TRAIN, "--overwrite", "--data", "idx:absent")
    refused(*TRAIN, "--overwrite", "--batch-size", "99999")
    assert files() == before


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--lr", "0.1"], "lr is 0.0002, not 0.1"),
        (["--batch-size", "7"], "batch_size is 60, not 7"),
        (["--seed", "3"], "seed is 0, not 3"),
        (["--lr", "0.1", "--seed", "3"], "lr is 0.0002, not 0.1, seed is 0, not 3"),
        (["--config", "small.yaml"], "leave out --config"),
        (["--steps", "2"], "runs/gan has 3 steps already, and was asked to end at step 2"),
    ],
)
def test_resume_keeps_the_settings(
    a_run: Path, flags: list[str], words: str, refused: Callable[..., str]
) -> None:
    before = Path("runs/gan/config.yaml").read_bytes()
    assert words in refused("train", "gan", "--resume", *flags)
    assert Path("runs/gan/config.yaml").read_bytes() == before


def test_an_edited_config_is_not_continued(a_run: Path, refused: Callable[..., str]) -> None:
    path = a_run / "config.yaml"
    path.write_text(path.read_text().replace("lr: 0.0002", "lr: 0.5"))
    sentence = refused("train", "gan", "--resume", "--steps", "9")
    assert "config.yaml was changed after its checkpoint was written (lr is 0.5 there" in sentence
    assert torch.load(a_run / "checkpoint.pt", weights_only=True)["step"] == 3


def test_a_z_dim_that_the_generator_does_not_take_is_named(refused: Callable[..., str]) -> None:
    text = SMALL.replace("init_args: {hidden", "init_args: {z_dim: 8, hidden", 1)
    Path("small.yaml").write_text(text)
    before = files()
    sentence = refused(*TRAIN, "--z-dim", "33")
    assert "z_dim is 33, but the generator's own arguments give it z_dim 8" in sentence
    assert files() == before
    assert main([*TRAIN, "--z-dim", "8"]) == 0
    pix2pix = ["train", "pix2pix-toy", "--steps", "1", "--quiet", "--z-dim", "33"]
    assert "Pix2PixStep uses no generator of noise" in refused(*pix2pix, "--out", "translator")
    assert "z_dim is 8, not 100" in refused("train", "gan", "--resume", "--z-dim", "100")


def test_resume_needs_the_same_recipe(a_run: Path, refused: Callable[..., str]) -> None:
    sentence = refused("train", "gan-keras", "--resume", "--out", str(a_run))
    assert "is a run of recipe 'gan', not 'gan-keras'" in sentence
    assert "needs RECIPE or --out DIR" in refused("train", "--resume")


def test_a_truncated_checkpoint_is_named(a_run: Path, refused: Callable[..., str]) -> None:
    path = a_run / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:-200])
    for argv in (["train", "gan", "--resume"], ["sample", str(a_run)]):
        assert "runs/gan/checkpoint.pt cannot be read as a checkpoint" in refused(*argv)
    assert not Path("grid.png").exists()


@pytest.mark.parametrize(
    ("changes", "words", "commands"),
    [
        ({"step": "x"}, "its entry step is 'x'; allowed is an integer", "rs"),
        ({"rng": {}}, "its entry rng lacks torch", "rs"),
        ({"pending": 5}, "its entry pending is 5; allowed is a dict", "rs"),
        ({"gan_step": {}}, "its entry gan_step lacks _extra_state", "rs"),
        ({"image_shape": 5}, "image shape 5; allowed are three integers", "s"),
        ({"image_shape": [1, 5, 5]}, "images of shape [1, 28, 28] in place of [1, 5, 5]", "s"),
        ({"networks": {"G": 5}}, "checkpoint.pt does not say how its generator is built", "s"),
        ({"run": {"data": 5}}, "data is 5", "rs"),
        ({"run": {"betas": 5}}, "was not written by gankit train", "rs"),
    ],
)
def test_a_damaged_checkpoint_is_one_sentence(
    a_run: Path, changes: dict[str, Any], words: str, commands: str, refused: Callable[..., str]
) -> None:
    path = a_run / "checkpoint.pt"
    state = torch.load(path, weights_only=True)
    for key, value in changes.items():
        where = state["config"] if key in ("image_shape", "networks", "run") else state
        where[key] = value
    torch.save(state, path)
    before = {file: Path(file).read_bytes() for file in files() if Path(file).is_file()}
    resume = ["train", "gan", "--resume", "--steps", "9", "--quiet"]
    for letter, argv in (("r", resume), ("s", ["sample", str(a_run)])):
        if letter in commands:
            assert words in refused(*argv)
    assert before == {file: Path(file).read_bytes() for file in files() if Path(file).is_file()}


def test_a_library_checkpoint_without_a_run_is_named(
    a_run: Path, refused: Callable[..., str]
) -> None:
    path = a_run / "checkpoint.pt"
    state = torch.load(path, weights_only=True)
    torch.save({**state, "config": {}}, path)
    for argv in (["train", "gan", "--resume"], ["sample", str(a_run)]):
        assert "was written by a program with a Trainer of its own" in refused(*argv)


def test_sampling_where_nothing_can_be_written(a_run: Path, refused: Callable[..., str]) -> None:
    Path("taken").write_text("a file")
    for out in ("grid.png", "images.npz", "images/"):
        assert "taken: File exists" in refused("sample", str(a_run), "--out", f"taken/{out}")
    shutil.rmtree(a_run)
    assert "holds no checkpoint.pt" in refused("sample", str(a_run))


def test_torch_too_old(refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    from gankit.ops import backends

    monkeypatch.setattr(torch, "__version__", "2.10.0")
    module = sys.modules["gankit.cli.main"]
    monkeypatch.setattr(module, "_run", lambda arguments: backends._check_torch())
    assert "gankit needs torch 2.11 or newer, found torch 2.10.0" in refused(*TRAIN)
