"""The curves and the GIF of a run: when they are drawn, and what cannot end a run."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from gankit.data import ImageData
from gankit.errors import MissingExtra
from gankit.training import (
    Callback,
    Checkpoint,
    GANStep,
    LossCurves,
    MetricsCSV,
    SampleGrid,
    SamplesGif,
    Trainer,
    gan_adam,
)
from gankit.training.callbacks import draw_curves, write_gif
from gankit.training.callbacks.curves import smoothed
from gankit.training.reports import Curves
from tests.training.nets import COLUMNS, small_discriminator, small_generator
from tests.training.test_trainer import make_trainer


def pictures(folder: Path, **settings: Any) -> list[Callback]:
    return [
        MetricsCSV(folder / "metrics.csv"),
        Checkpoint(folder / "checkpoint.pt", **settings),
        SampleGrid(folder / "samples", every=1, rows=2, columns=2),
        SamplesGif(folder / "samples", folder / "samples.gif"),
        LossCurves(folder / "metrics.csv", folder / "losses.png"),
    ]


def frames(path: Path) -> int:
    with Image.open(path) as picture:
        return int(picture.n_frames)  # type: ignore[attr-defined]


class Seen(Callback):
    """Which of the two pictures are there, and newly drawn, at each step."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.drawn, self.times = folder, [], {}  # type: ignore[var-annotated]

    def on_step(self, trainer: Trainer) -> None:
        for name in ("samples.gif", "losses.png"):
            path = self.folder / name
            time = path.stat().st_mtime_ns if path.exists() else None
            if time != self.times.get(name):
                self.drawn.append((trainer.step, name))
            self.times[name] = time


class Stop(Callback):
    def __init__(self, step: int, error: BaseException) -> None:
        self.step, self.error = step, error

    def on_step(self, trainer: Trainer) -> None:
        if trainer.step == self.step:
            raise self.error


def test_they_are_drawn_while_the_run_goes_on(tmp_path: Path) -> None:
    seen = Seen(tmp_path)
    make_trainer(*pictures(tmp_path, every=4), seen).fit(steps=9)
    # An epoch is 5 steps, and a log and a checkpoint come after 4.
    assert seen.drawn[:2] == [(4, "losses.png"), (5, "samples.gif")]


def test_drawing_takes_a_small_part_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("gankit.training.callbacks.drawing.time.monotonic", lambda: clock[0])
    drawn = []

    class Slow(LossCurves):
        def _draw(self, trainer: Trainer) -> None:
            drawn.append(trainer.step)
            clock[0] += 2.0

    class Clock(Callback):
        def on_step(self, trainer: Trainer) -> None:
            clock[0] += 10.0

    csv, checkpoint = pictures(tmp_path, every=1)[:2]
    curves = Slow(tmp_path / "metrics.csv", tmp_path / "losses.png")
    make_trainer(csv, Clock(), checkpoint, curves, log_every=1).fit(steps=25)
    # 2 seconds of drawing are due after 100 more, and at the end in any case.
    assert drawn == [1, 11, 21, 25]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("a callback's own")])
def test_they_are_drawn_where_a_run_is_cut_short(tmp_path: Path, error: BaseException) -> None:
    callbacks = [*pictures(tmp_path, every=1000), Stop(14, error)]
    with pytest.raises(type(error)):
        make_trainer(*callbacks).fit(steps=1000)
    # The last picture is the one of step 10, the last row that of step 12.
    assert frames(tmp_path / "samples.gif") == 2
    at_the_stop = (tmp_path / "losses.png").read_bytes()
    draw_curves(
        tmp_path / "metrics.csv",
        tmp_path / "again.png",
        step_of("non-saturating").curves(),
        title="images",
    )
    assert (tmp_path / "again.png").read_bytes() == at_the_stop


def test_a_run_that_did_not_begin_draws_nothing(tmp_path: Path) -> None:
    class Refuses(Callback):
        def on_start(self, trainer: Trainer) -> None:
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        make_trainer(*pictures(tmp_path), Refuses()).fit(steps=8)
    assert sorted(os.listdir(tmp_path)) == ["metrics.csv"]


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def not_a_picture(path: Path) -> None:
    path.write_bytes(b"<html>")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def of_another_size(path: Path) -> None:
    Image.new("RGB", (40, 9)).save(path)


def of_400_megapixels(path: Path) -> None:
    Image.new("1", (20_000, 20_000)).save(path)


def with_a_large_text(path: Path) -> None:
    info = PngInfo()
    info.add_text("comment", "x" * 20_000_000, zip=True)
    with Image.open(path) as picture:
        picture.load()
        picture.save(path, pnginfo=info)


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_dangling_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("absent.png")


@pytest.mark.parametrize(
    "damage",
    [
        *(truncated, not_a_picture, empty, of_another_size, of_400_megapixels, with_a_large_text),
        *(a_folder, a_dangling_link),
        pytest.param(a_pipe, marks=pytest.mark.skipif(os.name == "nt", reason="has no pipes")),
    ],
)
@pytest.mark.parametrize("which", [5, 15])
def test_a_broken_picture_is_left_out_of_the_gif(
    tmp_path: Path, damage: Any, which: int, caplog: pytest.LogCaptureFixture
) -> None:
    ended = []

    class Damage(Callback):
        def on_picture(self, trainer: Trainer, path: Path) -> None:
            if trainer.step == which:
                damage(path)

    class Last(Callback):
        def on_end(self, trainer: Trainer) -> None:
            ended.append(trainer.step)

    csv, checkpoint, grid, gif, curves = pictures(tmp_path)
    make_trainer(csv, checkpoint, grid, Damage(), gif, curves, Last()).fit(steps=20)
    assert frames(tmp_path / "samples.gif") == 3
    assert (tmp_path / "losses.png").is_file()
    assert ended == [20]
    assert caplog.text.count("is left out of the GIF") == 1
    assert f"step_{which:07d}.png" in caplog.text


def test_pictures_of_another_mode_are_frames_too(tmp_path: Path) -> None:
    for number, mode in enumerate(["L", "RGB", "RGBA", "P", "1", "I;16", "CMYK"]):
        name = f"epoch_0001_step_{number:07d}.png"
        picture = Image.new(mode, (30, 20))
        picture.save(tmp_path / name, format="TIFF" if mode == "CMYK" else "PNG")
    said: list[str] = []
    assert write_gif(tmp_path, tmp_path / "g.gif", say=said.append) == 7
    assert said == []


def test_the_frames_are_in_the_order_of_the_steps(tmp_path: Path) -> None:
    # As strings, step 10,000,000 would come before step 9,999,999.
    for number, step in enumerate([9_999_999, 10_000_000, 100_000_000]):
        Image.new("L", (8, 8), 80 * number).save(tmp_path / f"epoch_0001_step_{step:07d}.png")
    write_gif(tmp_path, tmp_path / "g.gif", say=print)
    with Image.open(tmp_path / "g.gif") as gif:
        levels = []
        for frame in range(3):
            gif.seek(frame)
            levels.append(gif.convert("L").getpixel((0, 0)))
    assert levels == [0, 80, 160]


def test_a_long_run_has_a_gif_of_bounded_size(tmp_path: Path) -> None:
    for step in range(450):
        Image.new("L", (8, 8), step % 256).save(tmp_path / f"epoch_0001_step_{step:07d}.png")
    assert write_gif(tmp_path, tmp_path / "g.gif", say=print) == 150
    large = tmp_path / "large"
    large.mkdir()
    for step in range(6):
        Image.new("L", (4000, 4000), step).save(large / f"epoch_0001_step_{step:07d}.png")
    assert write_gif(large, tmp_path / "g.gif", say=print) == 2


@pytest.mark.parametrize("name", ["losses.png", "samples.gif"])
def test_what_cannot_be_written_is_a_warning(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / name).mkdir()
    ended: list[int] = []

    class Last(Callback):
        def on_end(self, trainer: Trainer) -> None:
            ended.append(trainer.step)

    make_trainer(*pictures(tmp_path, every=2), Last()).fit(steps=12)
    assert ended == [12]
    assert caplog.text.count(f"{name} was not drawn: ") == 1


@pytest.mark.parametrize("edit", ["remove", "folder", "noise"])
def test_metrics_that_went_away_are_a_warning(
    tmp_path: Path, edit: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Edit(Callback):
        def on_end(self, trainer: Trainer) -> None:
            path = tmp_path / "metrics.csv"
            path.unlink()
            if edit == "folder":
                path.mkdir()
            if edit == "noise":
                path.write_bytes(bytes(range(256)) * 9)

    curves = LossCurves(tmp_path / "metrics.csv", tmp_path / "losses.png")
    make_trainer(MetricsCSV(tmp_path / "metrics.csv"), Edit(), curves).fit(steps=8)
    assert "losses.png was not drawn: " in caplog.text
    assert "metrics.csv has no rows to draw" in caplog.text


@pytest.mark.parametrize(
    ("make", "module", "package"),
    [
        (lambda path: LossCurves(path / "m.csv", path / "l.png"), "matplotlib", "matplotlib"),
        (lambda path: SamplesGif(path, path / "s.gif"), "PIL", "pillow"),
    ],
)
def test_a_missing_package_is_said_before_the_first_step(
    make: Any, module: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "gankit.training.callbacks.drawing.find_spec",
        lambda name: None if name == module else sys.modules.get(name),
    )
    trainer = make_trainer(make(tmp_path))
    with pytest.raises(MissingExtra, match=package):
        trainer.fit(steps=5)
    assert trainer.step == 0


def test_the_axes_say_what_d_returns() -> None:
    def labels(loss: Any) -> list[str]:
        return [plot.label for plot in step_of(loss).curves()]

    assert labels("non-saturating")[1] == "mean probability of real"
    assert labels("wasserstein")[1] == "mean score"


def step_of(loss: Any) -> GANStep:
    G, D = small_generator(), small_discriminator(output="logit")
    return GANStep(G, D, gan_adam(G.parameters()), gan_adam(D.parameters()), loss)


@pytest.mark.parametrize("rows", [1, 3, 120, 5000])
def test_curves_of_any_length_and_any_numbers(tmp_path: Path, rows: int) -> None:
    odd = ["nan", "inf", "-inf", "1e308", "-1.7e308", "1e-320", "0"]
    text = [",".join(COLUMNS)]
    text += [",".join([str(step), "0", *[odd[step % 7]] * 6]) for step in range(rows)]
    (tmp_path / "m.csv").write_text("\n".join(text))
    draw_curves(tmp_path / "m.csv", tmp_path / "l.png", title="$x^$ \\frac{ in 数 ü")
    with Image.open(tmp_path / "l.png") as picture:
        assert picture.size == (800, 640)


def test_the_average_is_that_of_the_numbers() -> None:
    assert smoothed([2.0] * 300) == pytest.approx([2.0] * 300)
    assert smoothed([1.0, 5.0]) == [1.0, 5.0]  # of few, none
    zigzag = smoothed([0.0, 1.0] * 500)
    assert max(abs(value - 0.5) for value in zigzag[200:]) < 0.1


def test_a_panel_may_have_no_numbers(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("step,d_loss\n5,nan\n")
    draw_curves(tmp_path / "m.csv", tmp_path / "l.png", [Curves("loss", {"d_loss": "D loss"})])
    assert (tmp_path / "l.png").is_file()


@pytest.mark.parametrize("channels", [2, 4, 5, 6, 28])
def test_images_of_other_channels_are_drawn_and_it_is_said(
    tmp_path: Path, channels: int, caplog: pytest.LogCaptureFixture
) -> None:
    from gankit.data import BatchSampler
    from gankit.models import mlp
    from gankit.training import GANStep, gan_adam

    shape = (channels, 6, 6)
    values = torch.randint(0, 256, (16, *shape), generator=torch.Generator().manual_seed(0))
    data = ImageData(values.to(torch.uint8), name="bands")
    G, D = mlp.Generator(5, shape, hidden=(8,)), mlp.Discriminator(shape, hidden=(8,))
    step = GANStep(G, D, gan_adam(G.parameters()), gan_adam(D.parameters()))
    Trainer(step, data, BatchSampler(16, 8), callbacks=pictures(tmp_path), log_every=2).fit(steps=4)
    assert frames(tmp_path / "samples.gif") == 2
    assert ("bands: " in caplog.text) == (channels != 4)
    with Image.open(next((tmp_path / "samples").iterdir())) as picture:
        assert picture.mode == ("RGBA" if channels == 4 else "RGB")
        colours = set(map(tuple, np.asarray(picture)[..., :2].reshape(-1, 2).tolist()))
    if channels != 4:
        order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
        first = data.images[order[0]]
        assert {tuple(first[:2, y, x].tolist()) for y in range(6) for x in range(6)} <= colours
