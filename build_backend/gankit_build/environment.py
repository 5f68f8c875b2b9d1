"""Finds the torch to build against, without importing it."""

from __future__ import annotations

import ast
import importlib.util
import os
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

MINIMUM_TORCH = (2, 11)


class BuildError(Exception):
    """One sentence about why the build cannot go on."""


@dataclass(frozen=True)
class Torch:
    """A torch package: its folder, its version and the CUDA version it was built for."""

    folder: Path
    version: str
    cuda: str | None

    @property
    def cuda_major(self) -> int | None:
        return int(self.cuda.split(".")[0]) if self.cuda else None


def read_torch(folder: Path) -> Torch:
    """Reads `folder`/version.py; raises BuildError when the torch there is too old.

    Importing torch would take seconds and needs its whole environment; the build needs the
    headers, the libraries and these two strings.
    """
    values: dict[str, str | None] = {}
    for node in ast.parse((folder / "version.py").read_text()).body:
        if isinstance(node, ast.Assign):
            targets: list[ast.expr] = node.targets
        elif isinstance(node, ast.AnnAssign):
            targets = [node.target]
        else:
            continue
        for target in targets:
            if isinstance(target, ast.Name) and isinstance(node.value, ast.Constant):
                value = node.value.value
                values[target.id] = value if isinstance(value, str) and value else None
    version = values.get("__version__")
    if version is None:
        raise BuildError(f"{folder / 'version.py'} states no torch version.")
    major, minor = (int(number) for number in version.split(".")[:2])
    if (major, minor) < MINIMUM_TORCH:
        raise BuildError(
            f"gankit needs torch >= {MINIMUM_TORCH[0]}.{MINIMUM_TORCH[1]}, but {folder} holds "
            f"torch {version}; upgrade it with: pip install --upgrade torch"
        )
    return Torch(folder, version, values.get("cuda"))


def _is_torch(folder: Path) -> bool:
    return (folder / "version.py").is_file() and (folder / "include").is_dir()


def outer_folders() -> list[Path]:
    """The site-packages folders of the environment that is installed into.

    Under pip's build isolation sys.path shows only the build requirements, yet the interpreter,
    and with it sysconfig, is that of the outer environment.
    """
    folders = [sysconfig.get_paths()["purelib"], sysconfig.get_paths()["platlib"]]
    marker = Path(sys.prefix) / "pyvenv.cfg"
    if marker.is_file() and "include-system-site-packages = true" in marker.read_text().lower():
        base = {"base": sys.base_prefix, "platbase": sys.base_exec_prefix}
        folders.append(sysconfig.get_paths(vars=base)["purelib"])
    return [Path(folder) for folder in dict.fromkeys(folders)]


def _visible_torch() -> Path | None:
    try:
        spec = importlib.util.find_spec("torch")
    except (ImportError, ValueError):
        return None
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def find_torch(
    environ: Mapping[str, str] = os.environ,
    *,
    visible: Path | None = None,
    outer: Iterable[Path] | None = None,
) -> Torch | None:
    """The torch to build against, or None.

    Looks at GANKIT_TORCH_DIR (torch's package folder, or the folder that holds it), then at
    sys.path, then at the environment that is installed into. `visible` and `outer` replace the
    last two in tests. Raises BuildError for a wrong GANKIT_TORCH_DIR and for torch < 2.11.
    """
    given = environ.get("GANKIT_TORCH_DIR")
    if given:
        for folder in (Path(given), Path(given) / "torch"):
            if _is_torch(folder):
                return read_torch(folder)
        raise BuildError(
            f"GANKIT_TORCH_DIR is {given!r}, which holds no torch; give the folder of the torch "
            "package (it holds version.py and include/) or the site-packages folder around it."
        )
    if visible is None and outer is None:
        visible = _visible_torch()
    candidates = [visible] if visible is not None else []
    candidates += [folder / "torch" for folder in (outer_folders() if outer is None else outer)]
    for folder in candidates:
        if _is_torch(folder):
            return read_torch(folder)
    return None
