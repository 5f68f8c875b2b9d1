"""``gankit compare``: a table and a picture of runs of any kind."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import gankit
from gankit.cli import main
from gankit.runs.comparison import IMAGES, compare
from gankit.runs.protocols import by_protocol

Trained = Callable[..., Path]


@pytest.fixture
def compared(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    """Run the command with ``--json``; it must say numbers that JSON has."""

    def run(*folders: Path) -> dict[str, Any]:
        out = tmp_path / "pictures" / "compare.png"
        assert main(["compare", *map(str, folders), "--out", str(out), "--json"]) == 0
        with Image.open(out) as picture:
            picture.load()
            assert picture.width >= 900
        found: dict[str, Any] = json.loads(capfd.readouterr().out, parse_constant=pytest.fail)
        return found

    return run


def table(capfd: pytest.CaptureFixture[str], *argv: Any) -> dict[str, str]:
    capfd.readouterr()
    assert main(["compare", *map(str, argv)]) == 0
    lines = capfd.readouterr().out.splitlines()
    return {line.split("  ")[0].strip(): line for line in lines}


def test_settings_that_differ_and_no_others(
    trained: Trained, compared: Callable[..., dict[str, Any]]
) -> None:
    found = compared(trained("gan"), trained("cgan"))
    settings = found["settings"]
    assert settings["recipe"] == {"gan": "gan", "cgan": "cgan"}
    assert settings["steps"] == {"gan": "60", "cgan": "4"}
    # One has it from its recipe, the other by default.
    assert settings["step.z_distribution"] == {"gan": "normal", "cgan": "uniform"}
    assert not settings.keys() & {"seed", "generator.hidden", "step", "grid_rows", "z_dim"}
    runs = {run["name"]: run for run in found["runs"]}
    assert [runs[name]["step"] for name in ("gan", "cgan")] == [60, 4]
    assert all(run["finished"] and run["seconds"] > 0 for run in runs.values())
    assert runs["gan"]["parameters"]["G"] == 100 * 16 + 16 * 16 + 16 * 784 + 16 + 16 + 784
    with open(trained("gan", "copy") / "metrics.csv") as file:
        header, *rows = [line.strip().split(",") for line in file]
    losses = [float(row[header.index("g_loss")]) for row in rows]
    metric = runs["gan"]["metrics"]["g_loss"]
    assert metric["last"] == losses[-1]
    assert metric["lowest"] == min(losses)
    assert metric["lowest_step"] == int(rows[losses.index(min(losses))][0])


def test_samples_of_the_same_noise(trained: Trained) -> None:
    a, b, other = trained("gan", "a"), trained("gan", "b"), trained("vae")
    state = torch.load(b / "checkpoint.pt", weights_only=True)
    for name, value in state["gan_step"].items():
        if name.startswith("G.") and value.is_floating_point():
            value.mul_(1.001)
    torch.save(state, b / "checkpoint.pt")
    found = compare([a, b, other], seed=3, trust=False)
    samples = [each.samples for each in found.drawn.values()]
    assert torch.equal(samples[0], gankit.load(a).sample(IMAGES, seed=3))
    assert 0 < float((samples[0] - samples[1]).abs().max()) < 0.1
    assert [each.noise for each in found.drawn.values()] == [
        *[(100, "normal")] * 2,
        (16, "normal"),
    ]
    assert found.notes == [
        "the runs draw from noise of other shapes, so not all have the same z",
    ]
    assert compare([a, b], seed=3, trust=False).notes == []


def test_any_kinds_of_runs(trained: Trained, compared: Callable[..., dict[str, Any]]) -> None:
    kinds = ("gan", "vae", "ae", "gan-1d", "gan-2d", "cyclegan-toy", "pix2pix-toy")
    found = compared(*map(trained, kinds))
    assert [run["name"] for run in found["runs"]] == list(kinds)
    assert all(run["metrics"] for run in found["runs"])
    shown = [note for note in found["notes"] if "is shown by its newest sample picture" in note]
    assert [note.split(" ")[0] for note in shown] == ["ae", "cyclegan-toy", "pix2pix-toy"]


def test_two_runs_of_one_name(trained: Trained, compared: Callable[..., dict[str, Any]]) -> None:
    one, two = trained("gan", "monday/gan"), trained("gan", "tuesday/gan")
    found = compared(one, two)
    assert [run["name"] for run in found["runs"]] == ["monday/gan", "tuesday/gan"]
    assert found["settings"] == {}


def test_unfinished_runs_and_runs_without_files(
    trained: Trained, compared: Callable[..., dict[str, Any]], capfd: pytest.CaptureFixture[str]
) -> None:
    whole, young, bare, broken = (
        trained("gan", name) for name in ("whole", "young", "bare", "bad")
    )
    (young / "checkpoint.pt").unlink()
    lines = (young / "metrics.csv").read_text().splitlines(keepends=True)
    (young / "metrics.csv").write_text("".join(lines[:3]))
    for file in [*(bare / "samples").iterdir(), bare / "checkpoint.pt", bare / "metrics.csv"]:
        file.unlink()
    (broken / "checkpoint.pt").write_bytes(b"no checkpoint")
    for file in (broken / "samples").iterdir():
        file.write_bytes(b"no picture")
    found = compared(whole, young, bare, broken)
    runs = {run["name"]: run for run in found["runs"]}
    assert [run["finished"] for run in runs.values()] == [True, False, False, True]
    assert [run["step"] for run in runs.values()] == [60, 4, 0, 60]
    assert runs["bare"]["seconds"] is None
    assert runs["bare"]["metrics"] == {}
    notes = "\n".join(found["notes"])
    assert "young is shown by its newest sample picture: it has no checkpoint" in notes
    assert "bare is not drawn: it has no checkpoint, and it has no sample picture" in notes
    assert "bad: what the checkpoint says is missing: " in notes
    assert f"{broken / 'samples'}" in notes
    rows = table(capfd, whole, young, bare, broken, "--out", whole / "compare.png")
    assert "4, not finished" in rows["step"]
    assert rows["recipe and data"].count("gan on digits") == 4


def test_the_code_of_others_runs_with_trust_alone(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("their_net.py").write_text(
        "from gankit.models.mlp import Generator as G\nopen('ran', 'w')\nclass Generator(G): pass\n"
    )
    mine, theirs = trained("gan", "mine"), trained("gan", "theirs")
    state = torch.load(theirs / "checkpoint.pt", weights_only=True)
    for spec in (state["config"]["run"]["generator"], state["config"]["networks"]["G"]):
        spec["class_path"] = "their_net.Generator"
    torch.save(state, theirs / "checkpoint.pt")
    found = compare([mine, theirs], seed=0, trust=False)
    assert not Path("ran").exists()
    assert found.drawn["theirs"].samples is None
    assert "names code that is not gankit's" in found.notes[0]
    assert main(["report", "theirs"]) == 0
    assert "gankit sample --trust theirs" in (theirs / "report.html").read_text()
    assert not Path("ran").exists()
    assert compare([mine, theirs], seed=0, trust=True).drawn["theirs"].samples is not None
    assert Path("ran").exists()


def test_evaluations_of_one_protocol_compare(
    trained: Trained, capfd: pytest.CaptureFixture[str]
) -> None:
    a, b = trained("gan", "a"), trained("gan", "b")

    def result(fid: float, **other: Any) -> dict[str, Any]:
        return {"values": {"fid": fid}, "features": "small", "n_generated": 500, "seed": 0, **other}

    both = [result(30.5, step=4, generated="a"), result(20.5, step=60, generated="a")]
    (a / "evaluation.json").write_text(json.dumps({"results": both}))
    other = [result(10.25, generated="b"), result(7.0, seed=1), {"values": {"kid": "odd"}}]
    (b / "evaluation.json").write_text(json.dumps({"results": other}))
    rows = table(capfd, a, b, "--out", a / "compare.png")
    name = "fid (small, 500 images)"
    assert re.split("  +", rows[f"{name}, protocol 1"])[-2:] == ["20.5 at step 60", "10.25"]
    assert rows[f"{name}, protocol 2"].split()[-2:] == ["-", "7"]
    assert not any(row.startswith("kid") for row in rows)
    note = f"{name}: protocols differ in seed (0 and 1), so their numbers do not compare"
    assert note in compare([a, b], seed=0, trust=False).notes


def test_settings_of_other_metrics_make_no_other_protocol() -> None:
    one = {"values": {"fid": 3.0}, "settings": {"classifier_accuracy": 0.99}, "step": 4}
    more = {"kid_subsets": 100, "prc_neighborhood": 3, **one["settings"]}  # type: ignore[dict-item]
    values = {"fid": 2.0, "kid": 1.0, "psnr": "Infinity"}
    other = {"values": values, "settings": more, "step": 6}
    rows = by_protocol({"a": [one], "b": [other]})
    assert {label: row.words("b") for label, row in rows.items()} == {
        "fid": "2 at step 6",
        "kid": "1 at step 6",
        "psnr": "infinite at step 6",
    }
    assert rows["fid"].words("a") == "3 at step 4"
    assert rows["kid"].words("a") == "-"
    assert "kid_subsets" not in rows["fid"].protocol["settings"]
    assert rows["kid"].protocol["settings"] == {"kid_subsets": 100, "classifier_accuracy": 0.99}


def test_numbers_in_the_logs_of_other_protocols_are_told_apart(trained: Trained) -> None:
    a, b = trained("gan", "a"), trained("gan", "b")
    for folder, n in ((a, 50), (b, 100)):
        state = torch.load(folder / "checkpoint.pt", weights_only=True)
        state["config"]["run"]["evaluate_n"] = n
        torch.save(state, folder / "checkpoint.pt")
        lines = (folder / "metrics.csv").read_text().splitlines()
        (folder / "metrics.csv").write_text(
            "\n".join([f"{lines[0]},fid", *(f"{line},{n}" for line in lines[1:])]) + "\n"
        )
    (note,) = compare([a, b], seed=0, trust=False).notes
    assert note == (
        "fid in the logs: runs differ in evaluate_n (50 and 100), so their numbers do not compare"
    )


def test_what_cannot_be_compared(trained: Trained, refused: Callable[..., str]) -> None:
    folder = trained("gan")
    same = folder.parent / "link"
    same.symlink_to(folder)
    assert "is one run; allowed are two or more" in refused("compare", str(folder))
    for again in (f"{folder}/", str(folder / ".." / folder.name), str(same)):
        sentence = refused("compare", str(folder), again)
        assert "is given twice; allowed are different runs" in sentence
    assert "expected the folder of a run" in refused(
        "compare", str(folder), str(folder / "samples")
    )
    sentence = refused("compare", str(folder), str(trained("vae")), "--out", "compare.jpg")
    assert "--out is 'compare.jpg'; allowed is FILE.png" in sentence


def test_the_picture_shows_samples_and_curves(trained: Trained, tmp_path: Path) -> None:
    bright, dark = trained("gan", "bright"), trained("gan", "dark")
    for folder, value in ((bright, 10.0), (dark, -10.0)):
        state = torch.load(folder / "checkpoint.pt", weights_only=True)
        last = [name for name in state["gan_step"] if name.startswith("G.") and "bias" in name][-1]
        state["gan_step"][last].fill_(value)
        torch.save(state, folder / "checkpoint.pt")
    rows = [line.split(",") for line in (dark / "metrics.csv").read_text().split()]
    other = [[row[0], *(f"{float(value) + 0.3}" for value in row[1:])] for row in rows[1:]]
    (dark / "metrics.csv").write_text("\n".join(map(",".join, [rows[0], *other])) + "\n")
    assert main(["compare", str(bright), str(dark), "--out", str(tmp_path / "c.png")]) == 0
    with Image.open(tmp_path / "c.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    upper = pixels[: len(pixels) // 3]
    left, right = np.array_split(upper, 2, axis=1)
    assert (right.sum(2) == 0).mean() > 0.2  # black images
    assert (left.sum(2) == 0).mean() < 0.1
    lower = pixels[len(pixels) // 3 :]
    for color in ((31, 119, 180), (255, 127, 14)):  # C0 and C1 of matplotlib
        assert (abs(lower - color).sum(2) < 10).sum() > 100
