"""Which programs are used: the order of the search, and why one is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gankit_build import toolchain
from gankit_build.environment import Torch

NVCC_12 = "Cuda compilation tools, release 12.8, V12.8.93"
NVCC_13 = "Cuda compilation tools, release 13.0, V13.0.88"


@pytest.fixture
def torch_13(tmp_path: Path) -> Torch:
    return Torch(tmp_path / "site" / "torch", "2.15.0", "13.2")


MakeProgram = Callable[..., Path]


@pytest.fixture
def nvccs(make_program: MakeProgram) -> dict[str, Path]:
    return {
        "home": make_program("cuda/bin/nvcc", NVCC_13),
        "path": make_program("bin/nvcc", NVCC_13),
        "pip": make_program("site/nvidia/cu13/bin/nvcc", NVCC_13),
    }


def environ(nvccs: dict[str, Path], *, home: bool = True, path: bool = True) -> dict[str, str]:
    found = {"PATH": f"{nvccs['path'].parent if path else '/nowhere'}:/usr/bin:/bin"}
    if home:
        found["CUDA_HOME"] = str(nvccs["home"].parent.parent)
    return found


def test_order_is_cuda_home_then_path_then_pip(torch_13: Torch, nvccs: dict[str, Path]) -> None:
    found = toolchain.nvcc_candidates(torch_13, environ(nvccs))
    assert found[:3] == [nvccs["home"], nvccs["path"], nvccs["pip"]]
    chosen, reason = toolchain.find_nvcc(torch_13, environ(nvccs))
    assert chosen is not None
    assert (chosen.path, chosen.version, reason) == (nvccs["home"], (13, 0), "")
    chosen, _ = toolchain.find_nvcc(torch_13, environ(nvccs, home=False))
    assert chosen is not None
    assert chosen.path == nvccs["path"]
    chosen, _ = toolchain.find_nvcc(torch_13, environ(nvccs, home=False, path=False))
    assert chosen is not None
    assert chosen.path == nvccs["pip"]


def test_another_major_is_passed_over(
    torch_13: Torch, nvccs: dict[str, Path], make_program: MakeProgram
) -> None:
    make_program("cuda/bin/nvcc", NVCC_12)
    chosen, _ = toolchain.find_nvcc(torch_13, environ(nvccs))
    assert chosen is not None
    assert chosen.path == nvccs["path"]


def test_only_another_major_is_a_reason(
    tmp_path: Path, torch_13: Torch, make_program: MakeProgram
) -> None:
    nvcc = make_program("cuda/bin/nvcc", NVCC_12)
    chosen, reason = toolchain.find_nvcc(
        torch_13, {"CUDA_HOME": str(tmp_path / "cuda"), "PATH": "/usr/bin:/bin"}
    )
    assert chosen is None
    assert f"{nvcc} is CUDA 12.8 while torch is built for CUDA 13.2" in reason


def test_a_torch_without_cuda_takes_any_nvcc(tmp_path: Path, make_program: MakeProgram) -> None:
    make_program("cuda/bin/nvcc", NVCC_12)
    torch = Torch(tmp_path / "site" / "torch", "2.13.0+cpu", None)
    chosen, _ = toolchain.find_nvcc(torch, {"CUDA_HOME": str(tmp_path / "cuda"), "PATH": "/bin"})
    assert chosen is not None
    assert chosen.version == (12, 8)


def test_an_nvcc_that_does_not_run_is_a_reason(
    tmp_path: Path, torch_13: Torch, make_program: MakeProgram
) -> None:
    nvcc = make_program("cuda/bin/nvcc", "no version here")
    chosen, reason = toolchain.find_nvcc(
        torch_13, {"CUDA_HOME": str(tmp_path / "cuda"), "PATH": "/bin"}
    )
    assert chosen is None
    assert f"{nvcc} does not run" in reason


def test_compiler_search(make_program: MakeProgram) -> None:
    gxx = make_program("tools/g++", "")
    folder = str(gxx.parent)
    assert toolchain.find_compiler({"PATH": folder}) == (str(gxx), "")
    assert toolchain.find_compiler({"PATH": "/nowhere"}) == (None, "no C++ compiler was found")
    clang = make_program("tools/clang++-18", "")
    assert toolchain.find_compiler({"PATH": folder, "CXX": "clang++-18 -v"})[0] == str(clang)
    missing, reason = toolchain.find_compiler({"PATH": folder, "CXX": "icpx"})
    assert missing is None
    assert "CXX is 'icpx'" in reason


def test_an_old_cmake_is_passed_over(
    make_program: MakeProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = make_program("old/cmake", "cmake version 3.22.1")
    new = make_program("new/cmake", "cmake version 3.25.0")
    monkeypatch.setattr(toolchain, "_find_program", lambda *_arguments: [str(old), str(new)])
    assert toolchain.find_cmake({}) == str(new)
    monkeypatch.setattr(toolchain, "_find_program", lambda *_arguments: [str(old)])
    assert toolchain.find_cmake({}) is None
