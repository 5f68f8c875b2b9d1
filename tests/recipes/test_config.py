"""Settings: what is allowed, their short forms, and that YAML gives back what went in."""

from __future__ import annotations

import inspect
import logging
import re
from pathlib import Path
from typing import Any

import pytest

from gankit import gans, recipes
from gankit.errors import ConfigError
from gankit.runs.build import build_trainer
from gankit.runs.settings import changed, configured, read_yaml, write_yaml, written
from gankit.runs.steps import knobs, step_class
from gankit.training import GANStep, Step
from gankit.training.config import FIELDS, RunConfig

GAN = recipes.get("gan").config
PACKAGE = Path(inspect.getfile(Step)).parents[1]


def of_file(path: Path, config: RunConfig = GAN) -> RunConfig:
    return configured(config, read_yaml(path), str(path))


def with_sets(*texts: str, config: RunConfig = GAN) -> RunConfig:
    return changed(config, written(texts), "--set")


@pytest.mark.parametrize("name", recipes.names())
def test_yaml_gives_back_every_setting(name: str, tmp_path: Path) -> None:
    config = recipes.get(name).config.updated(steps=7, lr=3e-5, seed=4, cuda_graph=False)
    path = tmp_path / "config.yaml"
    path.write_bytes(write_yaml(config))
    assert of_file(path, RunConfig()) == config


def test_every_setting_is_read_somewhere() -> None:
    """A field that nothing reads would be a setting that changes nothing."""
    sources = [
        path.read_text() for path in PACKAGE.rglob("*.py") if path != PACKAGE / "training/config.py"
    ]
    for name in FIELDS:
        read = re.compile(rf"\bconfig\.{name}\b|\bold\.{name}\b")
        assert any(read.search(text) for text in sources), name


def test_every_knob_of_every_step_reaches_its_constructor() -> None:
    for path in ("gankit.training.GANStep", *sorted(gans.steps())):
        kind = step_class(path)
        for name in knobs(kind):
            assert name not in FIELDS, (path, name)


def test_cuda_graph_is_a_setting() -> None:
    config = GAN.updated(device="cpu", image_size=8)
    with pytest.raises(ConfigError, match="cuda_graph=True, but the networks are on cpu"):
        build_trainer(config.updated(cuda_graph=True))
    notes = build_trainer(with_sets("cuda_graph=false", config=config)).gan_step.notes
    assert any("cuda_graph=False" in note for note in notes)


def test_a_file_may_hold_a_few_settings(tmp_path: Path) -> None:
    path = tmp_path / "few.yaml"
    path.write_text("lr: 1e-3\nbetas: [0, 0.9]\nsteps: 5\nfrom_logits: false\n")
    config = of_file(path)
    assert (config.lr, config.betas) == (1e-3, (0.0, 0.9))
    assert (config.steps, config.epochs, config.batch_size) == (5, None, 60)
    assert config.knobs == {"loss": "non-saturating", "from_logits": False}


PENALTY = "gankit.losses.gradient_penalty"


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["n_critic=5"], {"n_critic": 5}),
        (["step.n_critic=5"], {"n_critic": 5}),
        (["step.init_args.n_critic=5"], {"n_critic": 5}),
        (["step.init_args={n_critic: 5}"], {"n_critic": 5}),
        (["loss=wasserstein"], {"loss": "wasserstein"}),
        (
            [f"penalty={PENALTY}", "penalty.weight=3", "step.penalty.target=0"],
            {"penalty": {"class_path": PENALTY, "init_args": {"weight": 3, "target": 0}}},
        ),
        (
            [f"penalty.class_path={PENALTY}", "penalty.init_args={weight: 3}"],
            {"penalty": {"class_path": PENALTY, "init_args": {"weight": 3}}},
        ),
        (["step.class_path=gankit.training.GANStep", "n-critic=2"], {"n_critic": 2, "loss": None}),
    ],
)
def test_an_argument_of_the_step_has_a_short_form(
    texts: list[str], expected: dict[str, Any]
) -> None:
    wanted = {"loss": "non-saturating", **expected}
    wanted = {name: value for name, value in wanted.items() if value is not None}
    assert with_sets(*texts).knobs == wanted
    assert with_sets(*texts).updated(step=GAN.step) == GAN


def test_settings_that_ask_for_one_another_are_taken_together() -> None:
    config = with_sets("accumulate=7", "batch_size=14")
    assert (config.accumulate, config.batch_size) == (7, 14)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lr: fast", "bad.yaml: lr is 'fast'; allowed is a number$"),
        ("steps: 2.5", r"steps is 2\.5; allowed is an integer or null$"),
        ("cuda_graph: 5", "cuda_graph is 5; allowed is true or false or 'auto'$"),
        ("betas: 0.5", r"betas is 0\.5; allowed is a list of two numbers$"),
        ("callbacks: [5]", "allowed is a list of import paths, or of class_path with init_args$"),
        ("batchsize: 3", "unknown setting batchsize; did you mean batch_size"),
        ("n_crtic: 3", "unknown setting n_crtic; did you mean n_critic"),
        ("hidden: 3", "did you mean hidden in the init_args of generator or hidden in the"),
        ("frobnicate: 3", "and the step of this one takes z_distribution, loss, penalty, "),
        ("step: 5", "step is 5; allowed is a name, an import path"),
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
        of_file(path)
    assert "bad.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["n_crtic=3"], "did you mean n_critic"),
        (["step.n_crtic=3"], r"step \(GANStep\) has no argument 'n_crtic'; did you mean n_critic"),
        (["step.batchsize=3"], r"no argument 'batchsize'; did you mean batch_size"),
        (["step.whatever=3"], r"has no argument 'whatever'; it has z_distribution, loss, penalty"),
        ([f"penalty={PENALTY}", "penalty.weigth=3"], "'weigth'; did you mean weight"),
        (["generator.hiden=[3]"], "argument 'hiden'; did you mean hidden"),
        (["penalty.weight=3"], "penalty is null; allowed is an import path"),
        (["loss.margin=1"], "loss is 'non-saturating'; allowed is an import path"),
        (["step.precision=bf16"], "precision, which is a setting of every run"),
        (["step.lr=1"], "lr, which is a setting of every run"),
        (["step.G=mine.G"], "G, which GANStep sets itself; allowed are z_"),
        (["step.noise=mine.noise"], "noise, which GANStep sets itself"),
        (["step.networks={}"], "networks, which GANStep sets itself"),
        (["step=gankit.losses.resolve"], "step is 'gankit.losses.resolve'; allowed is a subclass"),
        (["step=gankit.training.Step"], r"Step cannot be built from settings: it defines no from_"),
        (["step.n_critic=0"], "n_critic is 0; allowed are integers from 1"),
        (["z_distribution=gauss"], "z_distribution is 'gauss'; allowed are 'normal' and 'uniform'"),
        (["paired=5"], "paired is 5; allowed are 'auto', True and False"),
        (["from_logits=maybe"], "from_logits is 'maybe'; allowed are 'auto', True and False"),
        (["penalty=5"], "penalty is 5; allowed is null, an import path"),
        (["loss=5"], "loss is 5; expected a name, an AdversarialLoss"),
    ],
)
def test_a_wrong_argument_of_the_step_gets_a_sentence(texts: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        build_trainer(with_sets(*texts).updated(device="cpu", image_size=8))
    assert "\n" not in str(caught.value)


RELEASED = {
    "recipe": "wgan", "loss": "wasserstein", "penalty": None, "penalty_every": 1,
    "z_distribution": "uniform", "n_critic": 3, "clip_weights": 0.02, "paired": "auto",
    "from_logits": "auto", "reuse_fakes": False, "eval_fakes": False, "labelled": None,
}  # fmt: skip


def test_a_file_of_the_first_release_is_understood(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        config = configured(recipes.get("wgan").config, RELEASED, "old.yaml")
    assert "old.yaml is of gankit 0.1.0: what it says of loss, " in caplog.text
    step = build_trainer(config.updated(device="cpu", image_size=8)).gan_step
    assert isinstance(step, GANStep)
    assert (step.n_critic, step.clip_weights, step.z_distribution) == (3, 0.02, "uniform")
    vae = {**RELEASED, "recipe": "vae", "loss": "elbo", "z_distribution": "normal", "n_critic": 1}
    config = configured(recipes.get("vae").config, {**vae, "clip_weights": None}, "old.yaml")
    assert config.knobs == {"loss": "elbo"}
    with pytest.raises(
        ConfigError, match=r"old.yaml is of gankit 0\.1\.0.*has no such clip_weights;"
    ):
        configured(recipes.get("vae").config, vae, "old.yaml")
    penalty = {"class_path": "gankit.losses.supervised_cross_entropy", "init_args": {}}
    sgan = {**RELEASED, "recipe": "sgan", "penalty": penalty, "labelled": 100}
    with pytest.raises(ConfigError, match=r"old.yaml is of gankit 0\.1\.0.*has no such penalty;"):
        configured(recipes.get("sgan").config, sgan, "old.yaml")


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
        ({"precision": "fp8"}, "precision is 'fp8'; allowed are fp32, bf16"),
        ({"cuda_graph": "yes"}, "cuda_graph is 'yes'; allowed are auto, true, false"),
        ({"device": "tpu"}, "device is 'tpu'; allowed are auto, cpu, cuda, mps"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**63}, "seed is"),
        ({"log_every": 0}, "log_every is 0"),
        ({"data": 5}, "data is 5; allowed is a name"),
        ({"step": None}, "step is null; allowed is a name"),
        ({"step": {"class_path": 3}}, "step is .*; allowed is an import path, or class_path"),
    ],
)
def test_bad_values_are_named(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build_trainer(RunConfig().updated(**changes))


def test_the_last_length_given_counts() -> None:
    config = RunConfig().updated(steps=10)
    assert (config.steps, config.epochs) == (10, None)
    config = config.updated(epochs=3)
    assert (config.steps, config.epochs) == (None, 3)
