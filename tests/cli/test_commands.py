"""The other commands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import gankit
from gankit import recipes
from gankit.cli import main
from gankit.ops import backends
from tests.small_runs import environment


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment(**variables),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def a_run(in_a_folder_of_its_own: None, capfd: pytest.CaptureFixture[str]) -> Path:
    arguments = ["train", "gan", "--config", "small.yaml", "--steps", "2", "--quiet"]
    assert main(arguments) == 0
    return Path("runs/gan")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"gankit {gankit.__version__}\n"


def test_recipes_are_listed_a_line_each_with_their_paper(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(recipes.names())
    assert all(re.search(r"\(.*[A-Z]\w+.*, 20\d\d.*\)", line) for line in lines)


def test_a_recipe_tells_its_sources(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "gan"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("gan: ")
    assert "arXiv 1406.2661" in out
    assert main(["recipes", "gna"]) != 0
    assert "gna" in capsys.readouterr().err


def test_the_readme_names_every_recipe() -> None:
    readme = Path(__file__).parents[2].joinpath("README.md").read_text(encoding="utf-8")
    assert {f"`{name}`" for name in recipes.names()} <= set(re.findall(r"`[\w-]+`", readme))


def test_help_comes_without_torch() -> None:
    code = (
        "import sys; from gankit.cli import main; code = main(['train', '--help']); "
        "sys.exit(code + ('torch' in sys.modules))"
    )
    done = run("-c", code)
    assert done.returncode == 0, done.stderr
    for flag in (
        *("--data", "--data-root", "--epochs", "--steps", "--batch-size", "--lr", "--z-dim"),
        *("--device", "--out", "--overwrite", "--resume", "--seed", "--config", "--quiet"),
    ):
        assert flag in done.stdout


def test_nothing_that_only_pictures_need_is_imported_before_the_first_step(
    in_a_folder_of_its_own: None,
) -> None:
    code = (
        "import sys\n"
        "from gankit.cli import main\n"
        "from gankit.training.step import Step\n"
        "def first(self, *inputs):\n"
        "    print(*sorted({n.split('.')[0] for n in sys.modules}), sep='\\n')\n"
        "    raise KeyboardInterrupt\n"
        "Step.forward = first\n"
        "main(['train', 'gan', '--config', 'small.yaml', '--steps', '2', '--quiet'])\n"
    )
    done = run("-c", code)
    imported = set(done.stdout.split())
    assert {"gankit", "torch", "jsonargparse"} <= imported, done.stderr
    # Together they take as long as torch does.
    late = {"matplotlib", "onnx", "pandas", "scipy", "sklearn", "tensorboard", "torchvision"}
    assert not late & imported


def test_sample_draws_as_many_as_asked(a_run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["sample", str(a_run), "--n", "7", "--out", "seven.png"]) == 0
    assert "7 images are in seven.png" in capfd.readouterr().out
    with Image.open("seven.png") as picture:
        assert picture.size == (3 * 58 + 2, 18 + 3 * 58 + 2)


def test_sample_depends_on_the_seed(a_run: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert main(["sample", str(a_run), "--seed", str(seed), "--out", f"{name}.png"]) == 0
    a, b, c = (Path(f"{name}.png").read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_doctor_says_what_runs_where(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    out = capfd.readouterr().out
    assert "torch" in out
    assert "leaky_relu_dropout" in out


def test_ctrl_c_ends_without_a_traceback(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("gankit.cli.train.train", interrupted)
    assert main(["train", "gan"]) == 130
    assert capfd.readouterr().err == "gankit: interrupted\n"


@pytest.mark.parametrize(
    ("command", "name"), [("train gan", "triton"), ("sample absent", "foo"), ("doctor", "foo")]
)
def test_a_backend_that_is_not_there_is_one_sentence(command: str, name: str) -> None:
    if name == "triton" and backends.triton().available:
        pytest.skip("Triton works here")
    done = run("-m", "gankit", *command.split(), GANKIT_BACKEND=name)
    assert done.returncode == 2
    assert done.stderr.startswith("gankit: error: GANKIT_BACKEND: backend")
    assert repr(name) in done.stderr
    assert done.stderr.count("\n") == 1
    assert ("[machine]" in done.stdout) is (command == "doctor")


def test_python_m_gankit_passes_the_exit_code_on() -> None:
    done = run("-m", "gankit", "train", "nothing")
    assert done.returncode == 2
    assert done.stderr.startswith("gankit: error: there is no recipe 'nothing'")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
