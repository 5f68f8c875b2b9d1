"""Writes runs as models that gankit brings along, with their checksums.

Usage: python tools/fill_pretrained.py NAME=RUN ...
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path

from gankit.sharing import write_model

FOLDER = Path(__file__).resolve().parents[1] / "gankit" / "pretrained"
# Of all files together, in bytes: pip downloads them with every wheel.
MOST = 8_000_000


def main() -> int:
    """Replaces the models named; returns 1 where all of them are too large together."""
    for word in sys.argv[1:]:
        name, _, run = word.partition("=")
        shutil.rmtree(FOLDER / name, ignore_errors=True)
        write_model(run, FOLDER / name, source=f"hub:{name}", license="mit")
    files = sorted(path for path in FOLDER.glob("*/*") if path.is_file())
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(FOLDER).as_posix()}\n"
        for path in files
    ]
    (FOLDER / "SHA256SUMS").write_text("".join(lines), encoding="ascii")
    size = sum(path.stat().st_size for path in files)
    print(f"{len({path.parent for path in files})} models, {size:,} bytes")
    return int(size > MOST)


if __name__ == "__main__":
    sys.exit(main())
