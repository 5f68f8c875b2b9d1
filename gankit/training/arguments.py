"""What the arguments of a training step may be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from gankit.errors import ConfigError
from gankit.scalars import is_bool, is_integer, is_number

Auto = Literal["auto"] | bool


def whole(name: str, value: object, least: int = 1) -> int:
    """``value`` as a Python int. Raises ConfigError unless it is an integer from ``least``."""
    if not is_integer(value) or value < least:
        raise ConfigError(f"{name} is {value!r}; allowed are integers from {least}")
    return int(value)


def auto(name: str, value: object) -> Auto:
    """``value`` as "auto" or a Python bool. Raises ConfigError for anything else."""
    if is_bool(value):
        return bool(value)
    if not isinstance(value, str) or value != "auto":
        raise ConfigError(f"{name} is {value!r}; allowed are 'auto', True and False")
    return "auto"


def truth(name: str, value: object) -> bool:
    """``value`` as a Python bool. Raises ConfigError for anything else."""
    if not is_bool(value):
        raise ConfigError(f"{name} is {value!r}; allowed are True and False")
    return bool(value)


def weight(name: str, value: object) -> float:
    """``value`` as a Python float. Raises ConfigError unless it is finite and at least 0."""
    if not is_number(value) or not 0.0 <= value < math.inf:
        raise ConfigError(f"{name} is {value!r}; allowed are finite numbers from 0")
    return float(value)


def share(name: str, value: object) -> float:
    """``value`` as a Python float. Raises ConfigError unless it is in [0, 1]."""
    if not is_number(value) or not 0.0 <= value <= 1.0:
        raise ConfigError(f"{name} is {value!r}; allowed are numbers in [0, 1]")
    return float(value)


def one_of(name: str, value: object, *allowed: str) -> str:
    """``value``. Raises ConfigError unless it is one of ``allowed``."""
    if value not in allowed or not isinstance(value, str):
        raise ConfigError(f"{name} is {value!r}; allowed are {' and '.join(map(repr, allowed))}")
    return value


def positive_or_none(name: str, value: object) -> float | None:
    """``value`` as a Python float. Raises ConfigError unless it is None or finite and above 0."""
    if value is None:
        return None
    if not is_number(value) or not 0.0 < value < math.inf:
        raise ConfigError(f"{name} is {value!r}; allowed are None and finite numbers above 0")
    return float(value)


def check_reuse(reuse_fakes: bool, eval_fakes: bool, shared: Sequence[str]) -> None:
    """Raise ConfigError unless G can learn from the fakes of D's update, where it is asked to.

    ``shared`` are the parameters that D shares with G.
    """
    if reuse_fakes and eval_fakes:
        raise ConfigError(
            "reuse_fakes=True and eval_fakes=True exclude each other: G learns from fakes made in "
            "training mode"
        )
    if reuse_fakes and shared:
        raise ConfigError(
            "reuse_fakes=True needs a G whose weights stay as they are while D learns, but D "
            f"shares {', '.join(shared)} with it; allowed is False"
        )


def check_penalty(penalty: object) -> None:
    """Raise ConfigError unless ``penalty`` is None or can be called."""
    if penalty is not None and not callable(penalty):
        raise ConfigError(
            f"penalty is {penalty!r}; allowed is None or a function of D, real and fake"
        )
