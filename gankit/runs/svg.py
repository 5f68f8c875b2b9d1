"""Curves as SVG inside a page: text in the page's font and colours, light or dark."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from gankit.runs.html import Html, tag
from gankit.runs.wording import number
from gankit.training.callbacks.curves import points_of, smoothed
from gankit.training.reports import Curves

# Of the picture, and what lies around the plot in it.
_WIDTH, _HEIGHT = 520, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 22, 14, 50
# Of a curve: a plot is about as many pixels wide.
_POINTS = 400
_COLOURS = 6
_Scale = Callable[[float], float]


def plot(curves: Curves, rows: Sequence[Mapping[str, str]], last: int) -> Html:
    """The plot ``curves`` of ``rows`` of a metrics.csv from step 0 to step ``last``.

    Each curve is drawn thin as it is and thick as its moving average. A line that is hidden marks a
    step: a script may show it, by the attributes ``data-*`` of the picture. Without a number to
    draw the result is a sentence.
    """
    series = [(name, *points_of(rows, c, _POINTS)) for c, name in curves.columns.items()]
    series = [(name, x, y) for name, x, y in series if x]
    label = curves.label
    if not series:
        return tag("p", f"{label}: no number was logged.")
    values = [value for _, _, y in series for value in y]
    low, high = curves.limits or (math.nan, math.nan)
    if not -math.inf < low < high < math.inf:
        low, high = _padded(min(values), max(values))
    last = max(last, 1)

    def across(step: float) -> float:
        return _LEFT + step / last * (_WIDTH - _LEFT - _RIGHT)

    def down(value: float) -> float:
        place = min(max((value - low) / (high - low), 0.0), 1.0)
        return _HEIGHT - _BOTTOM - place * (_HEIGHT - _TOP - _BOTTOM)

    parts: list[Html] = []
    for value in ticks(low, high, 5):
        height = f"{down(value):.1f}"
        ends = {"x1": _LEFT, "x2": _WIDTH - _RIGHT, "y1": height, "y2": height}
        parts.append(tag("line", class_="grid", **ends))
        parts.append(tag("text", number(value), x=_LEFT - 6, y=height, dy="0.35em", class_="left"))
    bottom = _HEIGHT - _BOTTOM
    for value in ticks(0, last, 5):
        if value != int(value):
            continue
        place = f"{across(value):.1f}"
        parts.append(tag("line", x1=place, x2=place, y1=bottom, y2=bottom + 5, class_="axis"))
        parts.append(tag("text", f"{int(value):,}", x=place, y=bottom + 20, class_="below"))
    parts.append(tag("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=bottom, y2=bottom, class_="axis"))
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(tag("text", "step", x=middle, y=_HEIGHT - 8, class_="below"))
    for index, (_, x, y) in enumerate(series):
        colour = f"c{index % _COLOURS}"
        smooth = smoothed(y)
        if smooth != y:
            parts.append(tag("polyline", points=_line(x, y, across, down), class_=f"{colour} raw"))
        if len(x) == 1:
            at = {"cx": f"{across(x[0]):.1f}", "cy": f"{down(y[0]):.1f}"}
            parts.append(tag("circle", r=3, class_=f"{colour} point", **at))
        else:
            parts.append(tag("polyline", points=_line(x, smooth, across, down), class_=colour))
    parts.append(tag("line", x1=_LEFT, x2=_LEFT, y1=_TOP, y2=bottom, class_="now"))
    shown = ", ".join(f"{name} {number(y[-1])} at step {x[-1]:,}" for name, x, y in series)
    picture = tag(
        "svg",
        *parts,
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        aria_label=f"{label} over steps; at the end {shown}",
        data_last=last,
        data_left=_LEFT,
        data_width=_WIDTH - _LEFT - _RIGHT,
    )
    names = [name for name, _, _ in series]
    legend = _legend(names) if names != [label] else ""
    return tag("figure", tag("figcaption", label), legend, picture, class_="plot")


def _legend(names: list[str]) -> Html:
    keys = (tag("li", name, class_=f"k{index % _COLOURS}") for index, name in enumerate(names))
    return tag("ul", *keys, class_="legend")


def _line(x: list[int], y: list[float], across: _Scale, down: _Scale) -> str:
    return " ".join(f"{across(s):.1f},{down(v):.1f}" for s, v in zip(x, y, strict=True))


def _padded(low: float, high: float) -> tuple[float, float]:
    margin = 0.04 * (high - low) or 0.5 * abs(low) or 1.0
    return low - margin, high + margin


def ticks(low: float, high: float, about: int) -> list[float]:
    """About so many round numbers from ``low`` to ``high``.

    They lie 1, 2 or 5 times a power of ten apart.
    """
    span = (high - low) / about
    power = 10.0 ** math.floor(math.log10(span))
    apart = next(size * power for size in (1, 2, 5, 10) if size * power >= span)
    start = math.ceil(low / apart - 1e-9)
    return [index * apart for index in range(start, math.floor(high / apart + 1e-9) + 1)]
