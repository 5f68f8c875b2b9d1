"""Sets of image files that are streamed: the batches of the resident set, in little memory."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("PIL")

import gankit
from gankit.data import ImageData, StreamedData, load, residency
from gankit.data.labelled import class_count
from gankit.data.rows import Rows
from gankit.errors import DataError, GankitWarning
from gankit.training.distributed import ShareOfBatches
from tests import small_runs
from tests.data.image_folders import flat, noise, write

N, BATCH = 23, 4


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("GANKIT_DATA", str(tmp_path_factory.mktemp("data")))


@pytest.fixture
def table(tmp_path) -> str:
    """Images of many sizes in two folders, and a table of them with classes and attributes."""
    lines = ["file,kind,odd"]
    for number in range(N):
        file = f"{'ab'[number % 2]}/{number:02}.jpg"
        write(tmp_path / "images" / file, noise(number, 20 + number, 30 - number))
        lines.append(f"images/{file},{'xyz'[number % 3]},{number % 2}")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    return f"csv:{tmp_path / 'table.csv'}"


def loaded(name: str, **arguments: Any) -> Any:
    return load(name, image_size=(12, 16), **arguments)


def both(table: str, **arguments: Any) -> Any:
    """Classes and attributes too."""
    return loaded(table, label="kind", attributes="odd", **arguments)


def order(data: StreamedData, seed: int = 1) -> Any:
    return data.order(data.sampler(BATCH, generator=torch.Generator().manual_seed(seed)))


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("cache", [True, False])
def test_batches_are_those_of_the_resident_set_to_the_bit(table, cache):
    resident, streamed = both(table).flipped(), both(table, resident=False, cache=cache, workers=2)
    assert (type(resident), type(streamed)) == (ImageData, StreamedData)
    assert (
        streamed.fields
        == resident.fields
        == {"image": (3, 12, 16), "label": (), "attributes": (1,)}
    )
    assert streamed.class_names == ("x", "y", "z")
    sampler = resident.sampler(BATCH, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(5)
    expected = [resident.batch(next(sampler)) for _ in range(14)]  # two epochs and a bit
    drawn = torch.get_rng_state()
    torch.manual_seed(5)
    batches = order(streamed.flipped())
    assert all(same(next(batches), each) for each in expected)
    assert torch.equal(torch.get_rng_state(), drawn)
    # Read in this process too, as pictures are.
    picks = torch.tensor([3, 22, 3])
    assert same(streamed.batch(picks), resident.flipped(False).batch(picks))


def test_state_is_where_training_is_not_where_decoding_is(table):
    data = both(table, resident=False, workers=1)
    batches = order(data)
    for _ in range(7):
        next(batches)
    state = batches.state_dict()
    expected = [next(batches) for _ in range(6)]
    again = order(both(table, resident=False, workers=2, cache=False), seed=2)
    next(again)
    again.load_state_dict(state)
    assert all(same(next(again), each) for each in expected)
    # And a resident run goes on from it.
    resident = both(table)
    sampler = resident.sampler(BATCH)
    sampler.load_state_dict(state)
    assert all(same(resident.batch(next(sampler)), each) for each in expected)


def test_each_process_of_a_run_decodes_its_share(table, monkeypatch):
    data = both(table, resident=False, workers=1)
    whole = next(order(data))
    shares = []
    for rank in range(2):
        monkeypatch.setattr("gankit.training.distributed.world", lambda rank=rank: (rank, 2))
        sampler = data.sampler(BATCH, generator=torch.Generator().manual_seed(1))
        shares.append(next(data.order(ShareOfBatches(sampler))))
    assert [len(share["image"]) for share in shares] == [2, 2]
    assert same({key: torch.cat([share[key] for share in shares]) for key in whole}, whole)


def test_a_second_epoch_reads_what_the_first_has_kept(table, monkeypatch):
    data = both(table, resident=False, workers=1)
    batches = order(data)
    first = [next(batches) for _ in range(N // BATCH)]
    assert "What the first epoch decodes is kept in " in data.notes[1]
    monkeypatch.setattr("gankit.data.streamed.decode_resized", None)  # whatever it did would fail
    monkeypatch.setattr("gankit.data.file_set.headers", None)
    again = order(both(table, resident=False, workers=1))
    assert all(same(next(again), each) for each in first)


def test_what_is_kept_is_read_without_other_processes(table):
    data = both(table, resident=False, workers=2)
    batches = order(data)
    first = [next(batches) for _ in range(N // BATCH - 1)]
    assert len(multiprocessing.active_children()) == 2
    data.batch(torch.arange(N))  # those too that the epoch leaves out
    assert data.source.rows.missing() == 0
    next(batches)  # the last one of the epoch
    others = {*threading.enumerate()}
    later = [next(batches) for _ in range(2 * (N // BATCH))]
    assert multiprocessing.active_children() == []
    # It is what processes give, and goes on from where it stands.
    again = order(both(table, resident=False, cache=False, workers=1))
    assert all(same(next(again), each) for each in first)
    next(again)
    assert all(same(next(again), each) for each in later)
    state = batches.state_dict()
    following = next(batches)
    batches.close()
    assert {each for each in threading.enumerate() if "gankit-read" in each.name} <= others
    third = order(both(table, resident=False, workers=2), seed=9)
    third.load_state_dict(state)
    assert same(next(third), following)
    assert multiprocessing.active_children() == [*again._batches._workers]
    again.close()


def test_kept_images_are_of_the_files_as_they_are(table, tmp_path):
    before = both(table, resident=False).batch(torch.arange(N))
    flat(tmp_path / "images" / "a" / "00.jpg", (9, 9, 9))
    after = both(table, resident=False).batch(torch.arange(N))
    expected = both(table).batch(torch.arange(N))
    assert same(after, expected)
    assert not same(before, expected)


def test_files_that_break_on_the_way_are_named_and_replaced(table, tmp_path):
    for number in (4, 5, 22):
        path = tmp_path / "images" / f"{'ab'[number % 2]}/{number:02}.jpg"
        path.write_bytes(path.read_bytes()[:-60])  # its header is whole
    data = both(table, resident=False, workers=1)
    assert len(data) == N
    with pytest.warns(GankitWarning) as caught:
        batch = data.batch(torch.tensor([3, 4, 5, 22]))
    for number, warning in zip(("a/04", "b/05", "a/22"), caught, strict=True):
        assert f"skipped a file, in its place stands the next: images/{number}.jpg" in str(
            warning.message
        )
    assert same(batch, data.batch(torch.tensor([3, 6, 6, 0])))
    for number in (8, 9, 10):
        (tmp_path / "images" / f"{'ab'[number % 2]}/{number:02}.jpg").unlink()
    message = "6 of 23 images cannot be read, which is more than a quarter"
    with pytest.warns(GankitWarning), pytest.raises(DataError, match=message):
        data.batch(torch.arange(8, 11))


@pytest.mark.parametrize("channels", ["auto", 1])
@pytest.mark.parametrize("damaged", [(4, 5, 22), (0, 21, 22)])
def test_damaged_files_leave_the_resident_and_the_streamed_set_the_same(
    table, tmp_path, channels, damaged
):
    files = [tmp_path / "images" / f"{'ab'[number % 2]}/{number:02}.jpg" for number in range(N)]
    for number in damaged:
        files[number].write_bytes(files[number].read_bytes()[:-60])
    files[1].write_bytes(b"no image")
    files[2].unlink()
    everything = torch.arange(N - 2)
    for _ in range(2):  # from the cache too
        sets = []
        for resident in (True, False):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                data = both(table, resident=resident, channels=channels)
                sets.append((data, data.batch(everything)))
            text = " ".join(str(each.message) for each in caught)
            assert f"skipped {5 if resident else 2} files: images/b/01.jpg: not an im" in text
            for number in damaged:
                assert f"images/{files[number].parent.name}/{number:02}.jpg: cannot be" in text
        (resident, expected), (streamed, batch) = sets
        assert len(resident) == len(streamed) == N - 2
        assert same(batch, expected)
        assert resident.class_names == streamed.class_names
        assert resident.origin.compare(streamed.origin.state_dict(), "it") is None
    listed = [0, *range(3, N)]
    shown = [  # in place of a damaged one the next, beyond the last one the first
        next(each for each in [*listed[place:], *listed] if each not in damaged)
        for place in range(len(listed))
    ]
    assert expected["attributes"][:, 0].tolist() == [float(number % 2) for number in shown]


@pytest.mark.filterwarnings("ignore:folder")
def test_a_class_whose_only_image_is_damaged_stays_one(tmp_path):
    for number in range(4):
        flat(tmp_path / "set" / "ab"[number % 2] / f"{number}.png", (number, 0, 0))
    last = write(tmp_path / "set" / "c" / "4.jpg", noise(4, 30, 30))
    last.write_bytes(last.read_bytes()[:-60])
    sets = [load(f"folder:{tmp_path / 'set'}", resident=way) for way in (True, False)]
    assert [class_count(data) for data in sets] == [3, 3]
    assert same(*(data.batch(torch.arange(5)) for data in sets))


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.filterwarnings("ignore:csv")
def test_damaged_and_unreadable_files_count_together(table, tmp_path, resident):
    for number in range(6):  # of 23 they are more than a quarter
        path = tmp_path / "images" / f"{'ab'[number % 2]}/{number:02}.jpg"
        path.write_bytes(path.read_bytes()[:-60] if number > 2 else b"")
    with pytest.raises(DataError, match="6 of 23 images cannot be read, which is more than a qu"):
        both(table, resident=resident).batch(torch.arange(N - 3))


def test_headers_are_looked_at_before_training(tmp_path):
    for number in range(8):
        flat(tmp_path / "set" / f"{number}.png", (number, 0, 0))
    (tmp_path / "set" / "2.png").write_bytes(b"no image")
    with pytest.warns(GankitWarning, match=r"skipped 1 file: 2.png: not an image"):
        data = loaded(f"folder:{tmp_path / 'set'}", resident=False, cache=False)
    assert len(data) == 7
    assert data.batch(torch.arange(7))["image"][:, 0, 0, 0].add(1).mul(127.5).tolist() == (
        pytest.approx([0, 1, 3, 4, 5, 6, 7], abs=1e-3)
    )
    for number in (3, 4):
        (tmp_path / "set" / f"{number}.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="3 of 8 images cannot be read, which is more than a quart"):
        loaded(f"folder:{tmp_path / 'set'}", resident=False)


def test_files_of_different_sizes_need_a_size(table):
    data = load(table, image_size=None, resident=False, label="kind")
    with pytest.raises(DataError, match=r"29x21, where others are 30x20; give an image_size"):
        data.batch(torch.tensor([0, 1]))
    with pytest.raises(DataError, match="give an image_size"):
        next(order(data))


def test_the_decision_is_by_free_memory_and_said(table, monkeypatch):
    size = N * 3 * 12 * 16
    monkeypatch.setattr(residency, "free_memory", lambda device: 2 * size)
    data = both(table)
    assert isinstance(data, ImageData)
    assert (
        "held in memory: decoded they take up to 13.2 kB, which is at most 50% of the 26.5 kB"
        in (data.notes[1])
    )
    monkeypatch.setattr(residency, "free_memory", lambda device: 2 * size - 1)
    data = both(table)
    assert isinstance(data, StreamedData)
    assert (
        "The images are streamed: decoded they take up to 13.2 kB, which is more than 50% of"
        in (data.notes[1])
    )
    assert isinstance(both(table, resident=True), ImageData)
    for argument, value in (("resident", "yes"), ("cache", 1.5), ("workers", 0)):
        with pytest.raises(DataError, match=f"{argument} is {value!r}, expected"):
            both(table, **{argument: value})


@pytest.mark.parametrize(("limit", "used"), [("AS", "VmSize"), ("DATA", "VmData")])
def test_free_memory_knows_the_limits_of_the_process(limit, used):
    script = """
        import resource, sys, torch
        from gankit.data.residency import free_memory
        limit, used = sys.argv[1:]
        lines = open("/proc/self/status").read().splitlines()
        used = next(int(line.split()[1]) * 1024 for line in lines if line.startswith(used))
        kind = getattr(resource, "RLIMIT_" + limit)
        resource.setrlimit(kind, (used + 2**26, resource.getrlimit(kind)[1]))
        print(0 < free_memory(torch.device("cpu")) <= 2**26)
    """
    if not Path("/proc/self/status").exists():
        pytest.skip("needs /proc")
    assert output(script, limit, used) == "True"


def output(script: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *arguments],
        env=small_runs.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_damaged_row_is_decoded_again(table):
    data = both(table, resident=False)
    expected = data.batch(torch.arange(N))
    rows = data.source.rows
    with open(rows.path, "r+b") as file:
        file.seek(-5, os.SEEK_END)
        file.write(b"12345")
    assert same(data.batch(torch.arange(N)), expected)
    again = pickle.loads(pickle.dumps(data.source))  # as a process that is not forked gets it
    assert torch.equal(again.read([N - 1])["images"], data.source.read([N - 1])["images"])
    for damage in (b"", rows.path.read_bytes()[:-1], b"\xff" * 200):
        rows.path.write_bytes(damage)
        assert same(both(table, resident=False).batch(torch.arange(N)), expected)
        assert Rows(rows.path).about["count"] == N


def test_without_a_place_for_decoded_images_every_epoch_decodes(table, monkeypatch, tmp_path):
    (tmp_path / "data").write_bytes(b"")  # a file where the folder would be
    with pytest.warns(GankitWarning, match="cannot be kept in .* so every epoch decodes them ag"):
        data = both(table, resident=False, root=tmp_path / "data")
    assert data.source.rows is None
    monkeypatch.setattr(
        os, "statvfs", lambda path: os.statvfs_result((1,) * 4 + (20_000,) + (1,) * 5)
    )
    data = both(table, resident=False)
    assert "13.2 kB are more than 50% of the 20 kB of space that are free" in data.notes[1]
    assert both(table, resident=False, cache=True).source.rows is not None


def test_signals_to_all_processes_are_left_to_the_one_that_trains(table):
    batches = order(both(table, resident=False, workers=2))
    for _ in range(2):  # one of each, so both have begun
        next(batches)
    children = multiprocessing.active_children()
    assert len(children) == 2
    for child in children:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(child.pid, number)
    for _ in range(20):
        next(batches)
    batches.close()
    assert not any(child.is_alive() for child in children)


def test_a_worker_that_is_killed_is_one_sentence(table, monkeypatch):
    def die(*args: Any, **settings: Any) -> None:
        os._exit(9)

    monkeypatch.setattr("gankit.data.streamed.decode_resized", die)
    with pytest.raises(DataError, match="a process that decodes images was ended"):
        next(order(both(table, resident=False, cache=False, workers=1)))


def test_a_run_is_that_of_the_resident_set(table, tmp_path):
    settings = {
        "data": {"class_path": table, "init_args": {"label": "kind"}},
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
        "log_every": 5,
    }
    states = []
    for way in (True, False):
        said: list[str] = []
        folder = tmp_path / str(way)
        resident = {"data.resident": way, "data.workers": 1}
        first = gankit.runs.train(
            "cgan", folder, say=said.append, steps=13 if not way else 17, **settings, **resident
        )
        assert any("The images are " in sentence for sentence in said)
        run = first if way else gankit.runs.resume(folder, steps=17)
        states.append(run.trainer.gan_step.state_dict())
    assert states[0].keys() == states[1].keys()
    assert all(
        torch.equal(value, states[1][key])
        for key, value in states[0].items()
        if isinstance(value, torch.Tensor)
    )
