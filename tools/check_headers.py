"""Compiles csrc/ against the headers of the oldest torch that gankit supports.

The stable ABI's version guard does not cover every inline function of the headers, so code that
compiles with the newest torch may use what an older one lacks.

Usage: python tools/check_headers.py CACHE_FOLDER
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "build_backend"))

from gankit_build import cmake
from gankit_build.environment import BuildError
from gankit_build.plan import build_mode, make_plan

TORCH = "2.11.0"


def torch_headers(cache: Path) -> Path:
    """The folder with include/ and version.py of torch 2.11, from its wheel; kept in `cache`."""
    folder = cache / f"torch-{TORCH}"
    if (folder / "complete").is_file():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory() as downloads:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        subprocess.run([*command, "--dest", downloads, f"torch=={TORCH}"], check=True)
        (wheel,) = Path(downloads).glob("torch-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if name.startswith("torch/include/") or name == "torch/version.py":
                    archive.extract(name, folder)
    for path in (folder / "torch").iterdir():
        path.rename(folder / path.name)
    (folder / "complete").touch()
    return folder


def main() -> int:
    """Builds both parts into a temporary folder; returns 1 with the compiler's words on failure."""
    headers = torch_headers(Path(sys.argv[1]).resolve())
    # One architecture: the headers are seen by the launchers alone.
    environ = dict(os.environ, GANKIT_TORCH_DIR=str(headers), TORCH_CUDA_ARCH_LIST="8.0")
    if build_mode(environ) != "cuda":  # whatever the mode, all parts that can be built are checked
        environ.pop("GANKIT_BUILD", None)
    try:
        plan = make_plan(environ)
    except BuildError as error:
        print(f"check: torch {TORCH} headers: FAILED: {error}")
        return 1
    built = []
    with tempfile.TemporaryDirectory() as target:
        for part in (plan.cpu, plan.cuda):
            if not part.build:
                print(f"check: torch {TORCH} headers: {part.name} skipped: {part.reason}")
                if part.name == "cpu":
                    return 1
                continue
            try:
                cmake.build_part(part.name, plan, Path(target), "0", environ)
            except cmake.CompileError as error:
                print(error.output, file=sys.stderr)
                print(f"check: torch {TORCH} headers: {part.name} FAILED: {error}")
                return 1
            built.append(part.name)
    print(f"check: torch {TORCH} headers: {' and '.join(built)} compile")
    return 0


if __name__ == "__main__":
    sys.exit(main())
