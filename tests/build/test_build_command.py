"""The build command: the report, the one line, errors, and stale files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from setuptools.errors import CompileError as SetupError

from gankit_build import cmake, command
from gankit_build.environment import Torch
from gankit_build.plan import Part, Plan
from gankit_build.toolchain import Nvcc

ROOT = Path(__file__).resolve().parents[2]


def plan(mode: str = "auto", *, cuda_reason: str = "") -> Plan:
    required = mode != "auto"
    return Plan(
        mode,
        Torch(Path("torch"), "2.15.0", "13.2"),
        Part("cpu", True, "", required),
        Part("cuda", not cuda_reason, cuda_reason, required),
        "cmake",
        "ninja",
        Nvcc(Path("nvcc"), (13, 0)),
        ("80-real",),
    )


def fake_build(part: str, _plan: Plan, target: Path, _version: str) -> str:
    (target / ("_C.x.so" if part == "cpu" else "_C_cuda.so")).write_text("")
    return ""


def fail_cuda(part: str, _plan: Plan, target: Path, _version: str) -> str:
    if part == "cuda":
        raise cmake.CompileError("compiling", "ninja: FAILED\nkernel.cu(3): error: no such type\n")
    return fake_build(part, _plan, target, _version)


def test_report_of_a_full_build(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cmake, "build_part", fake_build)
    files = command.build_native(plan(), tmp_path, "1.2")
    assert {file.name for file in files} == {"_C.x.so", "_C_cuda.so", "_build_report.json"}
    report = json.loads((tmp_path / "_build_report.json").read_text())
    assert report["gankit"] == "1.2"
    assert report["torch"] == "2.15.0"
    assert report["cpu"] == {"built": True, "reason": ""}
    assert report["cuda"] == {
        "built": True,
        "reason": "",
        "archs": ["80-real"],
        "nvcc": "13.0",
    }
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_a_part_that_does_not_compile_is_left_out_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cmake, "build_part", fail_cuda)
    command.build_native(plan(), tmp_path, "1.2")
    report = json.loads((tmp_path / "_build_report.json").read_text())
    assert report["cpu"]["built"] is True
    assert report["cuda"]["built"] is False
    assert report["cuda"]["archs"] == []
    assert "kernel.cu(3): error: no such type" in report["cuda"]["reason"]
    errors = capfd.readouterr().err
    assert "ninja: FAILED" in errors
    assert errors.count("gankit: built without the CUDA part") == 1


def test_a_part_asked_for_that_does_not_compile_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cmake, "build_part", fail_cuda)
    with pytest.raises(SetupError, match="GANKIT_BUILD=cuda asks for the CUDA part, but compiling"):
        command.build_native(plan("cuda"), tmp_path, "1.2")
    assert "kernel.cu(3): error" in capfd.readouterr().err


def test_files_of_an_earlier_build_go(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cmake, "build_part", fake_build)
    command.build_native(plan(), tmp_path, "1.2")
    files = command.build_native(plan(cuda_reason="no nvcc"), tmp_path, "1.2")
    assert {file.name for file in files} == {"_C.x.so", "_build_report.json"}
    assert not (tmp_path / "_C_cuda.so").exists()


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("a\nx.cpp:3:1: error: bad\nnote: more\n", "x.cpp:3:1: error: bad"),
        ("x.cu(7): error: bad\n", "x.cu(7): error: bad"),
        ("-- ok\nCMake Error at a:1 (f):\n  No compiler\n", "No compiler"),
        (
            "CMake Error at a:1 (f):\n  Compiling failed\n  ptxas t.ptx; fatal : Unsupported 9.5\n",
            "ptxas t.ptx; fatal : Unsupported 9.5",
        ),
        ("x.cu:1:2: fatal error: y.h: No such file\n", "x.cu:1:2: fatal error: y.h: No such file"),
        (
            "/usr/bin/ld: warning: x.o: missing section\n/usr/bin/ld: cannot open linker script file "
            "a: No such file or directory\ncollect2: error: ld returned 1 exit status\n",
            "/usr/bin/ld: cannot open linker script file a: No such file or directory",
        ),
        (
            "/usr/bin/ld: x.o: in function `f':\nx.cpp:(.text+0x5): undefined reference to `g'\n"
            "/usr/bin/ld: x.o: relocation R_X against `h'\ncollect2: error: ld returned 1 exit\n",
            "x.cpp:(.text+0x5): undefined reference to `g'",
        ),
        ("ld.lld: error: no -lx\nclang: error: linker command failed\n", "ld.lld: error: no -lx"),
        ("collect2: error: ld returned 1 exit\n", "collect2: error: ld returned 1 exit"),
        ("just this\n", "just this"),
        ("", "no output"),
    ],
)
def test_the_line_that_says_most(output: str, expected: str) -> None:
    assert cmake.first_error(output) == expected


def test_without_a_compiler_the_build_succeeds_with_one_line(tmp_path: Path) -> None:
    environ = {key: value for key, value in os.environ.items() if not key.startswith("GANKIT_")}
    environ |= {"PATH": str(tmp_path), "CXX": "", "CUDA_HOME": ""}
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--build-lib", str(tmp_path)],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("gankit:")]
    assert "the C++ and CUDA parts (no C++ compiler was found)" in line
    report = json.loads((tmp_path / "gankit" / "_build_report.json").read_text())
    assert report["cpu"] == {"built": False, "reason": "no C++ compiler was found"}
    assert not list((tmp_path / "gankit").glob("*.so"))


def test_insisting_without_a_compiler_fails_in_one_line(tmp_path: Path) -> None:
    environ = dict(os.environ, PATH=str(tmp_path), CXX="", GANKIT_BUILD="cpu")
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--build-lib", str(tmp_path)],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1] == (
        "error: GANKIT_BUILD=cpu asks for the C++ part, but no C++ compiler was found."
    )
