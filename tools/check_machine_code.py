"""Compiles every kernel for sm_80 and sm_90 and reads the machine code.

No kernel may spill registers or touch local memory. Streaming kernels are templates with a
parameter `bool kAligned`; where it is true they must load and store 16 bytes at a time (those with
`_sum` in their name only load). Kernels that gather have no such parameter.

Usage: python tools/check_machine_code.py
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "build_backend"))

from gankit_build.environment import find_torch
from gankit_build.plan import build_mode
from gankit_build.toolchain import find_nvcc

ARCHS = ("sm_80", "sm_90")


@dataclass
class Kernel:
    """What the machine code of one kernel holds."""

    name: str
    instructions: list[str] = field(default_factory=list)

    @property
    def aligned(self) -> bool:
        return "Lb1E" in self.name  # a template argument `true`, as the compiler writes it

    def has(self, pattern: str) -> bool:
        return any(re.search(pattern, line) for line in self.instructions)

    def complaints(self) -> list[str]:
        found = []
        if self.has(r"\b(LDL|STL)\b"):
            found.append("touches local memory")
        if self.aligned:
            if not self.has(r"\bLDG\.E\.(\w+\.)*128\b"):
                found.append("has no 16-byte global load")
            # A sum stores one number per block.
            if "_sum" not in self.name and not self.has(r"\bSTG\.E\.(\w+\.)*128\b"):
                found.append("has no 16-byte global store")
        return found


def find_cuobjdump(nvcc: Path) -> Path | None:
    """cuobjdump of the toolkit, of PATH or of the triton package."""
    places = [nvcc.resolve().parent / "cuobjdump"]
    on_path = shutil.which("cuobjdump")
    if on_path:
        places.append(Path(on_path))
    triton = importlib.util.find_spec("triton")
    if triton is not None and triton.origin:
        places.append(Path(triton.origin).parent / "backends" / "nvidia" / "bin" / "cuobjdump")
    return next((place for place in places if os.access(place, os.X_OK)), None)


def parse_sass(text: str) -> list[Kernel]:
    """The kernels of `cuobjdump -sass`."""
    kernels: list[Kernel] = []
    for line in text.splitlines():
        function = re.match(r"\s*Function : (\S+)", line)
        if function:
            kernels.append(Kernel(function[1]))
        elif kernels and re.match(r"\s*/\*[0-9a-f]{4,}\*/\s+\S", line):
            kernels[-1].instructions.append(line)
    return kernels


def spills(ptxas: str) -> list[str]:
    """The kernels that `ptxas -v` reports spills for."""
    found = []
    name = "?"
    for line in ptxas.splitlines():
        named = re.search(r"Function properties for (\S+)", line)
        if named:
            name = named[1]
        counts = re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", line)
        if counts and (int(counts[1]) or int(counts[2])):
            found.append(f"{name}: {counts[0]}")
    return found


def compile_kernels(source: Path, arch: str, nvcc: Path, cubin: Path) -> str:
    """Compiles one .cu file as the build does; returns what ptxas says."""
    command = [nvcc, "-cubin", f"-arch={arch}", "-std=c++17", "-O3", "-Xptxas", "-v"]
    command += ["-I", ROOT / "csrc", "-o", cubin, source]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(
            f"{done.stdout}{done.stderr}check: machine code: {source} does not compile"
        )
    return done.stdout + done.stderr


def disassemble(cuobjdump: Path, cubin: Path) -> str:
    """The machine code as text; cuobjdump looks for nvdisasm on PATH."""
    environ = dict(os.environ, PATH=f"{cuobjdump.parent}{os.pathsep}{os.environ['PATH']}")
    command = [str(cuobjdump), "-sass", str(cubin)]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environ).stdout


def skipped(files: int, reason: str) -> int:
    """Says that nothing was checked; an error where GANKIT_BUILD insists on the CUDA part."""
    insisted = build_mode(os.environ) == "cuda"
    word = "FAILED, GANKIT_BUILD=cuda but SKIPPED" if insisted else "SKIPPED"
    print(f"check: machine code: {word} {files} files: {reason}")
    return 1 if insisted else 0


def main() -> int:
    """Returns 1 when a kernel is not as it should be or was skipped with GANKIT_BUILD=cuda."""
    sources = sorted(ROOT.glob("csrc/*/*_cuda.cu"))
    torch = find_torch()
    assert torch is not None, "this check runs in an environment with torch"
    nvcc, reason = find_nvcc(torch, os.environ)
    if nvcc is None:
        return skipped(len(sources), reason)
    cuobjdump = find_cuobjdump(nvcc.path)
    if cuobjdump is None:
        return skipped(len(sources), "no cuobjdump (pip has triton's)")
    found: list[str] = []
    kernels = aligned = 0
    with tempfile.TemporaryDirectory() as folder:
        for source in sources:
            in_file = 0
            for arch in ARCHS:
                cubin = Path(folder) / f"{source.stem}-{arch}.cubin"
                said = compile_kernels(source, arch, nvcc.path, cubin)
                found += [f"{arch} {line}" for line in spills(said)]
                for kernel in parse_sass(disassemble(cuobjdump, cubin)):
                    kernels += 1
                    in_file += kernel.aligned
                    found += [f"{arch} {kernel.name}: {what}" for what in kernel.complaints()]
            aligned += in_file
            if in_file == 0 and "kAligned" in source.read_text():
                found.append(f"{source.relative_to(ROOT)} has no kernel with kAligned = true")
    print("\n".join(found))
    print(
        f"check: machine code: {kernels} kernels of {len(sources)} files for {', '.join(ARCHS)}, "
        f"{aligned} with 16-byte accesses, {len(found)} complaints"
    )
    return 1 if found or kernels == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
