"""The PEP 517 hooks: what they ask for, and how they refuse."""

from __future__ import annotations

from pathlib import Path

import pytest

from gankit_build import backend
from gankit_build.environment import BuildError, Torch


def machine(
    monkeypatch: pytest.MonkeyPatch,
    *,
    torch: Torch | None = None,
    compiler: str | None = "c++",
    cmake: str | None = "cmake",
    ninja: str | None = "ninja",
) -> None:
    monkeypatch.setattr(backend, "find_torch", lambda _environ: torch)
    monkeypatch.setattr(backend, "find_compiler", lambda _environ: (compiler, ""))
    monkeypatch.setattr(backend, "find_cmake", lambda _environ: cmake)
    monkeypatch.setattr(backend, "find_ninja", lambda _environ: ninja)


TORCH = Torch(Path("torch"), "2.15.0", None)


def test_an_outer_torch_is_not_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, torch=TORCH)
    assert backend.native_requirements({}) == []


def test_no_outer_torch_asks_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch)
    assert backend.native_requirements({}) == ["torch>=2.11"]


def test_missing_programs_come_from_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, torch=TORCH, cmake=None, ninja=None)
    assert backend.native_requirements({}) == ["cmake>=3.25", "ninja"]


def test_nothing_is_downloaded_for_a_build_that_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, compiler=None, cmake=None)
    assert backend.native_requirements({}) == []
    assert backend.native_requirements({"GANKIT_BUILD": "reference"}) == []


def test_the_hooks_add_the_requirements(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch)
    monkeypatch.delenv("GANKIT_BUILD", raising=False)
    monkeypatch.setattr(backend.build_meta, "get_requires_for_build_wheel", lambda _s: ["a"])
    monkeypatch.setattr(backend.build_meta, "get_requires_for_build_editable", lambda _s: ["b"])
    assert backend.get_requires_for_build_wheel() == ["a", "torch>=2.11"]
    assert backend.get_requires_for_build_editable() == ["b", "torch>=2.11"]


def test_a_refusal_is_one_line_and_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_environ: object) -> None:
        raise BuildError("gankit needs torch >= 2.11.")

    machine(monkeypatch)
    monkeypatch.setattr(backend, "find_torch", refuse)
    monkeypatch.delenv("GANKIT_BUILD", raising=False)
    monkeypatch.setattr(backend.build_meta, "get_requires_for_build_wheel", lambda _s: [])
    with pytest.raises(SystemExit) as caught:
        backend.get_requires_for_build_wheel()
    assert caught.value.code == "gankit: gankit needs torch >= 2.11."
    assert caught.value.__suppress_context__


def test_every_hook_is_there() -> None:
    for hook in ("build_wheel", "build_sdist", "build_editable", "get_requires_for_build_sdist"):
        assert callable(getattr(backend, hook))
