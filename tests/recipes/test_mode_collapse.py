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
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_plain_gan_collapses_and_the_unrolled_one_and_wgan_gp_do_not(seed: int) -> None:
    """In the page's table 1 of 8 modes, 8 and 8; the other ways lie between and are not held."""
    if seed != 2:  # with which the plain GAN finds six, as the page says
        plain = mode_collapse.run("non-saturating", seed)
        assert plain.modes.found <= 3, str(plain.modes)
        assert plain.modes.near < 0.15
        # With seed 1 the few modes lie far from each other, which passes for diversity.
        if seed == 0:
            assert any(sentence.startswith("Mode collapse: ") for _, sentence in plain.said)
    for way in ("unrolled", "WGAN-GP"):
        cured = mode_collapse.run(way, seed)
        assert cured.modes.found >= 6, f"{way}: {cured.modes}"
        assert cured.modes.near > 0.15
        assert not any(sentence.startswith("Mode collapse: ") for _, sentence in cured.said)
