"""The part of the doctor's report that concerns the build."""

from __future__ import annotations

import pytest

from gankit import doctor
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


def test_nothing_built_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = backends.Availability(False, "not built")
    monkeypatch.setattr(backends, "build_report", dict)
    monkeypatch.setattr(backends, "native_cpu", lambda: missing)
    assert list(doctor.collect()["build"]) == ["build"]
