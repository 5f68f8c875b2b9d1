"""``gankit run -m`` runs what ``python -m`` would, and scripts are read as Python reads them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gankit.acceleration.run import served
from gankit.cli import main
from gankit.errors import ConfigError
from gankit.run import compare, run_script

needs_kernels = pytest.mark.skipif(not served("cpu"), reason="only the reference backend is here")

TRAIN = '''"""Trains."""
import json, pickle, sys
from dataclasses import dataclass, fields
import torch
from torch import nn
from .sizes import HIDDEN
from . import OPTIMIZER


@dataclass
class Settings:
    steps: int = 4


def read():
    return pickle.loads(pickle.dumps(Settings()))


net = nn.Sequential(nn.Linear(4, HIDDEN), nn.Linear(HIDDEN, 1))
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for _ in range(read().steps):
    net(torch.randn(8, 4)).mean().backward()
    optimizer.step()
print(json.dumps([__name__, __package__, __spec__.name, __file__, sys.argv, sys.path[0], __doc__,
                  type(read()).__module__, fields(Settings)[0].type is int]))
if sys.argv[1:] == ["fail"]:
    raise ValueError("mine")
sys.exit(sys.argv[1] if len(sys.argv) > 1 else 7)
'''
INIT = """
import torch
OPTIMIZER = torch.optim.Adam([torch.zeros(1, requires_grad=True)])
"""


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "gan_of_mine"
    (folder / "empty").mkdir(parents=True)
    for name, text in {
        "__init__": INIT,
        "train": TRAIN,
        "sizes": "HIDDEN = 8\n",
        "__main__": "print('main of', __package__, __spec__.name)\n",
        "wrong": "def f(:\n",
        "needy": "import absent_package\n",
        "empty/__init__": "",
    }.items():
        (folder / f"{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])  # as the command adds it
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "gan_of_mine"]:
        del sys.modules[name]


@needs_kernels
def test_a_module_runs_as_under_python_m(package: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = sys.argv, list(sys.path), sys.modules["__main__"], sys.excepthook
    assert main(["run", "-m", "gan_of_mine.train"]) == 7
    assert (sys.argv, sys.path, sys.modules["__main__"], sys.excepthook) == before
    out, err = capfd.readouterr()
    file = str(package / "train.py")
    assert json.loads(out) == [
        *("__main__", "gan_of_mine", "gan_of_mine.train", file, [file], str(package.parent)),
        *("Trains.", "__main__", True),
    ]
    assert "gankit run: gan_of_mine.train" in err
    assert "fused SGD" in err
    assert "fused Adam" in err  # of the package, which was imported on the way
    assert main(["run", "--quiet", "-m", "gan_of_mine.train", "--lr", "-m"]) == 1
    out, err = capfd.readouterr()
    assert json.loads(out)[4] == [file, "--lr", "-m"]
    assert err == "--lr\n"


def test_a_package_runs_its_main(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--quiet", "-m", "gan_of_mine"]) == 0
    assert capfd.readouterr() == ("main of gan_of_mine gan_of_mine.__main__\n", "")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("train", "ValueError: mine"),
        ("wrong", "SyntaxError"),
        ("needy", "No module named 'absent_package'"),
    ],
)
def test_its_errors_are_its_own(
    name: str, words: str, package: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--quiet", "-m", f"gan_of_mine.{name}", "fail"]) == 1
    err = capfd.readouterr().err
    assert words in err
    assert str(package / f"{name}.py") in err
    assert "runpy" not in err
    assert "importlib" not in err
    assert str(Path("gankit", "run.py")) not in err


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("absent_package.train", "there is no module named absent_package"),
        ("gan_of_mine.absent", "-m gan_of_mine.absent: there is no module of that name"),
        ("gan_of_mine.absent.train", "there is no module of that name"),
        ("gan_of_mine.empty", "the package has no module __main__ to run"),
        ("sys", "-m sys: the module has no Python code to run"),
        ("train.py/x", "expected the name of a module, such as package.train"),
        ("", "expected the name of a module"),
    ],
)
def test_what_is_no_module_is_one_sentence(
    name: str, words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "-m", name]) == 2
    err = capfd.readouterr().err
    assert words in err
    assert err.count("\n") == 1
    with pytest.raises(ConfigError):
        run_script(name, module=True)


def test_a_script_that_may_not_be_read_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "script.py").write_text("print('read')\n")
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may read everything
    assert main(["run", str(tmp_path / "script.py")]) == 2
    out, err = capfd.readouterr()
    assert "script.py: it may not be read" in err
    assert (out, err.count("\n")) == ("", 1)


def test_the_usage_is_short_where_nothing_is_given(capfd: pytest.CaptureFixture[str]) -> None:
    for argv, words in (
        ([], "which script? Give its path\nusage: gankit run [--compare N] [--quiet] SCRIPT"),
        (["--compare", "9"], "which script?"),
        (["-m"], "-m needs the name of a module\nusage: gankit run [--compare N] [--quiet] -m M"),
    ):
        assert main(["run", *argv]) == 2
        out, err = capfd.readouterr()
        assert words in err
        assert (out, err.count("\n")) == ("", 2)


def test_a_script_is_not_read_with_future_imports(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Annotations are what they say: parsers of arguments are built from dataclasses' fields."""
    (tmp_path / "script.py").write_text(
        "from dataclasses import dataclass, fields\n"
        "@dataclass\n"
        "class A:\n    x: int = 0\n"
        "assert fields(A)[0].type is int, fields(A)[0].type\n"
        "assert __spec__ is None and __package__ is None and __cached__ is None\n"
        "assert __loader__.get_source('__main__').startswith('from dataclasses')\n"
        "print('good')\n"
    )
    assert main(["run", "--quiet", str(tmp_path / "script.py")]) == 0
    assert capfd.readouterr().out == "good\n"


@pytest.mark.slow
@needs_kernels
def test_modules_are_compared_too() -> None:
    words = compare("gan_of_mine.train", ["0"], 3, module=True)
    assert "after 3 step(s)" in words
