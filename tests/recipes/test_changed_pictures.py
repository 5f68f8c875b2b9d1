"""A run goes on with the pictures it began with, however they are stored, or says what differs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("PIL")

from gankit import runs
from gankit.cli import main
from gankit.data import StreamedData
from gankit.errors import CheckpointError, ConfigError
from gankit.runs.settings import read_yaml
from gankit.training.config import RunConfig, flat
from tests.data.image_folders import noise, write

SMALL = {
    "generator": {"class_path": "gankit.models.mlp.Generator", "init_args": {"hidden": [8]}},
    "discriminator": {
        "class_path": "gankit.models.mlp.Discriminator",
        "init_args": {"hidden": [8]},
    },
    "image_size": 8,
    "batch_size": 4,
    "grid_rows": 1,
    "grid_columns": 2,
    "device": "cpu",
}


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GANKIT_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("gankit.data.file_set.default_workers", lambda: 1)


@pytest.fixture
def pictures() -> Path:
    """Eleven, and two that cannot be decoded, one of which has a readable header."""
    for number in range(12):
        write(Path("my", "ab"[number % 2], f"{number:02}.jpg"), noise(number, 20, 20))
    damaged = Path("my", "a", "04.jpg")
    damaged.write_bytes(damaged.read_bytes()[:-60])
    Path("my", "a", "empty.jpg").write_bytes(b"")
    return Path("my")


def train(folder: str, steps: int, **settings: Any) -> runs.Run:
    return runs.train("gan", folder, steps=steps, data="folder:my", **SMALL, **settings)


def weights(run: runs.Run) -> dict[str, torch.Tensor]:
    state = run.trainer.gan_step.state_dict()
    return {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}


@pytest.mark.filterwarnings("ignore:.*skipped")
@pytest.mark.parametrize("resident", [True, False])
def test_how_images_are_stored_may_change_on_the_way(pictures, resident):
    train("run", 4, **{"data.resident": resident})
    said: list[str] = []
    run = runs.resume("run", steps=8, say=said.append, **{"data.resident": not resident})
    assert isinstance(run.trainer.data, StreamedData) == resident
    assert not [sentence for sentence in said if "setting" in sentence]
    whole = weights(train("whole", 8))
    assert all(torch.equal(value, whole[name]) for name, value in weights(run).items())
    # What was said stands in the settings from here on; a file may say it too.
    config = read_yaml("run/config.yaml")
    assert config["data"]["init_args"] == {"resident": not resident}
    config["data"]["init_args"] = {"resident": False, "cache": False, "workers": 2}
    text = Path("run/config.yaml").read_text()
    before, after = text.index("data:"), text.index("data_root:")
    Path("run/config.yaml").write_text(f"{text[:before]}data: {config['data']}\n{text[after:]}")
    run = runs.resume("run", steps=9)
    assert run.config.data["init_args"] == config["data"]["init_args"]
    assert run.trainer.data.workers == 2


@pytest.mark.filterwarnings("ignore:.*skipped")
def test_what_is_drawn_from_them_may_not_change(pictures):
    train("run", 2, **{"data.labels": "none"})
    with pytest.raises(ConfigError, match=r"own settings: data is .*'resize': 'pad'"):
        runs.resume("run", **{"data.resize": "pad", "data.resident": False})
    with pytest.raises(ConfigError, match="own settings: data is"):
        runs.resume("run", data="folder:other")
    # Of shards, the readers are part of the order.
    specs = [{"class_path": "wds:a.tar", "init_args": {"workers": count}} for count in (1, 2)]
    one, two = (flat(RunConfig(data=spec).as_dict()) for spec in specs)
    assert one["data"] != two["data"]


@pytest.mark.filterwarnings("ignore:.*skipped")
def test_changed_pictures_are_said_and_others_refused(pictures, capsys):
    train("run", 2)
    write(pictures / "a" / "02.jpg", noise(99, 20, 20))
    said: list[str] = []
    runs.resume("run", steps=3, say=said.append)
    assert any("1 changed since the checkpoint was written" in each for each in said)
    assert any("(a/02.jpg)" in each for each in said)
    said.clear()
    runs.resume("run", steps=4, say=said.append)  # the new checkpoint knows it
    assert not any("changed" in each for each in said)
    (pictures / "b" / "03.jpg").unlink()
    (pictures / "a" / "empty.jpg").unlink()  # was left out before
    write(pictures / "new.png", noise(1, 9, 9))
    words = r"does not fit this run: .* folder:my are others .* 1 removed \(b/03\.jpg\) and 1 added"
    before = Path("run/checkpoint.pt").read_bytes()
    with pytest.raises(CheckpointError, match=rf"run/checkpoint\.pt {words} \(new\.png\)"):
        runs.resume("run", steps=5)
    assert Path("run/checkpoint.pt").read_bytes() == before
    assert main(["train", "gan", "--out", "run", "--resume", "--steps", "5"]) != 0
    assert "1 removed (b/03.jpg) and 1 added (new.png)" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:.*skipped")
def test_a_checkpoint_without_the_list_goes_on(pictures):
    train("run", 2)
    state = torch.load("run/checkpoint.pt", weights_only=True)
    assert set(state.pop("data")) == {"names", "digests"}
    torch.save(state, "run/checkpoint.pt")
    assert runs.resume("run", steps=3).trainer.step == 3
