"""Which backends and devices the conformance tests run on.

``GANKIT_TEST_DEVICES`` (default: cpu, and cuda where torch sees a GPU) names the devices. Native
and reference kernels run on each; Triton on CUDA, or on the CPU under ``TRITON_INTERPRET=1``.

``GANKIT_TEST_REQUIRE``, a list such as ``native-cpu,native-cuda``, names backends that must not be
missing: where a test would be skipped for want of one, it fails.
"""

from __future__ import annotations

import os

import pytest
import torch

from gankit.ops import backends

BACKENDS = ("native", "triton", "reference")


def test_devices() -> list[str]:
    named = os.environ.get("GANKIT_TEST_DEVICES")
    if named:
        return named.split(",")
    return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "device" in metafunc.fixturenames:
        metafunc.parametrize("device", test_devices())
    if "target" in metafunc.fixturenames:
        targets = [(b, d) for d in test_devices() for b in BACKENDS]
        metafunc.parametrize("target", targets, ids=lambda t: f"{t[0]}-{t[1]}")


def required(name: str, device: str) -> bool:
    listed = set(filter(None, os.environ.get("GANKIT_TEST_REQUIRE", "").split(",")))
    unknown = listed - {f"{b}-{d}" for b in BACKENDS for d in ("cpu", "cuda")}
    assert not unknown, f"GANKIT_TEST_REQUIRE: got {sorted(unknown)}, expected e.g. native-cpu"
    return f"{name}-{device}" in listed


@pytest.fixture
def on_target(target: tuple[str, str]) -> tuple[str, torch.device]:
    """(backend, device) with that backend in force; skips, with the reason, where it is missing."""
    name, device = target
    found = backends.availability(name, device)
    if not found.available:
        if required(name, device):
            pytest.fail(f"GANKIT_TEST_REQUIRE: {name} on {device} is missing: {found.reason}")
        pytest.skip(f"{name} on {device}: {found.reason}")
    with backends.backend(name):
        yield name, torch.device(device)
