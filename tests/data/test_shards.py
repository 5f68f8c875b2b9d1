"""``wds:SHARDS``: images in tar shards, in an order that can be taken up at any point."""

from __future__ import annotations

import io
import sys
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("PIL")
pytest.importorskip("webdataset")
pytest.importorskip("torchdata")
from PIL import Image

import gankit
from gankit.data import ShardData, load, load_shards
from gankit.errors import CheckpointError, ConfigError, DataError, GankitWarning, MissingExtra
from gankit.runs.generated import enough
from gankit.runs.trust import check_config
from gankit.training.config import RunConfig

SIZES = (5, 9, 3, 8, 6)  # samples of each shard
BATCH = 4


def member(shard: tarfile.TarFile, name: str, content: bytes) -> None:
    about = tarfile.TarInfo(name)
    about.size = len(content)
    shard.addfile(about, io.BytesIO(content))


def png(value: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((10, 12), value, np.uint8)).save(file, "PNG")
    return file.getvalue()


def write_shards(folder: Path, sizes: Iterable[int] = SIZES) -> str:
    """Grey images 0, 1, 2, ... told apart by their value; the class is its last digit."""
    number = 0
    for place, size in enumerate(sizes):
        with tarfile.open(folder / f"s-{place:03}.tar", "w") as shard:
            for _ in range(size):
                member(shard, f"{number:04}.png", png(number))
                member(shard, f"{number:04}.cls", f"{number % 10}\n".encode())
                number += 1
    return f"wds:{folder}/s-{{000..{place:03}}}.tar"


@pytest.fixture
def shards(tmp_path) -> str:
    return write_shards(tmp_path)


def loaded(name: str, **arguments: Any) -> ShardData:
    settings = {"channels": 1, "workers": 2, "shuffle": 4, "label": "cls", "classes": 10}
    data = load(name, image_size=8, **{**settings, **arguments})
    assert isinstance(data, ShardData)
    return data


def order(data: ShardData, seed: int = 3) -> Any:
    return data.order(data.sampler(BATCH, generator=torch.Generator().manual_seed(seed)))


def values(batch: dict[str, torch.Tensor]) -> list[int]:
    """The numbers of the images, which their labels agree with."""
    found = batch["image"][:, 0, 0, 0].add(1).mul(127.5).round().long()
    assert torch.equal(batch["label"], found % 10)
    return found.tolist()


def test_every_epoch_has_every_image_in_another_order(shards):
    data = loaded(shards, workers=1)
    assert data.length == sum(SIZES) == 31
    assert data.fields == {"image": (1, 8, 8), "label": ()}
    assert "31 images in 5 shards, each 8x8; they are streamed." in data.notes[0]
    batches = order(data)
    assert batches.steps_per_epoch == 7
    seen = [value for _ in range(31) for value in values(next(batches))]
    epochs = [seen[start : start + 31] for start in range(0, 4 * 31, 31)]
    assert all(sorted(epoch) == [*range(31)] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert seen != [value for _ in range(31) for value in values(next(order(data, seed=4)))]
    batches.close()


@pytest.mark.parametrize("workers", [1, 3])
def test_every_step_can_be_taken_up(shards, workers):
    data = loaded(shards, workers=workers)
    batches = order(data)
    states, seen = [batches.state_dict()], []
    for _ in range(20):
        seen.append(values(next(batches)))
        states.append(batches.state_dict())
    for step in (0, 1, 5, 8, 13, 19):
        again = order(loaded(shards, workers=workers), seed=99 if step else 3)
        again.load_state_dict(states[step])
        assert [values(next(again)) for _ in range(min(4, 20 - step))] == seen[step : step + 4]
        # Where processes are ended and begin again, as between two calls of fit.
        again.close()
        assert step + 4 >= 20 or values(next(again)) == seen[step + 4]


def test_what_is_passed_is_not_read_again(shards, tmp_path, monkeypatch):
    data = loaded(shards, workers=1, shuffle=2)
    batches = order(data)
    for _ in range(5):
        next(batches)
    state = batches.state_dict()
    expected = values(next(batches))
    batches.close()
    reader = next(iter(state["readers"][0]["_snapshot"]["_worker_snapshots"].values()))
    place = reader["fetcher_state"]["dataset_iter_state"]
    opened: list[tuple[str, int]] = []
    from gankit.data import shard_stream

    real = shard_stream.raw_samples

    def watched(url: str, skip: int = 0) -> Any:
        opened.append((url, skip))
        return real(url, skip)

    monkeypatch.setattr(shard_stream, "raw_samples", watched)
    stream = shard_stream.ShardStream(data.urls, data.packed, BATCH, shuffle=2, seed=3)
    again = iter(stream)
    again.load_state_dict(place)
    batch = next(again)
    assert (batch["labels"].tolist()) == [value % 10 for value in expected]
    assert place["shard"] >= 2
    assert len(opened) <= 3  # of the two that were passed, none


def test_processes_share_the_shards(shards, monkeypatch):
    data = loaded(shards, workers=1)
    seen, states = [], []
    for rank in range(2):
        monkeypatch.setattr("gankit.data.shards._world", lambda rank=rank: (rank, 2))
        monkeypatch.setattr("gankit.data.shards._gathered", lambda value: [value, value])
        batches = order(data)
        own = [next(batches) for _ in range(5)]
        assert all(len(batch["image"]) == BATCH // 2 for batch in own)
        seen.append({value for batch in own for value in values(batch)})
        states.append(batches.state_dict())
    assert not seen[0] & seen[1]
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="read in 2 processes, and cannot be in 1"):
        order(data).load_state_dict(states[0])
    monkeypatch.setattr("gankit.data.shards._world", lambda: (0, 6))
    with pytest.raises(DataError, match="5 shards for 6 processes"):
        order(data)


def test_a_resumed_run_is_the_uninterrupted_one(shards, tmp_path):
    settings = {
        "data": {
            "class_path": shards,
            "init_args": {"channels": 1, "label": "cls", "classes": 10, "shuffle": 4},
        },
        "image_size": 8,
        "generator": {
            "class_path": "gankit.models.conditional_mlp.Generator",
            "init_args": {"hidden": [16]},
        },
        "discriminator": {
            "class_path": "gankit.models.conditional_mlp.Discriminator",
            "init_args": {"hidden": [16]},
        },
        "batch_size": 4,
        "device": "cpu",
        "grid_rows": 2,
        "grid_columns": 2,
    }
    whole = gankit.runs.train("cgan", tmp_path / "whole", epochs=3, **settings)
    assert whole.trainer.step == 21
    gankit.runs.train("cgan", tmp_path / "halves", steps=10, **settings)
    halves = gankit.runs.resume(tmp_path / "halves", epochs=3)
    one, other = (run.trainer.gan_step.state_dict() for run in (whole, halves))
    assert all(torch.equal(one[key], other[key]) for key in one if torch.is_tensor(one[key]))


def test_samples_that_cannot_be_read_are_left_out(tmp_path):
    write_shards(tmp_path, (20, 20))
    with tarfile.open(tmp_path / "s-000.tar", "a") as shard:
        member(shard, "x.png", b"no image")
        member(shard, "y.cls", b"3")
        member(shard, "z.png", png(3))
        member(shard, "z.cls", b"10")
    data = loaded(f"wds:{tmp_path}/s-{{000..001}}.tar", workers=1)
    assert data.length == 42  # those with an image
    batches = order(data)
    with pytest.warns(GankitWarning) as caught:
        seen = [value for _ in range(20) for value in values(next(batches))]
    assert sorted(seen[:40]) == [*range(40)]
    said = [str(warning.message) for warning in caught]
    assert any("x.png: not an image" in text for text in said)
    assert any("y has no image, expected a member" in text for text in said)
    assert any("z.cls is 10, expected a class number from 0 to 9" in text for text in said)


def test_a_damaged_shard_is_one_sentence(shards, tmp_path):
    data = loaded(shards, workers=1)
    for path in tmp_path.glob("*.tar"):
        path.write_bytes(path.read_bytes()[:3000])
    batches = order(data)
    with pytest.raises(DataError, match=r"s-00\d.tar cannot be read \(unexpected end of data"):
        next(batches)


def test_any_url_that_webdataset_opens(tmp_path):
    write_shards(tmp_path, (6,))
    url = f"wds:pipe:cat {tmp_path}/s-000.tar"
    with pytest.raises(DataError, match="no local file, whose samples could be counted; length"):
        loaded(url)
    batches = order(loaded(url, length=6, workers=1))
    assert sorted(v for _ in range(3) for v in values(next(batches)))[::2] == [0, 1, 2, 3, 4, 5]
    for name in (
        url,
        "wds:{pipe:cat x,y}.tar",
        "wds:https://example.org/x.tar",
        "wds:a.tar::pipe:x",
    ):
        with pytest.raises(ConfigError, match="names code that is not gankit's: data is 'wds:"):
            check_config(RunConfig(data=name, trusted=False), "a run")
    check_config(RunConfig(data="wds:/data/a-{0..9}.tar::b.tar", trusted=False), "a run")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_size": None}, "image_size is null"),
        ({"split": "test"}, "no split 'test'"),
        ({"channels": "auto"}, "channels is 'auto', expected 1, 3 or 4"),
        ({"resize": "bend"}, "resize is 'bend'"),
        ({"shuffle": 0}, "shuffle is 0, expected an integer from 1"),
        ({"workers": 1.5}, "workers is 1.5"),
        ({"length": -1}, "length is -1"),
        ({"label": "cls"}, "label is 'cls' and classes is None, expected both"),
        ({"label": "cls", "classes": 1}, "classes is 1, expected an integer from 2 or a list"),
    ],
)
def test_arguments_that_are_not_allowed(shards, arguments, message):
    with pytest.raises(DataError, match=message):
        load_shards(shards.removeprefix("wds:"), **arguments)


def test_absent_shards_and_packages(shards, tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"s-005.tar does not exist, expected tar files"):
        loaded(f"wds:{tmp_path}/s-{{003..007}}.tar")
    (tmp_path / "x.tar").write_bytes(b"no tar file")
    with pytest.raises(DataError, match=r"x\.tar is no tar file, or damaged"):
        loaded(f"wds:{tmp_path}/x.tar")
    data = loaded(shards)
    monkeypatch.setitem(sys.modules, "torchdata.stateful_dataloader", None)
    with pytest.raises(MissingExtra, match=r"torchdata .* pip install 'gankit\[stream\]'"):
        order(data)
    monkeypatch.setitem(sys.modules, "webdataset.shardlists", None)
    with pytest.raises(MissingExtra, match=r"webdataset .* pip install 'gankit\[stream\]'"):
        loaded(shards)


def test_an_evaluation_reads_more_samples_than_are_held(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "s-000.tar", "w") as shard:
        for number in range(200):
            member(shard, f"{number:04}.png", b"damaged" if 10 <= number < 130 else png(number))
            member(shard, f"{number:04}.cls", f"{number % 10}".encode())
    with tarfile.open(tmp_path / "s-001.tar", "w") as shard:
        for number in range(200, 400):
            member(shard, f"{number:04}.png", png(number % 200))
            member(shard, f"{number:04}.cls", f"{number % 10}".encode())
    arguments = {"label": "cls", "classes": 10, "image_size": 4, "channels": 1}
    data = load_shards(f"{tmp_path}/s-{{000..001}}.tar", **arguments)
    assert len(data) == 256
    more = enough(data)
    assert len(more) == 280
    assert more.labels is not None
    numbers = [n for n in range(400) if not 10 <= n < 130]
    assert more.labels.tolist() == [n % 10 for n in numbers]
    assert more.held[:, 0, 0, 0].tolist() == [n % 200 for n in numbers]


def shard_of(path: Path, *members: tuple[str, bytes]) -> str:
    with tarfile.open(path, "w") as shard:
        for name, content in members:
            member(shard, name, content)
    return f"wds:{path}"


def test_a_name_ends_at_its_first_dot(tmp_path):
    members = []
    for number in range(8):  # in folders whose names have dots, and with endings of several parts
        key = f"v1.0/part.{number % 2}/{number:04}"
        members += [(f"{key}.IMG.png", png(number)), (f"{key}.label.CLS", b"%d\n" % number)]
    members += [("__meta__.json", b"{}"), ("README", b"no dot"), (".hidden", b"no name")]
    name = shard_of(tmp_path / "dots.tar", *members)
    for more in ({}, {"image": "img.png"}, {"image": ".IMG.png"}):
        data = loaded(name, label="label.cls", **more)
        assert (data.length, len(data)) == (8, 8)
        batches = order(data)
        assert sorted(values(next(batches)) + values(next(batches))) == [*range(8)]
        batches.close()


def test_of_several_images_one_must_be_named(tmp_path):
    members = []
    for number in range(4):
        for ending, content in (
            ("left.png", png(number)),
            ("right.png", png(200)),
            ("cls", b"%d" % number),
        ):
            members.append((f"{number}.{ending}", content))
    name = shard_of(tmp_path / "two.tar", *members)
    with pytest.raises(
        DataError, match=r"0 has 2 images \(left\.png, right\.png\), expected one or"
    ):
        loaded(name)
    assert sorted(values(loaded(name, image="left.png").batch(torch.arange(4)))) == [0, 1, 2, 3]
    with pytest.raises(DataError, match="no sample in it has an image"):
        loaded(name, image="middle.png")
    with pytest.raises(DataError, match="image is 3, expected an ending"):
        loaded(name, image=3)
    # What is beside the image itself, such as a mask, is no second one.
    plain = [(file.replace("left.", ""), content) for file, content in members]
    assert len(loaded(shard_of(tmp_path / "mask.tar", *plain))) == 4
    # Of names with dots of their own, webdataset makes one sample.
    dotted = [(f"photo.{number}.png", png(number)) for number in range(4)]
    words = (
        r"photo has 4 images \(0\.png, 1\.png, 2\.png, \.\.\.\), .* one name up to its first dot"
    )
    with pytest.raises(DataError, match=words):
        loaded(shard_of(tmp_path / "dotted.tar", *dotted), label=None, classes=None)


def test_classes_by_name(tmp_path):
    texts = [b"cat", b"dog\n", b"1", b" cat "]
    members = []
    for number, text in enumerate(texts):
        members += [(f"{number}.png", png(number)), (f"{number}.txt", text)]
    name = shard_of(tmp_path / "named.tar", *members)
    data = loaded(name, label="txt", classes=["cat", "dog"], shuffle=1)
    assert data.labels.tolist() == [0, 1, 1, 0]
    assert data.class_names == ("cat", "dog")
    name = shard_of(tmp_path / "one.tar", *members[:2])
    with pytest.raises(DataError, match=r"0\.txt is cat, expected a class number from 0 to 9$"):
        loaded(name, label="txt")
    with pytest.raises(DataError, match="from 0 to 1, or one of their names"):
        loaded(name, label="txt", classes=["bird", "dog"])
