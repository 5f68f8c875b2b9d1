"""docs/settings.md says what the classes say; after a change run tools/settings_table.py."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from gankit import gans
from gankit.training.config import FIELDS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import settings_table

    module: ModuleType = settings_table
    return module


def test_the_page_is_what_the_classes_say(
    table: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = table.PAGE.read_text(encoding="utf-8")
    assert table.page() == text
    assert all(text.count(f"\n| `{name}` |") >= 1 for name in FIELDS)
    assert all(f".{path.rpartition('.')[2]}`" in text for path in gans.steps())

    stale = tmp_path / "settings.md"
    stale.write_text(text.replace("| `lr` | `0.0002` |", "| `lr` | `0.0003` |"))
    monkeypatch.setattr(table, "PAGE", stale)
    monkeypatch.setattr(sys, "argv", ["settings_table.py", "--check"])
    assert table.main() == 1
    monkeypatch.setattr(sys, "argv", ["settings_table.py"])
    assert table.main() == 0
    assert stale.read_text() == text


def test_arguments_are_read_from_a_docstring(table: ModuleType) -> None:
    doc = """One line.

    Args:
        a: the first, over
            two lines.
        b, c: both.

    Raises ValueError: never.
    """
    assert table.described(doc) == {"a": "the first, over two lines.", "b": "both.", "c": "both."}
    assert table.described("No arguments.") == {}

    class Undescribed:
        """Nothing."""

    with pytest.raises(LookupError, match="Undescribed says what x is"):
        table.meaning_of(Undescribed, "x")
