"""Checks what no linter does: file length, names, imports upwards, unfinished-work marks, paths.

Usage: python tools/check_house_rules.py
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MAXIMUM_LINES = 500
TEXT = {".py", ".cpp", ".cu", ".h", ".cmake", ".txt", ".toml", ".yaml", ".yml", ".md", ".sh", ""}
# In pieces, so that this file passes its own check.
MARKS = re.compile(
    r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X", "NotImplemented" + "Error"]) + r")\b"
    r"|\bx" + r"fail\b"
)
MACHINE_PATHS = re.compile(r"(?<![\w.:/])/(work|root|home|Users|opt)/\w")

# The rooms of gankit, from the ground up: what a file imports lies no higher than itself.
_FLOORS = (
    {"_version", "atomic", "errors", "json_text", "scalars"},
    {"ops"},
    {"nn"},
    {"acceleration"},
    {"data"},
    {"models"},
    {"losses"},
    {"attacks", "metrics"},
    {"training"},
    {"latent"},
    {"gans"},
    {"recipes"},
    {
        "enhancer",
        "exporting",
        "export_check",
        "hub",
        "hugging_face",
        "loaded",
        "model_card",
        "model_folder",
        "plain",
        "runs",
        "saved",
        "saved_checks",
        "saved_classifier",
        "sharing",
        "translator",
        "upscaler",
        "domain_translator",
        "weights_file",
    },
    {"bench", "doctor", "run"},
    # The page has what the commands make of a file.
    {"cli", "demo"},
    {"__main__"},
)
# The home of json_text, and a file that gankit alone reads and must read the same numbers of.
_WRITE_JSON = {Path("gankit/json_text.py"), Path("gankit/weights_file.py")}
FLOOR = {room: number for number, rooms in enumerate(_FLOORS) for room in rooms}


def tracked_files() -> list[Path]:
    """The files git knows, as they are in the working tree."""
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    files = [ROOT / name for name in listing.stdout.split("\0") if name]
    return [file for file in files if file.is_file() and file.suffix in TEXT]


def complaints(file: Path, text: str) -> list[str]:
    """What is wrong with one file, one sentence each."""
    found = []
    name = file.name
    lines = text.splitlines()
    # A report of measurements is written by a program and read by its first page.
    if len(lines) > MAXIMUM_LINES and "results" not in file.parts:
        found.append(f"{file}: {len(lines)} lines; allowed are {MAXIMUM_LINES}")
    if name == "utils" + ".py":
        found.append(f"{file}: name the file after what it holds")
    for number, line in enumerate(lines, 1):
        for pattern, what in (
            (MARKS, "an unfinished-work mark"),
            (MACHINE_PATHS, "a machine path"),
        ):
            match = pattern.search(line)
            if match:
                found.append(f"{file}:{number}: {what}, {match[0]!r}")
    return found


def imports_upwards(file: Path, text: str) -> list[str]:
    """Imports in ``gankit/`` of a room above the file's own, those for type checkers aside."""
    parts = file.with_suffix("").parts
    if parts[0] != "gankit" or file.suffix != ".py" or parts[1] == "__init__":
        return []
    if parts[1] not in FLOOR:
        return [f"{file}: the room {parts[1]} has no place in _FLOORS of this program"]
    found = []
    waiting: list[ast.AST] = [ast.parse(text)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        waiting += ast.iter_child_nodes(node)
        found += [
            f"{file}: imports {room}, which lies above {parts[1]}"
            for room in _rooms(node)
            if FLOOR.get(room, 0) > FLOOR[parts[1]]
        ]
    return found


def json_of_its_own(file: Path, text: str) -> list[str]:
    """Calls of ``json.dump`` and ``json.dumps``, whose infinities and NaN are no JSON."""
    if file.parts[0] not in ("gankit", "benchmarks") or file.suffix != ".py" or file in _WRITE_JSON:
        return []
    return [
        f"{file}:{number}: json.dump; allowed is gankit.json_text.json_text"
        for number, line in enumerate(text.splitlines(), 1)
        if re.search(r"\bjson\.dumps?\b", line)
    ]


def _rooms(node: ast.AST) -> list[str]:
    """The rooms of gankit that an import statement names."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.module == "gankit":
        names = [f"gankit.{alias.name}" for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        names = [node.module]
    else:
        return []
    return [name.split(".")[1] for name in names if name.startswith("gankit.")]


def shared_names(files: list[Path]) -> list[str]:
    """Test files of one name: pytest imports them as one module and stops at the second."""
    tests = [file.relative_to(ROOT) for file in files if file.match("tests/**/test_*.py")]
    count = Counter(file.name for file in tests)
    return [f"{file}: another test file has this name" for file in tests if count[file.name] > 1]


def main() -> int:
    """Prints every complaint; returns 1 if there is one."""
    files = tracked_files()
    found = []
    for file in files:
        name, text = file.relative_to(ROOT), file.read_text()
        found += complaints(name, text)
        found += [*imports_upwards(name, text), *json_of_its_own(name, text)]
    found += shared_names(files)
    print("\n".join([*found, f"check: house rules: {len(files)} files, {len(found)} complaints"]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
