"""The table of ``python -m benchmarks.scripts``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks.scripts import __main__ as scripts


def test_a_table_is_written_between_its_marks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def entry(plain: float, ours: float) -> dict[str, object]:
        return {"plain": [plain, 9.0], "accelerated": [8.0, ours], "fused": {"linear": 2}}

    data = {
        "device": "some CPU",
        "torch": "2.15",
        "threads": 2,
        "batch_size": 64,
        "scripts": {"one": entry(0.2, 0.1), "two": entry(0.1, 0.2)},
    }
    file, page = tmp_path / "run.json", tmp_path / "page.md"
    file.write_text(json.dumps(data))
    page.write_text(f"before\n{scripts.BEGIN}\nold\n{scripts.END}\nafter\n")
    monkeypatch.setattr(sys, "argv", ["scripts", "--report", str(file), "--into", str(page)])
    for _ in range(2):
        assert scripts.main() == 0
        assert "| one | 200.0 | 100.0 | 2.00x | linear 2 |" in capsys.readouterr().out
        text = page.read_text()
        assert text.startswith(f"before\n{scripts.BEGIN}\nsome CPU, torch 2.15, 2 threads")
        assert text.endswith(f"Geometric mean 1.00x, least 0.50x.\n{scripts.END}\nafter\n")
        assert "old" not in text
    page.write_text("no marks\n")
    with pytest.raises(SystemExit, match="expected the lines"):
        scripts.main()
    assert page.read_text() == "no marks\n"


def test_the_page_has_the_marks() -> None:
    page = Path(scripts.__file__).resolve().parents[2] / "docs" / "accelerate.md"
    assert page.read_text().count(scripts.BEGIN) == page.read_text().count(scripts.END) == 1
