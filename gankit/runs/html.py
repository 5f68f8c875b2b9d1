"""HTML in which text is escaped unless it was made here."""

from __future__ import annotations

import re
from html import escape

# Elements without content, which have no closing tag.
_VOID = frozenset({"br", "circle", "img", "input", "line", "meta", "path", "polyline", "rect"})

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
# A longer text in a table may be broken into lines.
_LONG = 40


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def tag(name: str, *children: object, **attributes: object) -> Html:
    """An element: children and attributes are escaped, but for children that are ``Html``.

    ``class_`` is the attribute class, ``aria_label`` is aria-label; one that is None or False is
    left out, and one that is True stands without a value.
    """
    words = [name]
    for key, value in attributes.items():
        attribute = key.rstrip("_").replace("_", "-")
        if value is True:
            words.append(attribute)
        elif value is not None and value is not False:
            words.append(f'{attribute}="{_plain(value)}"')
    if name in _VOID:
        return Html(f"<{' '.join(words)}>" if name not in _SVG else f"<{' '.join(words)}/>")
    return Html(f"<{' '.join(words)}>{joined(*children)}</{name}>")


_SVG = frozenset({"circle", "line", "path", "polyline", "rect"})


def joined(*parts: object) -> Html:
    """The parts one after the other."""
    return Html("".join(part if isinstance(part, Html) else _plain(part) for part in parts))


def _plain(value: object) -> str:
    """Escaped, and without bytes of no encoding, which a path may have."""
    text = str(value).encode("utf-8", "backslashreplace").decode()
    return escape(
        "".join(c if c >= " " or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)
    )


def table(head: tuple[str, ...], rows: list[tuple[object, ...]], caption: str) -> Html:
    """A table with a caption; the first entry of each row is its heading."""
    top = tag("tr", *(tag("th", each, scope="col") for each in head))
    body = (tag("tr", tag("th", row[0], scope="row"), *map(_cell, row[1:])) for row in rows)
    inside = tag("table", tag("caption", caption), tag("thead", top), tag("tbody", *body))
    return tag("div", inside, class_="wide")


def _cell(value: object) -> Html:
    long = len(str(value)) > _LONG
    return tag("td", value, class_="long" if long else None)
