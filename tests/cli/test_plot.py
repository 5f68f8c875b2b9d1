"""``gankit plot``."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from gankit.cli import main
from gankit.runs.record import read_record

pytestmark = pytest.mark.usefixtures("in_a_folder_of_its_own")


@pytest.fixture
def a_run() -> Path:
    argv = ["train", "gan", "--config", "small.yaml", "--steps", "6", "--set", "log_every=2"]
    assert main([*argv, "--out", "run", "--quiet"]) == 0
    return Path("run")


def test_curves_and_gif_are_drawn_again(a_run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = {name: (a_run / name).read_bytes() for name in ("losses.png", "samples.gif")}
    for name in before:
        (a_run / name).unlink()
    Path("elsewhere").mkdir()
    assert main(["plot", "run"]) == 0
    assert {name: (a_run / name).read_bytes() for name in before} == before
    said = capfd.readouterr()
    assert said.out.splitlines() == [
        f"the curves are in {a_run / 'losses.png'}",
        f"the GIF of 1 picture is in {a_run / 'samples.gif'}",
    ]
    assert said.err == ""


@pytest.mark.parametrize("kept", [True, False])
def test_what_the_settings_name_is_not_imported(
    a_run: Path, kept: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    if not kept:  # config.yaml alone is then read
        (a_run / "checkpoint.pt").unlink()
    Path("harmful.py").write_text("open('ran', 'w')\ndef loss(): pass\n")
    text = (a_run / "config.yaml").read_text()
    for loss in ("harmful.loss", "os.system", "gankit.losses.os", "gankit.cli.main.main"):
        (a_run / "config.yaml").write_text(text.replace("loss: non-saturating", f"loss: {loss}"))
        assert main(["plot", "run"]) == 0
    for arguments in ("{features: x}", "{margin: x}", "{mean: x, log_variance: y}", "{}"):
        for loss in ("pulling_away_term", "ebgan", "kl_to_standard_normal"):
            spec = f"{{class_path: gankit.losses.{loss}, init_args: {arguments}}}"
            (a_run / "config.yaml").write_text(
                text.replace("loss: non-saturating", f"loss: {spec}")
            )
            assert read_record(a_run).title == "gan on digits"
    assert not Path("ran").exists()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("content", [b"recipe: [", b"\xff\xfe", b"no_such_setting: 5\n", b"5"])
def test_damaged_settings_cost_the_title_only(
    a_run: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (a_run / "config.yaml").write_bytes(content)
    (a_run / "losses.png").unlink()
    assert main(["plot", "run"]) == 0  # the checkpoint says it too
    assert caplog.text == ""
    for name in ("losses.png", "checkpoint.pt"):
        (a_run / name).unlink()
    assert main(["plot", "run"]) == 0
    assert (a_run / "losses.png").is_file()
    assert "the settings of the run are not known: " in caplog.text


def test_a_part_is_drawn_where_the_other_cannot_be(
    a_run: Path, refused: Callable[..., str]
) -> None:
    for name in ("metrics.csv", "samples.gif", "losses.png"):
        (a_run / name).unlink()
    assert "metrics.csv has no rows to draw" in refused("plot", "run")
    assert (a_run / "samples.gif").is_file()
    assert not (a_run / "losses.png").exists()


def test_a_broken_picture_is_named(a_run: Path, caplog: pytest.LogCaptureFixture) -> None:
    (broken,) = (a_run / "samples").iterdir()
    broken.write_bytes(broken.read_bytes()[:50])
    Image.new("RGB", (9, 9)).save(a_run / "samples" / "epoch_0001_step_0000001.png")
    assert main(["plot", "run"]) == 0
    assert caplog.text.count("is left out of the GIF") == 1
    with Image.open(a_run / "samples.gif") as gif:
        assert gif.size == (9, 9)
    assert str(broken) in caplog.text


def test_a_folder_that_is_no_run(refused: Callable[..., str]) -> None:
    os.mkdir("empty")
    for name in ("empty", "absent", "small.yaml"):
        assert f"{name} has neither metrics.csv nor samples/" in refused("plot", name)
    assert os.listdir("empty") == []


def test_the_curves_are_those_that_the_checkpoint_names(a_run: Path) -> None:
    curves = read_record(a_run).curves
    assert [plot.label for plot in curves] == ["loss", "mean probability of real"]
    assert curves[0].columns == {"d_loss": "D loss", "g_loss": "G loss"}
    state = torch.load(a_run / "checkpoint.pt", weights_only=True)
    for odd in (5, [[1]], [["loss", 3, None]], [["loss", {"d_loss": "D"}, [1]]], {"a": 1}, None):
        state["config"]["curves"] = odd
        torch.save(state, a_run / "checkpoint.pt")
        assert read_record(a_run).curves == []
        assert main(["plot", "run"]) == 0


def test_a_run_without_a_checkpoint_has_curves_of_its_columns(a_run: Path) -> None:
    (a_run / "checkpoint.pt").unlink()
    (a_run / "losses.png").unlink()
    assert read_record(a_run).title == "gan on digits"
    assert read_record(a_run).curves == []
    assert main(["plot", "run"]) == 0
    assert (a_run / "losses.png").is_file()
