"""The part of the doctor's report that concerns the build."""

from __future__ import annotations

import importlib

import pytest

from gankit import doctor, ops
from gankit.ops import backends


@pytest.mark.skipif(not backends.native_cpu().available, reason=backends.native_cpu().reason)
def test_compiler_and_instruction_set_are_told_without_a_build_report(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backends, "build_report", dict)
    section = doctor.collect()["build"]
    assert section["build"].startswith("no build report")
    assert "C++" in section["compiled by"]
    assert section["instruction set in use"]


def test_every_op_is_listed() -> None:
    listed = doctor.collect()["ops"]
    for op in set(ops.__all__) - {"backend", "draw_seed"}:
        assert {op, f"{op} on cpu"} & listed.keys(), op


def test_a_build_of_nothing_is_against_no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    left_out = {"built": False, "reason": "GANKIT_BUILD=reference"}
    report = {"torch": None, "cpu": left_out, "cuda": left_out}
    monkeypatch.setattr(backends, "build_report", lambda: report)
    assert doctor.collect()["build"]["built against"] == "no torch: nothing is compiled"


def test_nothing_built_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = backends.Availability(False, "not built")
    monkeypatch.setattr(backends, "build_report", dict)
    monkeypatch.setattr(backends, "native_cpu", lambda: missing)
    assert list(doctor.collect()["build"]) == ["build"]


def test_the_library_of_products_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    linear = importlib.import_module("gankit.ops.linear")
    for why, told in (("", "our kernel or oneDNN"), ("the processor is old", "F.linear: the processor is old")):
        monkeypatch.setattr(linear, "why_not_onednn", lambda why=why: why)
        assert doctor.collect()["ops"]["linear on cpu"].startswith(told)
        with backends.backend("reference"):
            assert "reference" in doctor.collect()["ops"]["linear on cpu"]
