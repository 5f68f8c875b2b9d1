"""metrics.csv as people and other programs leave it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gankit.training import LossCurves, MetricsCSV
from gankit.training.callbacks import read_metrics
from tests.training.test_trainer import make_trainer

Edit = Callable[[str], bytes]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The file of a run of 12 steps, a row for every second."""
    path = tmp_path_factory.mktemp("run") / "metrics.csv"
    make_trainer(MetricsCSV(path), log_every=2).fit(steps=12)
    return path.read_text()


def reordered(text: str) -> str:
    return "\n".join(",".join(reversed(line.split(","))) for line in text.splitlines()) + "\n"


def in_german(text: str) -> str:
    return text.replace(",", ";").replace(".", ",")


# Nothing is lost by reading them.
WHOLE: dict[str, Edit] = {
    "as written": lambda text: text.encode(),
    "byte order mark": lambda text: b"\xef\xbb\xbf" + text.encode(),
    "semicolons": lambda text: text.replace(",", ";").encode(),
    "semicolons and decimal commas": lambda text: in_german(text).encode(),
    "tabs": lambda text: text.replace(",", "\t").encode(),
    "UTF-16": lambda text: text.encode("utf-16"),
    "CRLF": lambda text: text.replace("\n", "\r\n").encode(),
    "CR": lambda text: text.replace("\n", "\r").encode(),
    "another order": lambda text: reordered(text).encode(),
    "spaces and capitals": lambda text: text.replace(",", " , ").replace("step", "Step").encode(),
    "quotation marks": lambda text: ('"' + text.strip().replace(",", '","')
                                     .replace("\n", '"\n"') + '"\n').encode(),
    "no header": lambda text: text.partition("\n")[2].encode(),
    "empty lines": lambda text: text.replace("\n", "\n\n").encode(),
    "lines filled up": lambda text: text.replace("\n", ",,,\n").encode(),
    "sorted by another column": lambda text: "\n".join(
        [text.splitlines()[0], *sorted(text.splitlines()[1:], key=lambda s: s[::-1])]
    ).encode() + b"\n",
    "no end of line": lambda text: text.rstrip("\n").encode(),
    "zeros of a crash": lambda text: text.encode() + bytes(300),
    "half a row": lambda text: text.encode() + b"14,2.8,0.5",
    "steps as decimals": lambda text: "\n".join(
        line.replace(",", ".0,", 1) if n else line for n, line in enumerate(text.splitlines())
    ).encode(),
}  # fmt: skip

BAD_ROW = "{},0.8,0.5,0.5,0.5,0.5,0,100\n"
# What cannot be read costs the line that it is in, or the value.
DAMAGED: dict[str, Edit] = {
    "a comment of another encoding": lambda text: text.encode() + b"# caf\xe9\n",
    "a superscript as step": lambda text: (text + BAD_ROW.format("²")).encode(),
    "a step of 5,000 digits": lambda text: (text + BAD_ROW.format("9" * 5000)).encode(),
    "a step that is no integer": lambda text: (text + BAD_ROW.format("4.5")).encode(),
    "a step below 0": lambda text: (text + BAD_ROW.format("-4")).encode(),
    "a step that is not a number": lambda text: (text + BAD_ROW.format("nan")).encode(),
    "an endless step": lambda text: (text + BAD_ROW.format("inf")).encode(),
    "a huge field": lambda text: (text + BAD_ROW.format("x" * 200_000)).encode(),
    "a quotation mark": lambda text: (text + BAD_ROW.format('"')).encode(),
    "a NUL": lambda text: (text + BAD_ROW.format("a\0")).encode(),
    "a column of one's own": lambda text: "\n".join(
        line + (",note" if n == 0 else ",good") for n, line in enumerate(text.splitlines())
    ).encode() + b"\n",
    "a word as a value": lambda text: text.replace(
        text.splitlines()[1].split(",")[2], "abc", 1).encode(),
    "a short line in the middle": lambda text: text.replace("\n", "\n1,2,3\n", 2).encode(),
}  # fmt: skip
UNREADABLE: dict[str, Edit] = {
    "another table": lambda text: b"a,b,c\n1,2,3\n4,5,6\n",
    "binary": lambda text: bytes(range(256)) * 20,
    "UTF-16 without a mark": lambda text: text.encode("utf-16-le"),
}


def resumed(tmp_path: Path, data: bytes) -> list[dict[str, str]]:
    """The rows after a run whose file was edited went on from step 8 to 12, curves and all."""
    first = make_trainer(MetricsCSV(tmp_path / "first.csv"), log_every=2)
    first.fit(steps=8)
    path = tmp_path / "metrics.csv"
    path.write_bytes(data)
    curves = LossCurves(path, tmp_path / "losses.png")
    second = make_trainer(MetricsCSV(path), curves, log_every=2)
    second.load_state_dict(first.state_dict())
    second.fit(steps=12)
    assert (tmp_path / "losses.png").is_file()
    return read_metrics(path)


@pytest.mark.parametrize("edit", WHOLE.values(), ids=WHOLE.keys())
def test_an_edited_file_is_read(
    written: str, tmp_path: Path, edit: Edit, caplog: pytest.LogCaptureFixture
) -> None:
    plain, edited = tmp_path / "plain.csv", tmp_path / "edited.csv"
    plain.write_text(written)
    edited.write_bytes(edit(written))
    assert read_metrics(edited) == read_metrics(plain)
    rows = resumed(tmp_path, edit(written))
    assert [row["step"] for row in rows] == ["2", "4", "6", "8", "10", "12"]
    assert rows[:4] == read_metrics(plain)[:4]
    assert caplog.text == ""
    assert not list(tmp_path.glob("metrics.edited*"))


@pytest.mark.parametrize("edit", DAMAGED.values(), ids=DAMAGED.keys())
def test_what_cannot_be_read_stays_under_another_name(
    written: str, tmp_path: Path, edit: Edit, caplog: pytest.LogCaptureFixture
) -> None:
    rows = resumed(tmp_path, edit(written))
    assert [row["step"] for row in rows] == ["2", "4", "6", "8", "10", "12"]
    assert (tmp_path / "metrics.edited1.csv").read_bytes() == edit(written)
    assert len(caplog.messages) == 1
    assert f"the file as it was is {tmp_path / 'metrics.edited1.csv'}" in caplog.messages[0]
    assert len(caplog.messages[0]) < 1000


@pytest.mark.parametrize("edit", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_a_file_without_rows_stays_under_another_name(
    written: str, tmp_path: Path, edit: Edit, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "metrics.edited1.csv").write_text("of an earlier time")
    rows = resumed(tmp_path, edit(written))
    assert [row["step"] for row in rows] == ["10", "12"]
    assert (tmp_path / "metrics.edited1.csv").read_text() == "of an earlier time"
    assert (tmp_path / "metrics.edited2.csv").read_bytes() == edit(written)
    assert "has no rows up to step 8" in caplog.text


def test_a_file_edited_while_the_run_goes_on(written: str, tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    header, first, *rest = written.splitlines()
    path.write_bytes(
        b"\xef\xbb\xbf" + in_german(reordered(f"{header}\n{first}\n")).encode()
        + "\n".join(rest).encode()
    )  # fmt: skip
    (tmp_path / "plain.csv").write_text(written)
    assert read_metrics(path) == read_metrics(tmp_path / "plain.csv")


def test_columns_that_are_missing_are_nan(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("g_loss,step\n0.5,10\n,20\n")
    rows = read_metrics(path)
    assert rows == [{"g_loss": "0.5", "step": "10"}, {"g_loss": "nan", "step": "20"}]


def test_what_is_no_file_has_no_rows(tmp_path: Path) -> None:
    assert read_metrics(tmp_path) == read_metrics(tmp_path / "absent.csv") == []
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.csv")
        assert read_metrics(tmp_path / "pipe.csv") == []
