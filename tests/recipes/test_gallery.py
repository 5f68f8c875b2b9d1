"""The pictures of the docs: what is drawn, from which runs, and that no recipe is left out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from PIL import Image

from examples import gallery
from examples.rows import save_rows
from gankit import recipes
from gankit.cli import main
from gankit.errors import DataError
from gankit.saved import load_run
from gankit.training import generate

PAGE = Path(__file__).parents[2] / "docs" / "recipes.md"
SMALL = Path(__file__).parents[2] / "examples" / "began_small.yaml"


def pixels(path: Path) -> torch.Tensor:
    with Image.open(path) as picture:
        page = picture.convert("L")
        values = torch.frombuffer(bytearray(page.tobytes()), dtype=torch.uint8)
        return values.view(page.height, page.width)


def test_rows_hold_the_images_pixel_by_pixel(tmp_path: Path) -> None:
    torch.manual_seed(0)
    one, two = torch.rand(3, 1, 2, 4) * 2 - 1, torch.rand(2, 2, 1, 2, 4) * 2 - 1
    save_rows(tmp_path / "rows.png", {"a": one, "bb": two}, scale=10)
    page, high, wide = pixels(tmp_path / "rows.png"), 22, 42
    left = page.shape[1] - 3 * wide
    assert page.shape[0] == 3 * high
    for row, images in enumerate((one, two[0], two[1])):
        for column, image in enumerate(images):
            top, start = row * high, left + column * wide
            block = page[top : top + 20, start : start + 40]
            seen = block[::10, ::10]
            assert (seen.float() - (image[0] + 1) * 127.5).abs().max() < 10  # of sixteen greys
            assert torch.equal(block, seen.repeat_interleave(10, 0).repeat_interleave(10, 1))
    names = [page[row * high : (row + 1) * high, :left] for row in range(3)]
    assert [bool((name < 128).any()) for name in names] == [True, True, False]


@pytest.mark.parametrize(
    "images", [torch.zeros(2, 3, 4, 4), torch.zeros(2, 1, 5, 4)], ids=["coloured", "other size"]
)
def test_rows_that_do_not_fit_are_named(images: torch.Tensor, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="rows must be grey images"):
        save_rows(tmp_path / "rows.png", {"a": torch.zeros(2, 1, 4, 4), "b": images}, scale=2)
    assert not (tmp_path / "rows.png").exists()


def test_pictures_from_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small = ["--set", "image_size=8", "--steps", "2", "--device", "cpu", "--quiet"]
    for name in ("ae", "vae", "cgan"):
        assert main(["train", name, *small]) == 0
    Path("out").mkdir()
    assert gallery.main(["runs", "--out", "out", "--pictures", "autoencoders", "cgan"]) == 0
    page, tile = pixels(Path("out/cgan.png")), 8 * gallery.SCALE + 2
    assert page.shape[0] == 3 * tile
    saved = load_run("runs/cgan")
    labels = torch.arange(10).repeat(3)
    made = generate(saved.generator, 30, seed=0, distribution="uniform", labels=labels)
    left = page.shape[1] - 10 * tile
    fourth = page[tile : 2 * tile - 2 : gallery.SCALE, left + 3 * tile :: gallery.SCALE][:, :8]
    assert (fourth.float() - (made[13, 0] + 1) * 127.5).abs().max() < 10
    assert pixels(Path("out/autoencoders.png")).shape[0] == 4 * tile


def test_the_gammas_are_drawn_larger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small = ["--config", str(SMALL), "--steps", "2", "--device", "cpu", "--quiet"]
    for name in gallery.PICTURES["gammas"]:
        gamma = f"gamma={name.removeprefix('began-')}"
        assert main(["train", "began", *small, "--set", gamma, "--out", f"runs/{name}"]) == 0
    Path("out").mkdir()
    assert gallery.main(["runs", "--out", "out", "--pictures", "gammas"]) == 0
    saved = load_run("runs/began-0.2")
    assert saved.config.knobs == {"gamma": 0.2, "rate": 0.02, "z_distribution": "uniform"}
    page, tile = pixels(Path("out/gammas.png")), 8 * 5 + 2
    assert page.shape[0] == 3 * tile
    made = generate(saved.generator, 12, seed=0, distribution="uniform").clamp(-1, 1)
    last = page[2 * tile : 3 * tile - 2 : 5, -tile:-2:5]
    assert (last.float() - (made[11, 0] + 1) * 127.5).abs().max() < 10


def test_every_recipe_has_a_picture_on_the_page() -> None:
    shown = {name for names in gallery.PICTURES.values() for name in names}
    others = {"points.png": ("gan-2d",), "gan-1d.png": ("gan-1d",)}
    others |= {"mode-collapse.png": ("unrolled",)}
    with_toys = ("pix2pix", "cyclegan", "discogan", "stargan", "segan")
    others |= {f"{name}.png": (name, f"{name}-toy") for name in with_toys}
    others["progan.png"] = ("progan", "progan-digits")
    others["srgan.png"] = ("srresnet", "srgan", "srgan-toy")
    shown |= {name for names in others.values() for name in names}
    # Which take hours on a CPU.
    without = {"r3gan", "sagan", "sagan-toy", "biggan", "biggan-deep"}
    assert (shown | without) - set(gallery.FLAGS) == set(recipes.names())
    linked = set(re.findall(r"\]\(([\w-]+\.(?:png|gif))\)", PAGE.read_text()))
    assert linked >= {*(f"{name}.png" for name in gallery.PICTURES), *others}
    for name in linked:
        with Image.open(PAGE.parent / name) as picture:
            assert min(picture.size) > 80
