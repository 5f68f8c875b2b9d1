"""JSON that every reader takes: RFC 8259 has neither infinity nor NaN."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

__all__ = ["as_number", "json_text", "plain", "text_values"]

_NAMES = {"Infinity": math.inf, "-Infinity": -math.inf, "NaN": math.nan}


def json_text(value: Any, *, indent: int | None = None, sort_keys: bool = False) -> str:
    """``value`` as JSON; what it lacks is a text: ``"Infinity"``, ``"-Infinity"`` or ``"NaN"``.

    ``float`` of Python and ``Number`` of JavaScript read these texts, and so does ``as_number``.

    Raises TypeError for what JSON has no form of.
    """
    return json.dumps(plain(value), indent=indent, sort_keys=sort_keys, allow_nan=False)


def plain(value: Any) -> Any:
    """``value`` as its JSON reads back: tuples are lists, and a float that JSON lacks is a text."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else f"{'-' if value < 0 else ''}Infinity"
    if isinstance(value, Mapping):
        return {_key(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return value


def _key(key: Any) -> str:
    # What json makes of it, but for floats that JSON lacks.
    key = plain(key)
    return key if isinstance(key, str) else json.dumps(key)


def as_number(value: object) -> float | None:
    """The number that stands in JSON as ``value``, or None where it is none."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    return _NAMES.get(value) if isinstance(value, str) else None


def text_values(values: Mapping[str, Any]) -> dict[str, str]:
    """Each of ``values`` as a text, for metadata of files: JSON where it is none, None left out."""
    return {
        name: value if isinstance(value, str) else json_text(value)
        for name, value in values.items()
        if value is not None
    }
