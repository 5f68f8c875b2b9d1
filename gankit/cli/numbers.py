"""Numbers on the command line: each function reads a text or raises ``ArgumentTypeError``."""

from __future__ import annotations

import argparse
import sys
from fractions import Fraction


def positive(text: str) -> int:
    """An integer from 1."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer from 1")
    return value


def port(text: str) -> int:
    """The number of a port."""
    value = positive(text)
    if value > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port, 1 to 65535")
    return value


def seed(text: str) -> int:
    """An integer from 0 that torch takes as a seed."""
    try:
        value = int(text)
    except ValueError:
        value = -1
    if not 0 <= value < 2**63:
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer from 0 and below 2**63")
    return value


def fraction(text: str) -> float:
    """A number from 0, such as 8/255."""
    try:
        value = float(Fraction(text))
    except (ValueError, ZeroDivisionError, OverflowError):
        value = -1.0
    if not 0 <= value <= sys.float_info.max:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0, such as 8/255 or 0.03")
    return value


def seconds(text: str) -> float:
    """A finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= sys.float_info.max:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return value
