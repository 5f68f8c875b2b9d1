"""What is built, for which GPUs, with how many jobs, and the one line about the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from gankit_build import plan as planning
from gankit_build.environment import BuildError, Torch
from gankit_build.plan import cuda_archs, job_count, left_out_line, make_plan
from gankit_build.toolchain import Nvcc

GIB = 1 << 30


def machine(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    *,
    torch: Torch | None,
    compiler: str | None = "/usr/bin/c++",
    nvcc: Nvcc | None = None,
    cmake: str | None = "cmake",
    headers: bool = True,
) -> None:
    """Stands in for the machine that `make_plan` looks at."""
    if headers:
        (tmp_path / "Python.h").touch()
    monkeypatch.setattr(planning.sys, "platform", "linux")
    monkeypatch.setattr(planning, "find_torch", lambda _environ: torch)
    monkeypatch.setattr(
        planning,
        "find_compiler",
        lambda _environ: (compiler, "" if compiler else "no C++ compiler was found"),
    )
    monkeypatch.setattr(planning, "find_cmake", lambda _environ: cmake)
    monkeypatch.setattr(planning, "find_ninja", lambda _environ: "ninja")
    monkeypatch.setattr(
        planning, "find_nvcc", lambda _torch, _environ: (nvcc, "" if nvcc else "no nvcc anywhere")
    )
    monkeypatch.setattr(planning.sysconfig, "get_paths", lambda: {"include": str(tmp_path)})


@pytest.fixture
def torch_cuda(tmp_path: Path) -> Torch:
    return Torch(tmp_path, "2.15.0+cu132", "13.2")


@pytest.fixture
def torch_cpu(tmp_path: Path) -> Torch:
    return Torch(tmp_path, "2.13.0+cpu", None)


NVCC = Nvcc(Path("/usr/bin/nvcc"), (13, 0))


def test_everything_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, torch_cuda: Torch
) -> None:
    machine(monkeypatch, tmp_path, torch=torch_cuda, nvcc=NVCC)
    plan = make_plan({})
    assert plan.cpu.build
    assert plan.cuda.build
    assert plan.nvcc == NVCC
    assert not plan.cpu.required


def test_no_compiler_leaves_all_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, torch_cuda: Torch
) -> None:
    machine(monkeypatch, tmp_path, torch=torch_cuda, compiler=None, nvcc=NVCC)
    plan = make_plan({})
    assert not plan.native
    assert plan.cpu.reason == plan.cuda.reason == "no C++ compiler was found"


@pytest.mark.parametrize("mode", ["cpu", "cuda"])
def test_asking_without_a_compiler_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, torch_cuda: Torch, mode: str
) -> None:
    machine(monkeypatch, tmp_path, torch=torch_cuda, compiler=None, nvcc=NVCC)
    with pytest.raises(
        BuildError,
        match=rf"^GANKIT_BUILD={mode} asks for the C\+\+ part, but no C\+\+ compiler was found\.$",
    ):
        make_plan({"GANKIT_BUILD": mode})


def test_asking_for_cuda_without_nvcc_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, torch_cuda: Torch
) -> None:
    machine(monkeypatch, tmp_path, torch=torch_cuda)
    with pytest.raises(BuildError, match="asks for the CUDA part, but no nvcc anywhere"):
        make_plan({"GANKIT_BUILD": "cuda"})
    plan = make_plan({})
    assert plan.cpu.build
    assert (plan.cuda.build, plan.cuda.reason) == (False, "no nvcc anywhere")


def test_cpu_torch_gets_no_cuda_unless_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, torch_cpu: Torch
) -> None:
    machine(monkeypatch, tmp_path, torch=torch_cpu, nvcc=NVCC)
    plan = make_plan({})
    assert plan.cpu.build
    assert plan.cuda.reason == "torch 2.13.0+cpu is built without CUDA"
    assert make_plan({"GANKIT_BUILD": "cuda"}).cuda.build


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        ({"torch": None}, "no torch was found to build against"),
        ({"cmake": None}, "CMake 3.25 or later was not found"),
    ],
)
def test_other_missing_things_are_named(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    torch_cuda: Torch,
    missing: dict[str, None],
    reason: str,
) -> None:
    machine(monkeypatch, tmp_path, **{"torch": torch_cuda, "nvcc": NVCC, **missing})
    assert make_plan({}).cpu.reason == reason


def test_missing_python_headers_stop_the_cpu_part_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, torch_cuda: Torch
) -> None:
    machine(monkeypatch, tmp_path, torch=torch_cuda, nvcc=NVCC, headers=False)
    plan = make_plan({})
    assert "Python.h" in plan.cpu.reason
    assert plan.cuda.build


def test_reference_looks_at_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_arguments: object) -> None:
        raise AssertionError("the machine was looked at")

    for name in ("find_torch", "find_compiler", "find_nvcc", "find_cmake"):
        monkeypatch.setattr(planning, name, never)
    assert not make_plan({"GANKIT_BUILD": "reference"}).native


def test_an_unknown_mode_is_an_error() -> None:
    with pytest.raises(BuildError, match="GANKIT_BUILD is 'gpu'; allowed are auto, reference, cpu"):
        make_plan({"GANKIT_BUILD": "gpu"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, ("75-real", "80-real", "90-real", "90-virtual")),
        ("8.0", ("80-real",)),
        ("8.0;8.6 9.0a", ("80-real", "86-real", "90a-real")),
        ("8.0+PTX, 12.0", ("80-real", "80-virtual", "120-real")),
        ("Ampere", ("80-real", "86-real", "86-virtual")),
        ("hopper;9.0", ("90-real", "90-virtual")),
    ],
)
def test_archs(text: str | None, expected: tuple[str, ...]) -> None:
    assert cuda_archs({} if text is None else {"TORCH_CUDA_ARCH_LIST": text}) == expected


@pytest.mark.parametrize("text", ["80", "sm_80", "8.0;x", "9.0+ptx2"])
def test_wrong_archs_are_named(text: str) -> None:
    with pytest.raises(BuildError, match="TORCH_CUDA_ARCH_LIST has "):
        cuda_archs({"TORCH_CUDA_ARCH_LIST": text})


@pytest.mark.parametrize(
    ("environ", "cpus", "memory", "expected"),
    [
        ({}, 8, 64 * GIB, 8),
        ({}, 8, 5 * GIB, 2),
        ({}, 8, GIB // 2, 1),
        ({"MAX_JOBS": "3"}, 8, 64 * GIB, 3),
        ({"MAX_JOBS": "16"}, 8, 64 * GIB, 16),
        ({"MAX_JOBS": "16"}, 8, 5 * GIB, 2),
    ],
)
def test_jobs(environ: dict[str, str], cpus: int, memory: int, expected: int) -> None:
    assert job_count(environ, 2 * GIB, cpus=cpus, memory=memory) == expected


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5"])
def test_wrong_max_jobs_is_an_error(text: str) -> None:
    with pytest.raises(BuildError, match=f"MAX_JOBS is {text!r}; allowed are whole numbers"):
        job_count({"MAX_JOBS": text}, GIB)


@pytest.mark.parametrize(
    ("mode", "cpu", "cuda", "expected"),
    [
        ("auto", "", "", None),
        ("auto", "", "no nvcc", "without the CUDA part (no nvcc);"),
        ("auto", "no compiler", "no compiler", "without the C++ and CUDA parts (no compiler);"),
        ("auto", "broken", "no nvcc", "the C++ part (broken) and the CUDA part (no nvcc);"),
        ("auto", "no Python.h", "", "without the C++ part (no Python.h);"),
        ("cpu", "", "GANKIT_BUILD=cpu", None),
        ("reference", "as asked", "as asked", None),
    ],
)
def test_left_out_line(mode: str, cpu: str, cuda: str, expected: str | None) -> None:
    line = left_out_line(mode, cpu, cuda)
    if expected is None:
        assert line == ""
    else:
        assert expected in line
        assert "\n" not in line


def test_available_memory_is_plausible() -> None:
    found = planning.available_memory()
    assert found is None or 0 <= found < 1 << 50
