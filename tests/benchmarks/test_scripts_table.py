"""The table of ``python -m benchmarks.scripts``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from benchmarks.scripts import __main__ as scripts
from benchmarks.scripts.networks import Case
from gankit.bench.scripts import MODES


def test_a_table_is_written_between_its_marks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def entry(plain: float, ours: float) -> dict[str, object]:
        return {"plain": [plain, 9.0], "accelerated": [8.0, ours], "fused": {"linear": 2}}

    data = {
        "kind": "scripts",
        "device": "some CPU",
        "torch": "2.15",
        "threads": 2,
        "batch_size": 64,
        "scripts": {"one": entry(0.2, 0.1), "two": entry(0.1, 0.2)},
    }
    file, page = tmp_path / "run.json", tmp_path / "page.md"
    file.write_text(json.dumps(data))
    begin, end = scripts.BEGIN.format("scripts"), scripts.END.format("scripts")
    page.write_text(f"before\n{begin}\nold\n{end}\nafter\n")
    monkeypatch.setattr(sys, "argv", ["scripts", "--report", str(file), "--into", str(page)])
    for _ in range(2):
        assert scripts.main() == 0
        assert "| one | 200.0 | 100.0 | 2.00x | linear 2 |" in capsys.readouterr().out
        text = page.read_text()
        assert text.startswith(f"before\n{begin}\nsome CPU, torch 2.15, 2 thread(s)")
        assert text.endswith(f"Geometric mean 1.00x, least 0.50x.\n{end}\nafter\n")
        assert "old" not in text
    page.write_text("no marks\n")
    with pytest.raises(SystemExit, match="expected the lines"):
        scripts.main()
    assert page.read_text() == "no marks\n"


def test_plain_and_accelerated_networks_take_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    case = Case(
        lambda: nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU()), (2, 2, 64, 64)
    )
    monkeypatch.setattr(scripts, "CASES", {"a network": case})
    called: list[bool] = []
    time_network = scripts.time_network

    def note(network: nn.Module, x: Tensor, mode: str) -> float:
        seconds = time_network(network, x, mode)
        assert (type(network) is nn.Sequential) is (mode == "plain")
        called.append(mode == "plain")
        return seconds

    monkeypatch.setattr(scripts, "time_network", note)
    threads = torch.get_num_threads()
    file, page = tmp_path / "run.json", tmp_path / "page.md"
    monkeypatch.setattr(
        sys, "argv", ["scripts", "--networks", "--seconds", "0", "--json", str(file)]
    )
    try:
        assert scripts.main() == 0
    finally:
        torch.set_num_threads(threads)
    assert "| a network | " in capsys.readouterr().out
    data = json.loads(file.read_text())
    assert [len(data["networks"]["a network"][mode]) for mode in MODES] == [3, 3]
    assert called == [True, False, *[True, False, False, True, True, False] * 3]
    page.write_text("<!-- networks: begin -->\n<!-- networks: end -->\n")
    monkeypatch.setattr(sys, "argv", ["scripts", "--report", str(file), "--into", str(page)])
    assert scripts.main() == 0
    assert "1 thread(s), " in page.read_text()
    assert "| network | plain |" in page.read_text()


@pytest.mark.parametrize("kind", ["scripts", "networks"])
def test_the_page_has_the_marks(kind: str) -> None:
    page = Path(scripts.__file__).resolve().parents[2] / "docs" / "accelerate.md"
    text = page.read_text()
    assert text.count(scripts.BEGIN.format(kind)) == text.count(scripts.END.format(kind)) == 1
