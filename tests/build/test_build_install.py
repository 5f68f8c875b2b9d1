"""Real installs with build isolation. Slow: they need the package index."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path, **environ: str) -> str:
    keep = {k: v for k, v in os.environ.items() if k != "PYTHONPATH" and k[:7] != "GANKIT_"}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**keep, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("venv")
    run(sys.executable, "-m", "venv", folder, cwd=folder)
    run(folder / "bin" / "pip", "install", "-q", "torch==2.13.0", "numpy", cwd=folder)
    return folder / "bin" / "python"


def test_isolated_install_takes_the_outer_torch(python: Path, tmp_path: Path) -> None:
    log = run(python, "-m", "pip", "install", "-v", ROOT, cwd=tmp_path)
    assert not re.search(r"(Collecting|Downloading) torch\b", log)
    seen = "import torch, gankit._C as c, gankit; print(gankit.__file__); print(c.build_info())"
    printed = run(python, "-c", seen, cwd=tmp_path)
    assert "site-packages" in printed
    assert "'torch_headers': '2.13.0'" in printed


def test_a_source_archive_installs(python: Path, tmp_path: Path) -> None:
    run(python, "-m", "pip", "install", "-q", "build", cwd=tmp_path)
    run(python, "-m", "build", "-q", "--sdist", "-o", tmp_path, ROOT, cwd=tmp_path)
    (archive,) = tmp_path.glob("gankit-*.tar.gz")
    run(python, "-m", "pip", "install", "-q", "--force-reinstall", "--no-deps", archive,
        cwd=tmp_path, GANKIT_BUILD="cpu")  # fmt: skip
    run(python, "-c", "import torch, gankit._C", cwd=tmp_path)


def test_the_reference_build_is_a_pure_wheel(python: Path, tmp_path: Path) -> None:
    run(python, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path, ROOT,
        cwd=tmp_path, GANKIT_BUILD="reference")  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.endswith("-py3-none-any.whl")
    run(python, "-m", "pip", "install", "-q", "--force-reinstall", "--no-deps", wheel, cwd=tmp_path)
    site = run(python, "-c", "import gankit; print(gankit.__path__[0])", cwd=tmp_path).strip()
    report = json.loads((Path(site) / "_build_report.json").read_text())
    assert report["mode"] == "reference"
    assert not list(Path(site).glob("*.so"))
