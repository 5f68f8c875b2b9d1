"""What is published is described in one way: workflows, wheels, version, citation, changelog."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from gankit import __version__
from tests.build.test_checks import tool

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TEMPLATES = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def objections(workflow: Any, root: Path = ROOT) -> list[str]:
    """What a workflow names that is not there, and what it leaves open."""
    found = []
    # YAML 1.1 reads the key `on` as true.
    found += [f"no {key}" for key in (True, "permissions", "jobs") if key not in workflow]
    jobs = workflow["jobs"]
    for name, job in jobs.items():
        needs = job.get("needs", [])
        found += [
            f"{name} needs {need}"
            for need in ([needs] if isinstance(needs, str) else needs)
            if need not in jobs
        ]
        used = job.get("uses")
        if used is not None and not (root / used).is_file():
            found.append(f"{name} uses {used}")
        if used is None and "timeout-minutes" not in job and "environment" not in job:
            found.append(f"{name} has no limit of time")
        for step in job.get("steps", ()):
            if ("uses" in step) == ("run" in step):
                found.append(f"{name}: a step without uses or run")
            if "uses" in step and not re.fullmatch(r"[\w./-]+@[\w./-]+", step["uses"]):
                found.append(f"{name}: {step['uses']} without a version")
            command = step.get("run", "")
            for words in re.findall(r"^make (.*)$", command, re.MULTILINE):
                targets = {word for word in words.split() if "=" not in word}
                found += [f"{name}: make {target}" for target in targets - TARGETS]
            for file in re.findall(r"\b(?:tools|examples|tests)/[\w./]+", command):
                found += [f"{name}: {file}"] if not (root / file).is_file() else []
    return found


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_names_what_is_there(path: Path) -> None:
    assert not objections(yaml.safe_load(path.read_text(encoding="utf-8")))


def test_a_wrong_workflow_is_found() -> None:
    wrong = """
    on: push
    jobs:
      a: {needs: c, timeout-minutes: 1, steps: [{run: make tset}, {uses: actions/checkout}]}
      b: {uses: ./.github/workflows/none.yml}
      d: {steps: [{run: python tools/none.py}, {}]}
    """
    assert len(objections(yaml.safe_load(wrong))) == 8


def test_there_are_workflows_for_all() -> None:
    assert [path.stem for path in WORKFLOWS] == ["docs", "publish", "tests", "wheels"]
    publish = yaml.safe_load((ROOT / ".github/workflows/publish.yml").read_text())
    assert publish["jobs"]["publish"]["permissions"] == {"id-token": "write"}
    assert "secrets." not in "".join(path.read_text() for path in WORKFLOWS)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_a_template_for_issues_is_complete(path: Path) -> None:
    template = yaml.safe_load(path.read_text(encoding="utf-8"))
    if path.stem == "config":
        names = re.findall(r"/blob/main/(\S+)", path.read_text())
        assert names
        assert all((ROOT / name).is_file() for name in names)
        return
    assert {"name", "description", "body"} <= set(template)
    places = [field["id"] for field in template["body"]]
    assert len(places) == len(set(places))
    assert any(field.get("validations", {}).get("required") for field in template["body"])


def test_wheels_are_built_for_every_python_that_is_promised() -> None:
    promised = re.findall(r'"Programming Language :: Python :: 3\.(\d+)"', PROJECT)
    built = re.search(r'^build = "cp3\{([\d,]+)\}-manylinux_\{(.*)\}"$', PROJECT, re.MULTILINE)
    assert built is not None
    assert built[1].split(",") == promised
    assert built[2].split(",") == ["x86_64", "aarch64"]
    least = re.search(r'^requires-python = ">=3\.(\d+)"$', PROJECT, re.MULTILINE)
    assert least is not None
    assert promised == [str(n) for n in range(int(least[1]), int(promised[-1]) + 1)]


def test_the_repair_keeps_torch_out(monkeypatch: pytest.MonkeyPatch) -> None:
    words = tool(monkeypatch, "build_wheels").repair_command(Path("a b.whl"), Path("out"))
    assert words[1:4] == ["-m", "auditwheel", "repair"]
    assert words[-1] == "a b.whl"
    assert words[words.index("--wheel-dir") + 1] == "out"
    left_out = {words[n + 1] for n, word in enumerate(words) if word == "--exclude"}
    assert {"libtorch*.so", "libc10*.so", "libcudart.so.*"} <= left_out


def test_the_version_is_the_same_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    heading = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert heading is not None
    assert heading[1] in (__version__, "Unreleased")


def test_files_for_people_name_the_repository() -> None:
    address = re.search(r'^Repository = "(.*)"$', PROJECT, re.MULTILINE)
    assert address is not None
    for name in ("SECURITY.md", "CODE_OF_CONDUCT.md", "CITATION.cff"):
        assert address[1] in (ROOT / name).read_text(encoding="utf-8"), name
        assert name in (ROOT / "MANIFEST.in").read_text()
