"""The peers do the same work as gankit, and the benchmark files run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from benchmarks.device import exercise_kernels
from benchmarks.steps import textbook
from benchmarks.steps.tuned import TunedMLP
from gankit.bench.ops import peers_leaky_relu_dropout as peers
from gankit.ops.leaky_relu_dropout import spec
from gankit.ops.registry import Kernel

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("peer", [peers.plain, peers.swapped, peers.packed_draws])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_peers_are_leaky_relu_and_dropout(peer, dtype) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    x = torch.randn(101, 333).to(dtype).requires_grad_()
    y = peer(x, 0.2, 0.25)
    peers.check(y, x, 0.2, 0.25)
    (grad,) = torch.autograd.grad(y.float().sum(), x)
    expected = torch.where(y != 0, torch.where(x > 0, 1.0, 0.2) / 0.75, 0.0)
    torch.testing.assert_close(grad.float(), expected, rtol=2e-2, atol=0)


def test_packed_draws_are_independent() -> None:
    torch.manual_seed(1)
    kept = (peers.packed_draws(torch.ones(400_000), 0.2, 0.5) != 0).view(-1, 4).double()
    correlation = torch.corrcoef(kept.T) - torch.eye(4, dtype=torch.float64)
    assert correlation.abs().max() < 0.015


@pytest.mark.parametrize(
    "wrong",
    [
        lambda x: F.leaky_relu(x, 0.2),
        lambda x: F.dropout(F.leaky_relu(x, 0.2), 0.5) * 1.01,
        lambda x: F.dropout(F.relu(x) - 0.1 * F.relu(-x), 0.5),
        lambda x: F.dropout(F.leaky_relu(x, 0.2), 0.6) * 0.8,
        lambda x: torch.zeros_like(x),
    ],
)
def test_check_refuses_other_functions(wrong) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    x = torch.randn(100, 200)
    with pytest.raises(AssertionError):
        peers.check(wrong(x), x)


def test_tuned_step_is_the_textbook_step() -> None:
    torch.manual_seed(0)
    plain = textbook.build(dtype=torch.float64, dropout=0.0)
    tuned = TunedMLP(torch.device("cpu"), lambda x: F.leaky_relu(x, 0.2))
    for network, other in ((tuned.G, plain.G), (tuned.D, plain.D)):
        network.double()
        pairs = zip(network.parameters(), other.parameters(), strict=True)
        for mine, theirs in pairs:
            mine.data.copy_(theirs.data)
    tuned._noise = plain.noise  # type: ignore[method-assign]
    reals = torch.rand(3, 12, 1, 28, 28, dtype=torch.float64) * 2 - 1
    results = []
    for step in (lambda real: textbook.step(plain, real), tuned):
        torch.manual_seed(7)
        results.append([step(real) for real in reals])
    for theirs, mine in zip(*results, strict=True):
        assert set(theirs) == set(mine)
        for key in theirs:
            torch.testing.assert_close(mine[key], theirs[key], rtol=1e-9, atol=0)
    for network, other in ((tuned.G, plain.G), (tuned.D, plain.D)):
        for a, b in zip(network.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-9)


def test_exercise_keeps_strides_and_alignment() -> None:
    for name, x in exercise_kernels.layouts((2, 16, 4, 4), torch.float32):
        there = exercise_kernels.moved(x, torch.device("cpu"))
        assert there.stride() == x.stride(), name
        assert there.data_ptr() % 16 == (4 if name == "misaligned" else 0), name
        assert torch.equal(there, x), name


def test_exercise_of_many_elements_notices_a_repeated_mask(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device, n = torch.device("cpu"), 4099
    assert exercise_kernels.huge_leaky_relu_dropout(device, n) == []

    reference = spec.FORWARD.reference

    def wraps(x, *arguments):  # type: ignore[no-untyped-def]
        return torch.cat([reference(half, *arguments) for half in (x[:2048], x[2048:])])

    monkeypatch.setattr(spec, "FORWARD", wraps)
    assert "mask of huge y" in exercise_kernels.huge_leaky_relu_dropout(device, n)


def test_exercise_notices_one_wrong_bit() -> None:
    def negative_zero(grad, y, *factors):  # type: ignore[no-untyped-def]
        found = spec.BACKWARD.reference(grad, y, *factors)
        return torch.where(found == 0, -torch.zeros_like(found), found)

    class Wrong:
        reference = staticmethod(spec.BACKWARD.reference)
        __call__ = staticmethod(negative_zero)

    arguments = (torch.ones(8), torch.tensor([0.0, 1, 2, 3, 4, 5, 6, 7]), 2.0, 0.4)
    device = torch.device("cpu")
    assert exercise_kernels.same_bits(spec.BACKWARD, arguments, device)
    wrong: Kernel = Wrong()  # type: ignore[assignment]
    assert not exercise_kernels.same_bits(wrong, arguments, device)


def test_json_has_one_entry_per_contender(tmp_path: Path) -> None:
    pytest.importorskip("pytest_benchmark")
    target = tmp_path / "run.json"
    command = [sys.executable, "-m", "pytest", "benchmarks", "-q", "-p", "no:cacheprovider"]
    command += ["--device", "cpu", "--seconds", "0.001", "--leave-out", "torch.compile"]
    command += ["-k", "forward-8-float32", "--benchmark-json", str(target)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False, env=os.environ
    )
    assert done.returncode == 0, done.stdout + done.stderr
    run = json.loads(target.read_text())
    found = {entry["extra_info"]["contender"]: entry for entry in run["benchmarks"]}
    assert list(found) == ["plain eager", "tuned eager", "tuned eager, packed draws", "gankit"]
    assert len({len(entry["stats"]["data"]) for entry in found.values()}) == 1
    assert {entry["group"] for entry in found.values()} == {"leaky_relu_dropout forward 8 float32"}
    for entry in found.values():
        assert 0 < entry["stats"]["min"] <= entry["stats"]["median"] < 1
    assert run["machine_info"]["gankit"]["torch"] == torch.__version__
