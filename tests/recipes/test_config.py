"""Settings: what is allowed, and that YAML gives back what went in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gankit import recipes
from gankit.errors import ConfigError
from gankit.recipes.config import RunConfig, read_yaml, write_yaml


@pytest.mark.parametrize("name", recipes.names())
def test_yaml_gives_back_every_setting(name: str, tmp_path: Path) -> None:
    config = recipes.get(name).config.updated(steps=7, lr=3e-5, seed=4, z_distribution="uniform")
    path = tmp_path / "config.yaml"
    path.write_bytes(write_yaml(config))
    assert RunConfig().updated(**read_yaml(path)) == config


def test_a_file_may_hold_a_few_settings(tmp_path: Path) -> None:
    path = tmp_path / "few.yaml"
    path.write_text("lr: 1e-3\nbetas: [0, 0.9]\nsteps: 5\nfrom_logits: false\n")
    values = read_yaml(path)
    assert {**values, "betas": tuple(values["betas"])} == {
        "lr": 1e-3,
        "betas": (0.0, 0.9),
        "steps": 5,
        "from_logits": False,
    }
    config = recipes.get("gan").config.updated(**values)
    assert (config.steps, config.epochs, config.batch_size) == (5, None, 60)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lr: fast", "bad.yaml: lr is 'fast'; allowed is a number$"),
        ("steps: 2.5", r"steps is 2\.5; allowed is an integer or null$"),
        ("z_distribution: gauss", "is 'gauss'; allowed is 'normal', 'uniform'$"),
        ("paired: 5", "paired is 5; allowed is true or false or 'auto'$"),
        ("betas: 0.5", r"betas is 0\.5; allowed is a list of two numbers$"),
        ("callbacks: [5]", "allowed is a list of import paths, or of class_path with init_args$"),
        ("batchsize: 3", "unknown setting batchsize; did you mean batch_size"),
        ("generator: [1, 2]", "generator"),
        ("- 1\n- 2", "holds no settings"),
        ("", "holds no settings"),
        ("1: 2", "holds no settings"),
        ("lr: [1", "is not YAML"),
        ("lr: \x00", "is not YAML"),
    ],
)
def test_bad_files_get_a_sentence(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words) as caught:
        read_yaml(path)
    assert "bad.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no config file .*absent\.yaml"):
        read_yaml(tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lr": 0.0}, "lr is 0.0; allowed are finite numbers above 0"),
        ({"lr": float("nan")}, "lr is nan"),
        ({"lr": float("inf")}, "lr is inf"),
        ({"d_lr": 0.0}, "d_lr is 0.0; allowed are null and finite numbers above 0"),
        ({"betas": (0.5, 1.0)}, "betas is"),
        ({"betas": (0.5,)}, "betas is"),
        ({"batch_size": 0}, "batch_size is 0; allowed are integers from 1"),
        ({"z_dim": -3}, "z_dim is -3"),
        ({"steps": 0}, "steps is 0"),
        ({"epochs": True}, "epochs is true"),
        ({"epochs": None}, "exactly one must be set"),
        ({"epochs": 1, "steps": 1}, "exactly one must be set"),
        ({"from_logits": "maybe"}, "from_logits is 'maybe'; allowed are auto, true, false"),
        ({"precision": "fp8"}, "precision is 'fp8'; allowed are fp32, bf16"),
        ({"device": "tpu"}, "device is 'tpu'; allowed are auto, cpu, cuda, mps"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**63}, "seed is"),
        ({"log_every": 0}, "log_every is 0"),
        ({"data": 5}, "data is 5; allowed is a name"),
        ({"penalty": 5}, "penalty is 5; allowed is a name"),
    ],
)
def test_bad_values_are_named(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        RunConfig().updated(**changes)


def test_the_last_length_given_counts() -> None:
    config = RunConfig().updated(steps=10)
    assert (config.steps, config.epochs) == (10, None)
    config = config.updated(epochs=3)
    assert (config.steps, config.epochs) == (None, 3)
