"""A hook of MkDocs: files outside docs/ that a page links to become pages of the site.

The pages are read in a checkout too, where they link to CONTRIBUTING.md, to the README of an op or
to a program in examples/. On the site such a link leads to a page made of that file, and the same
holds for the links of that page; so the strict build checks them all.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files, InclusionLevel

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
SOURCES = "source"
# Packages whose modules are the API: a page with a section for each.
MODULES = {
    "gans": "The steps of the families; what they are built with are arguments of `step`.",
    "models": "Networks, a module per family.",
    "ops": "Fused operations: differentiable twice, on the CPU and on CUDA.",
}
LINK = re.compile(r"(\]\()([^)#:\s]+)((?:#[^)\s]*)?\))")
ROLE = re.compile(r":[a-z]+:(?=<code>)")


def page_of(path: Path) -> str:
    """Where on the site the file or folder ``path`` stands, relative to docs/."""
    if path.is_relative_to(DOCS):
        return path.relative_to(DOCS).as_posix()
    name = path.relative_to(ROOT).as_posix()
    # MkDocs takes README.md for the index of its folder, and only .md for a page.
    if path.suffix in {".md", ".png"}:
        return f"{SOURCES}/{name.replace('README', 'readme')}"
    return f"{SOURCES}/{name}.md"


def text_of(path: Path) -> str:
    """The Markdown of the page made of ``path``."""
    name = path.relative_to(ROOT).as_posix()
    if path.is_dir():
        files = sorted(each for each in path.rglob("*") if each.suffix in {".md", ".py"})
        links = [f"- [{each.relative_to(path)}]({each.relative_to(path)})" for each in files]
        return "\n".join([f"# {name}", "", *links])
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return text
    if path.suffix == ".ipynb":
        cells = [("".join(cell["source"]), cell["cell_type"]) for cell in json.loads(text)["cells"]]
        parts = (f"```python\n{each}\n```" if kind == "code" else each for each, kind in cells)
        # The badge is a picture from elsewhere, and the site loads nothing.
        return re.sub(r"\[!\[([^]]*)\]\([^)]*\)\]", r"[\1]", "\n\n".join(parts)) + "\n"
    language = {".py": "python", ".yaml": "yaml"}.get(path.suffix, "text")
    return f"# {name}\n\n````{language}\n{text}````\n"


def targets(text: str, folder: Path) -> set[Path]:
    """The files outside docs/ that ``text``, a page in ``folder``, links to."""
    paths = (Path(os.path.normpath(folder / link)) for _, link, _ in LINK.findall(text))
    outside = (path for path in paths if path.is_relative_to(ROOT) and path.exists())
    return {path for path in outside if not path.is_relative_to(DOCS)}


def relinked(text: str, folder: Path, page: str) -> str:
    """``text`` of a file in ``folder`` with its links as the page ``page`` needs them."""

    def new(match: re.Match[str]) -> str:
        path = Path(os.path.normpath(folder / match[2]))
        if not path.is_relative_to(ROOT) or not path.exists():
            return match[0]
        return match[1] + os.path.relpath(page_of(path), Path(page).parent) + match[3]

    return LINK.sub(new, text)


def reference(package: str, about: str) -> str:
    """The page of the API of each module of ``gankit.package``."""
    folder = ROOT / "gankit" / package
    packages = [each.parent.name for each in folder.glob("*/__init__.py")]
    names = sorted(packages or [each.stem for each in folder.glob("[!_]*.py")])
    sections = [
        f"## {name}\n\n::: gankit.{package}.{name}\n    options: {{heading_level: 3}}\n"
        for name in names
    ]
    return "\n".join([f"# gankit.{package}\n\n{about}\n", *sections])


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages of linked files, of those that these link to, and of families and networks."""
    waiting: set[Path] = set()
    for file in files.documentation_pages():
        path = DOCS / file.src_uri
        waiting |= targets(path.read_text(encoding="utf-8"), path.parent)
    seen: set[Path] = set()
    while waiting:
        path = waiting.pop()
        seen.add(path)
        page = page_of(path)
        if path.suffix == ".png":
            files.append(File.generated(config, page, abs_src_path=str(path)))
            continue
        text, folder = text_of(path), path if path.is_dir() else path.parent
        waiting |= targets(text, folder) - seen
        made = File.generated(
            config,
            page,
            content=relinked(text, folder, page),
            inclusion=InclusionLevel.NOT_IN_NAV,
        )
        files.append(made)
    for package, about in MODULES.items():
        page = f"reference/{package}.md"
        files.append(File.generated(config, page, content=reference(package, about)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Leads a page's links out of docs/ to the pages that :func:`on_files` has added."""
    if page.file.generated_by:
        return markdown
    return relinked(markdown, (DOCS / page.file.src_uri).parent, page.file.src_uri)


def on_page_content(html: str, **_: Any) -> str:
    """Takes the roles of reStructuredText, as in ``:class:`Step```, out of rendered docstrings."""
    return ROLE.sub("", html)
