"""gankit translate, gankit.load and export of runs of StarGAN, and of a DiscoGAN of one size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import gankit
from gankit.cli import main
from gankit.domain_translator import DomainTranslator
from gankit.errors import CheckpointError, ConfigError
from gankit.training import load_checkpoint, save_checkpoint
from gankit.translator import LoadedTranslator

pytestmark = pytest.mark.usefixtures("in_a_folder_of_its_own")
FEW = ["--steps", "2", "--device", "cpu", "--quiet", "--batch-size", "4"]
FEW += ["--set", "grid_rows=2", "--set", "grid_columns=2", "--set", "image_size=16"]
FEW += ["--set", "generator.width=2", "--set", "discriminator.width=2", "--set", "ema=0.5"]
STAR = ["--set", "generator.blocks=1", "--set", "step.n_critic=1"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of runs of two steps: ``shapes`` of four classes, ``faces`` of three attributes, and
    ``arrows``, a DiscoGAN with a code."""
    folder = tmp_path_factory.mktemp("runs")
    random = np.random.default_rng(0)
    lines = ["file,Young,a/b,Blond"]
    for number in range(6):
        Image.fromarray(random.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(
            folder / f"{number}.png"
        )
        lines.append(f"{number}.png,{number % 2},{number // 3},1")
    (folder / "faces.csv").write_text("\n".join(lines))
    assert main(["train", "stargan", "--out", str(folder / "shapes"), *FEW, *STAR]) == 0
    data = ["--data", f"csv:{folder / 'faces.csv'}", "--data-root", str(folder / "cache")]
    assert main(["train", "stargan", "--out", str(folder / "faces"), *data, *FEW, *STAR]) == 0
    more = ["--set", "generator.code=3", "--set", "step.d_every=2"]
    assert main(["train", "discogan", "--out", str(folder / "arrows"), *FEW, *more]) == 0
    return folder


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(1).integers(0, 256, (19, 33, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def translate(*arguments: object) -> int:
    return main(["translate", *map(str, arguments)])


def test_one_domain_by_name_or_number_and_all_at_once(runs: Path, photo: Path) -> None:
    for to, out in (("cyan", "one"), (2, "two"), ("all", "all")):
        assert translate(runs / "shapes", photo, "--to", to, "--out", out) == 0
    assert {p.name for p in Path("all").iterdir()} == {"red", "green", "cyan", "violet"}
    one, two = (Path(out, "photo.png").read_bytes() for out in ("one", "two"))
    assert one == two == Path("all/cyan/photo.png").read_bytes()
    assert one != Path("all/red/photo.png").read_bytes()
    G = gankit.load(runs / "shapes")
    assert isinstance(G, DomainTranslator)
    assert G.domains == ("red", "green", "cyan", "violet")
    with Image.open(photo) as image:
        given = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 127.5 - 1
    expected = ((G.translate(given, "cyan") + 1) * 127.5).round().to(torch.uint8)[0]
    with Image.open("one/photo.png") as image:
        assert torch.equal(torch.from_numpy(np.array(image)), expected.permute(1, 2, 0))


def test_attributes_are_all_said(runs: Path, photo: Path) -> None:
    G = gankit.load(runs / "faces")
    assert (G.domains, G.exclusive) == (("Young", "a/b", "Blond"), False)
    assert G.target("Blond").tolist() == [[0, 0, 1]]
    assert G.target(["Young", 1], 2).tolist() == [[1, 1, 0]] * 2
    assert G.target([]).tolist() == [[0, 0, 0]]
    outs = {"Young,a/b": "two", "none": "none", "Young": "one", "all": "all"}
    for to, out in outs.items():
        assert translate(runs / "faces", photo, "--to", to, "--out", out) == 0
    # A name of a folder may not lead elsewhere.
    assert {p.name for p in Path("all").iterdir()} == {"Young", "domain 1", "Blond"}
    found = [Path(out, "photo.png").read_bytes() for out in ("two", "none", "one")]
    assert len(set(found)) == 3
    assert found[2] == Path("all/Young/photo.png").read_bytes()


def test_what_cannot_be_translated_is_one_sentence(
    runs: Path, photo: Path, refused: Callable[..., str]
) -> None:
    def said(run: str, *more: str) -> str:
        words = refused("translate", str(runs / run), str(photo), "--out", "out", *more)
        assert not Path("out").exists()
        return words

    assert "has many domains; add --to all, or --to one of red, green" in said("shapes")
    words = said("shapes", "--to", "pink")
    assert "--to is 'pink'; allowed are red, green, cyan, violet, or 0 to 3" in words
    assert "--to is '4'; allowed are red" in said("shapes", "--to", "4")
    assert "--to is 'Old'; allowed are Young" in said("faces", "--to", "Young,Old")
    assert "--direction is a2b, which is for runs of two" in said("shapes", "--direction", "a2b")
    assert "--to is red, which is for runs of many" in said("arrows", "--to", "red")
    words = refused("sample", str(runs / "shapes"))
    assert "gankit translate does" in words
    assert "is a run of many domains" in refused("evaluate", str(runs / "shapes"))
    G = gankit.load(runs / "shapes")
    for to, words in (
        (["red", "cyan"], "which exclude each other"),
        (torch.zeros(1, 3), r"to has shape \[1, 3\]; allowed is \[2, 4\]"),
        (-1, "to is -1; allowed are red"),
    ):
        with pytest.raises(ConfigError, match=words):
            G.translate(torch.zeros(2, 3, 16, 16), to)
    with pytest.raises(ConfigError, match=r"images have shape \[2, 5, 16, 16\]; allowed is \[N, 3"):
        G.translate(torch.zeros(2, 5, 16, 16), "red")


def test_data_without_domains_are_one_sentence(tmp_path: Path, refused: Callable[..., str]) -> None:
    random = np.random.default_rng(0)
    for place in ("one/cats", "pair/trainA"):
        (tmp_path / place).mkdir(parents=True)
        for number in range(4):
            pixels = random.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / place / f"{number}.png")
    (tmp_path / "pair" / "trainB").mkdir()

    def said(*more: str) -> str:
        return refused("train", *more, *FEW, "--out", "run", "--data-root", str(tmp_path / "c"))

    words = said("stargan", "--data", f"folder:{tmp_path / 'one'}", *STAR)
    assert "has neither classes nor attributes, and StarGAN translates between them" in words
    assert "no images in trainB of" in said("discogan", "--data", f"unpaired:{tmp_path / 'pair'}")
    words = said("stargan", *STAR, "--set", "discriminator.layers=5")
    assert "layers must be an integer from 1 to 4, as often as images of 16x16 can" in words
    words = said("stargan", *STAR, "--set", "evaluate=[kid]")
    assert "evaluate is for runs of one or two domains, and StarGANStep has 4" in words
    words = said("discogan", "--set", "generator.levels=5", "--set", "step.d_every=2")
    assert "image_size a multiple of 2^levels, got levels 5 and image_size 16" in words
    assert "d_every is 1; allowed are integers from 2" in said("discogan", "--set", "d_every=1")
    assert "rate is 2; allowed are numbers in [0, 1]" in said("discogan", "--set", "rate=2")


def test_a_network_of_one_size_takes_images_of_any(runs: Path, photo: Path) -> None:
    arguments = ("--direction", "b2a", "--out", "out")
    assert translate(runs / "arrows", photo, *arguments) == 0
    with Image.open("out/photo.png") as image:
        assert (image.mode, image.size) == ("L", (33, 19))
    G = gankit.load(runs / "arrows")
    images = torch.rand(2, 1, 16, 16) * 2 - 1
    with torch.no_grad():
        assert torch.equal(G.a2b(images), G(images, "a2b"))


def test_exported_files_translate_the_same(runs: Path) -> None:
    whole = gankit.load(runs / "shapes")
    one = gankit.load(gankit.export(runs / "shapes", "safetensors", "one.safetensors"))
    assert isinstance(one, DomainTranslator)
    images = torch.rand(2, 3, 21, 40) * 2 - 1
    assert torch.equal(one.translate(images, "red"), whole.translate(images, "red"))
    path = gankit.export(runs / "shapes", "torch-export", "all.pt2")
    program = torch.export.load(path).module()
    for size in ((1, 16, 16), (2, 24, 40)):
        images, target = torch.rand(size[0], 3, *size[1:]) * 2 - 1, whole.target(1, size[0])
        expected = whole(images, target)
        torch.testing.assert_close(program(images, target), expected, rtol=1e-4, atol=1e-5)
    path = gankit.export(runs / "arrows", "torch-export", "a2b.pt2", direction="a2b")
    arrows = gankit.load(runs / "arrows")
    assert isinstance(arrows, LoadedTranslator)
    images = torch.rand(3, 1, 16, 16) * 2 - 1
    made = torch.export.load(path).module()(images)
    torch.testing.assert_close(made, arrows(images, "a2b"), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_an_onnx_file_takes_every_size_and_target(runs: Path) -> None:
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    path = gankit.export(runs / "shapes", "onnx", "all.onnx")
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    assert metadata["domains"] == '["red", "green", "cyan", "violet"]'
    network = gankit.load(runs / "shapes")
    for size in ((1, 8, 12), (3, 64, 40)):
        images, target = torch.rand(size[0], 3, *size[1:]) * 2 - 1, network.target(3, size[0])
        fed = {"input": images.numpy(), "target": target.numpy()}
        found = torch.from_numpy(session.run(None, fed)[0])
        torch.testing.assert_close(found, network(images, target), rtol=1e-4, atol=1e-5)


def test_a_checkpoint_that_does_not_fit_is_refused(runs: Path) -> None:
    for change, words in (
        ({"domains": ["a", "b"]}, r"target must have shape \[N, 4\], got \[1, 2\]"),
        ({"domains": "red"}, "is damaged: its domains are 'red'"),
        ({"domains": []}, "is damaged: its domains are"),
        ({"exclusive": 1}, "exclusive 1"),
        ({"inference": {"domains": "H"}}, "does not say how its generator is built"),
    ):
        state = load_checkpoint(runs / "shapes" / "checkpoint.pt")
        state["config"] = {**state["config"], **change}
        save_checkpoint("changed.pt", state)
        with pytest.raises(CheckpointError, match=words):
            gankit.load("changed.pt")
