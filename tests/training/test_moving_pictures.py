"""The sample pictures of a run as a GIF and a video, legible from 8x8 to 256x256 pixels."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("PIL")
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from gankit.cli import main
from gankit.errors import MissingExtra
from gankit.training import save_grid
from gankit.training.callbacks import write_gif, write_mp4
from gankit.training.pictures import reduced

COLUMNS = 8


def draw(folder: Path, height: int, width: int, pictures: int = 2, panels: int = 2) -> list[Path]:
    """Grids of two rows as a run draws them: black and white images in turn."""
    images = torch.ones(2 * COLUMNS, 3, height, width)
    images[::2] = -1
    paths = []
    for step in range(pictures):
        paths.append(folder / f"epoch_0001_step_{step:07d}.png")
        captions = [f"generated, step {step}", "real"][:panels]
        names = list("abcdefgh")
        many: dict[str, Any] = {"columns": COLUMNS, "captions": captions, "column_names": names}
        save_grid(paths[-1], [images] * panels, **many)
    return paths


@pytest.mark.parametrize(
    ("height", "width", "cell"),
    [
        (8, 8, (56, 56)),
        (28, 28, (56, 56)),
        (16, 40, (64, 160)),  # enlarged, in the aspect of the data
        (64, 128, (64, 128)),
        (128, 64, (128, 64)),
        (128, 128, (64, 64)),
        (256, 256, (64, 64)),
        (256, 512, (64, 128)),
    ],
)
def test_images_are_legible_in_every_frame(
    height: int, width: int, cell: tuple[int, int], tmp_path: Path
) -> None:
    draw(tmp_path, height, width)
    assert write_gif(tmp_path, tmp_path / "s.gif", say=print) == 2
    with Image.open(tmp_path / "s.gif") as gif:
        levels = torch.frombuffer(bytearray(gif.convert("L").tobytes()), dtype=torch.uint8)
        page = levels.view(gif.height, gif.width)
    row = page[-cell[0] // 2]  # through the last row of images
    white = (row > 200).int().diff().nonzero().flatten() + 1
    starts, ends = white[::2], white[1::2]
    assert len(starts) == COLUMNS  # four white images in each of two panels
    assert ((ends - starts) - cell[1]).abs().max() <= 1  # edges of a reduced image are mixed
    column = page[36:, int(starts[0]) + cell[1] // 2] > 200
    assert abs(int(column.sum()) - 2 * cell[0]) <= 2
    assert page.shape[1] <= 1280 or min(cell) < 112


def test_what_stands_above_the_images_keeps_its_size(tmp_path: Path) -> None:
    (small,) = draw(made(tmp_path, "small"), 64, 64, pictures=1)
    (large,) = draw(made(tmp_path, "large"), 256, 256, pictures=1)
    with Image.open(small) as one, Image.open(large) as other:
        one.load()
        other.load()
        smaller = reduced(other, 1280)
        assert smaller.size == (1046, 166)
        top = (0, 0, 500, 18)
        assert smaller.crop(top).tobytes() == one.crop(top).tobytes()
        assert reduced(one, 1280) is one


def made(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    return folder / name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"boxes": [[0, 0, 9, 9]], "side": 256}',
        json.dumps({"boxes": [[0, 0, 10**9, 10**9]], "side": 256, "columns": 1, "inverted": False,
                    "captions": [], "column_names": []}),
        json.dumps({"boxes": [], "side": "x", "columns": 0, "inverted": 0, "captions": 0,
                    "column_names": 0}),
    ],
)  # fmt: skip
def test_pictures_that_do_not_say_where_their_images_are_stay(text: str, tmp_path: Path) -> None:
    info = PngInfo()
    info.add_text("gankit grid", text)
    for number in range(2):
        path = tmp_path / f"epoch_0001_step_{number:07d}.png"
        Image.new("RGB", (2000, 100), (9, 9, 9)).save(path, pnginfo=info if number else None)
    said: list[str] = []
    assert write_gif(tmp_path, tmp_path / "s.gif", say=said.append) == 2
    with Image.open(tmp_path / "s.gif") as gif:
        assert gif.size == (2000, 100)
    assert said == []


def test_a_picture_that_cannot_be_read_is_said_once(tmp_path: Path) -> None:
    paths = draw(tmp_path, 28, 28, pictures=3)
    paths[-1].write_bytes(paths[-1].read_bytes()[:-200])
    said: list[str] = []
    assert write_gif(tmp_path, tmp_path / "s.gif", say=said.append) == 2
    assert len(said) == 1
    assert f"{paths[-1]} is left out of the GIF: " in said[0]


def test_a_video_has_the_frames_of_the_gif(tmp_path: Path) -> None:
    av: Any = pytest.importorskip("av")
    draw(tmp_path, 256, 256, pictures=3)
    assert write_mp4(tmp_path, tmp_path / "s.mp4", say=print) == 3
    with av.open(str(tmp_path / "s.mp4")) as video:
        stream = video.streams.video[0]
        assert (stream.codec_context.name, stream.average_rate) == ("h264", 4)
        frames = [frame.to_ndarray(format="gray") for frame in video.decode(video=0)]
    assert len(frames) == 3 + 7  # the last one stays
    assert frames[0].shape == (166, 1046)
    levels = torch.from_numpy(frames[0])[60, [32, 96, 160, 224]]
    assert ((levels > 200) == torch.tensor([False, True, False, True])).all()
    assert write_mp4(made(tmp_path, "empty"), tmp_path / "x.mp4", say=print) == 0
    assert not (tmp_path / "x.mp4").exists()


def test_without_pyav_it_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtra, match=r"av is not installed: pip install 'gankit\[video\]'"):
        write_mp4(tmp_path, tmp_path / "s.mp4", say=print)
    draw(made(tmp_path, "samples"), 8, 8)
    (tmp_path / "metrics.csv").write_text("step,epoch,d_loss\n1,1,0.5\n2,2,0.4\n")
    assert main(["plot", str(tmp_path), "--mp4"]) != 0
    said = capfd.readouterr()
    assert "the GIF of 2 pictures is in" in said.out
    assert "pip install 'gankit[video]'" in said.err
    assert not (tmp_path / "samples.mp4").exists()
