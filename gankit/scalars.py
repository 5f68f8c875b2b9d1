"""Which values count as an integer, a number or a bool in an argument.

NumPy's integers and floats are taken for Python's, which they do not derive from. A bool is neither
an integer nor a number.
"""

from __future__ import annotations

import numbers
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any, TypeGuard


def is_bool(value: object) -> bool:
    """Whether ``value`` is Python's or NumPy's bool."""
    if isinstance(value, bool):
        return True
    numpy = sys.modules.get("numpy")  # no value is NumPy's before it is imported
    return numpy is not None and isinstance(value, numpy.bool_)


def is_integer(value: object) -> TypeGuard[int]:
    """Whether ``value`` is an integer: Python's, NumPy's or any other ``numbers.Integral``."""
    return isinstance(value, numbers.Integral) and not is_bool(value)


def is_number(value: object) -> TypeGuard[float]:
    """Whether ``value`` is a real number: an integer, or a float of Python's or NumPy's."""
    return isinstance(value, numbers.Real) and not is_bool(value)


def plain(value: Any) -> Any:
    """``value`` with the scalars in its lists, tuples and dicts as Python's own.

    Anything else comes back as it is. What is written to a file or a checkpoint goes through here.
    """
    if type(value) in (bool, int, float, str):
        return value
    if is_bool(value):
        return bool(value)
    if is_integer(value):
        return int(value)
    if is_number(value):
        return float(value)
    if type(value) in (dict, Counter):
        return type(value)({plain(key): plain(item) for key, item in value.items()})
    if type(value) in (list, tuple):
        return type(value)(plain(item) for item in value)
    return value


def integers(values: Sequence[int]) -> tuple[int, ...]:
    """``values`` as Python's integers, for what insists on them, such as ``nn.Unflatten``."""
    return tuple(int(value) for value in values)
