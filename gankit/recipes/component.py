"""Parts of a run named by import path: ``mypkg.MyG`` or ``{class_path: ..., init_args: {...}}``."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any

from gankit.errors import ConfigError, GankitError
from gankit.recipes.config import Spec


def split_spec(what: str, spec: Spec) -> tuple[str, dict[str, Any]]:
    """Import path and arguments of ``spec``; ``what`` names the setting in errors."""
    if isinstance(spec, str):
        return spec, {}
    unknown = sorted(set(spec) - {"class_path", "init_args"})
    path, arguments = spec.get("class_path"), spec.get("init_args") or {}
    if unknown or not isinstance(path, str) or not isinstance(arguments, dict):
        raise ConfigError(
            f"{what} is {spec!r}; allowed is an import path, or class_path with init_args"
        )
    return path, dict(arguments)


def import_object(what: str, path: str) -> Callable[..., Any]:
    """The callable at ``path``. Raises ConfigError if it cannot be imported or called."""
    module_name, _, name = path.rpartition(".")
    if not module_name:
        raise ConfigError(f"{what} is {path!r}; allowed is an import path such as mypkg.MyClass")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # the user's module runs, and may raise anything
        raise ConfigError(f"{what} {path!r} cannot be imported: {error}") from error
    found = getattr(module, name, None)
    if found is None:
        raise ConfigError(f"{what} {path!r} cannot be imported: {module_name} has no {name}")
    if not callable(found):
        raise ConfigError(f"{what} {path!r} is a {type(found).__name__}; allowed is a callable")
    return found


def complete(what: str, spec: Spec, **offers: Any) -> dict[str, Any]:
    """``spec`` as a dict whose arguments are checked against the callable's signature.

    ``offers`` fill parameters that the callable names and ``spec`` leaves out.
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
        signature.bind(**arguments)
    except TypeError as error:
        raise ConfigError(f"init_args of {what} {path!r} do not fit: {error}") from error
    return {"class_path": path, "init_args": arguments}


def create(what: str, spec: Spec, kind: type, **offers: Any) -> Any:
    """Call what ``spec`` names. Raises ConfigError if the result is not a ``kind``."""
    path, arguments = split_spec(what, complete(what, spec, **offers))
    try:
        made = import_object(what, path)(**arguments)
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
