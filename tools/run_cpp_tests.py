"""Builds and runs csrc/tests under ASan and UBSan, under TSan, and with the flags that ship.

Usage: python tools/run_cpp_tests.py BUILD_FOLDER
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "build_backend"))

from gankit_build.toolchain import find_cmake, find_ninja

KINDS = {"asan-ubsan": "address;undefined", "tsan": "thread", "release": ""}


def run(command: list[str]) -> bool:
    """Runs quietly; prints everything when it fails."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode != 0:
        print(done.stdout)
    return done.returncode == 0


def main() -> int:
    """Runs every kind, also after a failure; returns 1 if one failed."""
    cmake, ninja = find_cmake(os.environ), find_ninja(os.environ)
    if cmake is None or ninja is None:
        raise SystemExit("The C++ tests need CMake 3.25 and Ninja: pip install cmake ninja")
    # CTest lies beside the real CMake; pip's cmake in bin/ is a script with a ctest script beside.
    ctest = str(Path(cmake).with_name("ctest"))
    failed = []
    for kind, sanitizers in KINDS.items():
        folder = str(Path(sys.argv[1]) / kind)
        options = ["-DGANKIT_BUILD_TESTS=ON", f"-DGANKIT_SANITIZE={sanitizers}"]
        options += [f"-DCMAKE_MAKE_PROGRAM={ninja}"]
        passed = (
            run([cmake, "-S", str(ROOT), "-B", folder, "-G", "Ninja", *options])
            and run([cmake, "--build", folder])
            and run([ctest, "--test-dir", folder, "--output-on-failure", "--no-tests=error"])
        )
        print(f"check: C++ tests, {kind}: {'pass' if passed else 'FAILED'}")
        failed += [] if passed else [kind]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
