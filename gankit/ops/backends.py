"""Which implementation serves an op on a device, and why.

Three backends: ``native`` (the compiled C++ and CUDA kernels), ``triton`` and ``reference`` (pure
PyTorch, the definition of every op). ``auto`` takes native where it was built, else Triton on a
GPU, else the reference. A backend that is asked for by name and missing raises: it is never
replaced silently.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from .namespace import COMPILED, NAMESPACE

NAMES = ("auto", "native", "triton", "reference")
MINIMUM_TORCH = (2, 11)

_PACKAGE = Path(__file__).resolve().parent.parent


class Availability(NamedTuple):
    """Whether a backend can be used, and the reason in words."""

    available: bool
    reason: str


_A_COPY = Availability(False, "this copy of the operations has no compiled kernels")


def _check_torch() -> None:
    found = tuple(int(part) for part in re.findall(r"\d+", torch.__version__)[:2])
    if found < MINIMUM_TORCH:
        raise ImportError(
            f"gankit needs torch 2.11 or newer, found torch {torch.__version__}; "
            "pip install 'torch>=2.11'"
        )


_check_torch()


def build_report() -> dict[str, dict[str, object]]:
    """What the build left beside the package (``_build_report.json``); empty where it never ran."""
    try:
        report: dict[str, dict[str, object]] = json.loads(
            (_PACKAGE / "_build_report.json").read_text(encoding="utf-8")
        )
    except FileNotFoundError:
        return {}
    return report


def _not_built(part: str) -> str:
    section = build_report().get(part)
    if section is None:
        return "the extension was not built (pip install . builds it)"
    return str(section.get("reason") or "the build left it out")


@functools.cache
def native_cpu() -> Availability:
    """Loads the CPU kernels on the first call."""
    if NAMESPACE != COMPILED:
        return _A_COPY
    if importlib.util.find_spec("gankit._C") is None:
        return Availability(False, _not_built("cpu"))
    try:
        import gankit._C  # noqa: F401  (loading it registers the kernels)
    except ImportError as error:
        return Availability(False, f"gankit._C does not load: {error}")
    return Availability(True, "compiled C++ kernels")


@functools.cache
def native_cuda() -> Availability:
    """Loads the CUDA kernels on the first call; a CUDA build of torch is enough, without a GPU."""
    if NAMESPACE != COMPILED:
        return _A_COPY
    if torch.version.cuda is None:
        return Availability(False, f"torch {torch.__version__} is built without CUDA")
    library = _PACKAGE / "_C_cuda.so"
    if not library.exists():
        return Availability(False, _not_built("cuda"))
    try:
        torch.ops.load_library(str(library))
    except OSError as error:
        return Availability(False, f"{library.name} does not load: {error}")
    return Availability(True, "compiled CUDA kernels")


def interpreting() -> bool:
    """Whether Triton kernels run in its interpreter (``TRITON_INTERPRET=1``), on CPU tensors."""
    return os.environ.get("TRITON_INTERPRET") == "1"


@functools.cache
def triton() -> Availability:
    """Whether Triton kernels can run here."""
    if importlib.util.find_spec("triton") is None:
        return Availability(False, "the package triton is not installed")
    if interpreting():
        return Availability(True, "Triton's interpreter (TRITON_INTERPRET=1)")
    if not torch.cuda.is_available():
        return Availability(False, "Triton needs a GPU, and torch sees none")
    return Availability(True, "Triton kernels")


def availability(backend: str, device_type: str) -> Availability:
    """Whether ``backend`` ("native", "triton" or "reference") serves tensors on ``device_type``."""
    if backend == "reference":
        return Availability(True, "pure PyTorch")
    if backend == "native":
        if device_type == "cpu":
            return native_cpu()
        if device_type == "cuda":
            return native_cuda()
        return Availability(False, f"there are no compiled kernels for device type {device_type!r}")
    found = triton()
    served = "cpu" if interpreting() else "cuda"
    if found.available and device_type != served:
        return Availability(False, f"Triton serves {served} tensors here, not {device_type}")
    return found


def choose(device_type: str) -> tuple[str, str]:
    """The backend in force for ``device_type`` and the reason; raises if a named one is missing."""
    if _requested != "auto":
        found = availability(_requested, device_type)
        if not found.available:
            raise RuntimeError(
                f"backend {_requested!r} was asked for, but cannot serve {device_type} tensors: "
                f"{found.reason}"
            )
        return _requested, found.reason
    native = availability("native", device_type)
    if native.available:
        return "native", native.reason
    if device_type == "cuda":
        found = availability("triton", device_type)
        if found.available:
            return "triton", f"{found.reason}; native: {native.reason}"
        return "reference", f"pure PyTorch; native: {native.reason}; triton: {found.reason}"
    return "reference", f"pure PyTorch; native: {native.reason}"


def servable(device_type: str) -> bool:
    """Whether :func:`choose` finds a backend for ``device_type`` under the present request."""
    return _requested == "auto" or availability(_requested, device_type).available


def requested() -> str:
    """The name in force: ``auto`` or the backend asked for."""
    return _requested


def describe() -> list[dict[str, str]]:
    """For every op and for CPU and CUDA tensors: the backend in force and why."""
    from . import __all__ as public  # here, because the ops import this module

    ops = [name for name in public if Path(__file__).with_name(name).joinpath("spec.py").exists()]
    rows = []
    for op in ops:
        for device_type in ("cpu", "cuda"):
            try:
                chosen, reason = choose(device_type)
            except RuntimeError as error:
                chosen, reason = _requested, str(error)
            rows.append({"op": op, "device": device_type, "backend": chosen, "reason": reason})
    return rows


# Called after every change of the request; the registry makes its choices here.
on_change: list[Callable[[], None]] = []


def _request(name: str) -> None:
    global _requested
    if name not in NAMES:
        raise ValueError(f"backend: got {name!r}, expected one of {', '.join(NAMES)}")
    if name in ("native", "triton"):
        found = [availability(name, device_type) for device_type in ("cpu", "cuda")]
        if not any(a.available for a in found):
            raise RuntimeError(f"backend {name!r} was asked for, but is missing: {found[0].reason}")
    _requested = name
    for callback in on_change:
        callback()


@contextlib.contextmanager
def backend(name: str) -> Iterator[None]:
    """Run the body with one backend: ``with gankit.backend("triton"): ...``.

    The choice holds for the whole process, all threads of it, until the body ends.

    Args:
        name: ``"auto"``, ``"native"``, ``"triton"`` or ``"reference"``. The environment variable
            ``GANKIT_BACKEND`` sets the initial choice, read at import.

    Raises:
        ValueError: ``name`` is not one of these.
        RuntimeError: the backend is missing on this machine; the message says why.
    """
    previous = _requested
    _request(name)
    try:
        yield
    finally:
        _request(previous)


_requested = "auto"
try:
    _request(os.environ.get("GANKIT_BACKEND", "auto"))
except (RuntimeError, ValueError) as problem:
    raise ImportError(f"GANKIT_BACKEND: {problem}") from problem
