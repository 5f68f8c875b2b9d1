"""gankit translate, and gankit.load and export of a run that turns images into images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import gankit
from gankit.cli import main
from gankit.errors import CheckpointError, ConfigError
from gankit.training import load_checkpoint, save_checkpoint
from gankit.translator import LoadedTranslator

pytestmark = pytest.mark.usefixtures("in_a_folder_of_its_own")
FEW = ["--steps", "2", "--device", "cpu", "--quiet", "--set", "generator.width=2"]
FEW += ["--set", "grid_rows=2", "--set", "grid_columns=2", "--set", "ema=0.5"]
# So small, the networks of the papers' initial weights make grey images.
FEW += ["--set", "generator.init=pytorch"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders ``pix2pix`` and ``cyclegan`` of runs of two steps."""
    folder = tmp_path_factory.mktemp("runs")
    for name in ("pix2pix", "cyclegan"):
        assert main(["train", f"{name}-toy", "--out", str(folder / name), *FEW]) == 0
    return folder


def translate(*arguments: object) -> int:
    return main(["translate", *map(str, arguments)])


def pictures(folder: Path) -> dict[str, np.ndarray]:
    """Images of several sizes and kinds below ``folder``."""
    random = np.random.default_rng(0)
    made = {
        "a.png": random.integers(0, 256, (20, 33), dtype=np.uint8),
        "b c.jpg": random.integers(0, 256, (32, 32, 3), dtype=np.uint8),
        "below/a.png": random.integers(0, 256, (7, 64, 3), dtype=np.uint8),
    }
    for name, pixels in made.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / name)
    return made


def test_a_folder_of_images_of_any_size(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = pictures(tmp_path / "in")
    (tmp_path / "in" / "notes.txt").write_text("not an image")
    assert translate(runs / "pix2pix", tmp_path / "in", "--out", tmp_path / "out") == 0
    assert "3 images are in" in capsys.readouterr().out
    found = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.*")}
    assert found == {"a.png", "b c.png", "below/a.png"}
    for name, pixels in made.items():
        with Image.open((tmp_path / "out" / name).with_suffix(".png")) as image:
            assert image.mode == "RGB"
            assert image.size == pixels.shape[1::-1]
    G = gankit.load(runs / "pix2pix")
    assert isinstance(G, LoadedTranslator)
    given = torch.from_numpy(made["a.png"])[None, None].float() / 127.5 - 1
    expected = ((G.a2b(given, seed=0) + 1) * 127.5).round().to(torch.uint8)[0].permute(1, 2, 0)
    with Image.open(tmp_path / "out" / "a.png") as image:
        assert torch.equal(torch.from_numpy(np.array(image)), expected)
    # One file alone comes out the same, and another seed is other noise.
    one = tmp_path / "in" / "a.png"
    assert translate(runs / "pix2pix", one, "--out", tmp_path / "one") == 0
    assert translate(runs / "pix2pix", one, "--out", tmp_path / "two", "--seed", 1) == 0
    first, same, other = ((tmp_path / f / "a.png").read_bytes() for f in ("out", "one", "two"))
    assert first == same
    assert first != other


def test_both_directions_and_files_that_would_have_one_name(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    for name in ("x.png", "x.bmp"):
        Image.fromarray(pixels).save(tmp_path / "in" / name)
    outs = []
    for direction in ("a2b", "b2a"):
        outs.append(tmp_path / direction)
        arguments = ("--out", outs[-1], "--direction", direction)
        assert translate(runs / "cyclegan", tmp_path / "in", *arguments) == 0
    assert sorted(p.name for p in outs[0].iterdir()) == ["x.bmp.png", "x.png.png"]
    assert (outs[0] / "x.png.png").read_bytes() == (outs[0] / "x.bmp.png").read_bytes()
    assert (outs[0] / "x.png.png").read_bytes() != (outs[1] / "x.png.png").read_bytes()


def test_broken_files_are_named_and_skipped(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures(tmp_path / "in")
    whole = (tmp_path / "in" / "b c.jpg").read_bytes()
    (tmp_path / "in" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "in" / "text.png").write_text("no image at all")
    assert translate(runs / "pix2pix", tmp_path / "in", "--out", tmp_path / "out") == 1
    said = capsys.readouterr()
    assert "3 images are in" in said.out
    assert [line.partition("/in/")[2][:8] for line in said.err.splitlines()] == [
        "cut.jpg:",
        "text.png",
    ]
    assert len(list((tmp_path / "out").rglob("*.png"))) == 3
    assert not list((tmp_path / "out").rglob("*.tmp"))


def test_what_cannot_be_translated_is_one_sentence(
    runs: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    pictures(tmp_path / "in")
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.png").write_text("no image")
    given, out = tmp_path / "in", tmp_path / "out"

    def said(run: Path, image: Path, *more: object) -> str:
        words = refused(*map(str, ("translate", run, image, "--out", out, *more)))
        assert not out.exists()
        return words

    assert "goes both ways; add --direction a2b or b2a" in said(runs / "cyclegan", given)
    words = refused("export", str(runs / "cyclegan"), "--format", "safetensors")
    assert "direction is not given; allowed is 'a2b' or 'b2a'" in words
    words = said(runs / "pix2pix", given, "--direction", "b2a")
    assert "--direction is b2a, but the run in" in words
    assert "has learned a2b alone" in words
    assert "there is no file or folder" in said(runs / "pix2pix", tmp_path / "absent.png")
    assert "has no images in it" in said(runs / "pix2pix", tmp_path / "empty")
    assert "text.png: not an image" in said(runs / "pix2pix", tmp_path / "text.png")
    assert "is not an empty folder" in refused(
        "translate", str(runs / "pix2pix"), str(given), "--out", str(given)
    )
    words = refused("translate", str(runs / "pix2pix"), str(given), "--out", "new.png")
    assert "--out is new.png, which names a file; allowed is a folder" in words
    assert main(["train", "gan", "--steps", "1", "--out", "gan", "--quiet", "--device", "cpu"]) == 0
    assert "gankit sample draws from it" in said(Path("gan"), given)
    assert "gankit translate does" in refused("sample", str(runs / "pix2pix"))


def test_images_of_other_channels_are_refused_before_they_take_memory(runs: Path) -> None:
    state = load_checkpoint(runs / "cyclegan" / "checkpoint.pt")
    state["config"]["fields"]["a"] = [2**26, 1, 1]  # of which the least image has 16 GB
    save_checkpoint("forged.pt", state)
    with pytest.raises(CheckpointError, match="takes images of 3 channels in place of 67108864"):
        gankit.load("forged.pt")


def test_settings_that_do_not_fit_the_family_are_named(refused: Callable[..., str]) -> None:
    def said(*more: str) -> str:
        return refused("train", *more, "--out", "run", *FEW)

    assert "digits has the fields image, label, not a" in said("cyclegan", "--data", "digits")
    words = said("pix2pix", "--set", "step.direction=b")
    assert "direction is 'b'; allowed are 'a2b' and 'b2a'" in words


@pytest.mark.parametrize("run", ["pix2pix", "cyclegan"])
def test_an_exported_direction_is_loaded_and_translates_the_same(run: str, runs: Path) -> None:
    whole = gankit.load(runs / run)
    assert isinstance(whole, LoadedTranslator)
    direction = whole.directions[-1]
    path = gankit.export(runs / run, "safetensors", "one.safetensors", direction=direction)
    one = gankit.load(path)
    assert isinstance(one, LoadedTranslator)
    assert one.directions == (direction,)
    images = torch.rand(2, whole.shapes[direction[0]][0], 33, 40) * 2 - 1
    assert torch.equal(one.translate(images, seed=3), whole.translate(images, direction, seed=3))
    with torch.no_grad():
        square = images[:, :, :32, :32]
        assert torch.equal(one(square), whole.networks[direction](square))
    state = torch.get_rng_state()
    whole.translate(images, direction, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(ConfigError, match=r"images have shape \[1, 2, 32, 32\]; allowed for "):
        one.translate(torch.zeros(1, 2, 32, 32))
    with pytest.raises(ConfigError, match=r"images are torch.uint8; allowed are floating-point"):
        one.translate(images.to(torch.uint8))


def test_an_exported_graph_takes_every_size_that_the_network_takes(runs: Path) -> None:
    path = gankit.export(runs / "pix2pix", "torch-export", "a2b.pt2")
    program = torch.export.load(path).module()
    network = gankit.load(runs / "pix2pix")
    for size in ((1, 1, 32, 32), (2, 1, 64, 96)):
        images = torch.rand(size) * 2 - 1
        torch.testing.assert_close(program(images), network(images), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_an_onnx_file_takes_every_size_that_the_network_takes(runs: Path) -> None:
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    path = gankit.export(runs / "cyclegan", "onnx", "b2a.onnx", direction="b2a")
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    assert (metadata["direction"], metadata["input_shape"]) == ("b2a", "[3, 32, 32]")
    network = gankit.load(runs / "cyclegan")
    for size in ((1, 3, 8, 12), (2, 3, 64, 40)):
        images = torch.rand(size) * 2 - 1
        found = torch.from_numpy(session.run(None, {"input": images.numpy()})[0])
        torch.testing.assert_close(found, network(images, "b2a"), rtol=1e-4, atol=1e-5)


def test_a_checkpoint_that_does_not_fit_is_refused(runs: Path) -> None:
    for change, words in (
        ({"fields": {"a": [1, 32, 32], "b": [4, 32, 32]}}, "turns images of 1 channels into"),
        ({"fields": {"a": [1, 32, 32]}}, "has the image shape None"),
        ({"inference": {"a2b": "averages.H"}}, "does not say how its generator is built"),
        ({"inference": {"a2b": "H.G"}}, "no weights of 'H.G'"),
    ):
        state = load_checkpoint(runs / "pix2pix" / "checkpoint.pt")
        state["config"] = {**state["config"], **change}
        save_checkpoint("changed.pt", state)
        with pytest.raises(CheckpointError, match=words):
            gankit.load("changed.pt")
    with pytest.raises(ConfigError, match=r"generator is one network, and .* has 2"):
        gankit.load(runs / "cyclegan", generator=torch.nn.Identity())
