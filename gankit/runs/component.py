"""Parts of a run named by import path: ``mypkg.MyG`` or ``{class_path: ..., init_args: {...}}``."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from gankit.errors import ConfigError, GankitError, shortened
from gankit.training.config import Spec


def split_spec(what: str, spec: Spec) -> tuple[str, dict[str, Any]]:
    """Import path and arguments of ``spec``; ``what`` names the setting in errors."""
    if isinstance(spec, str):
        return spec, {}
    found = spec if isinstance(spec, dict) else {}
    path, arguments = found.get("class_path"), found.get("init_args") or {}
    unknown = found.keys() - {"class_path", "init_args"}
    if unknown or not isinstance(path, str) or not isinstance(arguments, dict):
        raise ConfigError(
            f"{what} is {shortened(spec)}; allowed is an import path, or class_path with init_args"
        )
    return path, dict(arguments)


def is_import_path(name: str) -> bool:
    """Whether ``name`` is an import path, such as ``mypkg.MyClass``, and not a name of gankit's."""
    return "." in name and all(part.isidentifier() for part in name.split("."))


@contextmanager
def folder_at_hand(path: str) -> Iterator[None]:
    """Let the import path ``path`` be found in the working folder too, in the block alone.

    Libraries try to import dozens of packages that may be absent. With the folder on ``sys.path``
    all the time, a file of such a name in a downloaded folder would run.
    """
    here = os.getcwd()
    if not _lies_in(here, path.partition(".")[0]):
        yield
        return
    sys.path.append(here)
    try:
        yield
    finally:
        with suppress(ValueError):  # the module may have changed sys.path
            sys.path.remove(here)


def _lies_in(folder: str, package: str) -> bool:
    """Whether ``package`` was imported from ``folder``, or is found nowhere else."""
    if package == "gankit":  # also where the folder is a checkout of it
        return False
    if package in sys.modules:
        file = getattr(sys.modules[package], "__file__", None)
        homes = (Path(folder), Path(folder, package))
        return file is not None and Path(file).absolute().parent in homes
    try:
        return importlib.util.find_spec(package) is None
    except ValueError:  # not a name
        return False


def import_object(what: str, path: str, instances: tuple[type, ...] = ()) -> Any:
    """The callable, or the object of a type in ``instances``, at ``path``.

    Raises ConfigError if it cannot be imported or is neither.
    """
    module_name, _, name = path.rpartition(".")
    if not module_name:
        raise ConfigError(f"{what} is {path!r}; allowed is an import path such as mypkg.MyClass")
    try:
        with folder_at_hand(path):
            module = importlib.import_module(module_name)
    except Exception as error:  # the user's module runs, and may raise anything
        raise ConfigError(f"{what} {path!r} cannot be imported: {error}") from error
    found = getattr(module, name, None)
    if found is None:
        raise ConfigError(f"{what} {path!r} cannot be imported: {module_name} has no {name}")
    if not callable(found) and not isinstance(found, instances):
        raise ConfigError(f"{what} {path!r} is a {type(found).__name__}; allowed is a callable")
    return found


def complete(what: str, spec: Spec, positional: int = 0, **offers: Any) -> dict[str, Any]:
    """``spec`` as a dict whose arguments are checked against the callable's signature.

    ``offers`` fill parameters that the callable names and ``spec`` leaves out. It will be called
    with ``positional`` arguments before them.
    """
    path, arguments = split_spec(what, spec)
    target = import_object(what, path)
    try:
        signature = inspect.signature(target)
    except ValueError:  # some builtins have none
        return {"class_path": path, "init_args": arguments}
    for name, value in offers.items():
        if name in signature.parameters:
            arguments.setdefault(name, value)
    try:
        signature.bind(*[None] * positional, **arguments)
    except TypeError as error:
        hint = meant(arguments, signature)
        raise ConfigError(f"init_args of {what} {path!r} do not fit: {error}{hint}") from error
    return {"class_path": path, "init_args": arguments}


def meant(arguments: Iterable[str], signature: inspect.Signature) -> str:
    """What may be meant by those ``arguments`` that ``signature`` does not take, for an error."""
    near = [
        match
        for name in arguments
        if name not in signature.parameters
        for match in get_close_matches(str(name), signature.parameters, n=1, cutoff=0.7)
    ]
    return f"; did you mean {' and '.join(near)}?" if near else ""


def _derives(target: type, kind: type) -> bool:
    """Whether ``target`` derives from ``kind``, or has the methods of a protocol."""
    if not getattr(kind, "_is_protocol", False):
        return issubclass(target, kind)
    methods = (name for name, value in vars(kind).items() if inspect.isfunction(value))
    return all(hasattr(target, name) for name in methods if name != "__init__")


def create(what: str, spec: Spec, kind: type, **offers: Any) -> Any:
    """Call what ``spec`` names, a subclass of ``kind`` or a function that returns one.

    Raises ConfigError if it is another class, which is then not called, or gives something else.
    """
    path, arguments = split_spec(what, complete(what, spec, **offers))
    target = import_object(what, path)
    if isinstance(target, type) and not _derives(target, kind):
        raise ConfigError(
            f"{what} {path!r} is a class of another kind; expected a subclass of {kind.__name__}, "
            "or a function that returns one"
        )
    try:
        with folder_at_hand(path):
            made = target(**arguments)
    except (GankitError, OSError):  # they are sentences already
        raise
    except Exception as error:
        reason = f"{error} ({type(error).__name__})"
        raise ConfigError(f"{what} {path!r} cannot be built: {reason}") from error
    if not isinstance(made, kind):
        raise ConfigError(
            f"{what} {path!r} gave a {type(made).__name__}; allowed is a {kind.__name__}"
        )
    return made
