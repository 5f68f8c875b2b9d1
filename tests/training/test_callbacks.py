"""Progress, metrics and pictures."""

from __future__ import annotations

import io
import logging
import os
import re
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from gankit.errors import ConfigError, MissingExtra
from gankit.training import (
    Callback,
    LossCurves,
    Metrics,
    MetricsCSV,
    Progress,
    SampleGrid,
    SamplesGif,
    Trainer,
    generate,
)
from gankit.training.callbacks import read_metrics
from tests.training.nets import COLUMNS, small_generator
from tests.training.test_trainer import make_trainer


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_plain_lines_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    make_trainer(Progress(stream, seconds=0)).fit(steps=8)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("step 8/8  epoch 1.6  D loss ")
    for word in ("G loss", "D(real)", "D(fake)", "images/s"):
        assert word in lines[1]
    assert "\r" not in stream.getvalue()


def test_the_last_line_is_always_printed() -> None:
    stream = io.StringIO()
    make_trainer(Progress(stream, seconds=1e9)).fit(steps=8)
    assert [line[:8] for line in stream.getvalue().splitlines()] == ["step 8/8"]


class Notebook(io.StringIO):
    """A stream as Jupyter's kernels have."""


Notebook.__module__ = "ipykernel.iostream"


def test_a_bar_in_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Notebook())
    make_trainer(Progress()).fit(steps=8)
    lines = sys.stdout.getvalue().split("\r")  # type: ignore[attr-defined]
    assert re.match(r"100%\|#+\| 8/8 ", lines[-1])
    assert max(map(len, lines)) <= 100


def test_a_bar_on_a_terminal() -> None:
    stream = Terminal()
    make_trainer(Progress(stream)).fit(steps=8)
    assert "8/8" in stream.getvalue()
    assert "D(fake)" in stream.getvalue()


class Worried(Callback):
    def on_log(self, trainer: Trainer, metrics: Metrics) -> None:
        logging.getLogger("gankit").warning("at step %d", trainer.step)


def test_warnings_stand_above_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    handlers = list(logging.getLogger().handlers)
    make_trainer(Progress(), Worried()).fit(steps=8)
    assert logging.getLogger().handlers == handlers
    lines = re.split(r"[\r\n]+", stream.getvalue())
    assert [line for line in lines if "at step" in line] == ["at step 4", "at step 8"]


def test_metrics_have_one_row_per_log(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    make_trainer(MetricsCSV(path), log_every=3).fit(steps=7)
    rows = read_metrics(path)
    assert [row["step"] for row in rows] == ["3", "6", "7"]
    assert path.read_text().splitlines()[0] == ",".join(COLUMNS)
    assert 0 < float(rows[0]["d_real"]) < 1


def test_metrics_of_two_runs_are_those_of_one(tmp_path: Path) -> None:
    make_trainer(MetricsCSV(tmp_path / "whole.csv"), log_every=5).fit(steps=18)
    first = make_trainer(MetricsCSV(tmp_path / "parts.csv"), log_every=5)
    first.fit(steps=8)
    assert [row["step"] for row in read_metrics(tmp_path / "parts.csv")] == ["5", "8"]
    state = first.state_dict()
    second = make_trainer(MetricsCSV(tmp_path / "parts.csv"), log_every=5)
    second.load_state_dict(state)
    second.fit(steps=18)
    whole, parts = (read_metrics(tmp_path / f"{name}.csv") for name in ("whole", "parts"))
    for row in (*whole, *parts):
        del row["images_per_second"]
    assert parts == whole


def test_lost_metrics_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = make_trainer(MetricsCSV(tmp_path / "metrics.csv"))
    first.fit(steps=8)
    (tmp_path / "metrics.csv").unlink()
    second = make_trainer(MetricsCSV(tmp_path / "metrics.csv"))
    second.load_state_dict(first.state_dict())
    second.fit(steps=12)
    assert "has no rows up to step 8" in caplog.text
    assert [row["step"] for row in read_metrics(tmp_path / "metrics.csv")] == ["12"]


def test_half_a_row_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    make_trainer(MetricsCSV(path)).fit(steps=4)
    with open(path, "a") as file:
        file.write("8,1.6,0.5\nnoise,1,1,1,1,1,1\n")
    assert [row["step"] for row in read_metrics(path)] == ["4"]


def test_grids_at_the_epochs_asked_for_and_at_the_end(tmp_path: Path) -> None:
    folder = tmp_path / "samples"
    grid = SampleGrid(folder, first=1, every=2, rows=3, columns=2)
    make_trainer(grid).fit(steps=23)
    assert sorted(os.listdir(folder)) == [
        "epoch_0001_step_0000005.png",
        "epoch_0002_step_0000010.png",
        "epoch_0004_step_0000020.png",
        "epoch_0005_step_0000023.png",
    ]
    with Image.open(folder / "epoch_0001_step_0000005.png") as picture:
        width, height = picture.size
    cell, caption = 8 * 6 + 2, 18  # small images eightfold, and a panel as wide as its caption
    assert (width, height) == (2 * 176 + 12, caption + 3 * cell + 2)


def test_the_gif_has_a_frame_per_grid(tmp_path: Path) -> None:
    folder, path = tmp_path / "samples", tmp_path / "samples.gif"
    grid = SampleGrid(folder, every=1, rows=2, columns=2)
    make_trainer(grid, SamplesGif(folder, path)).fit(steps=20)
    with Image.open(path) as picture:
        assert picture.format == "GIF"
        assert picture.n_frames == 4  # type: ignore[attr-defined]


def test_the_curves_are_a_picture(tmp_path: Path) -> None:
    metrics, path = tmp_path / "metrics.csv", tmp_path / "losses.png"
    make_trainer(MetricsCSV(metrics), LossCurves(metrics, path)).fit(steps=12)
    with Image.open(path) as picture:
        picture.load()
        assert picture.format == "PNG"
        assert len(picture.convert("L").getcolors()) > 10


@pytest.mark.parametrize(("module", "package"), [("PIL", "pillow"), ("tqdm", "tqdm")])
def test_a_missing_extra_is_named(
    module: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    trainer = make_trainer(
        Progress(Terminal()), SampleGrid(tmp_path / "samples", rows=2, columns=2)
    )
    with pytest.raises(MissingExtra, match=rf"{package}.*pip install 'gankit\[train\]'"):
        trainer.fit(steps=5)


def test_images_depend_on_the_seed_alone() -> None:
    torch.manual_seed(0)
    G = small_generator()
    first = generate(G, 9, seed=1)
    state = torch.get_rng_state()
    assert torch.equal(generate(G, 9, seed=1), first)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(generate(G, 9, seed=2), first)
    assert not torch.equal(generate(G, 9, seed=1, distribution="uniform"), first)
    torch.testing.assert_close(generate(G, 9, seed=1, batch=2), first)
    assert G.training
    assert not first.requires_grad
    with pytest.raises(ConfigError, match="n is 0"):
        generate(G, 0, seed=1)
