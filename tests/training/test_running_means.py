"""Numbers between two logs: their means, in memory that does not grow."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor

from gankit.data import BatchSampler
from gankit.training import Callback, GANStep, Metrics, Trainer, gan_adam, running
from gankit.training.running import BLOCK, RunningMeans
from tests.training.nets import small_discriminator, small_generator, small_images


def numbers(n: int) -> list[Tensor]:
    return list(torch.randn(n, generator=torch.Generator().manual_seed(n)).unbind())


def filled(values: list[Tensor]) -> RunningMeans:
    means = RunningMeans(("d_loss", "g_loss"))
    for value in values:
        means.add("d_loss", value)
    return means


@pytest.mark.parametrize("n", [1, 50, BLOCK, BLOCK + 1, 3 * BLOCK, 3 * BLOCK + 7])
def test_the_mean_is_that_of_all_values(n: int) -> None:
    values = numbers(n)
    expected = float(torch.stack(values).double().mean())
    found = filled(values).means()
    assert found.keys() == {"d_loss"}
    if n <= BLOCK:
        assert found["d_loss"] == expected
    else:
        assert found["d_loss"] == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_a_state_goes_on_to_the_bit_and_does_not_grow() -> None:
    values = numbers(10 * BLOCK)
    for stop in (1, BLOCK, BLOCK + 1, 5 * BLOCK + 3):
        rows = filled(values[:stop]).rows()
        assert sum(row.numel() for row in rows.values()) <= BLOCK + 2
        again = RunningMeans(("d_loss", "g_loss"))
        again.restore(rows, torch.device("cpu"))
        for value in values[stop:]:
            again.add("d_loss", value)
        assert again.means() == filled(values).means()


def test_one_value_that_is_not_finite_is_not_lost() -> None:
    values = numbers(3 * BLOCK)
    values[5] = torch.tensor(math.inf)
    values[BLOCK + 5] = torch.tensor(-math.inf)
    assert not math.isfinite(filled(values).means()["d_loss"])


class Logs(Callback):
    def __init__(self) -> None:
        self.seen: list[Metrics] = []

    def on_log(self, trainer: Trainer, metrics: Metrics) -> None:
        self.seen.append(metrics)


def make(logs: Logs) -> Trainer:
    torch.manual_seed(0)
    G, D = small_generator(), small_discriminator()
    step = GANStep(G, D, gan_adam(G.parameters()), gan_adam(D.parameters()), n_critic=2)
    sampler = BatchSampler(40, 4, generator=torch.Generator().manual_seed(0))
    return Trainer(step, small_images(), sampler, log_every=50, callbacks=[logs])


def test_a_run_that_logs_seldom_resumes_exactly_with_small_checkpoints(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(running, "BLOCK", 8)
    whole, halves = Logs(), Logs()
    make(whole).fit(steps=50)
    first = make(halves)
    first.fit(steps=43)
    state = first.state_dict()
    assert sum(row.numel() for row in state["pending"].values()) <= 4 * (8 + 2)
    second = make(halves)
    second.load_state_dict(state)
    second.fit(steps=50)
    assert halves.seen[-1].step == whole.seen[-1].step == 50
    for name in ("d_loss", "g_loss", "d_real", "d_fake"):
        assert getattr(halves.seen[-1], name) == getattr(whole.seen[-1], name)


def test_rows_of_an_earlier_gankit_are_taken() -> None:
    logs = Logs()
    trainer = make(logs)
    trainer.fit(steps=10)
    state = trainer.state_dict()
    for dtype in (torch.float64, torch.float32):  # float32 was kept in float32
        state["pending"] = {key: row.to(dtype) for key, row in state["pending"].items()}
        again = make(logs)
        again.load_state_dict(copy.deepcopy(state))
        again.fit(steps=20)
    assert logs.seen[-1].d_loss == logs.seen[-2].d_loss


def test_a_fit_with_nothing_to_do_says_so(caplog: pytest.LogCaptureFixture) -> None:
    trainer = make(Logs())
    trainer.fit(steps=2)
    assert not caplog.messages
    trainer.fit(steps=2)
    assert caplog.messages == [
        "nothing is trained: 2 steps are done, and the run was to end at step 2"
    ]
