"""Files that were damaged on a disk or in a copy, and files that were made to do harm."""

from __future__ import annotations

import io
import json
import random
import re
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import gankit
from gankit.cli import main
from gankit.errors import CheckpointError, ConfigError, GankitError
from gankit.exporting import export
from gankit.training import load_checkpoint
from gankit.training.weights import weights_under
from gankit.weights_file import write_weights
from tests.small_runs import environment

FILE = Path("run/checkpoint.pt")
RESUME = ["train", "--resume", "--out", "run", "--steps", "6", "--quiet"]
SMALL = """
generator: {class_path: gankit.models.mlp.Generator, init_args: {hidden: [4], z_dim: 3}}
discriminator: {class_path: gankit.models.mlp.Discriminator, init_args: {hidden: [2]}}
image_size: 8
grid_rows: 1
grid_columns: 1
device: cpu
checkpoint_every: 2
ema: 0.5
"""


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("once")
    (folder / "small.yaml").write_text(SMALL)
    argv = ["train", "gan", "--config", str(folder / "small.yaml"), "--quiet", "--steps", "4"]
    assert main([*argv, "--out", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture(autouse=True)
def a_run(in_a_folder_of_its_own: None, once: Path) -> None:
    shutil.copytree(once, "run")


def same(a: Any, b: Any) -> bool:
    """To the bit, and with the same types."""
    if type(a) is not type(b):
        return False
    if isinstance(a, Tensor):
        alike = a.dtype == b.dtype and a.shape == b.shape
        return alike and torch.equal(*(x.reshape(-1).view(torch.uint8) for x in (a, b)))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b or (a != a and b != b))


def places(data: bytes, header: int) -> list[int]:
    """Some everywhere, more where the format's own bytes are."""
    pick = random.Random(0)
    return [
        *(pick.randrange(len(data)) for _ in range(80)),
        *(pick.randrange(header, len(data)) for _ in range(80)),
        *(pick.randrange(min(2000, len(data))) for _ in range(40)),
    ]


def flipped(data: bytes, place: int) -> bytes:
    changed = bytearray(data)
    changed[place] ^= 1 << place % 8
    return bytes(changed)


def test_a_flipped_bit_is_said_or_changes_nothing() -> None:
    data, whole = FILE.read_bytes(), load_checkpoint(FILE)
    refusals = 0
    for place in places(data, data.index(b"PK\1\2")):
        FILE.write_bytes(flipped(data, place))
        try:
            assert same(load_checkpoint(FILE), whole), place
        except CheckpointError:
            refusals += 1
    assert refusals > 120


def test_a_flipped_bit_in_safetensors_is_said_or_changes_nothing() -> None:
    pytest.importorskip("safetensors")
    path = export("run", "safetensors")
    data, whole = path.read_bytes(), gankit.load(path).state_dict()
    refusals = 0
    for place in places(data, 0):
        path.write_bytes(flipped(data, place))
        try:
            assert same(dict(gankit.load(path).state_dict()), dict(whole)), place
        except GankitError:
            refusals += 1
    assert refusals > 150


def test_every_way_in_names_the_damage(refused: Callable[..., str]) -> None:
    data = bytearray(FILE.read_bytes())
    with zipfile.ZipFile(FILE) as archive:
        record = max(archive.infolist(), key=lambda record: record.file_size)
        data[data.index(archive.read(record)) + 7] ^= 1
    FILE.write_bytes(data)
    for argv in (RESUME, ["sample", "run"], ["export", "run", "--format", "torch-export"]):
        sentence = refused(*argv)
        assert f"its record {record.filename!r} is damaged, as its checksum says" in sentence
        assert "run/checkpoint.step_0000002.pt of step 2 is good" in sentence


def test_a_file_of_an_older_gankit_without_a_digest_loads() -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    G = gankit.load("run")
    description = torch.load(FILE, weights_only=True)["config"]
    metadata = {"format": "pt", "gankit": json.dumps(description)}
    safetensors.save_file(G.state_dict(), "old.safetensors", metadata)
    assert same(dict(gankit.load("old.safetensors").state_dict()), dict(G.state_dict()))


def test_a_program_that_switched_checksums_off_gets_them() -> None:
    state = load_checkpoint(FILE)
    torch.serialization.set_crc32_options(False)
    try:
        gankit.training.save_checkpoint(FILE, state)
        assert not torch.serialization.get_crc32_options()
    finally:
        torch.serialization.set_crc32_options(True)
    assert same(load_checkpoint(FILE), state)


@pytest.mark.parametrize(
    "generator",
    [5, None, True, 1.5, [], ["a"], {}, {"class_path": []}, {"init_args": 3}, "", {"a": {}}],
    ids=str,
)
def test_metadata_of_any_type_gets_a_sentence(generator: Any) -> None:
    pytest.importorskip("safetensors")
    weights = weights_under(load_checkpoint(FILE)["gan_step"], "G")
    networks = {"networks": {"G": generator}, "inference": {"G": "G"}}
    description = {**networks, "image_shape": [1, 28, 28]}
    Path("g.safetensors").write_bytes(write_weights(weights, description, {}))
    with pytest.raises(GankitError, match="generator"):
        gankit.load("g.safetensors")


@pytest.mark.parametrize(
    "text", ["[" * 10**5, '{"generator":' * 10**5, "null", "3", "{", "\\ud800"]
)
def test_metadata_that_is_no_description_gets_a_sentence(text: str) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    safetensors.save_file(
        weights_under(load_checkpoint(FILE)["gan_step"], "G"), "g.safetensors", {"gankit": text}
    )
    with pytest.raises(CheckpointError, match=r"g\.safetensors"):
        gankit.load("g.safetensors")


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def doubling(times: int) -> list[Any]:
    value: list[Any] = [1]
    for _ in range(times):
        value = [value, value]
    return value


def endless() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    "value", [nested(100), doubling(60), endless(), 10**5000, "x" * 10**6], ids=range(5)
)
def test_values_without_end_get_a_short_sentence(value: Any, refused: Callable[..., str]) -> None:
    state = torch.load(FILE, weights_only=True)
    state["config"]["run"]["generator"] = state["config"]["networks"]["G"] = value
    torch.save(state, FILE)
    Path("run/config.yaml").unlink()
    for argv in (["sample", "run"], RESUME):
        assert len(refused(*argv)) < 1000


def bomb() -> None:
    """A record of 300 MB in 300 kB."""
    with zipfile.ZipFile(FILE) as archive:
        records = {info.filename: archive.read(info) for info in archive.infolist()}
    name = next(name for name in records if name.endswith("/data/0"))
    with zipfile.ZipFile(FILE, "w") as archive:
        for key, content in records.items():
            kind = zipfile.ZIP_DEFLATED if key == name else zipfile.ZIP_STORED
            archive.writestr(key, bytes(300 * 2**20) if key == name else content, kind)


def large_layers() -> None:
    state = torch.load(FILE, weights_only=True)
    spec = {"class_path": "gankit.models.mlp.Generator", "init_args": {"hidden": [20000, 20000]}}
    state["config"]["networks"]["G"] = spec
    torch.save(state, FILE)


def expanded() -> None:
    """Weights of the large layers, all of one number."""
    large_layers()
    state = torch.load(FILE, weights_only=True)
    shapes = {"0": (20000, 100), "2": (20000, 20000), "4": (784, 20000)}
    zero = torch.zeros(())
    weights = {f"main.{key}.weight": zero.expand(shape) for key, shape in shapes.items()}
    weights |= {f"main.{key}.bias": zero.expand(shape[0]) for key, shape in shapes.items()}
    state["gan_step"] |= {f"G.{name}": value for name, value in weights.items()}
    torch.save(state, FILE)


def large_images() -> None:
    state = torch.load(FILE, weights_only=True)
    state["config"]["image_shape"] = [1, 2**20, 2**20]
    torch.save(state, FILE)


@pytest.mark.parametrize("make", [bomb, large_layers, expanded, large_images])
def test_no_memory_is_taken_before_the_checks(make: Callable[[], None]) -> None:
    make()
    code = (
        "import resource, gankit\n"
        "from gankit.saved import load\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: load('run')\n"
        "except gankit.errors.CheckpointError as error: pass\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    unit = 1024 if sys.platform == "darwin" else 1
    assert int(done.stdout) // unit < 100


@pytest.mark.parametrize("network", ["generator", "discriminator"])
def test_nor_at_a_resume(network: str, refused: Callable[..., str]) -> None:
    state = torch.load(FILE, weights_only=True)
    path = f"gankit.models.mlp.{network.title()}"
    # Of more memory than there is.
    spec = {"class_path": path, "init_args": {"hidden": [2**30, 2**30]}}
    state["config"]["run"][network] = spec
    torch.save(state, FILE)
    Path("run/config.yaml").unlink()
    words = (
        f"run/checkpoint.pt does not fit this run: its entry {network}: .*size mismatch for main.0"
    )
    assert re.search(words, refused(*RESUME))


def test_loops_without_end_are_refused() -> None:
    for argument in ({"repeats": 10**8}, {"levels": 2**30}):
        state = torch.load(FILE, weights_only=True)
        path = "gankit.models.convolutional_autoencoder.Generator"
        state["config"]["networks"]["G"] = {"class_path": path, "init_args": argument}
        torch.save(state, FILE)
        with pytest.raises(ConfigError, match=next(iter(argument))):
            gankit.load("run")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_compressed_and_doubled_records_are_refused() -> None:
    with zipfile.ZipFile(FILE) as archive:
        records = [(info.filename, archive.read(info)) for info in archive.infolist()]
    for kind, extra, words in (
        (zipfile.ZIP_DEFLATED, [], "is compressed, and torch.save compresses none"),
        (zipfile.ZIP_STORED, records[-1:], "truncated or damaged"),
    ):
        with zipfile.ZipFile(FILE, "w", kind) as archive:
            for name, content in [*records, *extra]:
                archive.writestr(name, content)
        with pytest.raises(CheckpointError, match=words):
            load_checkpoint(FILE)


@pytest.mark.parametrize(
    "shape", [None, [], [8, 8], [1, 8, 8, 1], [1, 8, 9], [2**20] * 3, [1, 8.0, 8]]
)
def test_images_of_safetensors_are_those_of_the_generator(shape: Any) -> None:
    pytest.importorskip("safetensors")
    state = load_checkpoint(FILE)
    names = ("networks", "inference", "z_distribution")
    description = {name: state["config"][name] for name in names} | {"image_shape": shape}
    weights = weights_under(state["gan_step"], "G")
    Path("g.safetensors").write_bytes(write_weights(weights, description, {}))
    with pytest.raises(CheckpointError, match=r"^g\.safetensors .*image"):
        gankit.load("g.safetensors")


def test_header_of_safetensors_of_any_length() -> None:
    pytest.importorskip("safetensors")
    for length in (0, 3, 2**20, 2**40, 2**63):
        Path("g.safetensors").write_bytes(struct.pack("<Q", length) + b"{}")
        with pytest.raises(CheckpointError, match=r"g\.safetensors"):
            gankit.load("g.safetensors")


def test_bytes_of_other_files() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a/data.pkl", b"")
    for data in (b"PK", b"PK\5\6" + bytes(18), buffer.getvalue(), b"x" + FILE.read_bytes()):
        FILE.write_bytes(data)
        with pytest.raises(CheckpointError, match="cannot be read as a checkpoint"):
            load_checkpoint(FILE)
