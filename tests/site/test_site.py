"""The site builds without a warning, and has what it should."""

from __future__ import annotations

import ast
import html
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("material", reason="pip install 'gankit[docs]'")
pytest.importorskip("mkdocstrings")

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("attacks", "data", "latent", "losses", "metrics", "nn", "ops", "runs", "training")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; broken links, unknown anchors and pages without a place fail the build."""
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(out)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def public(package: str) -> list[str]:
    """The names in ``__all__`` of a package, read without importing it."""
    tree = ast.parse((ROOT / "gankit" / package / "__init__.py").read_text())
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names: list[str] = ast.literal_eval(node.value)
            return names
    raise AssertionError(f"gankit/{package} has no __all__")


def test_the_reference_has_every_public_name(site: Path) -> None:
    for package in PACKAGES:
        page = (site / "reference" / f"{package}.html").read_text(encoding="utf-8")
        page += (site / "reference" / "index.html").read_text(encoding="utf-8")
        anchors = {name.rpartition(".")[2] for name in re.findall(r'id="(gankit[\w.]*)"', page)}
        missing = set(public(package)) - anchors
        assert not missing, f"gankit.{package}: {sorted(missing)}"


def test_no_role_of_another_markup_is_left(site: Path) -> None:
    for page in (site / "reference").glob("*.html"):
        text = html.unescape(page.read_text(encoding="utf-8"))
        assert not re.search(r":(class|func|meth|mod):<code>", text), page.name


def test_pages_outside_docs_are_there(site: Path) -> None:
    training = (site / "training.html").read_text(encoding="utf-8")
    assert 'href="source/CONTRIBUTING.html#add-a-gan-in-one-file"' in training
    assert (site / "source" / "CONTRIBUTING.html").is_file()
    assert "def main()" in re.sub(
        r"<[^>]*>", "", (site / "source/examples/theory.py.html").read_text()
    )


def test_a_notebook_is_a_page_of_its_cells(site: Path) -> None:
    page = (site / "source/examples/notebooks/mlp_gan.ipynb.html").read_text(encoding="utf-8")
    words = html.unescape(re.sub(r"<[^>]*>", "", page))
    assert "STEPS = 3000" in words
    assert "Open in Colab" in words
    assert "cell_type" not in words


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="(https?:[^"]*)"', text)
        assert not loaded, f"{page.name}: {loaded}"
