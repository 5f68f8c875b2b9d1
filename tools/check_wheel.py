"""Builds the wheel with this environment's torch and runs tests of it under an older torch.

One build has to serve every torch from 2.11 on; here is the proof for one of them: every compiled
kernel in every dtype and layout, its derivatives, its dispatcher entries and their refusals. The
reference needs no compiled code, and how numbers round under that torch is test_under_settings.py's
to find. The tests run from a copy outside the source tree, so that the installed package is what
they import.

Usage: python tools/check_wheel.py CACHE_FOLDER [TORCH_VERSION]
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TEST_PACKAGES = ["numpy", "pytest>=8", "hypothesis>=6.100"]
TESTS = ("backends", "conformance", "next_to_torch", "raw_calls", "registry_complete")


def environment_variables() -> dict[str, str]:
    """Those of this process, without what leads to the source tree."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def run(*command: str | Path, cwd: Path | None = None) -> None:
    """Runs a command; raises CalledProcessError when it fails."""
    words = [str(part) for part in command]
    subprocess.run(words, cwd=cwd, env=environment_variables(), check=True)


def build_wheel(folder: Path) -> Path:
    """Builds the wheel of the source tree into `folder` with native parts, as pip does it."""
    if os.environ.get("GANKIT_BUILD") != "cuda":
        os.environ["GANKIT_BUILD"] = "cpu"  # no other mode promises what is tested here
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    run(*pip, "--wheel-dir", folder, ROOT)
    (wheel,) = folder.glob("gankit-*.whl")
    return wheel


def stray_exports(wheel: Path) -> list[str]:
    """What the wheel's libraries show to the loader besides the module's entry point."""
    stray = []
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if not name.endswith(".so"):
                continue
            command = ["nm", "--dynamic", "--defined-only", archive.extract(name, folder)]
            listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            symbols = [line.split()[-1] for line in listing.splitlines()]
            stray += [f"{name} exports {symbol}" for symbol in symbols if symbol != "PyInit__C"]
    return stray


def environment(cache: Path, version: str, packages: Sequence[str] = ()) -> Path:
    """The Python of a virtual environment with torch `version`, kept in `cache`.

    It has the packages of the op tests, and `packages`.
    """
    folder = cache / f"venv-torch-{version}{'-more' if packages else ''}"
    python = folder / "bin" / "python"
    wanted = [f"torch=={version}", *TEST_PACKAGES, *packages]
    complete = folder / "complete"
    if not complete.is_file() or complete.read_text().splitlines() != wanted:
        run(sys.executable, "-m", "venv", "--clear", folder)
        run(python, "-m", "pip", "install", "--quiet", *wanted)
        complete.write_text("\n".join(wanted))
    return python


def main() -> int:
    """Returns pytest's exit status under the older torch."""
    cache = Path(sys.argv[1]).resolve()
    version = sys.argv[2] if len(sys.argv) > 2 else "2.13.0"
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        outside = Path(temporary)
        wheel = build_wheel(outside / "wheel")
        if sys.platform == "linux":
            stray = stray_exports(wheel)
            if stray:
                print("\n".join(stray))
                print(f"check: wheel {wheel.name}: FAILED: {len(stray)} stray exports")
                return 1
        python = environment(cache, version)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--force-reinstall"]
        run(*pip, wheel)
        shutil.copytree(ROOT / "tests" / "ops", outside / "tests" / "ops")
        for name in ("tests/conftest.py", "tests/__init__.py", "pyproject.toml"):
            if (ROOT / name).is_file():
                shutil.copy(ROOT / name, outside / name)
        seen = "import torch, gankit._C as c; print(torch.__version__, c.__file__, c.build_info())"
        run(python, "-c", seen, cwd=outside)
        tests = [python, "-m", "pytest", *(f"tests/ops/test_{name}.py" for name in TESTS)]
        # In brackets is the backend, as in [native-cpu-linear-torch.float32-contiguous].
        tests += ["-q", "-p", "no:cacheprovider", "-m", "not slow and not cuda"]
        tests += ["-k", "not reference-cpu and not triton-cpu"]
        environ = environment_variables() | {"GANKIT_TEST_REQUIRE": "native-cpu"}
        words = [str(part) for part in tests]
        status = subprocess.run(words, cwd=outside, env=environ, check=False).returncode
    word = "pass" if status == 0 else f"FAILED with status {status}"
    print(f"check: wheel {wheel.name} under torch {version}: tests of the ops {word}")
    return status


if __name__ == "__main__":
    sys.exit(main())
