"""Which files a set was made of, and what has changed of them since."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import pytest
import torch

pytest.importorskip("PIL")

from gankit.data import load
from gankit.data.origin import FileNames, Origin, file_digest
from gankit.errors import CheckpointError
from tests.data.image_folders import noise, write


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("GANKIT_DATA", str(tmp_path_factory.mktemp("data")))


def origin(names: list[str], contents: list[int], labels: list[int] | None = None) -> Origin:
    folder = Path("/pictures")
    known = None if labels is None else torch.tensor(labels)
    files = FileNames([folder / name for name in names], folder)
    return Origin.of_files(files, torch.tensor(contents), known)


def test_names_of_any_bytes_come_back():
    strange = [os.fsdecode(b"\xff\n.png"), "日本/ü.jpg", "/elsewhere/a.png"]
    names = FileNames([Path("/pictures") / name for name in strange], Path("/pictures"))
    assert len(names) == 3
    assert [names.path(number) for number in range(3)] == [
        *(Path("/pictures") / name for name in strange[:2]),
        Path("/elsewhere/a.png"),
    ]


@pytest.mark.parametrize(
    ("names", "what"),
    [
        (["a", "c", "d"], r"1 removed \(b\); undo that"),
        (["a", "aa", "b", "c", "d", "e"], r"2 added \(aa, e\); "),
        (["a", "bb", "c", "d"], r"1 removed \(b\) and 1 added \(bb\); "),
        (["a", "c", "b", "d"], r"others than when it was written, in another order; "),
        (
            ["1", "2", "3", "4", "5"],
            r"4 removed \(a, b, c, \.\.\.\) and 5 added \(1, 2, 3, \.\.\.\)",
        ),
        (["a", "b", "b", "c", "d"], r"1 added \(b\)"),
    ],
)
def test_other_files_are_named(names, what):
    before = origin(["a", "b", "c", "d"], [1, 2, 3, 4]).state_dict()
    with pytest.raises(CheckpointError, match=rf"the images of mine are .*{what}"):
        origin(names, [*range(len(names))]).compare(before, "mine")


def test_other_content_classes_and_attributes_are_named():
    before = origin(["a", "b", "c"], [1, 2, 2**32 - 1], [0, 1, -1]).state_dict()
    assert origin(["a", "b", "c"], [1, 2, 2**32 - 1], [0, 1, -1]).compare(before, "mine") is None
    content = origin(["a", "b", "c"], [1, 9, 2**32 - 1], [0, 1, -1]).compare(before, "mine")
    assert content is not None
    assert "Of the images of mine, 1 changed since" in content
    assert "(b): the continuation is not bit for bit" in content
    labels = origin(["a", "b", "c"], [1, 2, 2**32 - 1], [1, 1, 0]).compare(before, "mine")
    assert labels is not None
    assert "(a, c)" in labels
    names = FileNames([Path("/p/a")], Path("/p"))
    marked = [
        Origin.of_files(names, torch.tensor([5]), attributes=torch.tensor([row], dtype=torch.uint8))
        for row in ([0, 1], [1, 0], [1, 1])
    ]
    for one in marked:
        assert [each.compare(one.state_dict(), "it") is None for each in marked] == [
            each is one for each in marked
        ]


def test_a_damaged_state_is_a_sentence():
    mine = origin(["a", "b"], [1, 2])
    state = mine.state_dict()
    bomb = torch.frombuffer(bytearray(zlib.compress(bytes(10**7))), dtype=torch.uint8)
    for damage, what in (
        ({}, "not a list of files"),
        ({**state, "digests": state["digests"].float()}, "not a list of files"),
        ({**state, "names": state["names"][:5]}, "files and 2 digests"),
        ({**state, "names": state["names"].flip(0)}, "damaged"),
        ({**state, "digests": state["digests"][:1]}, "2 files and 1 digests"),
        ({**state, "names": bomb}, "has 8192 files and 2 digests"),
        ({"names": bomb, "digests": state["digests"][:0]}, "has 4096 files and 0 digests"),
    ):
        with pytest.raises(CheckpointError, match=what):
            mine.compare(damage, "mine")


@pytest.mark.parametrize("size", [0, 10, 2**16, 2**16 + 1, 2**20])
def test_digests_are_of_size_and_content(tmp_path, size):
    file = tmp_path / "it"
    content = bytearray(torch.randint(256, (size,), dtype=torch.uint8).numpy().tobytes())
    file.write_bytes(content)
    digest = file_digest(file)
    os.utime(file, ns=(0, 10**18))
    assert file_digest(file) == digest
    for place in {0, size // 2, size - 1} if size else ():
        content[place] ^= 1
        file.write_bytes(content)
        assert file_digest(file) != digest
        content[place] ^= 1
    file.write_bytes(content + b"\0")
    assert file_digest(file) != digest
    assert file_digest(tmp_path / "absent") == 0


@pytest.mark.parametrize("resident", [True, False])
def test_sets_know_what_is_in_their_files(tmp_path, resident):
    files = [write(tmp_path / "it" / f"{number}.bmp", noise(number, 9, 9)) for number in range(4)]

    def loaded():
        return load(f"folder:{tmp_path / 'it'}", image_size=8, resident=resident)

    before = loaded().to("cpu").flipped().origin.state_dict()
    assert loaded().origin.compare(before, "it") is None  # from the cache
    os.utime(files[2], ns=(0, 10**18))  # as a copy of the folder has another time
    assert loaded().origin.compare(before, "it") is None
    write(files[2], noise(9, 9, 9))  # of the same size
    changed = loaded().origin.compare(before, "it")
    assert changed is not None
    assert "(2.bmp)" in changed
    moved = files[2].parent.rename(tmp_path / "moved")
    again = load(f"folder:{moved}", image_size=8, resident=not resident).origin
    assert "(2.bmp)" in again.compare(before, "it")
