"""The ten public-style scripts compute under ``gankit run`` what they compute without."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gankit.acceleration.run import served
from gankit.run import run_script

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "scripts"
SCRIPTS = sorted(file.stem for file in FOLDER.glob("*.py") if file.stem != "options")

pytestmark = pytest.mark.skipif(not served("cpu"), reason="only the reference backend is here")


def weights(script: str, folder: Path, accelerated: bool, *arguments: str) -> list[torch.Tensor]:
    file = folder / f"{script}-{accelerated}.pt"
    dtype = torch.get_default_dtype()
    try:
        code, report = run_script(
            str(FOLDER / f"{script}.py"),
            ["--save", str(file), *arguments],
            accelerated=accelerated,
        )
    finally:
        torch.set_default_dtype(dtype)
    assert code == 0
    assert bool(report.counts) is accelerated
    networks = torch.load(file, weights_only=True)
    return [tensor for network in networks for tensor in network.values()]


def test_there_are_ten() -> None:
    assert len(SCRIPTS) == 10


@pytest.mark.parametrize("script", SCRIPTS)
def test_twenty_steps_in_float64(script: str, tmp_path: Path) -> None:
    arguments = ("--steps", "20", "--batch-size", "4", "--width", "8", "--dropout", "0", "--double")
    ours = weights(script, tmp_path, True, *arguments)
    plain = weights(script, tmp_path, False, *arguments)
    for a, b in zip(ours, plain, strict=True):
        assert a.dtype == b.dtype
        assert (a.double() - b.double()).abs().max() <= 1e-9 * b.double().abs().max()
