"""The notebooks are clean, and run from top to bottom in a few steps."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.site.code_blocks import ROOT

nbformat = pytest.importorskip("nbformat", reason="pip install 'gankit[test]'")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

NOTEBOOKS = sorted((ROOT / "examples" / "notebooks").glob("*.ipynb"))
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
STEPS = re.compile(r"^STEPS = \d+$")
NAMES = ["cyclegan", "dcgan", "evaluate", "latent_walk", "mlp_gan", "own_script"]
SLOW = ("cyclegan", "dcgan", "evaluate")  # networks of convolutions; many images
# In the kernel, before each notebook.
BEFORE = """
%reset -f
import torch
torch.set_num_threads(1)
"""


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def code(notebook: Any) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def repository() -> str:
    found = re.search(r'^Repository = "(.*)"$', PROJECT, re.MULTILINE)
    assert found is not None
    return found[1]


def test_there_are_six() -> None:
    assert [path.stem for path in NOTEBOOKS] == NAMES


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_clean(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert dict(notebook.metadata.language_info) == {"name": "python"}
    for cell in notebook.cells:
        assert not cell.metadata
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_begins_and_ends_as_all_do(path: Path) -> None:
    notebook = read(path)
    place = repository().removeprefix("https://github.com/")
    where = f"https://colab.research.google.com/github/{place}/blob/main/examples/notebooks/"
    assert f"({where}{path.name})" in notebook.cells[0].source
    install = code(notebook)[0]
    extras = re.search(r"gankit\[([\w,]+)\]", install)
    assert 'find_spec("gankit") is None:\n    %pip install' in install
    assert extras is not None
    declared = re.findall(r"^(\w+) = \[", PROJECT, re.MULTILINE)
    assert set(extras[1].split(",")) <= set(declared)
    assert sum(bool(STEPS.match(source)) for source in code(notebook)) == 1
    assert notebook.cells[-1].source.startswith("## Exercise")
    page = (ROOT / "docs" / "notebooks.md").read_text(encoding="utf-8")
    assert f"examples/notebooks/{path.name}" in page
    for link in re.findall(rf"{repository()}/blob/main/([^)#\s]+)", str(notebook)):
        assert (ROOT / link).is_file(), link


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One kernel for all notebooks: each start of one imports torch."""
    from jupyter_client.manager import KernelManager

    folder = tmp_path_factory.mktemp("notebooks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GANKIT_DATA", str(folder / "data"))
        patch.setenv("PYTHONPATH", str(ROOT))
        manager = KernelManager()
        manager.start_kernel(cwd=str(folder))
    yield manager
    manager.shutdown_kernel(now=True)


def executed(notebook: Any, kernel: Any) -> Any:
    """The notebook after it has run in ``kernel``; a cell that fails raises."""
    client = nbclient.NotebookClient(notebook, km=kernel, timeout=300)
    return client.execute()


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=[pytest.mark.slow] if path.stem in SLOW else [], id=path.stem)
        for path in NOTEBOOKS
    ],
)
def test_a_notebook_runs(path: Path, kernel: Any) -> None:
    if path.stem == "evaluate":
        pytest.importorskip("torch_fidelity")
    notebook = read(path)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source = STEPS.sub("STEPS = 4", cell.source)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(BEFORE))
    outputs = [
        output for cell in executed(notebook, kernel).cells for output in cell.get("outputs", ())
    ]
    said = "".join(each.text for each in outputs if each.output_type == "stream")
    shown = [
        each.data for each in outputs if each.output_type in ("display_data", "execute_result")
    ]
    assert any({"image/png", "image/gif"} & set(data) for data in shown)
    assert not [each.text for each in outputs if each.get("name") == "stderr"]
    if path.stem != "own_script":  # which has a loop of its own
        bars = [line for line in said.split("\r") if re.match(r"100%(\|#+\|)? (\d)/\2 ", line)]
        assert bars, said


def test_a_cell_that_fails_is_found(kernel: Any) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0")])
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="ZeroDivisionError"):
        executed(notebook, kernel)
