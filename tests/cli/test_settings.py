"""Settings by --set and in config.yaml, and callbacks of one's own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from gankit.cli import main

SMALL = """
generator: {class_path: gankit.models.mlp.Generator, init_args: {hidden: [8]}}
discriminator: {class_path: gankit.models.mlp.Discriminator, init_args: {hidden: [8]}}
grid_rows: 2
grid_columns: 2
device: cpu
log_every: 2
"""
OWN = '''
from pathlib import Path
from gankit.training import Callback

class Lines(Callback):
    """As a callback for any service would be: told the folder, its own arguments and the logs."""
    def __init__(self, folder, name="lines"):
        self.path, self.seen = Path(folder) / f"{name}.txt", 0
    def on_log(self, trainer, metrics):
        self.seen += 1
        with open(self.path, "a") as file:
            print(self.seen, metrics.step, metrics.d_loss, file=file)
    def state_dict(self):
        return {"seen": self.seen}
    def load_state_dict(self, state):
        self.seen = state.get("seen", 0)

class Stranger:
    pass
'''
NEW = ["train", "gan", "--config", "small.yaml", "--quiet", "--out", "run"]
RESUME = ["train", "--resume", "--quiet", "--out", "run"]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "own_callbacks", raising=False)
    Path("small.yaml").write_text(SMALL)
    Path("own_callbacks.py").write_text(OWN)


def settings() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(Path("run/config.yaml").read_text())
    return found


def lines(name: str) -> list[tuple[int, int]]:
    rows = [line.split() for line in Path(f"run/{name}.txt").read_text().splitlines()]
    return [(int(row[0]), int(row[1])) for row in rows]


def test_set_and_callbacks_of_ones_own_through_a_resume() -> None:
    both = (
        "callbacks=[own_callbacks.Lines, {class_path: own_callbacks.Lines, "
        "init_args: {name: others}}]"
    )
    sets = ["--set", "accumulate=4", "--set", "betas=[0.4, 0.9]", "--set", both]
    assert main([*NEW, "--steps", "4", *sets]) == 0
    assert (settings()["accumulate"], settings()["betas"]) == (4, [0.4, 0.9])
    assert lines("lines") == lines("others") == [(1, 2), (2, 4)]
    # Of two of one class each has its own state.
    state = torch.load("run/checkpoint.pt", weights_only=True)["callbacks"]
    assert (state["Lines"], state["Lines 2"]) == ({"seen": 2}, {"seen": 2})
    assert main([*RESUME, "--steps", "6", "--trust"]) == 0
    assert lines("others") == [(1, 2), (2, 4), (3, 6)]


def test_what_leaves_the_training_alone_may_change_at_a_resume(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert main([*NEW, "--steps", "4"]) == 0
    config = Path("run/config.yaml")
    config.write_text(config.read_text().replace("steps: 4", "steps: 8"))
    resume = [argument for argument in RESUME if argument != "--quiet"]
    assert main([*resume, "--set", "log_every=4", "--set", "checkpoint_best=d_loss"]) == 0
    assert (settings()["steps"], settings()["log_every"]) == (8, 4)
    assert torch.load("run/checkpoint.pt", weights_only=True)["step"] == 8
    assert Path("run/checkpoint.best.pt").is_file()
    assert "setting" not in capfd.readouterr().out
    assert main([*RESUME, "--set", "accumulate=2"]) == 2
    assert "settings: accumulate is 1, not 2" in capfd.readouterr().err
    assert main([*RESUME, "--set", "n_critic=2"]) == 2
    assert "settings: step.n_critic is 1, not 2" in capfd.readouterr().err
    assert main([*RESUME, "--set", "n_critic=1", "--set", "step.loss=non-saturating"]) == 0


def documented(file: str) -> str:
    """What docs/training.md says that ``file`` holds."""
    text = (Path(__file__).resolve().parents[2] / "docs" / "training.md").read_text()
    return text.split(f"```python\n# {file}\n")[1].split("```")[0]


class FakeService:
    """What the callback in docs/training.md uses of wandb."""

    def __init__(self) -> None:
        self.started: list[str | None] = []
        self.logged: list[int] = []
        self.id = "a-run"

    def init(self, *, id: str | None, config: dict[str, Any], **_: Any) -> FakeService:
        assert config["run"]["recipe"] == "gan"
        self.started.append(id)
        return self

    def log(self, values: dict[str, float], step: int) -> None:
        assert set(values) >= {"d_loss", "g_loss", "d_real", "d_fake"}
        self.logged.append(step)

    def finish(self) -> None:
        self.logged.append(-1)


def test_the_callback_of_the_docs_makes_one_curve_of_two_halves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("my_callbacks.py").write_text(documented("my_callbacks.py"))
    service = FakeService()
    monkeypatch.setitem(sys.modules, "wandb", service)
    monkeypatch.delitem(sys.modules, "my_callbacks", raising=False)
    assert main([*NEW, "--steps", "4", "--set", "callbacks=[my_callbacks.Wandb]"]) == 0
    assert main([*RESUME, "--steps", "6", "--set", "callbacks=[my_callbacks.Wandb]"]) == 0
    assert service.started == [None, "a-run"]
    assert service.logged == [2, 4, -1, 6, -1]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("accumulate", "--set is 'accumulate'; allowed are NAME=VALUE"),
        ("accumulated=3", "--set has the unknown setting accumulated; did you mean accumulate?"),
        ("hidden=3", "setting hidden; did you mean generator.hidden or discriminator.hidden?"),
        ("drop-out=3", "the unknown setting drop_out; did you mean discriminator.dropout?"),
        ("learning_rate=3", "did you mean lr?"),
        ("out=here", "did you mean the flag --out?"),
        ("frobnicate=3", "frobnicate; the config.yaml of any run lists those that there are"),
        (f"{'x' * 5000}=3", "unknown setting 'xxx"),
        ("accumulate=three", "--set: "),
        ("accumulate=[", "is not YAML"),
        # YAML 1.2 has no numbers of these, and quotes are for text.
        ("log_every=1:30", "log_every is '1:30'; allowed is an integer"),
        ("log_every=1_000", "log_every is '1_000'; allowed is an integer"),
        ("lr=\u0661", "lr is '\u0661'; allowed is a number"),
        ("lr='1e-4'", "lr is '1e-4'; allowed is a number"),
        ("betas=['0.5', 0.9]", "betas is ['0.5', 0.9]; allowed is a list of two numbers"),
        ("tensorboard='true'", "tensorboard is 'true'; allowed is true or false"),
        (
            "schedule={class_path: torch.optim.lr_scheduler.CyclicLR, init_args: {base_lr: 1e-4, "
            "max_lr: 1e-3, step_size_up: 0}}",
            "init_args of schedule ",
        ),
        ("accumulate=7", "accumulate is 7, which does not divide the 60 samples of a batch"),
        ("callbacks=5", "callbacks"),
        ("callbacks=[own_callbacks.Stranger]", "expected a subclass of Callback"),
        ("callbacks=[own_callbacks.Nobody]", "own_callbacks has no Nobody"),
    ],
)
def test_a_setting_that_does_not_fit_is_named(
    given: str, words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([*NEW, "--steps", "4", "--set", given]) == 2
    error = capfd.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not Path("run").exists()


def test_tensorboard_that_is_not_there_is_said_before_anything_is_written(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    assert main([*NEW, "--steps", "4", "--set", "tensorboard=true"]) == 2
    error = capfd.readouterr().err
    assert "tensorboard is not installed: pip install 'gankit[tensorboard]'" in error
    assert not Path("run").exists()


def test_arguments_of_the_networks() -> None:
    arguments = ["--set", "discriminator.dropout=0.25", "--set", "generator.norm=batch"]
    arguments += ["--set", "discriminator.init_args.negative_slope=0.1", "--steps", "2"]
    assert main([*NEW, *arguments]) == 0
    networks = settings()
    assert networks["discriminator"] == {
        "class_path": "gankit.models.mlp.Discriminator",
        "init_args": {"hidden": [8], "dropout": 0.25, "negative_slope": 0.1},
    }
    assert networks["generator"]["init_args"] == {"hidden": [8], "norm": "batch"}
    weights = torch.load("run/checkpoint.pt", weights_only=True)["gan_step"]
    assert any("running_mean" in name for name in weights if name.startswith("G."))
    assert main([*RESUME, "--set", "discriminator.dropout=0.25", "--steps", "3"]) == 0
    assert main([*RESUME, "--set", "discriminator.dropout=0.5", "--steps", "4"]) == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lr.x=1", "arguments have generator, discriminator, step, data, schedule, augment alone"),
        ("loss.margin=1", "loss is 'non-saturating'; allowed is an import path"),
        ("penalty.weight=1", "penalty is null; allowed is an import path"),
        ("generator.init_args=3", "allowed as init_args are {NAME: VALUE}"),
        ("generator.depth=3", "depth"),
        ("generator.hiden=[3]", "argument 'hiden'; did you mean hidden?"),
    ],
)
def test_arguments_of_nothing(text: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*NEW, "--set", text, "--steps", "1"]) == 2
    assert words in capsys.readouterr().err
    assert not Path("run").exists()


def test_another_class_for_a_network() -> None:
    """It gets the arguments that are given with it, and none of the class before it."""
    Path("my_networks.py").write_text(
        "from gankit.models import mlp\n\n"
        "class G(mlp.Generator):\n"
        "    def __init__(self, z_dim, image_shape, width=4, depth=1):\n"
        "        super().__init__(z_dim, image_shape, hidden=(width,) * depth)\n"
    )
    sets = ["generator.width=8", "generator.class_path=my_networks.G", "generator.depth=2"]
    arguments = [word for text in sets for word in ("--set", text)]
    assert main([*NEW, *arguments, "--steps", "1"]) == 0
    assert settings()["generator"] == {
        "class_path": "my_networks.G",
        "init_args": {"width": 8, "depth": 2},
    }
    assert main([*RESUME, *arguments, "--steps", "2"]) == 0
    assert main([*NEW, "--set", "generator.class_path=5", "--steps", "1", "--overwrite"]) == 2


def test_numbers_are_numbers_wherever_they_stand() -> None:
    schedule = "{class_path: torch.optim.lr_scheduler.CosineAnnealingLR, "
    schedule += "init_args: {T_max: 10, eta_min: 1e-6}}"
    sets = ["lr=1e-3", "discriminator.dropout=3e-1", "betas=[1e-1, 9e-1]", f"schedule={schedule}"]
    arguments = [word for text in sets for word in ("--set", text)]
    assert main([*NEW, *arguments, "--steps", "2"]) == 0
    found = settings()
    assert found["discriminator"]["init_args"]["dropout"] == 0.3
    assert (found["lr"], found["betas"]) == (0.001, [0.1, 0.9])
    assert found["schedule"]["init_args"] == {"T_max": 10, "eta_min": 1e-6}
    again = ["train", "--config", "run/config.yaml", "--out", "again", "--quiet"]
    assert main(again) == 0
    assert Path("again/config.yaml").read_bytes() == Path("run/config.yaml").read_bytes()


def test_the_images_of_ones_own_as_the_docs_load_them() -> None:
    Path("my_data.py").write_text(documented("my_data.py"))
    scan = np.random.default_rng(0).integers(0, 256, (5, 40, 48), dtype=np.uint8)
    np.save("scan.npy", scan)
    argv = ["train", "dcgan", "--data", "my_data.volumes", "--set", "data.path=scan.npy", "--quiet"]
    sizes = [
        "--set",
        "image_size=32",
        "--set",
        "generator.width=4",
        "--set",
        "discriminator.width=4",
    ]
    few = ["--batch-size", "5", "--steps", "2", "--out", "run"]
    assert main([*argv, *sizes, *few]) == 0
    state = torch.load("run/checkpoint.pt", weights_only=True)
    assert state["config"]["image_shape"] == [1, 32, 32]
