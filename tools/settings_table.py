"""Writes the tables of docs/settings.md from the classes whose arguments the settings are.

Usage: python tools/settings_table.py [--check]

Names, types and defaults are those of the signatures, meanings those of the docstrings. With
``--check`` nothing is written, and the exit code is 1 where the page says something else.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from gankit import gans
from gankit.runs.steps import knobs
from gankit.training import ADA, DiffAugment, GANStep, Step
from gankit.training.config import RunConfig

PAGE = Path(__file__).resolve().parents[1] / "docs" / "settings.md"
BEGIN, END = "<!-- tables: begin -->\n", "<!-- tables: end -->"
HEAD = "| name | default | type | meaning |\n|---|---|---|---|"
# Of annotations, and what they are in a file of settings.
WORDS: dict[str, str | Callable[[re.Match[str]], str]] = {
    r"Literal\[([^]]*)\]": lambda match: match[1].replace("'", "").replace(", ", " or "),
    r"\bNone\b": "null",
    r"\bstr \| AdversarialLoss \| Functions|\bAny\b|\bSpec\b": "name or class",
    r"\bPenalty\b": "class",
    r"\bAuto\b": "auto or bool",
    r"\bDistribution\b": "normal or uniform",
    r"\btuple\[(\w+(?: \| \w+)?), \.\.\.\]": r"list[\1]",
    r"\btuple\b": "list",
    r"\bstr\b": "text",
}
ENTRY = re.compile(r"^ {4}((?:\w+, )*\w+): ", re.MULTILINE)


def described(doc: str) -> dict[str, str]:
    """What the section ``Args:`` of a docstring says of each argument, in one line."""
    _, found, rest = inspect.cleandoc(doc).partition("Args:\n")
    if not found:
        return {}
    section = re.split(r"^\S", rest, maxsplit=1, flags=re.MULTILINE)[0]
    _, *parts = ENTRY.split(section)
    meanings = {}
    for names, text in zip(parts[::2], parts[1::2], strict=True):
        for name in names.split(", "):
            meanings[name] = " ".join(text.split())
    return meanings


def meaning_of(owner: type, name: str) -> str:
    """What the docstrings of ``owner`` and of its bases say of an argument, the nearest first."""
    for base in owner.__mro__:
        made = vars(base).get("from_parts")
        docs = (getattr(getattr(made, "__func__", made), "__doc__", None), base.__doc__)
        for doc in docs:
            if doc and name in (meanings := described(doc)):
                return meanings[name]
    raise LookupError(f"no docstring of {owner.__name__} says what {name} is")


def plain(text: str) -> str:
    """``text`` of a docstring as a cell of a table in Markdown."""
    text = re.sub(r":\w+:`([^`]*)`", r"`\1`", text).replace("``", "`")
    return text.replace("|", "\\|")


def shown(value: object) -> str:
    """A default as YAML has it."""
    if value is inspect.Parameter.empty:
        return "-"
    if value is None or isinstance(value, bool):
        return {None: "`null`", True: "`true`", False: "`false`"}[value]
    if isinstance(value, (tuple, list)):
        return "`[" + ", ".join(str(each) for each in value) + "]`"
    return f"`{value}`"


def typed(annotation: Any) -> str:
    """A type as the settings have it."""
    name = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    name = name or str(annotation)
    for pattern, word in WORDS.items():
        name = re.sub(pattern, word, name)
    # A bar would end the cell, and in code its escape would show.
    return "`" + name.replace(" | ", " or ") + "`"


def row(owner: type, name: str, default: object, annotation: Any) -> str:
    """The line of one setting."""
    cells = (f"`{name}`", shown(default), typed(annotation), plain(meaning_of(owner, name)))
    return "| " + " | ".join(cells) + " |"


def of_runs() -> Iterable[str]:
    """The settings that every run has."""
    for field in fields(RunConfig):
        if field.name != "trusted":
            default = "-" if field.default is MISSING else field.default
            yield row(RunConfig, field.name, default, str(field.type))


def of_arguments(owner: type, arguments: Mapping[str, inspect.Parameter]) -> Iterable[str]:
    """The arguments that settings may give to ``owner``."""
    for name, parameter in arguments.items():
        yield row(owner, name, parameter.default, parameter.annotation)


def steps() -> list[type[Step]]:
    """The steps of gankit, by name."""
    found: list[type[Step]] = [GANStep]
    for path in sorted(gans.steps()):
        module, _, name = path.rpartition(".")
        found.append(getattr(importlib.import_module(module), name))
    return found


def tables() -> str:
    """All tables of the page."""
    lines = ["## Settings of every run", "", HEAD, *of_runs()]
    for step in steps():
        path = "gankit.training" if step is GANStep else step.__module__
        lines += ["", f"## {step.__name__}", ""]
        arguments, said = knobs(step), f"`step: {path}.{step.__name__}`"
        if step is not GANStep and issubclass(step, GANStep):
            inherited = knobs(GANStep)
            own = {name: each for name, each in arguments.items() if name not in inherited}
            without = [f"`{name}`" for name in inherited if name not in arguments]
            said += ", and the arguments of GANStep"
            said += f" without {', '.join(without)}" if without else ""
            arguments = own
        lines += [said + ("." if arguments else ", which has no arguments.")]
        if arguments:
            lines += ["", HEAD, *of_arguments(step, arguments)]
    for augment, name in ((DiffAugment, "diffaugment"), (ADA, "ada")):
        lines += ["", f"## augment: {name}", "", HEAD]
        lines += of_arguments(augment, inspect.signature(augment).parameters)
    return "\n".join(lines) + "\n"


def page() -> str:
    """The page with its tables as the classes are now."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    return before + BEGIN + tables() + END + rest.partition(END)[2]


def main() -> int:
    """Writes or checks the page; 1 if it was checked and differs."""
    text = page()
    if "--check" in sys.argv[1:]:
        return int(text != PAGE.read_text(encoding="utf-8"))
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
