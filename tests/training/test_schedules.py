"""Learning rates that change, gradients that are clipped, and what TensorBoard is told."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from gankit import recipes
from gankit.errors import ConfigError
from gankit.runs.build import build_trainer
from gankit.training import (
    Callback,
    Checkpoint,
    SampleGrid,
    TensorBoard,
    Trainer,
    load_checkpoint,
)
from gankit.training.optimizers import clip_gradients
from tests.training.test_trainer import everything, make_trainer

LINEAR = {
    "class_path": "torch.optim.lr_scheduler.LinearLR",
    "init_args": {"start_factor": 1.0, "end_factor": 0.0, "total_iters": 10},
}
STEPS = {
    "class_path": "torch.optim.lr_scheduler.MultiStepLR",
    "init_args": {"milestones": [3, 6], "gamma": 0.1},
}
SMALL = {
    "generator": {"class_path": "gankit.models.mlp.Generator", "init_args": {"hidden": [8]}},
    "discriminator": {
        "class_path": "gankit.models.mlp.Discriminator",
        "init_args": {"hidden": [8]},
    },
}


def make(*callbacks: Any, **changes: Any) -> Trainer:
    config = recipes.get("gan").config.updated(steps=8, device="cpu", **SMALL, **changes)
    return build_trainer(config, callbacks=callbacks)


def rates(trainer: Trainer) -> list[float]:
    step = trainer.gan_step
    return [float(o.param_groups[0]["lr"]) for o in (step.g_optimizer, step.d_optimizer)]


@pytest.mark.parametrize(
    ("schedule", "at"), [(LINEAR, {4: 0.6, 8: 0.2}), (STEPS, {4: 0.1, 8: 0.01})]
)
def test_rates_follow_the_schedule_and_resume_exactly(
    schedule: dict[str, Any], at: dict[int, float], tmp_path: Path
) -> None:
    straight = make(schedule=schedule, lr=1e-2)
    for step, factor in at.items():
        straight.fit(steps=step)
        assert rates(straight) == pytest.approx([1e-2 * factor] * 2)
    make(Checkpoint(tmp_path / "c.pt"), schedule=schedule, lr=1e-2).fit(steps=4)
    resumed = make(schedule=schedule, lr=1e-2)
    resumed.load_state_dict(load_checkpoint(tmp_path / "c.pt"))
    resumed.fit(steps=8)
    assert rates(resumed) == rates(straight)
    pairs = zip(everything(straight), everything(resumed), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_a_critic_that_learns_more_often_has_the_same_schedule() -> None:
    trainer = make(schedule=LINEAR, n_critic=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trainer.fit(steps=4)
    assert rates(trainer) == pytest.approx([2e-4 * 0.6] * 2)


def test_a_schedule_that_ends_before_the_run_says_so() -> None:
    one_cycle = {
        "class_path": "torch.optim.lr_scheduler.OneCycleLR",
        "init_args": {"max_lr": 1e-3, "total_steps": 5},
    }
    with pytest.raises(ConfigError, match=r"schedule OneCycleLR cannot go on: .* 5"):
        make(schedule=one_cycle).fit(steps=8)


@pytest.mark.parametrize("step_size", ["x", 0])
def test_a_schedule_that_cannot_compute_says_so(step_size: Any) -> None:
    schedule = {
        "class_path": "torch.optim.lr_scheduler.StepLR",
        "init_args": {"step_size": step_size},
    }
    with pytest.raises(ConfigError, match="schedule StepLR cannot go on: "):
        make(schedule=schedule).fit(steps=2)


def test_gradients_are_no_longer_than_asked() -> None:
    seen: list[float] = []

    def norm(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        gradients = [p.grad for p in optimizer.param_groups[0]["params"] if p.grad is not None]
        seen.append(math.sqrt(sum(float(g.square().sum()) for g in gradients)))

    free, clipped = make(), make(clip_gradients=0.01)
    for trainer in (free, clipped):
        for optimizer in (trainer.gan_step.g_optimizer, trainer.gan_step.d_optimizer):
            optimizer.register_step_pre_hook(norm)
        trainer.fit(steps=2)
    assert len(seen) == 8
    assert min(seen[:4]) > 0.02
    assert max(seen[4:]) <= 0.01 * (1 + 1e-5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"clip_gradients": 0}, "clip_gradients is 0; allowed are null and finite numbers above 0"),
        ({"clip_gradients": math.inf}, "clip_gradients is inf"),
        ({"schedule": {"class_path": "torch.optim.lr_scheduler.LinearLR", "x": 1}}, "schedule is"),
        ({"schedule": "torch.optim.lr_scheduler.StepLR"}, "step_size"),
        ({"schedule": "torch.nn.Linear"}, "schedule is 'torch.nn.Linear'; allowed is a class of"),
        ({"schedule": "torch.optim.lr_scheduler.ReduceLROnPlateau"}, "follow from the step alone"),
        ({"schedule": 5}, "schedule is 5"),
        (
            {
                "schedule": {
                    "class_path": "torch.optim.lr_scheduler.StepLR",
                    "init_args": {"step_size": 2, "last_epoch": 5},
                }
            },
            "init_args of schedule .* do not fit: .*initial_lr",
        ),
    ],
)
def test_what_is_not_allowed_is_named(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make(**changes)


def test_a_norm_of_zero_is_refused() -> None:
    with pytest.raises(ConfigError, match="max_norm is -1"):
        clip_gradients(make_trainer().gan_step.g_optimizer, -1)


def test_tensorboard_reads_what_was_logged(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    make_trainer(TensorBoard(tmp_path)).fit(steps=8)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [event.step for event in events.Scalars("d_loss")] == [4, 8]
    assert events.Scalars("g_lr")[0].value == pytest.approx(2e-4)


def test_tensorboard_shows_the_sample_pictures(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    class Damage(Callback):
        def on_picture(self, trainer: Trainer, path: Path) -> None:
            if trainer.step == 10:
                path.write_bytes(b"no picture")

    grid = SampleGrid(tmp_path / "samples", every=1, rows=2, columns=2)
    make_trainer(Damage(), TensorBoard(tmp_path), grid).fit(steps=15)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    shown = events.Images("samples")
    assert [event.step for event in shown] == [5, 15]
    with Image.open(tmp_path / "samples" / "epoch_0001_step_0000005.png") as picture:
        assert (shown[0].width, shown[0].height) == picture.size
    assert caplog.text.count("is not in TensorBoard") == 1
