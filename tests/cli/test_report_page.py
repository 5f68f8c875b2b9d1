"""``gankit report``: one page that needs no other file, and in which text is text."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Callable
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gankit.cli import main
from gankit.runs.html import tag
from gankit.runs.record import read_record
from gankit.runs.setting_rows import setting_rows
from gankit.runs.svg import ticks
from gankit.runs.wording import duration, number
from tests.cli.trained import KINDS

Trained = Callable[..., Path]
# Elements that HTML closes by itself.
VOID = {"meta", "img", "input", "br"}
LOADING = {"src", "href", "action", "data", "poster", "srcset", "xlink:href", "style"}


class Page(HTMLParser):
    """The elements of a page, and the text of each kind of them."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.text = path.read_text("utf-8")
        self.feed(self.text)
        self.close()
        assert self._open == []

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((name, dict(attributes)))
        assert len(dict(attributes)) == len(attributes)
        if name not in VOID:
            self._open.append(name)
            self.texts.setdefault(name, []).append("")

    def handle_startendtag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((name, dict(attributes)))

    def handle_endtag(self, name: str) -> None:
        assert self._open.pop() == name

    def handle_data(self, data: str) -> None:
        for name in set(self._open):
            self.texts[name][-1] += data

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for found, attributes in self.tags if found == name]

    def rows(self) -> dict[str, list[str]]:
        """The rows of all tables, by their first cell."""
        found = {}
        for row in re.findall(r"<tr>(.*?)</tr>", self.text, re.DOTALL):
            cells = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)
            found[cells[0]] = cells[1:]
        return found


def report(folder: Path) -> Page:
    assert main(["report", str(folder)]) == 0
    return Page(folder / "report.html")


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_of_each_kind_of_run_needs_no_other_file(kind: str, trained: Trained) -> None:
    folder = trained(kind)
    page = report(folder)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on")
            assert name not in LOADING or str(value).startswith("data:image/")
    assert not re.search(r"https?:|url\(|@import|fetch\(|XMLHttp", page.text)
    assert all(image["alt"] for image in page.all("img"))
    pictures = sorted((folder / "samples").iterdir())
    assert len(page.all("img")) == len(pictures)
    for image, file in zip(page.all("img"), pictures, strict=True):
        data = base64.b64decode(str(image["src"]).partition("base64,")[2])
        assert data == file.read_bytes()
    columns = read_record(folder).columns
    shown = " ".join(page.texts["th"])
    assert all(column in shown for column in columns)
    assert len(page.all("svg")) >= 2
    assert all(plot["role"] == "img" and plot["aria-label"] for plot in page.all("svg"))
    assert "finished" in page.texts["header"][0]
    assert "not finished" not in page.texts["header"][0]


def test_a_run_ends_with_the_page_that_the_command_writes(trained_once: Trained) -> None:
    folder = trained_once("gan")
    at_the_end = (folder / "report.html").read_bytes()
    assert len(report(folder).all("img")) > 2
    assert (folder / "report.html").read_bytes() == at_the_end


def test_the_policy_allows_the_page_s_own_script_and_style_alone(trained: Trained) -> None:
    page = report(trained("gan"))
    (policy,) = [m["content"] for m in page.all("meta") if m.get("http-equiv")]
    assert policy is not None
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["img-src"] == "data:"
    for name in ("script", "style"):
        (text,) = re.findall(rf"<{name}>(.*?)</{name}>", page.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules[f"{name}-src"] == f"'sha256-{digest}'"


def test_text_of_a_run_is_no_code(trained: Trained) -> None:
    harm = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;"
    folder = trained("gan", "<script>alert(0)<'\">")
    usual = [name for name, _ in report(folder).tags]
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    config = state["config"]
    config["run"]["recipe"] = config["run"]["data_root"] = harm
    config["networks"] = {harm: {"class_path": harm, "init_args": {harm: harm}}}
    config["parameters"] = {harm: 5}
    config["curves"] = [[harm, {"d_loss": harm, "g_loss": harm}, None]]
    state["environment"][harm] = harm
    state["callbacks"]["Diagnostics"]["said"] = [[3, harm]]
    torch.save(state, folder / "checkpoint.pt")
    result = {"values": {harm: 1.0, "b": harm}, "features": harm, harm: harm}
    (folder / "evaluation.json").write_text(json.dumps({"results": [result]}))
    page = report(folder)
    assert page.text.count("alert(1)") == page.text.count("&lt;script&gt;alert(1)&lt;/script&gt;")
    assert page.text.count("alert(1)") > 15
    assert len(page.all("script")) == usual.count("script") == 1
    assert len(page.all("img")) == usual.count("img")
    assert not any("onerror" in attributes for _, attributes in page.tags)
    assert harm in page.texts["li"][0]


def test_who_chose_a_setting(trained: Trained) -> None:
    config = read_record(trained("gan")).config
    assert config is not None
    rows = {row.name: row for row in setting_rows(config.updated(n_critic=2))}
    assert rows["steps"][1:] == ("60", "set")
    assert rows["generator.hidden"][1:] == ("[16, 16]", "set")
    assert rows["step.n_critic"][1:] == ("2", "set")
    assert rows["step.loss"][1:] == ("non-saturating", "recipe")
    assert rows["lr"][1:] == ("0.0002", "default")
    assert rows["step.penalty"][1:] == ("null", "default")  # an argument that nobody gave
    assert "epochs" not in rows
    assert "z_dim" in rows
    assert "generator.z_dim" not in rows


def test_the_numbers_of_the_page_are_those_of_the_files(trained: Trained) -> None:
    folder = trained("gan")
    lines = [line.split(",") for line in (folder / "metrics.csv").read_text().split()]
    losses = {int(line[0]): float(line[2]) for line in lines[1:]}
    assert lines[0][2] == "d_loss"
    page = report(folder)
    lowest = min(losses, key=lambda step: losses[step])
    last, low, _ = page.rows()["D loss (d_loss)"]
    assert last == number(losses[60])
    assert low == f"{number(losses[lowest])} at step {lowest}"
    weights = {"G": 100 * 16 + 16 * 16 + 16 * 784, "D": 784 * 16 + 16 * 16 + 16}
    biases = {"G": 16 + 16 + 784, "D": 16 + 16 + 1}
    counts = {name: f"{weights[name] + biases[name]:,}" for name in "GD"}
    assert {name: page.rows()[name][-1] for name in "GD"} == counts
    seconds = sum(2 * 60 / float(line[-1]) for line in lines[1:])
    assert read_record(folder).seconds == pytest.approx(seconds)
    assert duration(seconds) in page.texts["dd"]


def test_how_to_go_on(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = trained("gan", "a run")
    monkeypatch.chdir(folder)
    codes = report(Path()).texts["code"]
    assert "gankit train --config config.yaml --out '../a run-again'" in codes
    codes = report(folder).texts["code"]
    assert f"gankit train --resume --out '{folder}' --steps 120" in codes
    assert f"gankit sample '{folder}' --n 64 --out grid.png" in codes
    codes = report(trained("cyclegan-toy")).texts["code"]
    assert any("translate" in code and "--direction b2a" in code for code in codes)
    assert not any(code.startswith("gankit sample") for code in codes)
    codes = report(trained("ae")).texts["code"]
    assert not any(code.startswith("gankit sample") for code in codes)
    codes = report(trained("segan-toy")).texts["code"]
    assert any(code.startswith("gankit enhance") for code in codes)
    assert not any(code.startswith("gankit evaluate") for code in codes)
    codes = report(trained("srgan-toy")).texts["code"]
    assert any(code.startswith("gankit upscale") for code in codes)


def test_a_run_that_goes_on(trained: Trained) -> None:
    """Before its first picture, its first checkpoint and its first log."""
    folder = trained("gan")
    for file in (folder / "samples").iterdir():
        file.unlink()
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    state["config"]["run"]["steps"] = 1000
    torch.save(state, folder / "checkpoint.pt")
    page = report(folder)
    assert "not finished" in page.texts["header"][0]
    assert "60 of 1,000" in page.texts["dd"]
    assert f"gankit train --resume --out {folder}" in page.texts["code"]
    assert "no sample picture yet" in page.text
    assert page.all("input") == []
    (folder / "checkpoint.pt").unlink()
    page = report(folder)
    assert "gan on digits" in page.texts["h1"]
    assert "No checkpoint says what the diagnostics have found." in page.text
    assert not any("--resume" in code for code in page.texts["code"])
    (folder / "metrics.csv").unlink()
    assert "Nothing was logged yet." in report(folder).text
    (folder / "config.yaml").write_text("recipe: [")
    assert "the settings of the run are not known" in report(folder).texts["header"][0]


def test_warnings_of_the_diagnostics_stay_with_the_run(trained: Trained) -> None:
    folder = trained("gan")
    assert "have not looked at this run" in report(folder).text
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    said = state["callbacks"]["Diagnostics"]
    said["looks"] = 3
    torch.save(state, folder / "checkpoint.pt")
    assert "have looked at the networks 3 times and had nothing" in report(folder).text
    said["said"] = [[1200, "D is too weak: try more of it."]]
    torch.save(state, folder / "checkpoint.pt")
    assert "Step 1,200. D is too weak: try more of it." in report(folder).texts["li"]
    for odd in (5, [5], [["a", "b"]], [[1, 2]], [[1]]):
        said["said"] = odd
        torch.save(state, folder / "checkpoint.pt")
        assert "the warnings of the diagnostics are not known" in report(folder).text


@pytest.mark.parametrize(
    "text", ["", "[1]", "{}", '{"results": 3}', '{"results": [5]}', "[" * 100_000]
)
def test_an_evaluation_that_cannot_be_read_costs_no_page(text: str, trained: Trained) -> None:
    folder = trained("gan")
    (folder / "evaluation.json").write_text(text)
    assert "Evaluation" not in report(folder).texts["h2"]


def test_an_evaluation_stands_with_its_protocol(trained: Trained) -> None:
    folder = trained("gan")
    values = {"fid": 12.346, "recall": 0.75, "own": 3, "psnr": "Infinity", "kid_std": 0.5}
    result = {"values": values, "step": 60}
    result |= {"features": "small", "n_generated": 500, "real": "digits", "features_hash": None}
    (folder / "evaluation.json").write_text(json.dumps({"results": [result]}))
    page = report(folder)
    rows = {name.split("(")[-1]: cells for name, cells in page.rows().items()}
    assert rows["fid)"] == ["12.35", "lower is better"]
    assert rows["recall"] == ["0.75", "higher is better"]
    assert rows["psnr)"] == ["infinite", "higher is better"]
    assert rows["kid_std)"] == ["0.5", ""]
    assert rows["own"] == ["3", ""]
    assert rows["n_generated"] == ["500"]
    assert "features_hash" not in rows
    assert (
        "At step 60, with the features small: 500 images against digits." in page.texts["caption"]
    )


def test_many_and_large_pictures(trained: Trained, caplog: pytest.LogCaptureFixture) -> None:
    folder = trained("gan")
    (last,) = sorted((folder / "samples").iterdir())[-1:]
    for step in range(61, 181):
        (folder / "samples" / f"epoch_0003_step_{step:07}.png").write_bytes(last.read_bytes())
    broken = folder / "samples" / "epoch_0003_step_0000180.png"
    broken.write_bytes(last.read_bytes()[:99])
    images = report(folder).all("img")
    assert 30 <= len(images) <= 50
    assert f"{broken} is left out of the page: " in caplog.text
    noise = np.random.default_rng(0).integers(0, 255, (900, 2000, 3), dtype=np.uint8)
    Image.fromarray(noise).save(broken)
    images = report(folder).all("img")
    assert 1 <= len(images) <= 22  # 40 million pixels
    kind, _, data = str(images[-1]["src"]).partition(";base64,")
    assert kind == "data:image/webp"
    with Image.open(BytesIO(base64.b64decode(data))) as picture:
        assert picture.size == (1600, 720)
    os.mkfifo(folder / "samples" / "epoch_0004_step_0000200.png")  # is not waited for
    assert len(report(folder).all("img")) >= 1


def test_elsewhere_and_what_is_no_run(
    trained: Trained, tmp_path: Path, refused: Callable[..., str]
) -> None:
    folder = trained("gan")
    (folder / "report.html").unlink()
    assert main(["report", str(folder), "--out", str(tmp_path / "new" / "page.html")]) == 0
    assert (tmp_path / "new" / "page.html").is_file()
    assert not (folder / "report.html").exists()
    assert "allowed is FILE.html" in refused("report", str(folder), "--out", "page.png")
    for place in (tmp_path / "absent", tmp_path / "new", folder / "config.yaml"):
        assert "expected the folder of a run" in refused("report", str(place))


def test_numbers_and_text() -> None:
    assert [duration(s) for s in (0.04, 8.12, 59.7, 725, 12_000)] == [
        *("0.04 s", "8.1 s", "60 s", "12 min 5 s", "3 h 20 min"),
    ]
    assert [number(v) for v in (0.12345, 12.0, 12_345.6, 1e9, -1234, float("nan"))] == [
        *("0.1235", "12", "12,346", "1e+09", "-1,234", "unknown"),
    ]
    assert ticks(0, 1000, 5) == [0, 200, 400, 600, 800, 1000]
    assert ticks(0.3, 0.9, 5) == pytest.approx([0.4, 0.6, 0.8])
    odd: Any = "a\x00b\udcffc"
    assert tag("p", odd, title=odd) == '<p title="a\N{REPLACEMENT CHARACTER}b\\udcffc">' + (
        "a\N{REPLACEMENT CHARACTER}b\\udcffc</p>"
    )
