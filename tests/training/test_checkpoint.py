"""What a checkpoint holds, and what is not taken for one."""

from __future__ import annotations

import io
import random
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gankit.errors import CheckpointError
from gankit.training import load_checkpoint, save_checkpoint
from gankit.training.checkpoint import rng_state, set_rng_state
from gankit.training.entries import REQUIRED


def content(**changes: Any) -> dict[str, Any]:
    state: dict[str, Any] = {name: {} for name in REQUIRED}
    state |= {"step": 0, "epoch": 0, "generators": [], "optimizers": {}, "schedulers": []}
    state |= {name: {"state": {}, "param_groups": []} for name in ("g_optimizer", "d_optimizer")}
    weight = torch.arange(6.0).view(2, 3)
    state["gan_step"] = {"_extra_state": {"calls": 0}, "G.main.0.weight": weight}
    state["rng"] = rng_state()
    return {**state, **changes}


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    save_checkpoint(path, content(step=7))
    assert torch.load(path, weights_only=True)["step"] == 7
    back = load_checkpoint(path)
    assert back["step"] == 7
    assert torch.equal(back["gan_step"]["G.main.0.weight"], torch.arange(6.0).view(2, 3))


def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    whole = tmp_path / "c.pt"
    save_checkpoint(whole, content())
    data = whole.read_bytes()
    cut = tmp_path / "cut.pt"
    for length in (0, 1, 10, len(data) // 3, len(data) // 2, len(data) - 100, len(data) - 1):
        cut.write_bytes(data[:length])
        with pytest.raises(CheckpointError, match=r"cut\.pt"):
            load_checkpoint(cut)


def exported(path: Path) -> None:
    program = torch.export.export(torch.nn.Linear(2, 1), (torch.ones(3, 2),))
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    path.write_bytes(buffer.getvalue())


def scripted(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls scripting deprecated
        torch.jit.save(torch.jit.trace(torch.nn.Tanh(), torch.ones(2)), path)


def pickled(path: Path) -> None:
    torch.save(Path("/"), path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("name", ["generator.onnx", "generator.safetensors"])
def test_exports_are_called_so(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"abc")
    words = "an exported ONNX graph" if name.endswith("onnx") else "gankit.load reads"
    with pytest.raises(CheckpointError, match=words):
        load_checkpoint(tmp_path / name)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.write_text("hello"), "it is not a file of torch.save"),
        (lambda path: path.write_bytes(bytes(1000)), "it is not a file of torch.save"),
        (lambda path: path.write_bytes(b""), "it is empty"),
        (lambda path: path.write_bytes(b"PK\3\4" + bytes(99)), "it is truncated or damaged"),
        (exported, "it is an exported graph, which torch.export.load reads"),
        (scripted, "it is a TorchScript program, which torch.jit.load reads"),
        (pickled, "more than tensors and plain values"),
        (
            lambda path: torch.save({"main.0.weight": torch.ones(1)}, path),
            "not a gankit checkpoint",
        ),
        (lambda path: torch.save([1, 2], path), "not a gankit checkpoint"),
        (lambda path: torch.save(Path("/"), path), "more than tensors and plain values"),
        (
            lambda path: torch.save({"format": "gankit-checkpoint", "version": 99}, path),
            "has format 99 of checkpoints, and this gankit reads format 2; allowed is",
        ),
        (
            lambda path: torch.save({"format": "gankit-checkpoint", "version": 2}, path),
            "lacks callbacks, config, environment",
        ),
        (lambda path: None, "there is no checkpoint"),
        (lambda path: path.mkdir(), "there is no checkpoint at .*, which is a folder"),
    ],
)
def test_anything_else_gets_a_sentence(tmp_path: Path, make: Any, words: str) -> None:
    path = tmp_path / "c.pt"
    make(path)
    with pytest.raises(CheckpointError, match=words) as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_an_incomplete_state_is_not_written(tmp_path: Path) -> None:
    state = content()
    del state["sampler"]
    with pytest.raises(CheckpointError, match="sampler"):
        save_checkpoint(tmp_path / "c.pt", state)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (Path("/"), r"callbacks\.Mine\.x is a PosixPath; allowed in a checkpoint are tensors"),
        ({"y": [1, np.float64(2)]}, r"callbacks\.Mine\.x\.y\.1 is a float64"),
        (lambda: None, "x is a function"),
        ({Path("/"): 1}, r"a key of callbacks\.Mine\.x is a PosixPath"),
    ],
)
def test_what_could_not_be_read_again_is_not_written(
    tmp_path: Path, value: Any, words: str
) -> None:
    save_checkpoint(tmp_path / "c.pt", content(step=3))
    with pytest.raises(CheckpointError, match=words):
        save_checkpoint(tmp_path / "c.pt", content(callbacks={"Mine": {"x": value}}))
    assert load_checkpoint(tmp_path / "c.pt")["step"] == 3


def test_all_that_is_plain_is_written_and_read(tmp_path: Path) -> None:
    plain = {
        "a": [None, True, 1, 1.5, 2j, "ü", b"x"],
        "b": (torch.float16, torch.device("cpu")),
        "c": {1, 2},
        "d": torch.Size([3]),
        "e": Counter("aab"),
        "f": torch.ones(2),
        "g": {3: {}, ("x", 4): torch.nn.Parameter(torch.ones(1))},
    }
    save_checkpoint(tmp_path / "c.pt", content(callbacks={"Mine": plain}))
    back = load_checkpoint(tmp_path / "c.pt")["callbacks"]["Mine"]
    assert back["a"] == plain["a"]
    assert back.keys() == plain.keys()


def test_random_states_come_back_through_a_file(tmp_path: Path) -> None:
    def draw() -> tuple[Any, ...]:
        numbers = np.random.standard_normal(3).tolist()  # noqa: NPY002
        return torch.rand(3).tolist(), random.random(), numbers

    draw()
    save_checkpoint(tmp_path / "c.pt", content())
    first = draw()
    assert draw() != first
    set_rng_state(load_checkpoint(tmp_path / "c.pt")["rng"])
    assert draw() == first
