"""The raw ops of the dispatcher refuse what would reach memory that is not theirs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from op_specs import SPECS

from gankit.ops import backends

FUZZ = Path(__file__).with_name("raw_call_fuzz.py")


@pytest.mark.skipif(not backends.native_cpu().available, reason=backends.native_cpu().reason)
def test_one_wrong_argument_is_named_or_harmless() -> None:
    """Every op, every argument: see raw_call_fuzz.py. A crash shows as the exit status."""
    paths = os.pathsep.join(filter(None, [*sys.path, os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, str(FUZZ), *sorted(SPECS)],
        env={**os.environ, "PYTHONPATH": paths, "GANKIT_BACKEND": "auto"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0, (lines[-1:], done.stderr[-2000:])
    assert lines[-1] == "all calls made"
    faults = [line for line in lines if line.startswith("fault: ")]
    assert not faults, "\n".join(faults[:20])
    assert len(lines) > 2000
