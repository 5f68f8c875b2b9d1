"""Compiles csrc/ against the headers of the oldest torch that gankit supports.

The stable ABI's version guard does not cover every inline function of the headers, so code that
compiles with the newest torch may use what an older one lacks. The compiler checks the syntax and
instantiates the templates; machine code would tell no more. CUDA kernels include no header of
torch, so only what launches them is compiled.

Usage: python tools/check_headers.py CACHE_FOLDER
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "build_backend"))

from gankit_build import cmake
from gankit_build.environment import BuildError
from gankit_build.plan import CPU_JOB_BYTES, Plan, build_mode, job_count, make_plan

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


def syntax_commands(part: str, plan: Plan, folder: Path) -> list[list[str]]:
    """The build's own compiler calls for the part's C++ files, which check the syntax alone."""
    options = cmake.part_options(part, plan, "0") | {"CMAKE_EXPORT_COMPILE_COMMANDS": "ON"}
    command = [str(plan.cmake), "-S", str(ROOT), "-B", str(folder), "-G", "Ninja"]
    command += [f"-D{name}={value}" for name, value in options.items()]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode != 0:
        raise cmake.CompileError("the configure step", done.stdout)
    entries = json.loads((folder / "compile_commands.json").read_text())
    return [
        [*shlex.split(entry["command"]), "-fsyntax-only"]
        for entry in entries
        if Path(entry["file"]).suffix == ".cpp"
        and Path(entry["file"]).is_relative_to(ROOT / "csrc")
    ]


def compile_part(part: str, plan: Plan) -> int:
    """Checks one part and returns how many files it has; raises CompileError with all output."""
    with tempfile.TemporaryDirectory() as folder:
        commands = syntax_commands(part, plan, Path(folder))

        def compiled(command: list[str]) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                command,
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                check=False,
            )

        with ThreadPoolExecutor(job_count(os.environ, CPU_JOB_BYTES)) as jobs:
            done = list(jobs.map(compiled, commands))
    output = "".join(each.stdout for each in done if each.returncode != 0)
    if output:
        raise cmake.CompileError("compiling", output)
    return len(done)


def main() -> int:
    """Compiles both parts; returns 1 with the compiler's words on failure."""
    headers = torch_headers(Path(sys.argv[1]).resolve())
    environ = dict(os.environ, GANKIT_TORCH_DIR=str(headers))
    if build_mode(environ) != "cuda":  # whatever the mode, all parts that can be built are checked
        environ.pop("GANKIT_BUILD", None)
    try:
        plan = make_plan(environ)
    except BuildError as error:
        print(f"check: torch {TORCH} headers: FAILED: {error}")
        return 1
    compiled = []
    for part in (plan.cpu, plan.cuda):
        if not part.build:
            print(f"check: torch {TORCH} headers: {part.name} skipped: {part.reason}")
            if part.name == "cpu":
                return 1
            continue
        try:
            files = compile_part(part.name, plan)
        except cmake.CompileError as error:
            print(error.output, file=sys.stderr)
            print(f"check: torch {TORCH} headers: {part.name} FAILED: {error}")
            return 1
        compiled.append(f"{part.name} ({files} files)")
    print(f"check: torch {TORCH} headers: {' and '.join(compiled)} compile")
    return 0


if __name__ == "__main__":
    sys.exit(main())
