"""Numbers, times and settings as people write them."""

from __future__ import annotations

import math
from typing import Any

from gankit.errors import shortened


def number(value: float) -> str:
    """Four digits of ``value``, thousands apart."""
    if math.isinf(value):  # as the PSNR of an image that equals its target
        return "infinite" if value > 0 else "-infinite"
    if math.isnan(value):
        return "unknown"
    if 1000 <= abs(value) < 1e7:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def duration(seconds: float) -> str:
    """A time: ``8.1 s``, ``12 min 5 s``, ``3 h 20 min``."""
    if not math.isfinite(seconds):
        return "unknown"
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60:,} h {minutes % 60} min"


def in_words(value: Any) -> str:
    """``value`` as in YAML's flow style, at most about ten lines of it."""
    if isinstance(value, str):
        return value if len(value) <= 1000 else f"{value[:1000]}..."
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (list, tuple)) and len(value) <= 100:
        return f"[{', '.join(map(in_words, value))}]"
    if isinstance(value, dict) and len(value) <= 100:
        return f"{{{', '.join(f'{k}: {in_words(v)}' for k, v in value.items())}}}"
    return shortened(value)
