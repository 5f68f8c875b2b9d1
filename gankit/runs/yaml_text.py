"""Settings as YAML text: one reader for files and --set, and one writer, by YAML 1.2's core schema.

PyYAML alone keeps to YAML 1.1, in which ``1e-4`` is text, ``010`` eight, ``1:30`` ninety, ``off``
a bool and ``2024-01-01`` a date. It also builds whatever a short text of nested aliases stands for.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from gankit.errors import ConfigError, shortened

_PREFIX = "tag:yaml.org,2002:"
_NULL = r"~|null|Null|NULL|"
_BOOL = r"true|True|TRUE|false|False|FALSE"
_INT = r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"
_FLOAT = r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
_SCALARS = {
    name: re.compile(pattern)
    for name, pattern in (("null", _NULL), ("bool", _BOOL), ("int", _INT), ("float", _FLOAT))
}
_YES_OR_NO = re.compile("yes|no|on|off", re.IGNORECASE)
_CHARACTERS, _DEPTH, _VALUES, _DIGITS = 100_000, 32, 10_000, 100
_UNPRINTED = re.compile("[\x85\u2028\u2029\ufeff]")


class _Loader(yaml.SafeLoader):
    """Parses to nodes, not to values."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = self.nodes = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.depth += 1
        self.nodes += 1
        if self.nodes > _VALUES:
            raise ConfigError(f"holds more than {_VALUES:,} values")
        if self.depth > _DEPTH:
            raise ConfigError(f"is nested deeper than {_DEPTH} levels")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


class _Dumper(yaml.SafeDumper):
    """Quotes text that either version of YAML would take for something else; has no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_float(self, data: float) -> yaml.ScalarNode:
        return self.represent_scalar(f"{_PREFIX}float", _as_text(data))

    def represent_text(self, data: str) -> yaml.ScalarNode:
        ambiguous = any(pattern.fullmatch(data) for pattern in _SCALARS.values())
        style = '"' if _UNPRINTED.search(data) else "'" if ambiguous else None
        return self.represent_scalar(f"{_PREFIX}str", data, style=style)


_Loader.yaml_implicit_resolvers = {}  # without those of YAML 1.1
_Loader.add_implicit_resolver(f"{_PREFIX}merge", re.compile(r"^<<$"), ["<"])
for _name, _pattern in _SCALARS.items():
    _Loader.add_implicit_resolver(
        f"{_PREFIX}{_name}", re.compile(rf"^(?:{_pattern.pattern})$"), None
    )
_Dumper.add_representer(float, _Dumper.represent_float)
_Dumper.add_representer(str, _Dumper.represent_text)


def read(text: str, source: str) -> Any:
    """What ``text`` stands for: dicts, lists, strings, numbers, bools, None.

    Raises ConfigError, which begins with ``source``, for what is not YAML, and for tags, keys that
    occur twice or are no plain values, endless aliases, and sizes that no settings have.
    """
    try:
        if len(text) > _CHARACTERS:
            raise ConfigError(f"is longer than {_CHARACTERS:,} characters")
        return _Values().of(_Loader(text).get_single_node())
    except ConfigError as error:
        raise ConfigError(f"{source} {error}") from None
    except yaml.MarkedYAMLError as error:
        where = error.problem_mark or error.context_mark
        line = f" in line {where.line + 1}" if where else ""
        raise ConfigError(
            f"{source} is not YAML: {error.problem or error.context}{line}"
        ) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{source} is not YAML: {' '.join(str(error).split())}") from error


def write(values: dict[str, Any]) -> str:
    """YAML text that ``read`` turns into ``values`` again, in their order."""
    text: str = yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return text


class _Values:
    """Builds the values of nodes, of which there may be ``_VALUES`` with what aliases repeat."""

    def __init__(self) -> None:
        self.left = _VALUES
        self.within: list[yaml.Node] = []

    def of(self, node: yaml.Node | None) -> Any:
        if node is None:  # an empty text
            return None
        self.left -= 1
        if self.left < 0:
            raise ConfigError(f"holds more than {_VALUES:,} values, with what its aliases repeat")
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node)
        if any(node is outer for outer in self.within):
            raise ConfigError(f"holds itself, by the alias in line {_line(node)}")
        if node.tag not in (f"{_PREFIX}map", f"{_PREFIX}seq"):
            raise ConfigError(_about_the_tag(node))
        self.within.append(node)
        if isinstance(node, yaml.MappingNode):
            made: Any = self._dict(node)
        else:
            made = [self.of(child) for child in node.value]
        self.within.pop()
        return made

    def _dict(self, node: yaml.MappingNode) -> dict[Any, Any]:
        own: dict[Any, Any] = {}
        merged: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == f"{_PREFIX}merge":
                found = self.of(value_node)
                for each in found if isinstance(found, list) else [found]:
                    if not isinstance(each, dict):
                        raise ConfigError(f"has << with no mapping in line {_line(key_node)}")
                    merged = {**each, **merged}
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                raise ConfigError(f"has a list or mapping as a key in line {_line(key_node)}")
            key = self.of(key_node)
            if key in own:
                raise ConfigError(f"has {shortened(key)} twice, again in line {_line(key_node)}")
            own[key] = self.of(value_node)
        return {**merged, **own}


def _scalar(node: yaml.ScalarNode) -> Any:
    kind, text = node.tag.removeprefix(_PREFIX), node.value
    if kind == "str" and node.style is None and _YES_OR_NO.fullmatch(text):
        raise ConfigError(
            f"has {text} in line {_line(node)}, which YAML 1.1 takes for a bool and 1.2 for text; "
            "allowed are true and false, or quotes around text"
        )
    if kind in ("str", "merge"):
        return text
    if kind not in _SCALARS:
        raise ConfigError(_about_the_tag(node))
    if not _SCALARS[kind].fullmatch(text):
        raise ConfigError(f"has !!{kind} {shortened(text)} in line {_line(node)}")
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    if len(text) > _DIGITS:
        raise ConfigError(f"has a number of {len(text):,} characters in line {_line(node)}")
    if kind == "int":
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


def _about_the_tag(node: yaml.Node) -> str:
    tag = node.tag.replace(_PREFIX, "!!")
    return f"has the tag {shortened(tag)} in line {_line(node)}; allowed are plain values"


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _as_text(number: float) -> str:
    """A float as both versions of YAML read it: with a point and a signed exponent."""
    if number != number:
        return ".nan"
    if number in (float("inf"), float("-inf")):
        return ".inf" if number > 0 else "-.inf"
    digits, e, exponent = repr(number).partition("e")
    return digits + ("" if "." in digits else ".0") + e + exponent
