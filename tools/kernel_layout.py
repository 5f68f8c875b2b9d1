"""Lays the operations out for Hugging Face's `kernels`, which loads them without installing gankit.

The folder has a `build.toml`, the source in `torch-ext/`, and in `build/` a variant for the CPU and
one for CUDA. Both are the Python of gankit/ops, under a namespace of its own in `torch.ops`, so
that several versions, and gankit itself, may be loaded in one process: Triton kernels on a GPU,
the definition in plain PyTorch elsewhere. The compiled kernels are not among them, since their
namespace is compiled in, and the module that loads them is one of pybind11 and so of one Python.

Usage: python tools/kernel_layout.py OUT_FOLDER
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAME = "gankit-ops"
BACKENDS = ("cpu", "cuda")
# Increased where a function's arguments or results change: `get_kernel(..., version=N)`.
VERSION = 1
REPOSITORY = "https://github.com/gankit/gankit"


def sources() -> dict[str, str]:
    """The text of each module of gankit/ops, by its path there."""
    folder = ROOT / "gankit" / "ops"
    files = sorted(folder.rglob("*.py"))
    return {str(file.relative_to(folder)): file.read_text(encoding="utf-8") for file in files}


def renamed(texts: dict[str, str]) -> tuple[str, dict[str, str]]:
    """A namespace that these sources alone have, and the sources with it."""
    digest = hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:10]
    namespace = f"{NAME.replace('-', '_')}_{digest}"
    line = f'NAMESPACE = "{namespace}"'
    text, count = re.subn(r"^NAMESPACE = .*$", line, texts["namespace.py"], flags=re.MULTILINE)
    if count != 1:
        raise ValueError(f"gankit/ops/namespace.py: expected one line NAMESPACE = ..., got {count}")
    return namespace, {**texts, "namespace.py": text}


def build_toml() -> str:
    """What kernel-builder reads."""
    backends = ", ".join(f'"{backend}"' for backend in BACKENDS)
    return (
        f'[general]\nname = "{NAME}"\nversion = {VERSION}\nlicense = "MIT"\nedition = 5\n'
        f'upstream = "{REPOSITORY}"\nbackends = [{backends}]\n\n[torch-noarch]\n'
    )


def metadata(namespace: str, backend: str) -> str:
    """What `kernels` reads before it imports a variant."""
    values = {
        "id": f"{namespace}_{backend}",
        "name": NAME,
        "version": VERSION,
        "license": "MIT",
        "upstream": REPOSITORY,
        "python-depends": [],
        "backend": {"type": backend},
    }
    return json.dumps(values, indent=2) + "\n"


def write(folder: Path) -> None:
    """Writes the layout into `folder`, in the place of an earlier one."""
    namespace, texts = renamed(sources())
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        new = Path(temporary, "layout")
        places = [new / "torch-ext" / NAME.replace("-", "_")]
        places += [new / "build" / f"torch-{backend}" for backend in BACKENDS]
        for place in places:
            for name, text in texts.items():
                file = place / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8")
        for place, backend in zip(places[1:], BACKENDS, strict=True):
            (place / "metadata.json").write_text(metadata(namespace, backend), encoding="utf-8")
        (new / "build.toml").write_text(build_toml(), encoding="utf-8")
        shutil.copy(ROOT / "LICENSE", new)
        if folder.exists():
            if not (folder / "build.toml").is_file():
                raise ValueError(f"{folder}: expected a new folder or an earlier layout")
            shutil.rmtree(folder)
        new.rename(folder)


def main() -> int:
    """Returns 0."""
    folder = Path(sys.argv[1]).resolve()
    write(folder)
    print(f"{folder}: {NAME} for {' and '.join(BACKENDS)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
