"""A stranger's folder of pictures, trained on by one command."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("PIL")
from PIL import Image

from gankit import runs
from gankit.cli import main
from gankit.data import ImageData
from gankit.data import decoded as decoded_module
from gankit.errors import ConfigError, DataError
from gankit.runs.build import build_trainer, load_data
from gankit.runs.settings import changed, configured, read_yaml, written
from gankit.runs.trust import check_config
from gankit.training.config import RunConfig
from tests.data.image_folders import noise, write

SMALL = ["--set", "generator.width=8", "--set", "discriminator.width=8", "--batch-size", "8"]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GANKIT_DATA", str(tmp_path / "data"))


@pytest.fixture
def pictures() -> Path:
    folder = Path("my_pictures")
    for number in range(6):
        write(folder / "cats" / "deep" / f"{number}.png", noise(number, 30 + number, 40))
        write(folder / "hünde 日本" / f"{number}.jpg", noise(number, 50, 33, 1))
    Image.fromarray(noise(7, 20, 20)).convert("CMYK").save(folder / "cats" / "print.jpg")
    Image.fromarray(noise(8, 20, 20, 4)).save(folder / "cats" / "glass.webp")
    for name, content in (("a.png", b""), ("b.jpg", b"no image"), ("c.gif", b"GIF89a")):
        (folder / "cats" / name).write_bytes(content)
    return folder


def test_a_folder_trains_by_one_command_and_goes_on(pictures, capfd, caplog, monkeypatch):
    command = ["train", "dcgan", "--data", f"folder:{pictures}", "--out", "run", *SMALL]
    assert main([*command, "--steps", "2"]) == 0
    said = capfd.readouterr()
    assert "14 images, RGB, cropped around the center to 28x28 (--set image_size=64" in said.out
    assert "2 classes, from the folders: cats, hünde 日本." in said.out
    assert "skipped 3 files: cats/a.png: " in caplog.text
    monkeypatch.setattr(decoded_module, "decode_all", None)  # all is in the cache
    assert main([*command, "--steps", "4", "--resume"]) == 0
    run = torch.load("run/checkpoint.pt", weights_only=True)
    command[command.index("run")] = "whole"
    assert main([*command, "--steps", "4", "--quiet"]) == 0
    whole = torch.load("whole/checkpoint.pt", weights_only=True)
    weights = [state["gan_step"] for state in (run, whole)]
    assert all(
        torch.equal(value, weights[1][name])
        for name, value in weights[0].items()
        if isinstance(value, torch.Tensor)
    )
    assert main(["sample", "run", "--n", "4", "--out", "made.npz"]) == 0
    assert np.load("made.npz")["images"].shape == (4, 28, 28, 3)
    assert load_data(RunConfig(data="npz:made.npz")).fields["image"] == (3, 28, 28)


def test_arguments_of_a_named_set_by_set_and_in_a_file(pictures):
    given = [
        ("data", f"folder:{pictures}"),
        *written(["data.labels=none", "data.resize=pad", "data.image_size=[6, 8]"]),
    ]
    config = changed(RunConfig(steps=1, epochs=None), given, "--set")
    assert config.data == {
        "class_path": f"folder:{pictures}",
        "init_args": {"labels": "none", "resize": "pad", "image_size": [6, 8]},
    }
    Path("config.yaml").write_text(f"data: {config.data}\n")
    assert configured(RunConfig(), read_yaml("config.yaml"), "config.yaml").data == config.data
    with pytest.warns(match="skipped 3 files"):
        data = load_data(config)
    assert isinstance(data, ImageData)
    assert (data.shape, data.labels) == ((3, 6, 8), None)
    assert "padded to 8x6" in data.notes[0]


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        (["data.flip=true"], DataError, r"no argument 'flip', allowed are background, cache, ch"),
        (["data.device=cpu"], ConfigError, "has no argument 'device'"),
        (["data.labels=yes_please"], DataError, "labels is 'yes_please', expected folders or none"),
        (["data=digits", "data.resize=pad"], DataError, "'digits' has no argument 'resize'"),
        (["data=digits", "data.image_size=[28, 28]"], DataError, "image_size must be an integer"),
    ],
)
def test_arguments_that_a_set_has_not(pictures, settings, error, message):
    given = [("data", f"folder:{pictures}"), *written(settings)]
    with pytest.raises(error, match=message):
        build_trainer(changed(RunConfig(), given, "--set"))


def test_a_network_of_squares_says_which(pictures, recwarn):
    with pytest.raises(ConfigError, match="must be square, one of 28x28, 32x32, 64x64, 128x128"):
        runs.train(
            "dcgan",
            "run",
            batch_size=4,
            data=f"folder:{pictures}",
            **{"data.image_size": [32, 48]},
        )
    assert not Path("run").exists()


def test_settings_of_others_may_name_files_but_no_code(pictures):
    for data in (
        f"folder:{pictures}",
        {"class_path": f"folder:{pictures}", "init_args": {"labels": "none"}},
    ):
        check_config(RunConfig(data=data, trusted=False), "theirs")
    for data in ("os.system", {"class_path": "os.system", "init_args": {"command": "true"}}):
        with pytest.raises(ConfigError, match=r"not gankit's: data is 'os\.system'"):
            check_config(RunConfig(data=data, trusted=False), "theirs")


def test_columns_of_a_conditional_run_have_the_names_of_the_folders(pictures, monkeypatch, recwarn):
    from gankit.training.callbacks import sample_grid

    drawn = []
    monkeypatch.setattr(sample_grid, "save_grid", lambda *args, **kwargs: drawn.append(kwargs))
    runs.train(
        "cgan",
        "run",
        data=f"folder:{pictures}",
        steps=1,
        batch_size=4,
        image_size=8,
    )
    assert drawn[-1]["column_names"] == ["cats", "hünde 日本"]
