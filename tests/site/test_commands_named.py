"""The commands that the pages name are there, with their flags and the recipes that they train."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gankit import recipes
from gankit.cli.main import _parser, _Stop
from tests.site.code_blocks import ROOT, blocks, commands

PAGES = [*sorted(ROOT.glob("docs/**/*.md")), ROOT / "README.md", *ROOT.glob("README.*.md")]
PLACEHOLDERS = {"NAME", "X", "RUN"}


def objections(page: str) -> list[str]:
    """What is wrong with the commands of a page."""
    shells = [each for each in blocks(page) if each.language == "shell"]
    shell = [words for each in shells for words in commands(each, "gankit ")]
    inline = [each.split() for each in re.findall(r"`(gankit train [^`]*)`", page)]
    found = []
    for words in [*shell, *inline]:
        if not words[1].isalpha():  # what a command prints, such as gankit's version
            continue
        if words in shell:
            try:
                _, unknown = _parser().parse_known_args(words[1:])
                found += [f"{words}: {unknown}"] if unknown and unknown != ["..."] else []
            except _Stop as error:
                found.append(f"{words}: {error}")
        if words[1] == "train" and len(words) > 2 and not words[2].startswith("-"):
            name = words[2].rstrip(",")
            if name not in {*recipes.names(), *PLACEHOLDERS}:
                found.append(f"{words}: no recipe {name}")
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(Path(path).relative_to(ROOT)))
def test_the_commands_of_a_page_are_there(page: Path) -> None:
    assert not objections(page.read_text(encoding="utf-8"))


def test_wrong_commands_are_found() -> None:
    page = "A `gankit train gna` is\n\n    gankit sample runs/x --nn 3\n    gankit trian gan\n\nB\n"
    assert len(objections(page)) == 3


def test_the_five_tutorials_have_every_name() -> None:
    page = (ROOT / "docs" / "seeds.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:-1] for line in page.splitlines() if line.startswith("| ")]
    assert len(rows) > 100
    assert all(len(cells) == 2 and all(cell.strip() for cell in cells) for cells in rows)
    # The systems of the first tutorial and of the second one.
    first = "AE VAE GAN DCGAN MMGAN NSGAN WGAN WGAN-GP ProGAN SGAN CGAN CycleGAN RGAN SAGAN BigGAN"
    second = "cGAN EBGAN BEGAN DiscoGAN StarGAN SRGAN SEGAN"
    there = " ".join(cells[0] for cells in rows)
    assert all(re.search(rf"\b{name}\b", there) for name in f"{first} {second}".split())


def test_the_gallery_names_every_recipe() -> None:
    page = (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")
    named = set(re.findall(r"[\w-]+", page))
    assert set(recipes.names()) <= named, set(recipes.names()) - named
