"""``gankit run``: a script runs as it would, and torch is as it was afterwards."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import gankit
from gankit.acceleration import patterns
from gankit.acceleration.patched import patched
from gankit.acceleration.run import served
from gankit.cli import main
from gankit.errors import ConfigError
from gankit.run import _words, compare, measure, run_script

needs_kernels = pytest.mark.skipif(not served("cpu"), reason="only the reference backend is here")

SCRIPT = """
import sys
import helper
import torch
from torch import nn

assert __name__ == "__main__"
net = nn.Sequential(nn.Linear(4, 8), nn.LeakyReLU(0.2), nn.Dropout(float(sys.argv[1])),
                    nn.Linear(8, 1))
assert type(net) is nn.Sequential
optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
loss_of = nn.BCEWithLogitsLoss()
for step in range(helper.STEPS):
    optimizer.zero_grad()
    loss = loss_of(net(torch.randn(512, 4)), torch.ones(512, 1))
    loss.backward()
    optimizer.step()
print("hooks", len(optimizer._optimizer_step_pre_hooks), "argv", sys.argv[1:])
if len(sys.argv) > 2:
    sys.exit(sys.argv[2])
"""


@pytest.fixture
def script(tmp_path: Path) -> str:
    (tmp_path / "helper.py").write_text("STEPS = 12\n")
    file = tmp_path / "train.py"
    file.write_text(SCRIPT)
    sys.modules.pop("helper", None)
    return str(file)


def state() -> list[Any]:
    kinds = (nn.Sequential, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d, nn.Dropout2d, nn.BCELoss)
    kinds += (nn.InstanceNorm2d, nn.ConvTranspose2d, nn.BCEWithLogitsLoss)
    inits = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD)
    owners = [(k, "forward") for k in kinds] + [(k, "__init__") for k in inits]
    found = [vars(owner).get(name) for owner, name in owners]
    return [*found, F.dropout, torch.jit.script, list(sys.argv), list(sys.path)]


@needs_kernels
def test_the_script_runs_as_under_python_and_leaves_no_trace(
    script: str, capfd: pytest.CaptureFixture[str]
) -> None:
    before = state()
    assert main(["run", script, "0.5"]) == 0
    assert state() == before
    out, err = capfd.readouterr()
    assert "hooks 1 argv ['0.5']" in out
    assert "leaky_relu_dropout" in err
    assert "fused Adam" in err
    assert main(["run", "--quiet", script, "0.5", "it ends so"]) == 1
    assert state() == before
    assert capfd.readouterr().err == "it ends so\n"


def test_one_process_of_torchrun_prints_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "none.py").write_text("")
    for rank, prints in (("0", True), ("1", False), ("7", False), (None, True)):
        if rank is None:
            monkeypatch.delenv("RANK", raising=False)
        else:
            monkeypatch.setenv("RANK", rank)
        assert main(["run", str(tmp_path / "none.py")]) == 0
        assert ("0 Sequential" in capfd.readouterr().err) is prints


def test_a_notebook_is_one_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "train.ipynb").write_text('{"cells": []}')
    for option in ([], ["--compare", "3"]):
        assert main(["run", *option, str(tmp_path / "train.ipynb")]) == 2
        out, err = capfd.readouterr()
        assert "a notebook; expected a Python script" in err
        assert (out, err.count("\n")) == ("", 1)


@needs_kernels
def test_a_script_that_fails_shows_its_own_traceback(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "broken.py"
    file.write_text("def f():\n    raise OSError('mine')\n\nf()\n")
    before = state()
    assert main(["run", "--quiet", str(file)]) == 1
    assert state() == before
    err = capfd.readouterr().err
    assert "broken.py" in err
    assert "OSError: mine" in err
    assert "runpy" not in err
    for text, code, words in (
        ("def f(:\n", 1, "SyntaxError"),
        ("import absent_package\n", 1, "absent_package"),
        ("import sys\nsys.exit(7)\n", 7, ""),
        ("raise KeyboardInterrupt\n", 130, "KeyboardInterrupt"),
    ):
        file.write_text(text)
        assert main(["run", str(file)]) == code
        err = capfd.readouterr().err
        assert words in err
        assert "run_path" not in err
        assert "0 Sequential" in err  # the report comes all the same
    assert main(["run", str(tmp_path / "absent.py")]) == 2
    assert "no such file" in capfd.readouterr().err


def test_the_script_s_own_file_and_hook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own.py").write_text(
        "import os, sys\n"
        "os.chdir(os.sep)\n"
        "assert os.path.isabs(__file__) and os.path.exists(__file__), __file__\n"
        "assert sys.argv[0] == 'own.py', sys.argv\n"
        "sys.excepthook = lambda kind, error, trace: print('mine:', kind.__name__, error)\n"
        "raise KeyError('x')\n"
    )
    monkeypatch.chdir(tmp_path)
    hook = sys.excepthook
    assert main(["run", "own.py"]) == 1
    out, err = capfd.readouterr()
    assert "mine: KeyError 'x'" in out
    assert "Traceback" not in err
    assert sys.excepthook is hook


def test_networks_that_come_and_go_are_all_counted() -> None:
    with patched() as recorder:
        for _ in range(20):
            nn.Sequential(nn.BatchNorm1d(4), nn.ReLU())(torch.randn(3, 4))
    assert recorder.report().sequentials == 20


class Generator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.main = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Tanh()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.main(x)


@needs_kernels
def test_rows_say_whose_layers_they_are() -> None:
    G, other, D = Generator(), Generator(), nn.Sequential(nn.Softplus())
    x = torch.randn(3, 4)

    def call(network: nn.Module) -> None:
        network(x)

    with patched() as recorder:
        nn.parallel.DataParallel(G)(x)
        call(other)
        D(x)
        nn.Sequential(nn.Softplus())(x)
        (lambda: Generator()(x))()
        (lambda: Generator()(x))()
    assert [row.module for row in recorder.report().rows] == [
        *("Generator G.main.0", "Generator G.main.1.0"),
        *("Generator network.main.0", "Generator network.main.1.0"),
        *("Sequential D.0", "Sequential 6.0"),
        *("Generator.main.0", "Generator.main.1.0"),
        *("Generator.main (2).0", "Generator.main.1 (2).0"),
    ]


@needs_kernels
def test_layers_that_are_called_before_their_module_is_made() -> None:
    class Measures(nn.Module):
        def __init__(self) -> None:
            body = nn.Sequential(nn.Flatten())
            size = body(torch.zeros(1, 3, 2, 2)).shape[1]
            super().__init__()
            self.body, self.size = body, size

    with patched() as recorder:
        assert Measures().size == 12
    assert recorder.report().rows[0].module == "Sequential body.0"


@needs_kernels
def test_each_optimizer_has_a_row_of_what_its_steps_were() -> None:
    p = nn.Parameter(torch.ones(3, 2))
    with patched() as recorder:
        always = [torch.optim.Adam([p]) for _ in range(2)]
        never, refused = torch.optim.SGD([p], lr=0.1), torch.optim.SGD([p], lr=0.1, foreach=True)
        mostly_plain = torch.optim.AdamW([p])
        for step in range(5):
            p.grad = torch.ones(3, 2)
            for optimizer in (*always, refused):
                optimizer.step()
            if step:
                p.grad = torch.ones(2, 3).T
            mostly_plain.step()
        del never
    report = recorder.report()
    assert report.counts == {"fused Adam": 2}
    assert report.optimizers == recorder.optimizers == 2
    assert [row.layers for row in report.rows] == [
        *(("Adam",), ("Adam",), ("SGD",), ("SGD",), ("AdamW",)),
    ]
    reasons = [row.reason for row in report.rows]
    assert reasons[:2] == ["", ""]
    for reason, words in zip(
        reasons[2:], ("made no step", "chose foreach", "strides"), strict=True
    ):
        assert words in reason


@needs_kernels
def test_the_report_is_of_what_ran(ops_on_any_size: dict[str, int]) -> None:
    D = nn.Sequential(nn.Linear(4, 8), nn.LeakyReLU(0.2), nn.Dropout(0.5), nn.Dropout(0.0))
    with patched() as recorder:
        patterns.LEAST.update(ops_on_any_size)
        D.eval()(torch.ones(4, 4))
        D.train()(torch.ones(4, 4))
        small = recorder.report()
        assert not small.counts
        # Reasons are those of training, though an evaluation came first.
        assert [row.layers for row in small.rows] == [
            *(("Linear",), ("LeakyReLU", "Dropout"), ("Dropout",))
        ]
        assert ["too small" in row.reason for row in small.rows] == [True, True, False]
        D(torch.ones(1000, 4))
        D.eval()(torch.ones(1000, 4))
        report = recorder.report()
    assert report.counts == {"leaky_relu_dropout": 1}
    assert report.rows[1].module == "Sequential D.1-2"
    assert report.rows[1].fused
    assert not report.rows[1].reason
    # Where calls differ, what most of them were counts.
    G = nn.Sequential(nn.BatchNorm1d(4), nn.LeakyReLU(0.2), nn.Dropout(0.5))
    patterns.LEAST.update(dict.fromkeys(patterns.LEAST, 0))
    with patched() as recorder:
        G.eval()(torch.ones(9, 4))
        for _ in range(2):
            G.train()(torch.ones(9, 4))
        rows = recorder.report().rows
        assert [(row.layers, row.fused) for row in rows] == [
            (("BatchNorm1d",), "batch_norm_act"),
            (("LeakyReLU", "Dropout"), "leaky_relu_dropout"),
        ]


@pytest.mark.slow
@needs_kernels
def test_compare_prints_speed_and_difference(script: str) -> None:
    words = compare(script, ["0.5"], 8)
    assert "per step" in words
    assert "after 8 step(s)" in words
    assert "dropout" in words
    gaps = {"plain torch": [], "the reference backend": []}
    for line in words.splitlines():
        for title, found in gaps.items():
            if line.strip().startswith(f"accelerated from {title}"):
                found.append(float(line.rsplit(" ", 1)[1]))
    assert max(gaps["the reference backend"]) < 1e-3
    assert max(gaps["plain torch"]) > 1e-3  # other masks of dropout
    assert len(gaps["plain torch"]) == len(gaps["the reference backend"]) == 2


@needs_kernels
def test_one_run_of_a_comparison(script: str) -> None:
    # Each is a process of its own, and starting one is what takes the time.
    result = measure("reference", script, ["0.5"], 8)
    assert result["steps"] == 8
    assert len(result["seconds"]) == 4
    assert result["drops"]
    assert result["fused"]["fused Adam"] == 1
    assert [p.shape for p in result["last"]] == [(8, 4), (8,), (1, 8), (1,)]
    assert not torch.equal(result["first"][0], result["last"][0])
    with pytest.raises(ConfigError, match="at least 1"):
        compare(script, [], 0)
    with pytest.raises(ConfigError, match=r"plain run ended with:\n(.*\n)*IndexError"):
        compare(script, [], 2)


def result(first: list[float], last: list[float], **more: Any) -> dict[str, Any]:
    return {
        "seconds": [],
        "first": [torch.tensor(first)],
        "last": [torch.tensor(last)],
        "steps": 2,
        "drops": False,
        **more,
    }


def test_few_steps_are_not_timed_and_each_comparison_is_named() -> None:
    words = _words(
        {
            "plain": result([1.0, 4.0], [1.0, 1.0]),
            "accelerated": result([1.0, 1.0], [1.0, 1.0]),
            "reference": result([1.0, 2.0], [1.0, 1.0]),
        }
    )
    assert "too few steps" in words
    first, last = words.split("after 1 step(s):")[1].split("after 2 step(s):")
    assert [line.rsplit(" ", 1)[1] for line in first.splitlines() if "from" in line] == [
        *("7.5e-01", "5.0e-01"),  # plain torch, then the reference
    ]
    assert "from plain torch: 0.0e+00" in last
    assert first.index("from plain torch") < first.index("from the reference backend")
    assert "dropout" not in words


def test_differences_that_are_not_numbers_are_told() -> None:
    nan, inf = float("nan"), float("inf")
    for ours, theirs, gap in (
        ([nan, 1.0], [2.0, 1.0], "inf"),
        ([2.0, 1.0], [nan, 1.0], "inf"),
        ([nan, inf], [nan, inf], "0.0e+00"),
        ([inf, 1.0], [-inf, 1.0], "inf"),
        ([1j, 2.0], [1.0, 2.0], "7.1e-01"),
    ):
        other = result(theirs, theirs)
        words = _words({"plain": other, "accelerated": result(ours, ours), "reference": other})
        assert words.count(f": {gap}") == 4
    other = result([1.0], [1.0], steps=3)
    words = _words({"plain": other, "accelerated": result([1.0], [1.0]), "reference": other})
    assert words.count("it made 3 step(s)") == 2
    assert words.count("0.0e+00") == 2


@needs_kernels
def test_layers_and_losses_by_themselves_compute_the_same() -> None:
    torch.manual_seed(0)
    x = torch.randn(64, 6, 5, 5, dtype=torch.float64)
    flat = torch.randn(600, 6, dtype=torch.float64)
    cases: list[tuple[nn.Module, torch.Tensor]] = [
        (nn.Linear(6, 3), flat),
        (nn.BatchNorm1d(6), flat),
        (nn.BatchNorm2d(6, affine=False), x),
        (nn.InstanceNorm2d(6, affine=True), x.contiguous(memory_format=torch.channels_last)),
        (nn.ConvTranspose2d(6, 2, 4, 2, 1), x),
        (nn.Dropout2d(1.0), x),
        (nn.Dropout(0.0), x),
        (nn.BatchNorm2d(5), x.transpose(1, 3)),
        (nn.Linear(6, 3, dtype=torch.complex64), torch.randn(600, 6, dtype=torch.complex64)),
        (nn.Dropout(1.0), torch.ones(3, dtype=torch.complex64)),
    ]
    for layer, input in cases:
        if not input.is_complex():
            layer.double()
        plain = layer(input)
        with patched() as recorder:
            ours = layer(input)
        torch.testing.assert_close(ours, plain, rtol=1e-9, atol=1e-12)
        assert ours.stride() == plain.stride()
        fused = input.is_contiguous() or isinstance(layer, nn.InstanceNorm2d)
        fused &= not isinstance(layer, nn.Dropout) and not input.is_complex()
        assert bool(recorder.report().rows) is fused
    for loss, logits in ((nn.BCEWithLogitsLoss(), True), (nn.BCELoss(reduction="sum"), False)):
        score = flat if logits else flat.sigmoid()
        target = torch.rand_like(flat)
        plain = loss(score, target)
        with patched() as recorder:
            torch.testing.assert_close(loss(score, target), plain, rtol=1e-9, atol=1e-12)
            assert recorder.report().counts == {"bce_label_smoothing": 1}
            with pytest.raises(ValueError, match="size"):
                loss(score, target[:5])


def test_losses_with_weights_are_torch_s() -> None:
    scores, target, weight = torch.randn(600, 4), torch.rand(600, 4), torch.rand(4)
    for loss, input in (
        (nn.BCELoss(weight=weight), scores.sigmoid()),
        (nn.BCEWithLogitsLoss(weight=weight), scores),
        (nn.BCEWithLogitsLoss(pos_weight=weight), scores),
    ):
        plain = loss(input, target)
        with patched() as recorder:
            assert torch.equal(loss(input, target), plain)
        assert not recorder.report().rows


def test_threads_that_outlive_the_script_are_waited_for(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "late.py").write_text(
        "import sys, threading, time\n"
        "from torch import nn\n"
        "forward = nn.Sequential.forward\n"
        "def work(again):\n"
        "    time.sleep(0.1)\n"
        "    print(sys.argv[1:], nn.Sequential.forward is forward)\n"
        "    if again:\n"
        "        threading.Thread(target=work, args=(False,)).start()\n"
        "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
        "threading.Thread(target=work, args=(True,)).start()\n"
        "sys.exit(5)\n"
    )
    assert main(["run", "--quiet", str(tmp_path / "late.py"), "x"]) == 5
    assert capfd.readouterr().out == "['x'] True\n" * 2


@needs_kernels
def test_subclasses_choices_and_scripting_stay() -> None:
    class Mine(nn.Sequential):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return input + 1

    with patched() as recorder:
        assert Mine(nn.Linear(2, 2))(torch.zeros(1)) == 1
        network = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5), nn.Linear(2, 1))
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1, foreach=True)
        assert not optimizer._optimizer_step_pre_hooks
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch calls scripting deprecated
            scripted = torch.jit.script(network.eval())
        torch.testing.assert_close(scripted(torch.ones(3, 2)), network(torch.ones(3, 2)))
        y = F.dropout(torch.ones(1000), 0.25)
        assert set(y.unique().tolist()) == {0.0, y.max().item()}
        assert F.dropout(y, 0.5, training=False) is y
    assert recorder.optimizers == 0
    assert gankit.accelerate(network).sequentials == 1


@needs_kernels
def test_help_does_not_import_torch() -> None:
    code = (
        "import sys; from gankit.cli import main; main(['run', '--help']); "
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0


@needs_kernels
def test_a_report_of_a_plain_run_is_empty(script: str) -> None:
    code, report = run_script(script, ["0.5"], accelerated=False)
    assert code == 0
    assert not report.rows
