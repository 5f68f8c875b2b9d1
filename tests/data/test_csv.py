"""``csv:PATH``: attributes and classes of images, from a table."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

pytest.importorskip("PIL")

from gankit.cli import main
from gankit.data import ImageData, load, load_csv
from gankit.errors import DataError, GankitWarning
from tests.data.image_folders import flat

COLORS = [(0, 0, 0), (60, 60, 60), (120, 120, 120), (180, 180, 180)]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("GANKIT_DATA", str(tmp_path_factory.mktemp("data")))


@pytest.fixture
def folder(tmp_path) -> Path:
    """Four images in the folder ``faces``, told apart by their color."""
    for number, color in enumerate(COLORS):
        flat(tmp_path / "faces" / f"{number}.png", color)
    return tmp_path


def table(folder: Path, text: str, name: str = "faces.csv") -> Path:
    path = folder / name
    path.write_text(text, "utf-8")
    return path


def test_the_layout_of_celeba(folder):
    path = table(
        folder,
        "4\nBlack_Hair Male  Young\n"
        "3.png -1  1 -1\n0.png  1 -1  1\n2.png  1  1  1\n1.png -1 -1 -1\n",
        "list_attr_celeba.txt",
    )
    data = load(f"csv:{path}", image_size=8, images=str(folder / "faces"))
    assert isinstance(data, ImageData)
    assert data.attribute_names == ("Black_Hair", "Male", "Young")
    assert data.fields == {"image": (3, 8, 8), "attributes": (3,)}
    batch = data.batch(torch.tensor([0, 2]))
    assert batch["attributes"].dtype == torch.float32
    assert batch["attributes"].tolist() == [[0, 1, 0], [1, 1, 1]]
    # The images are in the order of the table.
    assert data.images[:, 0, 0, 0].tolist() == [180, 0, 120, 60]
    assert "3 attributes: Black_Hair, Male, Young." in data.notes[0]
    chosen = load_csv(path, images=folder / "faces", attributes=["Young", "Male"])
    assert chosen.batch(torch.tensor([1]))["attributes"].tolist() == [[1, 0]]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_columns_of_a_table_are_attributes_and_classes(folder, separator):
    lines = [
        ["file", "species", "tame", "age"],
        ["faces/0.png", "dog", "yes", "3"],
        ["faces/1.png", "cät", "TRUE", "1"],
        ["faces/2.png", "", "0", "20"],
        ["faces/3.png", "dog", "-1", "3"],
    ]
    path = table(folder, "\ufeff" + "\r\n".join(separator.join(line) for line in lines))
    data = load_csv(path, attributes="tame", label="species")
    assert data.class_names == ("cät", "dog")
    assert data.fields == {"image": (3, 28, 28), "label": (), "attributes": (1,)}
    batch = data.batch(torch.arange(4))
    assert batch["label"].tolist() == [1, 0, -1, 1]
    assert batch["attributes"].flatten().tolist() == [1, 1, 0, 0]
    # Numbers are in the order of numbers, and without attributes there is no such field.
    aged = load_csv(path, label="age")
    assert aged.class_names == ("1", "3", "20")
    assert aged.fields == {"image": (3, 28, 28), "label": ()}


def test_absent_and_broken_files_leave_the_rest_in_step(folder):
    (folder / "faces" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    names = ["0", "broken", "1", "2", "gone", "3", "3", "2", "1", "0"]
    path = table(folder, "f,dark\n" + "".join(f"faces/{n}.png,{int(n in '01')}\n" for n in names))
    with pytest.warns(GankitWarning, match=r"skipped 2 files: faces/broken.png.*faces/gone.png"):
        data = load_csv(path)
    assert len(data) == 8
    assert data.attributes is not None
    dark = data.images[:, 0, 0, 0] < 100
    assert data.attributes[:, 0].bool().tolist() == dark.tolist()


def test_two_tables_over_one_folder_keep_a_cache_each(folder, monkeypatch):
    paths = [table(folder, f"f,a\nfaces/{n}.png,1\n", f"{n}.csv") for n in (0, 1)]
    for path in paths:
        load_csv(path)
    monkeypatch.setattr("gankit.data.decoded.decode_all", None)  # any decoding would fail
    assert [int(load_csv(path).images[0, 0, 0, 0]) for path in paths] == [0, 60]


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        ("", {}, "has no line for an image"),
        ("f,a\n", {}, "has no line for an image"),
        ("f,a\nfaces/0.png\n", {}, "line 2 has 1 values, expected 2, a file and a"),
        ("f,a\n,1\n", {}, "line 2 names no file"),
        ("f,a,a\nfaces/0.png,1,1\n", {}, "two columns are called 'a'"),
        ("f,a\nfaces/0.png,2\n", {}, "line 2 has a '2', expected 1, true or yes, or 0"),
        ("f,a\nfaces/0.png,1\n", {"attributes": ["b"]}, "no column 'b', its columns are a"),
        ("f,a\nfaces/0.png,1\n", {"attributes": []}, r"attributes is \[\], expected a column"),
        ("f,a\nfaces/0.png,1\n", {"attributes": ["a", "a"]}, "list of different columns"),
        ("f,a\nfaces/0.png,1\n", {"label": "f"}, "no column 'f'"),
        ("f,a\nfaces/0.png,1\n", {"label": 3}, "label is 3, expected a column"),
        ("f,a\nfaces/0.png,\n", {"label": "a"}, "no image has a class in the column a"),
        ("f\nfaces/0.png\n", {"label": "a"}, "its columns are the files alone"),
        ("f,a\nfaces/0.png,1\n", {"split": "test"}, "has no split 'test'"),
        ("f,a\nfaces/0.png,1\n", {"images": "nowhere"}, "nowhere does not exist"),
        ("2\na\nfaces/0.png 1\n", {}, "its first line says 2 images, but there are 1"),
        ('f,a\n"faces/0.png,1\n', {}, "is not a table"),
    ],
)
def test_what_is_no_such_table_is_said(folder, text, arguments, message):
    with pytest.raises(DataError, match=message):
        load_csv(table(folder, text), **arguments)


def test_a_table_that_is_no_text_or_absent(folder):
    (folder / "x.csv").write_bytes(b"f,a\n\xff\xfe,1\n")
    with pytest.raises(DataError, match=r"x\.csv cannot be read \(it is not text in UTF-8\)"):
        load_csv(folder / "x.csv")
    with pytest.raises(DataError, match=r"y\.csv does not exist, expected a table of images"):
        load_csv(folder / "y.csv")


def test_a_conditional_run_learns_the_classes_of_a_column(folder, capsys):
    rows = "".join(f"faces/{n}.png,{'dark' if n < 2 else 'light'},{n % 2}\n" for n in range(4))
    path = table(folder, "file,shade,odd\n" + rows)
    arguments = ["train", "cgan", "--data", f"csv:{path}", "--set", "data.label=shade"]
    arguments += ["--set", "data.channels=1", "--batch-size", "2", "--steps", "1"]
    assert main([*arguments, "--device", "cpu", "--out", str(folder / "run")]) == 0
    assert "2 classes, from shade: dark, light." in capsys.readouterr().out
