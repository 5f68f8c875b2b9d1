"""Two processes train what one would."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn

from gankit import data, load
from gankit.cli import main
from gankit.data import BatchSampler
from gankit.errors import ConfigError
from gankit.metrics import DigitClassifier
from gankit.training import distributed, generate
from gankit.training.distributed import ShareOfBatches, synchronise_batch_norm
from tests import small_runs
from tests.training import processes

pytestmark = pytest.mark.skipif(
    not (dist.is_available() and dist.is_gloo_available()), reason="this torch has no gloo"
)


def started(arguments: list[str], n: int = 2, **options: Any) -> list[subprocess.Popen[str]]:
    """``python ARGUMENTS`` as torchrun would start it ``n`` times."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = small_runs.environment(
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        WORLD_SIZE=str(n),
        LOCAL_WORLD_SIZE=str(n),
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return [
        subprocess.Popen(
            [sys.executable, *arguments],
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            **pipes,
            **options,
        )
        for rank in range(n)
    ]


def ended(children: list[subprocess.Popen[str]], seconds: float = 120) -> list[tuple[int, str]]:
    """Exit codes and stderr of all."""
    try:
        errors = [child.communicate(timeout=seconds)[1] for child in children]
    finally:
        for child in children:
            child.kill()
    return [(child.returncode, error) for child, error in zip(children, errors, strict=True)]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    out = tmp_path_factory.mktemp("two") / "result.pt"
    for code, error in ended(started(["-m", "tests.training.processes", str(out)])):
        assert code == 0, error
    return [torch.load(f"{out}.{rank}", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("kind", processes.KINDS)
def test_two_processes_match_one(kind: str, results: list[dict[str, Any]]) -> None:
    alone = processes.train(kind)
    first, second = (result[kind] for result in results)
    assert alone.keys() == first.keys() == second.keys()
    for name, value in alone.items():
        if name == "reductions":
            continue
        torch.testing.assert_close(first[name], value, rtol=0, atol=1e-10, equal_nan=True)
        assert torch.equal(first[name], second[name]), name


def test_the_balance_of_began_is_that_of_all(results: list[dict[str, Any]]) -> None:
    for result in results:
        assert 0 < float(result["began"]["k"]) < 1


def test_one_reduction_for_each_optimizer_step(results: list[dict[str, Any]]) -> None:
    logs = 3
    steps = processes.STEPS
    assert results[0]["mlp"]["reductions"] == 2 * steps + logs
    assert results[0]["wgan-gp"]["reductions"] == steps + steps // 2 + logs


SMALL = f"{small_runs.SMALL}checkpoint_every: 10\nlog_every: 5\n"


def gankit(*argv: str) -> list[str]:
    return ["-m", "gankit", "train", *argv, "--quiet"]


@pytest.mark.slow
def test_the_command_line_resumes_exactly_in_two_processes(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(SMALL)
    new = ["gan", "--config", "small.yaml"]
    for argv in (
        [*new, "--steps", "30", "--out", "straight"],
        [*new, "--steps", "13", "--out", "halves"],
        ["--resume", "--steps", "30", "--out", "halves"],
    ):
        for code, error in ended(started(gankit(*argv), cwd=tmp_path)):
            assert (code, "Traceback" in error) == (0, False), error
    straight, halves = (
        torch.load(tmp_path / name / "checkpoint.pt", weights_only=True)
        for name in ("straight", "halves")
    )
    assert straight["environment"]["processes"] == 2
    for part in ("generator", "discriminator"):
        assert all(torch.equal(straight[part][key], halves[part][key]) for key in straight[part])
    assert len(straight["rng_of_others"]) == 1
    assert not torch.equal(straight["rng"]["torch"], straight["rng_of_others"][0]["torch"])


def test_the_setting_synchronizes_batch_norm(tmp_path: Path) -> None:
    """Statistics of two processes are those that one process takes of the whole batch.

    An autoencoder draws nothing, so in its first step nothing differs but the order of sums (later
    Adam makes much of gradients that are almost 0). Without the setting each process would have the
    statistics of its own half.
    """
    batch = [f"{name}.norm=batch" for name in ("generator", "discriminator")]
    sets = [word for text in (*batch, "sync_batch_norm=true") for word in ("--set", text)]
    small = ["--set", "image_size=8", "--batch-size", "8", "--steps", "1", "--device", "cpu"]
    argv = ["train", "ae", *sets, *small, "--quiet", "--out"]
    children = started(["-m", "gankit", *argv, str(tmp_path / "two")])
    assert [code for code, _ in ended(children)] == [0, 0]
    assert main([*argv, str(tmp_path / "one")]) == 0
    one, two = (
        torch.load(tmp_path / name / "checkpoint.pt", weights_only=True)["gan_step"]
        for name in ("one", "two")
    )
    statistics = [name for name in one if name.endswith(("running_mean", "running_var"))]
    assert {name.split(".")[0] for name in statistics} == {"decoder", "encoder"}
    for name in statistics:
        torch.testing.assert_close(two[name], one[name], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_with_dropout_two_processes_draw_digits(tmp_path: Path) -> None:
    """Masks of each process are its own, so the classifier decides in place of a comparison."""
    (tmp_path / "dropout.yaml").write_text(
        "generator: {class_path: gankit.models.dcgan.Generator, init_args: {width: 32}}\n"
        "discriminator: tests.training.processes.dropping_discriminator\n"
        "sync_batch_norm: true\n"
        "device: cpu\n"
    )
    argv = ["dcgan", "--config", "dropout.yaml", "--steps", "800", "--out", "run"]
    for code, error in ended(started(gankit(*argv), cwd=tmp_path), 600):
        assert code == 0, error
    fakes = generate(load(tmp_path / "run"), 1000, seed=0)
    coverage = DigitClassifier.fit(
        data.load("digits", split="all"), seed=0, outlier_exposure=False
    )(fakes)
    assert coverage.passed(min_classes=9, min_confidence=0.8, min_accuracy=0.97), str(coverage)


@pytest.mark.parametrize("victim", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_process_that_dies_ends_the_job(victim: int, tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(SMALL)
    argv = ["gan", "--config", "small.yaml", "--steps", "1000000", "--out", "run"]
    children = started(gankit(*argv), cwd=tmp_path)
    try:
        deadline = time.monotonic() + 100
        while not (tmp_path / "run" / "checkpoint.pt").is_file():
            assert time.monotonic() < deadline
            assert all(child.poll() is None for child in children), ended(children)
            time.sleep(0.05)
        children[victim].kill()
        start = time.monotonic()
        code, error = ended(children, 60)[1 - victim]
    finally:
        for child in children:
            child.kill()
    assert time.monotonic() - start < 60
    assert code == 2, error
    lines = [line for line in error.splitlines() if line.startswith("gankit: error: ")]
    assert len(lines) == 1, error
    assert f"process {1 - victim} of 2 stopped at step" in lines[0]
    assert "Traceback" not in error
    assert torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["step"] % 10 == 0


def test_a_batch_that_cannot_be_divided_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "world", lambda: (1, 3))
    with pytest.raises(ConfigError, match="batch_size is 8, the images of all 3 processes"):
        ShareOfBatches(BatchSampler(20, 8))
    shares = ShareOfBatches(BatchSampler(20, 9, generator=torch.Generator().manual_seed(0)))
    whole = next(BatchSampler(20, 9, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(next(shares), whole[3:6])
    assert shares.steps_per_epoch == 2


def test_norms_of_torch_keep_keys_and_parameters() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.BatchNorm1d(4, eps=1e-3)))
    keys, parameters = list(network.state_dict()), list(network.parameters())
    expected = network.eval()(torch.ones(2, 3))
    synchronise_batch_norm(network)
    assert list(network.state_dict()) == keys
    assert all(a is b for a, b in zip(network.parameters(), parameters, strict=True))
    assert torch.allclose(network(torch.ones(2, 3)), expected)
    assert network[1][0].process_group == "world"


class OwnNorm(nn.BatchNorm2d):
    pass


@pytest.mark.parametrize("norm", [nn.BatchNorm3d(4), OwnNorm(4), nn.LazyBatchNorm2d()])
def test_a_batch_norm_that_would_stay_of_one_process_is_refused(norm: nn.Module) -> None:
    network = nn.Sequential(nn.BatchNorm2d(4), nn.Sequential(norm), nn.SyncBatchNorm(4))
    kinds = [type(child) for child in network.modules()]
    with pytest.raises(ConfigError, match=f"got {type(norm).__name__} at '1.0' of Sequential"):
        synchronise_batch_norm(network)
    assert [type(child) for child in network.modules()] == kinds
