"""The loop: counting, logging, stopping, and going on exactly."""

from __future__ import annotations

import copy
import csv
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gankit.data import BatchSampler
from gankit.errors import CheckpointError, ConfigError
from gankit.losses import AdversarialLoss, resolve
from gankit.training import (
    Callback,
    Checkpoint,
    DivergedError,
    GANStep,
    Metrics,
    MetricsCSV,
    SampleGrid,
    Trainer,
    gan_adam,
    load_checkpoint,
)
from gankit.training.weights import weights_under
from tests.training.nets import small_discriminator, small_generator, small_images


def make_trainer(
    *callbacks: Callback, log_every: int = 4, replacement: bool = False, **settings: Any
) -> Trainer:
    torch.manual_seed(0)
    G, D = small_generator(), small_discriminator()
    step = GANStep(G, D, gan_adam(G.parameters()), gan_adam(D.parameters()), **settings)
    order = torch.Generator().manual_seed(0)
    sampler = BatchSampler(40, 8, generator=order, replacement=replacement)
    return Trainer(step, small_images(40), sampler, callbacks=callbacks, log_every=log_every)


class Recorder(Callback):
    def __init__(self) -> None:
        self.events: list[str] = []
        self.metrics: list[Metrics] = []

    def on_start(self, trainer: Trainer) -> None:
        self.events.append("start")

    def on_step(self, trainer: Trainer) -> None:
        self.events.append(str(trainer.step))

    def on_log(self, trainer: Trainer, metrics: Metrics) -> None:
        self.events.append("log")
        self.metrics.append(metrics)

    def on_epoch(self, trainer: Trainer) -> None:
        self.events.append(f"epoch {trainer.epoch}")

    def on_end(self, trainer: Trainer) -> None:
        self.events.append("end")

    def close(self) -> None:
        self.events.append("close")


def test_callbacks_are_called_in_order() -> None:
    recorder = Recorder()
    make_trainer(recorder).fit(steps=6)
    expected = "start 1 2 3 log 4 epoch_1 5 log 6 end close"
    assert recorder.events == [word.replace("_", " ") for word in expected.split()]


def test_epochs_are_counted_in_whole_batches() -> None:
    trainer = make_trainer()
    trainer.fit(epochs=3)
    assert (trainer.step, trainer.epoch) == (15, 3)


def test_fit_counts_steps_in_all() -> None:
    trainer = make_trainer()
    trainer.fit(steps=5)
    trainer.fit(steps=5)
    assert trainer.step == 5
    trainer.fit(steps=7)
    assert trainer.step == 7


def test_a_log_is_the_mean_since_the_last_one() -> None:
    recorder = Recorder()
    trainer = make_trainer(recorder, n_critic=3)
    seen: list[dict[str, Tensor]] = []
    trainer.gan_step = _Spy(trainer.gan_step, seen)  # type: ignore[assignment]
    trainer.fit(steps=8)
    for metrics, rows in zip(recorder.metrics, (seen[:4], seen[4:]), strict=True):
        for key in ("d_loss", "d_real", "d_fake"):
            mean = sum(float(row[key]) for row in rows) / 4
            assert getattr(metrics, key) == pytest.approx(mean, rel=1e-6)
    first_turns = [float(seen[2]["g_loss"]), float(seen[3]["g_loss"])]
    assert recorder.metrics[0].g_loss == pytest.approx(sum(first_turns) / 2, rel=1e-6)
    assert recorder.metrics[0].images_per_second > 0


class _Spy:
    """A step that also notes what it returns."""

    def __init__(self, step: GANStep, seen: list[dict[str, Tensor]]) -> None:
        self._step, self._seen = step, seen

    def __call__(self, real: Tensor) -> dict[str, Tensor]:
        result = self._step(real)
        self._seen.append(result)
        return result

    def __getattr__(self, name: str) -> Any:
        return getattr(self._step, name)


def test_before_gs_first_turn_its_loss_is_nan_and_training_goes_on() -> None:
    recorder = Recorder()
    make_trainer(recorder, n_critic=20).fit(steps=8)
    assert all(math.isnan(metrics.g_loss) for metrics in recorder.metrics)


def everything(trainer: Trainer) -> list[Tensor]:
    step = trainer.gan_step
    tensors = [*step.G.state_dict().values(), *step.D.state_dict().values()]
    for optimizer in (step.g_optimizer, step.d_optimizer):
        for state in optimizer.state_dict()["state"].values():
            tensors += [value for value in state.values() if isinstance(value, Tensor)]
    return tensors


@pytest.mark.parametrize("replacement", [False, True])
@pytest.mark.parametrize("n_critic", [1, 3])
def test_n_and_n_steps_are_2n_steps_bit_for_bit(
    tmp_path: Path, replacement: bool, n_critic: int
) -> None:
    n = 13  # neither a whole number of epochs nor of logs nor of G's turns
    settings: dict[str, Any] = {"replacement": replacement, "n_critic": n_critic}

    def callbacks(folder: Path) -> list[Callback]:
        folder.mkdir(exist_ok=True)
        return [
            MetricsCSV(folder / "metrics.csv"),
            Checkpoint(folder / "checkpoint.pt", every=n),
            SampleGrid(folder / "samples", every=1, rows=2, columns=2),
        ]

    straight = make_trainer(*callbacks(tmp_path / "straight"), **settings)
    straight.fit(steps=2 * n)

    # A run that was killed right after its checkpoint at step n, and had already logged more.
    killed = make_trainer(*callbacks(tmp_path / "halves"), **settings)
    killed.callbacks += (_Killer(n + 4),)
    with pytest.raises(KeyboardInterrupt):
        killed.fit(steps=2 * n)
    torch.manual_seed(999)
    resumed = make_trainer(*callbacks(tmp_path / "halves"), **settings)
    resumed.load_state_dict(load_checkpoint(tmp_path / "halves" / "checkpoint.pt"))
    assert resumed.step == n
    resumed.fit(steps=2 * n)

    pairs = list(zip(everything(straight), everything(resumed), strict=True))
    assert len(pairs) > 40
    assert all(torch.equal(a, b) for a, b in pairs)
    assert metrics_of(tmp_path / "straight") == metrics_of(tmp_path / "halves")


class _Killer(Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, trainer: Trainer) -> None:
        if trainer.step == self.step:
            raise KeyboardInterrupt


def metrics_of(folder: Path) -> list[list[str]]:
    """The rows without the measured speed."""
    with open(folder / "metrics.csv", newline="") as file:
        return [row[:-1] for row in csv.reader(file)]


def test_drawing_pictures_changes_nothing(tmp_path: Path) -> None:
    plain = make_trainer()
    plain.fit(steps=12)
    drawing = make_trainer(SampleGrid(tmp_path / "samples", every=1, rows=2, columns=2))
    drawing.fit(steps=12)
    pairs = zip(everything(plain), everything(drawing), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert drawing.gan_step.G.training


def loss_that_breaks_at(step: int, value: float) -> AdversarialLoss:
    good = resolve("non-saturating", from_logits=False)
    calls = {"n": 0}

    def generator(fake: Tensor) -> Tensor:
        calls["n"] += 1
        return good.generator(fake) * (value if calls["n"] == step else 1.0)

    return AdversarialLoss("breaking", good.discriminator, generator)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("log_every", [2, 1000])
def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(
    tmp_path: Path, value: float, log_every: int
) -> None:
    path = tmp_path / "c.pt"
    trainer = make_trainer(
        Checkpoint(path, every=5), log_every=log_every, loss=loss_that_breaks_at(8, value)
    )
    with pytest.raises(DivergedError, match=r"stopped at step \d+.*not finite"):
        trainer.fit(steps=30)
    assert trainer.step <= 10
    state = load_checkpoint(path)
    assert state["step"] == 5
    assert all(
        bool(weight.isfinite().all()) for weight in weights_under(state["gan_step"], "G").values()
    )


def test_a_full_disk_stops_the_run_and_keeps_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno
    import os

    path = tmp_path / "c.pt"
    trainer = make_trainer(Checkpoint(path, every=5))
    trainer.fit(steps=5)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        trainer.fit(steps=10)
    assert os.listdir(tmp_path) == ["c.pt"]
    assert load_checkpoint(path)["step"] == 5


def test_callbacks_are_closed_after_an_error() -> None:
    recorder = Recorder()
    trainer = make_trainer(recorder, _Killer(2))
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(steps=5)
    assert recorder.events[-1] == "close"


def test_another_networks_checkpoint_gets_a_sentence() -> None:
    trainer = make_trainer()
    state = trainer.state_dict()
    state["gan_step"]["G.main.0.weight"] = torch.zeros(1)
    with pytest.raises(CheckpointError, match="does not fit this run") as caught:
        trainer.load_state_dict(state)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"step": "x"}, "step is 'x'"),
        ({"step": -1}, "step is -1"),
        ({"rng": {}}, "rng lacks torch"),
        ({"rng": 5}, "rng is 5; allowed is a dict"),
        ({"rng": {"torch": torch.zeros(3, dtype=torch.uint8), "python": ()}}, "its entry rng: "),
        ({"pending": 5}, "pending is 5"),
        ({"pending": {"d_loss": 0.5}}, "pending.d_loss is not one row of numbers"),
        ({"gan_step": []}, "gan_step is list; allowed is a dict"),
        ({"gan_step": {}}, "gan_step lacks _extra_state"),
        ({"gan_step": {"_extra_state": {}}}, "Missing key"),
        ({"gan_step": {"_extra_state": 5}}, "_extra_state is 5; allowed is a dict"),
        ({"optimizers": 5}, "optimizers is 5; allowed is a dict"),
        ({"optimizers": {"G": {}, "D": {}}}, "optimizers.G lacks state"),
        ({"optimizers": {}}, "has the optimizers , and here are G, D"),
        ({"sampler": 5}, "sampler is 5"),
        ({"generators": 5}, "generators is 5; allowed is a list"),
        ({"schedulers": [{}]}, "has 1 schedules"),
        ({"callbacks": {"Recorder": None}}, "callbacks.Recorder is None"),
        ({"environment": None}, "environment is None; allowed is a dict"),
    ],
)
def test_a_damaged_checkpoint_changes_nothing(changes: dict[str, Any], words: str) -> None:
    donor = make_trainer()
    donor.fit(steps=5)
    trainer = make_trainer()
    trainer.fit(steps=2)
    with pytest.raises(CheckpointError, match=f"does not fit this run: .*{words}"):
        trainer.load_state_dict({**donor.state_dict(), **changes})
    assert trainer.step == trainer.gan_step.calls == 2
    trainer.fit(steps=4)
    straight = make_trainer()
    straight.fit(steps=4)
    pairs = zip(everything(straight), everything(trainer), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def emptied(state: dict[str, Any]) -> None:
    state["optimizers"]["G"]["state"] = {}


def halved(state: dict[str, Any]) -> None:
    del state["optimizers"]["D"]["state"][1]["exp_avg_sq"]


def reshaped(state: dict[str, Any]) -> None:
    state["optimizers"]["D"]["state"][0]["exp_avg"] = torch.zeros(2, 2)


def without_a_rate(state: dict[str, Any]) -> None:
    del state["optimizers"]["G"]["param_groups"][0]["lr"]


def overflown(state: dict[str, Any]) -> None:
    state["gan_step"]["G.main.0.weight"].view(-1)[0] = math.nan


def averaged_nan(state: dict[str, Any]) -> None:
    state["optimizers"]["D"]["state"][0]["exp_avg"][0] = math.nan


def without_generators(state: dict[str, Any]) -> None:
    del state["generators"]


def of_no_step(state: dict[str, Any]) -> None:
    state["gan_step"]["_extra_state"]["calls"] = "x"


def without_updates(state: dict[str, Any]) -> None:
    del state["gan_step"]["_extra_state"]["updates"]


def without_a_number(state: dict[str, Any]) -> None:
    state["gan_step"]["_extra_state"]["latest"]["g_loss"] = 5


def without_d(state: dict[str, Any]) -> None:
    for name in [name for name in state["gan_step"] if name.startswith("D.")]:
        del state["gan_step"][name]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (emptied, r"optimizers.G has no averages, and Adam had made 5 steps"),
        (halved, r"optimizers.D lacks exp_avg_sq of a parameter"),
        (reshaped, r"optimizers.D has exp_avg of shape \[2, 2\] for a parameter of shape"),
        (without_a_rate, r"optimizers.G lacks lr"),
        (overflown, "of G is NaN or infinite in it"),
        (averaged_nan, "exp_avg of D's optimizer is NaN or infinite in it"),
        (without_generators, "lacks generators"),
        (of_no_step, "calls are 'x'"),
        (without_updates, "gan_step lacks updates"),
        (without_a_number, "g_loss is 5"),
        (without_d, "its entry gan_step: .*Missing key"),
    ],
)
def test_what_torch_would_take_is_refused(damage: Any, words: str) -> None:
    donor = make_trainer()
    donor.fit(steps=5)
    state = copy.deepcopy(donor.state_dict())
    damage(state)
    trainer = make_trainer()
    with pytest.raises(CheckpointError, match=words):
        trainer.load_state_dict(state)
    assert trainer.step == 0
    assert not trainer.gan_step.g_optimizer.state
    trainer.load_state_dict(donor.state_dict())
    assert trainer.step == 5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "either steps or epochs"),
        ({"steps": 1, "epochs": 1}, "either steps or epochs"),
        ({"steps": 0}, "steps is 0"),
        ({"epochs": -1}, "epochs is -1"),
        ({"steps": 2.5}, "steps is 2.5"),
    ],
)
def test_bad_lengths_are_named(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make_trainer().fit(**arguments)


def test_bad_log_interval_is_named() -> None:
    with pytest.raises(ConfigError, match="log_every is 0"):
        make_trainer(log_every=0)
