"""What docs/mode-collapse.md says: which ways find the modes of the ring, and what is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples import mode_collapse


def test_every_way_trains_and_stands_in_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "modes.png"
    mode_collapse.main(["--seeds", "0", "1", "--steps", "2", "--picture", str(picture)])
    table = capsys.readouterr().out
    for way in mode_collapse.WAYS:
        (row,) = [line for line in table.splitlines() if line.startswith(f"| {way} |")]
        assert row.count("%") == 2
    assert picture.stat().st_size > 5000


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0])
def test_modes(seed: int, tmp_path: Path) -> None:
    results = {}
    for way in mode_collapse.WAYS:
        results[way] = mode_collapse.run(way, seed)
        print(mode_collapse.row(way, [results[way]]), results[way].said[:2], flush=True)
    mode_collapse.draw(tmp_path / "ways.png", results)
