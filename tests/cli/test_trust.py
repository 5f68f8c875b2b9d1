"""Somebody else's run: nothing that it names is imported or called unless the user says so."""

from __future__ import annotations

import importlib
import inspect
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import gankit
from gankit import gans, recipes
from gankit.cli import main
from gankit.errors import ConfigError
from gankit.exporting import export
from gankit.runs.build import build_trainer
from gankit.runs.settings import read_yaml
from gankit.runs.trust import OWN, check_own, foreign_parts
from gankit.saved import load_run
from gankit.training.weights import weights_under
from tests.small_runs import SMALL

FILE = Path("run/checkpoint.pt")
CONFIG = Path("run/config.yaml")
RESUME = ["train", "--resume", "--out", "run", "--steps", "4", "--quiet"]
MARKER = "open('touched', 'a').write('ran')\n"
ATTACK = MARKER + "from torch import nn\nclass G(nn.Linear): pass\ndef call(*a, **k): " + MARKER
MLP = "gankit.models.mlp.Generator"
HARMFUL: list[Any] = [
    {"class_path": "os.system", "init_args": {"command": "touch touched"}},
    {"class_path": "shutil.rmtree", "init_args": {"path": "precious"}},
    {"class_path": "subprocess.Popen", "init_args": {"args": ["touch", "touched"]}},
    {"class_path": "builtins.eval", "init_args": {"source": "open('touched', 'w')"}},
    {"class_path": "pathlib.Path.touch", "init_args": {"self": "touched"}},
    "attack.call",
    "attack.G",
    {"class_path": "attack.G", "init_args": {"in_features": 2, "out_features": 3}},
    # What looks like gankit's own, and leads elsewhere.
    {"class_path": "gankit.models.mlp.torch.hub.load", "init_args": {"repo_or_dir": "."}},
    "gankit.models.dcgan.nn.Module",
    {"class_path": "gankit.data.idx.os.system", "init_args": {"command": "touch touched"}},
    {"class_path": "gankit.runs.build.import_object", "init_args": {"path": "attack.call"}},
    {"class_path": "gankit.runs.component.create", "init_args": {"spec": "attack.call"}},
    {"class_path": "gankit.cli.main", "init_args": {"argv": ["train", "gan", "--out", "touched"]}},
    {"class_path": "gankit.training.MetricsCSV", "init_args": {"path": "precious"}},
    "gankit.models.mlp.Generator.__init__",
    "gankit.models.mlp.Generator ",
    " gankit.models.mlp.Generator",
    "gankit.models..mlp.Generator",
    "gankit.models.mlp.generator",
    "torch.optim.lr_scheduler.LambdaLR",
    ".os.system",
    "",
    # Own classes with arguments that are none of theirs.
    {
        "class_path": MLP,
        "init_args": {"init": {"class_path": "attack.G"}},
    },
    {"class_path": MLP, "init_args": {"hidden": [[[[[[2]]]]]]}},
    {"class_path": MLP, "init_args": {"hidden": [2**40]}},
    {"class_path": MLP, "init_args": {"hidden": [1] * 5000}},
    {"class_path": MLP, "init_args": {"init": "x" * 10**6}},
    {"class_path": MLP, "init_args": {"init": "attack.call"}},
    {"class_path": MLP, "init_args": {"hidden": ["attack.call"]}},
    {"class_path": MLP, "init_args": {"attack": b"attack"}},
]
STEP = "gankit.training.GANStep"
RESOLVE = "gankit.losses.resolve"


def step(**arguments: Any) -> dict[str, Any]:
    return {"class_path": STEP, "init_args": arguments}


IDS = [f"{number}" for number in range(len(HARMFUL))]


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("once")
    (folder / "small.yaml").write_text(SMALL)
    argv = ["train", "gan", "--config", str(folder / "small.yaml"), "--quiet", "--steps", "2"]
    assert main([*argv, "--out", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture(autouse=True)
def a_run(in_a_folder_of_its_own: None, once: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(once, "run")
    Path("attack.py").write_text(ATTACK)
    Path("precious").mkdir()
    Path("precious/thesis").touch()
    # Where the attacker's module can be found, so that the check alone stands before it.
    monkeypatch.syspath_prepend(str(Path.cwd()))
    monkeypatch.delitem(sys.modules, "attack", raising=False)


def change(name: str, spec: Any) -> None:
    state = torch.load(FILE, weights_only=True)
    settings, (name, _, argument) = state["config"]["run"], name.partition(".")
    if argument:
        settings[name]["init_args"][argument] = spec
    else:
        settings[name] = spec
    if name == "generator":
        state["config"]["networks"]["G"] = spec
    torch.save(state, FILE)


def untouched(call: Callable[[], object], words: str) -> None:
    """``call`` raises one sentence, imports nothing and leaves every file alone."""
    before, files = set(sys.modules), sorted(Path().rglob("*"))
    with pytest.raises(ConfigError, match=words) as caught:
        call()
    assert "attack" not in sys.modules
    assert set(sys.modules) - before <= {"encodings.latin_1"}  # of bytes in a pickle
    assert sorted(Path().rglob("*")) == files
    assert len(str(caught.value)) < 700
    assert "trust" in str(caught.value)


@pytest.mark.parametrize("spec", HARMFUL, ids=IDS)
def test_nothing_of_a_harmful_generator_runs(spec: Any) -> None:
    change("generator", spec)
    words = "generator"
    untouched(lambda: gankit.load("run"), words)
    untouched(lambda: gankit.load(FILE), words)
    untouched(lambda: load_run("run"), words)
    untouched(lambda: export("run", "torch-export"), words)


@pytest.mark.parametrize("spec", HARMFUL[:-1], ids=IDS[:-1])  # JSON has no bytes
def test_nor_of_one_in_a_safetensors_file(spec: Any) -> None:
    pytest.importorskip("safetensors")
    import safetensors  # noqa: F401
    from safetensors.torch import save_file

    weights = weights_under(torch.load(FILE, weights_only=True)["gan_step"], "G")
    description = {
        "networks": {"G": spec},
        "inference": {"G": "G"},
        "image_shape": [1, 28, 28],
        "z_distribution": "normal",
    }
    save_file(weights, "g.safetensors", {"gankit": json.dumps(description)})
    untouched(lambda: gankit.load("g.safetensors"), "generator")


PARTS = [
    ("generator", HARMFUL[0]),
    ("discriminator", HARMFUL[1]),
    ("discriminator", {"class_path": MLP}),
    ("step", HARMFUL[0]),
    ("step", "attack.call"),
    ("step", "gankit.training.Trainer"),
    ("step", "gankit.training.step.torch.hub.load"),
    ("step", "gankit.gans.recipes"),
    ("step", "gankit.gans.autoencoder.Step"),
    ("step", "gankit.gans.autoencoder.AutoencoderStep.from_parts"),
    ("step", {"class_path": "gankit.training.Checkpoint", "init_args": {"path": "precious"}}),
    ("step", step(loss=HARMFUL[0])),
    ("step", step(loss=[HARMFUL[0]])),
    ("step", step(loss=["attack.call", "attack.call"])),
    ("step", step(loss={"class_path": RESOLVE, "init_args": {"loss": "attack.call"}})),
    ("step", step(loss={"class_path": RESOLVE, "init_args": {"loss": {"class_path": "attack.G"}}})),
    ("step", step(loss={"class_path": STEP, "init_args": {}})),
    ("step", step(penalty={"class_path": RESOLVE, "init_args": {}})),
    ("step", step(n_critic="attack.call")),
    ("step", step(noise={"class_path": "attack.G"})),
    ("step", step(G=["attack.call"])),
    ("step", step(clip_weights=[[[[[[2]]]]]])),
    ("step", step(n_critic=2**40)),
    ("step.loss", HARMFUL[0]),
    ("step.loss", "attack.call"),
    ("step.loss", {"class_path": "gankit.losses.AdversarialLoss", "init_args": {"name": "attack"}}),
    ("step.loss", {"class_path": "gankit.losses.least_squares", "init_args": {"a": HARMFUL[0]}}),
    ("step.penalty", "attack.call"),
    ("step.penalty", {"class_path": "gankit.losses.gradient_penalty", "init_args": {"mode": {}}}),
    ("data", HARMFUL[4]),
    ("data", "attack.call"),
    ("schedule", "attack.call"),
    ("schedule", {"class_path": "torch.optim.lr_scheduler.torch.hub.load"}),
    ("callbacks", [HARMFUL[2]]),
    ("callbacks", ["attack.call"]),
    ("callbacks", [{"class_path": "gankit.training.MetricsCSV", "init_args": {"path": "p"}}]),
]


@pytest.mark.parametrize(("name", "spec"), PARTS)
def test_nothing_runs_at_a_resume(name: str, spec: Any, refused: Callable[..., str]) -> None:
    change(name, spec)
    CONFIG.unlink()  # the run of the checkpoint alone
    before, files = set(sys.modules), sorted(Path().rglob("*"))
    sentence = refused(*RESUME)
    assert name in sentence
    assert "--trust" in sentence
    assert set(sys.modules) == before
    assert sorted(Path().rglob("*")) == files
    if name != "generator":
        config = load_run("run").config
        untouched(lambda: build_trainer(config), name)


def test_nor_of_the_config_file_beside_an_honest_checkpoint(refused: Callable[..., str]) -> None:
    nested = {"class_path": "attack.G", "init_args": {"a": [{"class_path": "attack.call"}]}}
    for name, spec in [
        ("callbacks", [nested]),
        ("generator", {"class_path": MLP, "init_args": {"x": nested}}),
    ]:
        settings = yaml.safe_load(CONFIG.read_text())
        CONFIG.write_text(yaml.safe_dump({**settings, name: spec}))
        assert "run" in refused(*RESUME)
        assert "attack" not in sys.modules
        assert read_yaml(CONFIG)[name] in (spec, tuple(spec))  # kept as it is
        assert "attack" not in sys.modules
        CONFIG.write_text(yaml.safe_dump(settings))
    assert not Path("touched").exists()


def test_every_command_asks(refused: Callable[..., str]) -> None:
    change("generator", HARMFUL[0])
    for argv in (["sample", "run"], ["export", "run", "--format", "torch-export"], RESUME):
        CONFIG.unlink(missing_ok=True)
        sentence = refused(*argv)
        assert "'os.system' with {'command': 'touch touched'}" in sentence
        assert "--trust" in sentence
    assert not Path("touched").exists()


def test_long_arguments_are_cut_in_the_message(refused: Callable[..., str]) -> None:
    change(
        "generator", {"class_path": "os." + "system" * 999, "init_args": {"a" * 9999: [9] * 9999}}
    )
    assert len(refused("sample", "run")) < 600


def own_network() -> None:
    Path("mine.py").write_text(
        "from gankit.models import mlp\n"
        "class G(mlp.Generator): pass\n"
        "class D(mlp.Discriminator): pass\n"
    )
    argv = ["train", "gan", "--config", "small.yaml", "--quiet", "--steps", "2", "--out", "own"]
    assert main([*argv, "--set", "generator=mine.G", "--set", "discriminator=mine.D"]) == 0


def test_own_parts_load_with_trust_or_when_they_are_said_again(refused: Callable[..., str]) -> None:
    own_network()
    resume = ["train", "--resume", "--out", "own", "--quiet"]
    assert "generator is 'mine.G'" in refused("sample", "own")
    assert type(gankit.load("own", trust=True).network).__name__ == "G"
    assert main(["sample", "own", "--n", "2", "--trust"]) == 0
    assert main(["export", "own", "--format", "torch-export", "--trust"]) == 0
    assert "generator is 'mine.G'" in refused(*resume, "--steps", "3")
    # One of the two is not both, and an argument alone takes its class from the run.
    once = ["--set", "generator=mine.G"]
    assert "discriminator is 'mine.D'" in refused(*resume, "--steps", "3", *once)
    argument = ["--set", "discriminator.dropout=0.5"]
    refused(*resume, "--steps", "3", *once, *argument)
    assert main([*resume, "--steps", "3", *once, "--set", "discriminator=mine.D"]) == 0
    assert main([*resume, "--steps", "4", "--trust"]) == 0
    assert build_trainer(load_run("own", trust=True).config).gan_step.G is not None


def test_trust_says_nothing_of_a_new_run(refused: Callable[..., str]) -> None:
    assert "--trust is for --resume" in refused("train", "gan", "--out", "new", "--trust")


def test_a_class_of_another_kind_is_not_called_in_trust_either() -> None:
    change("generator", HARMFUL[2])
    with pytest.raises(ConfigError, match="expected a subclass of Module"):
        gankit.load("run", trust=True)
    assert not Path("touched").exists()


def test_the_table_names_gankits_own_networks_and_every_recipe_passes() -> None:
    networks = set()
    for family in gankit.models.__all__:
        module = importlib.import_module(f"gankit.models.{family}")
        for name in module.__all__:
            if inspect.isclass(getattr(module, name)):
                networks.add(f"gankit.models.{family}.{name}")
    assert networks == OWN["generator"] | OWN["discriminator"]
    assert "gankit.gans.autoencoder.AutoencoderStep" in gans.steps()
    for path in {path for paths in OWN.values() for path in paths} | gans.steps():
        module = importlib.import_module(path.rpartition(".")[0])
        assert callable(getattr(module, path.rpartition(".")[2]))
    for name in recipes.names():
        for what, spec in foreign_parts(recipes.get(name).config):
            check_own("a recipe", what, spec)
