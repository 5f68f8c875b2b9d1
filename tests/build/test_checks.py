"""The checks under tools/ and in the Makefile cannot pass by skipping what CI insists on."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
OPS = sorted(path.parent.name for path in ROOT.glob("gankit/ops/*/spec.py"))


def tool(monkeypatch: pytest.MonkeyPatch, name: str) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    return importlib.import_module(name)


def pytest_run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    ours = ("GANKIT_", "TRITON_", "PYTEST_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=ROOT,
        env=kept | environ,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(("mode", "status"), [("cuda", 1), ("auto", 0), ("cpu", 0)])
@pytest.mark.parametrize("missing", ["nvcc", "cuobjdump"])
def test_machine_code_may_be_skipped_only_where_cuda_is_not_insisted_on(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    missing: str,
    mode: str,
    status: int,
) -> None:
    check = tool(monkeypatch, "check_machine_code")
    nvcc = check.find_nvcc.__globals__["Nvcc"](Path("nvcc"), (13, 0))
    found = (None, "no nvcc") if missing == "nvcc" else (nvcc, "")
    monkeypatch.setattr(check, "find_nvcc", lambda *_: found)
    monkeypatch.setattr(check, "find_cuobjdump", lambda _: None)
    monkeypatch.setenv("GANKIT_BUILD", mode)
    assert check.main() == status
    printed = capsys.readouterr().out
    assert f"no {missing}" in printed
    assert ("FAILED" in printed) == (status == 1)


def test_headers_check_fails_without_nvcc_where_cuda_is_insisted_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    check = tool(monkeypatch, "check_headers")
    plan = importlib.import_module("gankit_build.plan")
    monkeypatch.setattr(plan, "find_nvcc", lambda *_: (None, "no nvcc"))
    monkeypatch.setattr(plan, "_why_no_native", lambda *_: "")
    monkeypatch.setattr(plan, "find_torch", lambda _: plan.Torch(tmp_path, "2.11.0", "13.0"))
    monkeypatch.setattr(check, "torch_headers", lambda _: tmp_path)
    monkeypatch.setattr(check, "compile_part", lambda *_: 1)
    monkeypatch.setattr(sys, "argv", ["check_headers.py", str(tmp_path)])
    monkeypatch.setenv("GANKIT_BUILD", "auto")
    assert check.main() == 0
    assert "cuda skipped: no nvcc" in capsys.readouterr().out
    monkeypatch.setenv("GANKIT_BUILD", "cuda")
    assert check.main() == 1
    assert "GANKIT_BUILD=cuda asks for the CUDA part, but no nvcc" in capsys.readouterr().out


def test_headers_check_fails_where_one_file_does_not_compile(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    check = tool(monkeypatch, "check_headers")
    compiler, reason = importlib.import_module("gankit_build.toolchain").find_compiler(os.environ)
    if compiler is None:
        pytest.skip(reason)
    (tmp_path / "good.cpp").write_text("template <class T> int f(T x) { return x.absent; }")
    (tmp_path / "bad.cpp").write_text("#include \"good.cpp\"\nint y = f(1);")
    commands = [[str(compiler), "-fsyntax-only", str(tmp_path / n)] for n in ("good.cpp", "bad.cpp")]
    monkeypatch.setattr(check, "syntax_commands", lambda *_: commands[:1])
    assert check.compile_part("cpu", None) == 1
    monkeypatch.setattr(check, "syntax_commands", lambda *_: commands)
    with pytest.raises(check.cmake.CompileError, match="absent"):
        check.compile_part("cpu", None)


@pytest.mark.parametrize(
    ("instructions", "mkl", "same"),
    [
        ("AVX512", True, set()),
        ("AVX2", True, {"ATEN_CPU_CAPABILITY=avx2", "ONEDNN_MAX_CPU_ISA=AVX2"}),
        (
            "DEFAULT",
            False,
            {
                *("ATEN_CPU_CAPABILITY=avx2", "ATEN_CPU_CAPABILITY=default"),
                *("ONEDNN_MAX_CPU_ISA=AVX2", "MKL_CBWR=COMPATIBLE"),
            },
        ),
    ],
)
def test_settings_that_change_nothing_are_skipped(
    monkeypatch: pytest.MonkeyPatch, instructions: str, mkl: bool, same: set[str]
) -> None:
    check = tool(monkeypatch, "test_under_settings")
    skipped = {s for s in check.SETTINGS if check.same_as_plain(s, instructions, mkl=mkl)}
    assert skipped == same


def test_what_other_settings_leave_out_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    for path in tool(monkeypatch, "test_under_settings").LEFT_OUT:
        assert (ROOT / path).exists(), path


def test_a_required_backend_that_is_missing_fails_instead_of_being_skipped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Outside its interpreter Triton serves no CPU tensors, so this backend is missing everywhere.
    test = "tests/ops/test_conformance.py::test_strides_follow_the_fake"
    arguments = (test, "-k", f"triton-cpu and {OPS[0]}", "-q")
    failed = pytest_run(*arguments, GANKIT_TEST_REQUIRE="native-cpu,triton-cpu")
    assert failed.returncode == 1
    assert "GANKIT_TEST_REQUIRE: triton on cpu is missing" in failed.stdout
    spec = importlib.util.spec_from_file_location("ops", ROOT / "tests" / "ops" / "conftest.py")
    assert spec is not None
    assert spec.loader is not None
    fixtures = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fixtures)
    for listed, wanted in (("", False), ("native-cpu", False), ("native-cpu,triton-cpu", True)):
        monkeypatch.setenv("GANKIT_TEST_REQUIRE", listed)
        assert fixtures.required("triton", "cpu") is wanted
    monkeypatch.setenv("GANKIT_TEST_REQUIRE", "nativ")
    with pytest.raises(AssertionError, match=r"got \['nativ'\]"):
        fixtures.required("triton", "cpu")


def recipe(target: str, **variables: str) -> str:
    command = ["make", "-n", "-o", "venv/.dev", "VENV=venv", target]
    command += [f"{name}={value}" for name, value in variables.items()]
    kept = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "GANKIT_BUILD")}
    return subprocess.run(
        command, cwd=ROOT, env=kept, capture_output=True, text=True, check=True
    ).stdout


def test_triton_run_takes_every_op_through_every_test_on_a_backend() -> None:
    words = shlex.split(recipe("test-triton"), comments=True)
    environ = dict(w.split("=", 1) for w in words if re.match(r"[A-Z_]+=", w))
    assert environ == {"TRITON_INTERPRET": "1", "GANKIT_TEST_REQUIRE": "triton-cpu"}
    # Parametrised on a backend: what the fixture on_target puts into the brackets.
    everything = pytest_run(
        "tests/ops", "-m", "not slow", "--collect-only", "-q", TRITON_INTERPRET="1"
    )
    chosen = pytest_run(*words[words.index("pytest") + 1 :], "--collect-only", TRITON_INTERPRET="1")
    on_triton = {line for line in everything.stdout.splitlines() if "triton-cpu" in line}
    for op in OPS:
        assert any(f"float64_reference[triton-cpu-{op}-torch.float32-" in t for t in on_triton)
    assert on_triton <= set(chosen.stdout.splitlines())


@pytest.mark.parametrize(
    ("mode", "wanted"),
    [("", ""), ("reference", ""), ("cpu", "native-cpu"), ("cuda", "native-cpu,native-cuda")],
)
def test_python_tests_require_what_the_build_insists_on(mode: str, wanted: str) -> None:
    for target in ("test-python", "test-ops"):
        assert f"GANKIT_TEST_REQUIRE={wanted} " in recipe(target, GANKIT_BUILD=mode)


def test_the_two_parts_are_all_python_tests() -> None:
    ops, others = (shlex.split(recipe(t)) for t in ("test-ops", "test-python"))
    folders = [word for word in ops if word.startswith("tests/")]
    assert folders
    assert all((ROOT / folder).is_dir() for folder in folders)
    assert [w for w in others if "tests/" in w] == [f"--ignore={folder}" for folder in folders]


def test_the_source_distribution_has_what_the_readme_links_to() -> None:
    manifest = (ROOT / "MANIFEST.in").read_text().split()
    links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / "README.md").read_text())
    assert links
    for link in links:
        assert Path(link).parts[0] in {"gankit", *manifest}, link
        assert (ROOT / link).exists()


@pytest.mark.parametrize(
    ("file", "line", "refused"),
    [
        ("gankit/losses/chain.py", "from gankit.training.step import Step", True),
        ("gankit/ops/registry.py", "from gankit import nn", True),
        ("gankit/gans/dcgan.py", "import gankit.runs.build", True),
        ("gankit/runs/build.py", "def f():\n    from gankit.cli import main", True),
        ("gankit/attic/old.py", "", True),
        ("gankit/training/step.py", "if TYPE_CHECKING:\n    from gankit.runs import Run", False),
        ("gankit/runs/build.py", "from gankit.gans import recipes", False),
        ("tests/test_loaded.py", "from gankit.cli import main", False),
    ],
)
def test_an_import_upwards_is_refused(
    file: str, line: str, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = tool(monkeypatch, "check_house_rules")
    assert bool(rules.imports_upwards(Path(file), line)) is refused


@pytest.mark.parametrize(
    ("file", "line", "refused"),
    [
        ("gankit/cli/evaluate.py", "print(json.dumps(result))", True),
        ("benchmarks/report.py", "json.dump(record, file)", True),
        ("gankit/runs/evaluating.py", "found = json.loads(text)", False),
        ("gankit/json_text.py", "return json.dumps(plain(value), allow_nan=False)", False),
        ("tests/test_json_text.py", "json.dumps(found)", False),
    ],
)
def test_json_is_written_in_one_place(
    file: str, line: str, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = tool(monkeypatch, "check_house_rules")
    assert bool(rules.json_of_its_own(Path(file), line)) is refused
