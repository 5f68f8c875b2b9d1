"""A backend that is asked for by name is used or refused, never replaced."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from op_specs import FOLDERS, SPECS

import gankit
from gankit.ops import backends, leaky_relu_dropout
from gankit.ops.leaky_relu_dropout import spec


def test_named_backend_is_used() -> None:
    for name in ("native", "reference"):
        if not backends.availability(name, "cpu").available:
            pytest.skip(backends.availability(name, "cpu").reason)
        with gankit.backend(name):
            assert backends.choose("cpu")[0] == name
            assert spec.FORWARD.choose("cpu") is spec.FORWARD.implementation(name)
    assert backends.requested() == "auto"


def test_missing_backend_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = backends.Availability(False, "there is no compiler")
    monkeypatch.setattr(backends, "native_cpu", lambda: missing)
    monkeypatch.setattr(backends, "native_cuda", lambda: missing)
    monkeypatch.setattr(backends, "triton", lambda: missing)
    for name in ("native", "triton"):
        words = f"{name}.*missing: there is no compiler"
        with pytest.raises(RuntimeError, match=words), gankit.backend(name):
            pass
    assert backends.choose("cpu") == ("reference", "pure PyTorch; native: there is no compiler")
    assert backends.choose("cuda")[0] == "reference"


def test_backend_missing_on_one_device_is_refused_there(monkeypatch: pytest.MonkeyPatch) -> None:
    yes, no = backends.Availability(True, "yes"), backends.Availability(False, "no GPU")
    monkeypatch.setattr(backends, "native_cpu", lambda: no)
    monkeypatch.setattr(backends, "native_cuda", lambda: yes)
    words = r"'native' was asked for, but cannot serve cpu .*no GPU"
    with gankit.backend("native"), pytest.raises(RuntimeError, match=words):
        leaky_relu_dropout(torch.ones(4))
    assert bool((leaky_relu_dropout(torch.ones(4)) >= 0).all())


def test_auto_prefers_native_then_triton_then_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    yes, no = backends.Availability(True, "yes"), backends.Availability(False, "no")
    monkeypatch.setattr(backends, "interpreting", lambda: False)
    for native, triton, wanted in (
        (yes, yes, "native"),
        (no, yes, "triton"),
        (no, no, "reference"),
    ):
        monkeypatch.setattr(backends, "native_cuda", lambda native=native: native)
        monkeypatch.setattr(backends, "triton", lambda triton=triton: triton)
        assert backends.choose("cuda")[0] == wanted
    assert backends.choose("mps")[0] == "reference"


def test_unknown_name() -> None:
    words = "got 'cudnn', expected one of auto, native"
    with pytest.raises(ValueError, match=words), gankit.backend("cudnn"):
        pass


def test_previous_request_returns_after_an_error() -> None:
    with pytest.raises(KeyError), gankit.backend("reference"):
        raise KeyError
    assert backends.requested() == "auto"


@pytest.mark.parametrize(
    ("value", "code", "words"),
    [("reference", 0, "reference"), ("nonsense", 1, "got 'nonsense', expected one of auto")],
)
def test_environment_variable(value: str, code: int, words: str) -> None:
    program = "from gankit.ops import backends; print(backends.choose('cpu')[0])"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "GANKIT_BACKEND": value},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code
    assert words in done.stdout + done.stderr


def test_describe_names_every_op_and_device() -> None:
    rows = backends.describe()
    wanted = {(op, device) for op in FOLDERS for device in ("cpu", "cuda")}
    assert {(row["op"], row["device"]) for row in rows} == wanted
    assert all(row["backend"] in backends.NAMES and row["reason"] for row in rows)


def test_old_torch_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", "2.10.1+cu128")
    with pytest.raises(ImportError, match=r"needs torch 2\.11 or newer, found torch 2\.10\.1"):
        backends._check_torch()
    for version in ("2.11.0", "2.13.0+cpu", "2.15.0a0+git1", "3.0"):
        monkeypatch.setattr(torch, "__version__", version)
        backends._check_torch()


@pytest.mark.skipif(not backends.native_cpu().available, reason=backends.native_cpu().reason)
def test_every_op_has_its_native_kernels() -> None:
    keys = ["CPU"] + (["CUDA"] if backends.native_cuda().available else [])
    for kernel in (k for s in SPECS.values() for k in s.kernels):
        names = [f"gankit::_{kernel.name}"] + ([f"gankit::{kernel.name}"] if kernel.public else [])
        for name in names:
            for key in keys:
                assert torch._C._dispatch_has_kernel_for_dispatch_key(name, key), (name, key)
