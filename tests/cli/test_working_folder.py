"""Files of the folder at hand are not imported, but for the module that the user names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.small_runs import environment

# What torch, torchvision, sympy and others import if it is there, and installed packages.
PLANTED = (
    *("opt_einsum", "dill", "pandas", "colorama", "defusedxml", "gmpy2", "flint", "cupy", "jax"),
    *("numexpr", "brotli", "h5py", "accimage", "olefile", "triton", "tensorflow", "usercustomize"),
    *("numpy", "torch", "yaml", "sympy", "PIL", "tqdm", "sklearn", "matplotlib", "torchvision"),
    *("jsonargparse", "safetensors", "onnx", "setuptools", "IPython", "pkg_resources", "lightning"),
)
SMALL = "generator.hidden=[8]", "discriminator.hidden=[8]", "grid_rows=1", "grid_columns=1"
TRAIN = ["train", "gan", "--steps", "2", "--quiet", "--device", "cpu"]
TRAIN += [word for text in SMALL for word in ("--set", text)]
RUN = """
import sys
from gankit.cli import main
for argv in {commands}:
    assert main(argv) == 0, argv
assert {here!r} not in sys.path
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "downloaded"
    folder.mkdir()
    for name in PLANTED:
        (folder / f"{name}.py").write_text(f"open('{name} ran', 'w')\nraise ImportError\n")
    return folder


def run(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_no_command_imports_what_lies_in_the_folder(folder: Path, tmp_path: Path) -> None:
    commands = [
        *(["doctor"], ["recipes"], TRAIN, ["sample", "runs/gan", "--n", "1"]),
        ["export", "runs/gan", "--format", "torch-export"],
        ["train", "--resume", "--out", "runs/gan", "--steps", "3", "--quiet"],
    ]
    script = tmp_path / "command.py"
    script.write_text(RUN.format(commands=commands, here=str(folder)))
    run(folder, str(script))
    assert not list(folder.glob("* ran"))


def test_python_m_does_not_either(folder: Path) -> None:
    assert "torch" in run(folder, "-m", "gankit", "doctor")
    assert not list(folder.glob("* ran"))


def test_an_own_module_is_found_there_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    (folder / "mine").mkdir()
    (folder / "mine" / "__init__.py").touch()
    (folder / "mine" / "nets.py").write_text(
        "import helper\n"
        "from gankit.models import mlp\n"
        "class G(mlp.Generator):\n"
        "    def __init__(self, z_dim, image_shape):\n"
        "        import late_helper\n"
        "        super().__init__(z_dim, image_shape, hidden=[8])\n"
    )
    for name in ("helper", "late_helper"):
        (folder / f"{name}.py").touch()
    argv = [*TRAIN[:2], "--set", "generator=mine.nets.G", *TRAIN[2:7], *TRAIN[9:]]
    script = tmp_path / "command.py"
    script.write_text(RUN.format(commands=[argv], here=str(folder)))
    run(folder, str(script))
    assert not list(folder.glob("* ran"))
