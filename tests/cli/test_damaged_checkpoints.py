"""A checkpoint with a bad entry: one sentence names it, a good one is offered."""

from __future__ import annotations

import copy
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import gankit
from gankit.cli import main
from gankit.errors import CheckpointError
from tests.small_runs import SMALL

FILE = Path("run/checkpoint.pt")
RESUME = ["train", "--resume", "--out", "run", "--steps", "9", "--quiet"]
SAMPLE = ["sample", "run", "--n", "4"]


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("once")
    (folder / "small.yaml").write_text(f"{SMALL}checkpoint_every: 2\n")
    argv = ["train", "gan", "--config", str(folder / "small.yaml"), "--quiet", "--steps", "4"]
    assert main([*argv, "--out", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture(autouse=True)
def a_run(in_a_folder_of_its_own: None, once: Path) -> None:
    shutil.copytree(once, "run")


def change(**entries: Any) -> None:
    """Write the checkpoint with other values; ``a__b`` is entry b of a."""
    state = torch.load(FILE, weights_only=True)
    for name, value in entries.items():
        inside = state
        *path, last = (int(key) if key.isdigit() else key for key in name.split("__"))
        for key in path:
            inside = inside[key]
        if value is KeyError:
            del inside[last]
        else:
            inside[last] = value
    torch.save(state, FILE)


def contents() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path().rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"rng": None}, "is damaged: its entry rng is None; allowed is a dict"),
        ({"gan_step": []}, "its entry gan_step is list; allowed is a dict"),
        ({"environment": None}, "its entry environment is None; allowed is a dict"),
        ({"pending": KeyError}, "is damaged: it lacks pending"),
        ({"schedulers": KeyError}, "is damaged: it lacks schedulers"),
        ({"callbacks": KeyError, "generators": KeyError}, "it lacks callbacks, generators"),
        ({"optimizers__G__state": {}}, "has no averages, and Adam had made 4 steps"),
        ({"rng__torch": torch.zeros(3, dtype=torch.uint8)}, "its entry rng: "),
        ({"sampler__position": "x"}, "its entry sampler: "),
        ({"config__run__frobnicate": 5}, "it has the unknown setting frobnicate"),
        ({"config__run__sync_batch_norm": torch.zeros(3)}, "its entry config holds a tensor"),
        ({"config__run__ema": torch.zeros(3)}, "its entry config holds a tensor"),
        ({"environment__device": torch.zeros(3)}, "its entry environment holds a tensor"),
        ({"gan_step__5": torch.zeros(3)}, "its entry gan_step has the key 5; allowed are names"),
        ({"optimizers__5": {}}, "its entry optimizers has the key 5; allowed are names"),
        ({"gan_step__Q": torch.zeros(3)}, "the step's state has 'Q', and here is none"),
        ({"optimizers__G__param_groups": [{"params": [0]}]}, "its entry optimizers.G: "),
        ({"optimizers__D__param_groups__0__maximize": True}, "optimizers.D.maximize is True; exp"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_the_entry_is_named_and_the_good_file(
    entries: dict[str, Any], words: str, refused: Callable[..., str]
) -> None:
    change(**entries)
    before = contents()
    sentence = refused(*RESUME)
    assert words in sentence
    assert sentence.startswith("gankit: error: run/checkpoint.pt ")
    assert "; run/checkpoint.step_0000002.pt of step 2 is good: copy it to run" in sentence
    assert contents() == before
    shutil.copy("run/checkpoint.step_0000002.pt", FILE)
    assert main(RESUME) == 0


@pytest.mark.parametrize("value", ["x", None, [], torch.zeros(3), 1j], ids=repr)
def test_an_optimizer_is_given_numbers(value: Any, refused: Callable[..., str]) -> None:
    good = torch.load(FILE, weights_only=True)
    for optimizer, place in (
        ("G", ("param_groups", 0, "eps")),
        ("D", ("state", 0, "exp_avg")),
    ):
        state = copy.deepcopy(good)
        kind, number, name = place
        state["optimizers"][optimizer][kind][number][name] = value
        torch.save(state, FILE)
        words = f"run/checkpoint.pt does not fit this run: its entry optimizers.{optimizer}"
        assert words in refused(*RESUME)


def test_a_file_with_the_same_fault_is_not_offered(refused: Callable[..., str]) -> None:
    change(optimizers__G__state={})
    shutil.copy(FILE, "run/checkpoint.step_0000002.pt")
    assert "is good" not in refused(*RESUME)


@pytest.mark.parametrize("network", ["G", "D"])
def test_nan_in_a_checkpoint_is_said_at_resume(network: str, refused: Callable[..., str]) -> None:
    state = torch.load(FILE, weights_only=True)
    name = next(key for key in state["gan_step"] if key.startswith(f"{network}.main"))
    state["gan_step"][name].view(-1)[0] = math.nan
    torch.save(state, FILE)
    before = contents()
    sentence = refused(*RESUME)
    assert f"of {network} is NaN or infinite in it; run/checkpoint.step" in sentence
    assert "learning rate" not in sentence
    if network == "G":
        assert "is NaN or infinite in it; run/checkpoint.step_0000002.pt" in refused(*SAMPLE)
        with pytest.raises(CheckpointError, match=r"main\.0\.weight is NaN or infinite"):
            gankit.load("run")
    assert contents() == before


def test_versions_are_told_apart(
    refused: Callable[..., str], capfd: pytest.CaptureFixture[str]
) -> None:
    change(environment__gankit="9.9", config__run__frobnicate=5)
    for argv in (RESUME, SAMPLE):
        assert (
            f"was written by gankit 9.9, and this is gankit {gankit.__version__}, which does not "
            "know the setting frobnicate"
        ) in refused(*argv)
    change(environment__gankit="0.0.1", config__run__frobnicate=KeyError)
    change(config__run__accumulate=KeyError, config__run__tensorboard=KeyError)
    config = Path("run/config.yaml")
    config.write_text(config.read_text().replace("accumulate: 1", "accumulate: 2"))
    sentence = refused(*RESUME)
    assert "settings (accumulate is 2) that gankit 0.0.1, which wrote its checkpoint" in sentence
    assert "changed" not in sentence
    config.write_text(config.read_text().replace("accumulate: 2\n", ""))
    assert main(RESUME[:-1]) == 0
    said = capfd.readouterr().out
    assert "The setting accumulate is 1 from here on; gankit 0.0.1, which wrote" in said
    assert "tensorboard" not in said


def test_one_version_has_many_states_before_its_release(
    refused: Callable[..., str], capfd: pytest.CaptureFixture[str]
) -> None:
    change(config__run__accumulate=KeyError)
    assert main(SAMPLE) == 0
    assert main(RESUME[:-1]) == 0
    words = f"; another state of gankit {gankit.__version__}, which wrote the checkpoint, had none"
    assert f"The setting accumulate is 1 from here on{words}" in capfd.readouterr().out


def test_a_folder_in_place_of_a_checkpoint(refused: Callable[..., str]) -> None:
    FILE.unlink()
    FILE.mkdir()
    words = "there is no checkpoint at run/checkpoint.pt, which is a folder; run/checkpoint.step"
    assert words in refused(*RESUME)
    with pytest.raises(CheckpointError, match=r"no checkpoint at run.checkpoint.pt, which is"):
        gankit.load("run")


def test_what_load_is_given_is_said() -> None:
    Path("passwd").write_text("root:x:0:0\n")
    for file, words in (("passwd", "not a file of torch.save"), (Path("g.onnx"), "no checkpoint")):
        with pytest.raises(CheckpointError, match=words):
            gankit.load(file)
