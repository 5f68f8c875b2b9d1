"""gankit upscale, and gankit.load and export of a run that makes small images large."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import gankit
from gankit.cli import main
from gankit.training import load_checkpoint, save_checkpoint
from gankit.upscaler import LoadedUpscaler

pytestmark = pytest.mark.usefixtures("in_a_folder_of_its_own")
FEW = ["--steps", "2", "--device", "cpu", "--quiet", "--set", "generator.width=4"]
FEW += ["--set", "generator.blocks=1", "--set", "grid_rows=2", "--set", "grid_columns=2"]
FEW += ["--set", "ema=0.5", "--set", "batch_size=4"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders ``grey`` and ``color`` of runs of two steps, x2 and x4."""
    folder = tmp_path_factory.mktemp("runs")
    grey = ["srresnet", "--data", "toy:prints", "--set", "data.n=4", "--set", "data.scale=2"]
    for name, arguments in (("grey", grey), ("color", ["srresnet", "--set", "image_size=32"])):
        assert main(["train", *arguments, "--out", str(folder / name), *FEW]) == 0
    return folder


def upscale(run: Path, given: Path, out: object, *more: object) -> int:
    return main(["upscale", *map(str, (run, given, "--out", out, *more))])


def pictures(folder: Path) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    made = {
        "grey.png": random.integers(0, 256, (20, 33), dtype=np.uint8),
        "color.bmp": random.integers(0, 256, (9, 12, 3), dtype=np.uint8),
        "below/glass.png": random.integers(0, 256, (7, 31, 4), dtype=np.uint8),
    }
    for name, pixels in made.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / name)
    return made


@pytest.mark.parametrize(("run", "scale"), [("grey", 2), ("color", 4)])
def test_images_keep_their_kind_and_tiles_are_not_seen(
    runs: Path, run: str, scale: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = pictures(tmp_path / "in")
    whole = (tmp_path / "in" / "grey.png").read_bytes()
    (tmp_path / "in" / "cut.png").write_bytes(whole[: len(whole) // 2])
    assert upscale(runs / run, tmp_path / "in", tmp_path / "out") == 1
    said = capsys.readouterr()
    assert "3 images are in" in said.out
    assert "cut.png: cannot be decoded" in said.err
    assert upscale(runs / run, tmp_path / "in", tmp_path / "tiles", "--tile", 5) == 1
    modes = {"grey.png": "L", "color.bmp": "RGB", "below/glass.png": "RGBA"}
    for name, pixels in made.items():
        place = Path(name).with_suffix(".png")
        with Image.open(tmp_path / "out" / place) as image:
            assert image.mode == modes[name]
            assert image.size == (scale * pixels.shape[1], scale * pixels.shape[0])
            large = np.array(image).astype(int)
        with Image.open(tmp_path / "tiles" / place) as image:
            assert np.abs(np.array(image).astype(int) - large).max() <= 1
    assert not list((tmp_path / "out").rglob("*.tmp"))


def test_a_file_becomes_what_the_loaded_network_makes(runs: Path, tmp_path: Path) -> None:
    made = pictures(tmp_path / "in")["color.bmp"]
    assert upscale(runs / "color", tmp_path / "in" / "color.bmp", "new.png") == 0
    assert upscale(runs / "color", tmp_path / "in" / "color.bmp", "new") == 0
    assert Path("new", "color.png").read_bytes() == Path("new.png").read_bytes()
    upscaler = gankit.load(runs / "color")
    assert isinstance(upscaler, LoadedUpscaler)
    assert (upscaler.scale, upscaler.channels, upscaler.step) == (4, 3, 2)
    given = torch.from_numpy(made).permute(2, 0, 1)[None].float() / 127.5 - 1
    large = upscaler.upscale(given)
    assert large.shape == (1, 3, 36, 48)
    assert large.abs().max() <= 1
    pixels = ((large[0] + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0)
    with Image.open("new.png") as image:
        assert np.array_equal(np.array(image), pixels.numpy())
    with pytest.raises(gankit.errors.ConfigError, match=r"\[1, 5, 8, 8\]; allowed is \[N, 3, H"):
        upscaler.upscale(torch.zeros(1, 5, 8, 8))


def test_exports_take_every_size(runs: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    upscaler = gankit.load(runs / "grey")
    file = gankit.export(runs / "grey", "onnx", "g.onnx")
    session = onnxruntime.InferenceSession(str(file))
    for shape in ((1, 1, 1, 1), (2, 1, 19, 30)):
        images = torch.rand(*shape) * 2 - 1
        (made,) = session.run(["images"], {"input": images.numpy()})
        expected = upscaler(images).numpy()
        np.testing.assert_allclose(made, expected, rtol=1e-3, atol=1e-4)
    assert session.get_modelmeta().custom_metadata_map["scale"] == "2"


def test_weights_in_a_file_of_their_own(runs: Path, tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    file = gankit.export(runs / "grey", "safetensors", tmp_path / "g.safetensors")
    images = torch.rand(1, 1, 5, 6)
    assert torch.equal(gankit.load(file)(images), gankit.load(runs / "grey")(images))


def test_what_cannot_be_enlarged_is_one_sentence(
    runs: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    pictures(tmp_path / "in")
    given, run = tmp_path / "in", runs / "grey"
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "there.png").write_text("mine")

    def said(run: Path, image: Path, out: object) -> str:
        return refused("upscale", str(run), str(image), "--out", str(out))

    assert "allowed for a folder of images is a folder" in said(run, given, "new.png")
    assert "is not an empty folder" in said(run, given, given)
    words = said(run, given / "grey.png", tmp_path / "there.png")
    assert "which exists; allowed is a new file" in words
    assert (tmp_path / "there.png").read_text() == "mine"
    assert "text.png: not an image" in said(run, tmp_path / "text.png", "new.png")
    assert "there is no file or folder" in said(run, tmp_path / "absent.png", "new.png")
    assert not Path("new.png").exists()
    assert "gankit upscale does" in refused("translate", str(run), str(given), "--out", "o")
    assert "gankit upscale does" in refused("sample", str(run))
    few = ("--steps", "1", "--out", "new", "--device", "cpu")
    thirds = ("--set", "data.scale=3", "--set", "image_size=48")
    words = refused("train", "srgan-toy", *thirds, *few)
    assert "scale must be 2 or 4, got 3" in words
    words = refused("train", "srresnet", "--data", f"folder:{given / 'grey.png'}", *few)
    assert "an image of 33x20 is smaller than a crop, 96x96; set a smaller image_size" in words
    assert "super-resolution learns from low and high" in refused(
        "train", "srgan", "--data", "digits", *few
    )
    assert not Path("new").exists()


def test_a_forged_run_is_refused(runs: Path, refused: Callable[..., str], tmp_path: Path) -> None:
    pictures(tmp_path / "in")
    given = str(tmp_path / "in")
    state = load_checkpoint(runs / "grey" / "checkpoint.pt")
    for field, shape, words in (
        ("high", [1, 384, 96], r"allowed is [16, 24]"),
        ("low", [2**20, 1, 1], "takes images of 1 channels in place of 1048576"),
        ("low", [1, 0, 48], "has the image shape [1, 0, 48]"),
    ):
        fields = {**state["config"]["fields"], field: shape}
        save_checkpoint("forged.pt", {**state, "config": {**state["config"], "fields": fields}})
        assert words in refused("upscale", "forged.pt", given, "--out", "out")
