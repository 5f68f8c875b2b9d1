"""Every op has its four homes, its README and its place in the public names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from op_specs import FOLDERS, SPECS

import gankit.ops
from gankit.ops.registry import LIBRARY

PACKAGE = Path(gankit.ops.__file__).parent
CSRC = Path(__file__).resolve().parents[2] / "csrc"


def test_there_are_ops() -> None:
    assert "leaky_relu_dropout" in FOLDERS


@pytest.mark.parametrize("name", FOLDERS)
def test_python_home(name: str) -> None:
    for file in ("__init__.py", "spec.py", "reference.py", "triton.py", "README.md"):
        assert (PACKAGE / name / file).is_file(), f"gankit/ops/{name}/{file} is missing"


@pytest.mark.parametrize("name", FOLDERS)
def test_native_home(name: str) -> None:
    if not CSRC.is_dir():
        pytest.skip("csrc is not beside the tests (an installed package is under test)")
    for suffix in ("_math.h", "_cpu.cpp", "_cuda.cu", "_cuda.cpp"):
        assert (CSRC / name / f"{name}{suffix}").is_file(), f"csrc/{name}/{name}{suffix} is missing"


@pytest.mark.parametrize("name", FOLDERS)
def test_public_name(name: str) -> None:
    assert SPECS[name].name == name
    assert name in gankit.ops.__all__
    function = getattr(gankit.ops, name)
    for part in ("Args:", "Returns:", "Raises:"):
        assert part in function.__doc__, f"the docstring of {name} lacks {part!r}"


@pytest.mark.parametrize("name", FOLDERS)
def test_every_kernel_is_registered_twice(name: str) -> None:
    for kernel in SPECS[name].kernels:
        assert kernel.raw._schema.name == f"gankit::_{kernel.name}"
        if kernel.public is None:
            assert any(a.alias_info and a.alias_info.is_write for a in kernel.raw._schema.arguments)
        else:
            assert kernel.public._schema.name == f"gankit::{kernel.name}"
            assert str(kernel.public._schema).replace("::", "::_", 1) == str(kernel.raw._schema)


def test_no_op_without_a_spec() -> None:
    names = [kernel.name for spec in SPECS.values() for kernel in spec.kernels]
    known = {form for n in names for form in (n, f"_{n}", f"_{n}_triton")}
    defined = {
        schema.name.removeprefix("gankit::")
        for schema in torch._C._jit_get_all_schemas()
        if schema.name.startswith("gankit::")
    }
    of_linear = {"_linear_onednn", "_linear_packed"}  # one processor's ways to F.linear
    stray = defined - known - of_linear
    assert LIBRARY.ns == "gankit"
    assert not stray, f"ops without a spec: {sorted(stray)}"
