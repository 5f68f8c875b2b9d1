"""``gankit bench``: the twins compute the same, and a regression is told from noise."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gankit import recipes
from gankit.bench import comparing, suite
from gankit.bench.recipe import PlainParts, RecipeRace, period
from gankit.bench.twin import make_plain
from gankit.cli import main
from gankit.errors import ConfigError
from gankit.nn import (
    BatchNormAct1d,
    BatchNormAct2d,
    ConditionalBatchNormAct2d,
    ConvTransposeAct2d,
    ConvTransposeBNAct2d,
    InstanceNormAct2d,
    LeakyReLUDropout,
    Linear,
    SpectralConv2d,
    SpectralLinear,
)
from gankit.runs.parts import ConfiguredParts
from gankit.runs.settings import changed


class Network(nn.Module):
    """One of each layer that has a twin; the dropout drops nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.before = nn.Sequential(
            Linear(6, 16), BatchNormAct1d(16, activation="relu"), LeakyReLUDropout(0.2, 0.0),
            SpectralLinear(16, 16), nn.Unflatten(1, (4, 2, 2)),
        )  # fmt: skip
        self.after = nn.Sequential(
            BatchNormAct2d(4, activation="leaky_relu"), ConvTransposeBNAct2d(4, 4, 4, 2, 1),
            InstanceNormAct2d(4, affine=True), SpectralConv2d(4, 4, 3, padding=1), nn.Tanh(),
            ConvTransposeAct2d(4, 1, 4, 2, 1, activation="tanh"),
        )  # fmt: skip
        self.conditional = ConditionalBatchNormAct2d(4)

    def forward(self, z: Tensor) -> Tensor:
        x = self.conditional(self.before(z), z[:, :4], z[:, 2:])
        images: Tensor = self.after(x)
        return images


def test_a_twin_has_torchs_layers_and_computes_the_same() -> None:
    torch.manual_seed(0)
    network = Network().double()
    twin = copy.deepcopy(network)
    state = torch.get_rng_state()
    found = make_plain(twin)
    assert torch.equal(torch.get_rng_state(), state)
    for layer in twin.modules():
        assert not type(layer).__module__.startswith("gankit.nn"), layer
    # Of 20 layers the two with spectral norm and the last Tanh are torch's already.
    assert (found.fused, found.layers) == (16, 19)
    assert "16 of 19 layers fused (84%)" in str(found)
    results = []
    for each in (network.train(), twin.train()):
        z = torch.linspace(-1, 1, 30, dtype=torch.float64).reshape(5, 6).sin().requires_grad_()
        # Torch moves the singular vectors in training, so those layers stand still here.
        for layer in each.modules():
            if hasattr(layer, "parametrizations"):
                layer.eval()
                layer.parametrizations.eval()  # type: ignore[union-attr]
        y = each(z)
        (gradient,) = torch.autograd.grad(y.square().sum(), z)
        results.append((y, gradient))
    for mine, other in zip(*results, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-11)


SMALL = {
    "wgan-gp": 4, "biggan-digits": 4, "sagan-toy": 4, "progan-digits": 4,
    "pix2pix-toy": 2, "cyclegan-toy": 1, "segan-toy": 2,
}  # fmt: skip


@pytest.mark.parametrize("name", SMALL)
def test_the_first_step_of_a_recipe_is_that_of_its_twin(name: str) -> None:
    config = changed(recipes.get(name).config, [("batch_size", SMALL[name])], "test")
    race = RecipeRace(config, 0.0).race()
    for contender in ("plain eager", "gankit"):
        call = race.contender(contender).build()  # which checks it against the first
        for _ in range(2):
            call()


def test_a_twin_that_computes_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    config = changed(recipes.get("cyclegan-toy").config, [("batch_size", 1)], "test")
    race = RecipeRace(config, 0.0).race()
    race.run_once("plain eager")
    original = ConfiguredParts.discriminator

    def doubled(self: ConfiguredParts, *names: str, **offers: Any) -> nn.Module:
        network = original(self, *names, **offers)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(2)
        return network

    monkeypatch.setattr(ConfiguredParts, "discriminator", doubled)
    with pytest.raises(AssertionError, match=r"[dg]_"):
        race.run_once("gankit")


def test_calls_are_timed_by_whole_rounds_of_phases() -> None:
    for name, calls in (("gan", 1), ("wgan-gp", 5)):
        made = RecipeRace(changed(recipes.get(name).config, [("batch_size", 4)], "test"), 0.0)
        assert made.calls == period(made._step(PlainParts(made.config, made.data))) == calls
        assert made.race().contenders[0].info == {"images": 4 * calls}


def run_of(gankit: list[float], **about: Any) -> dict[str, Any]:
    entries = []
    for name, role, data in (("plain eager", "plain", [1.0] * 4), ("gankit", "gankit", gankit)):
        stats = {"median": 1.0, "q1": 1.0, "q3": 1.0, "min": 1.0, "data": data}
        info = {"contender": name, "role": role, "left_out": {}}
        entries.append({"group": "task", "extra_info": info, "stats": stats})
    return {
        "machine_info": {"gankit": {"device": "a CPU", "threads": 1, "time": "wall", **about}},
        "benchmarks": entries,
    }


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        ([0.49, 0.5, 0.5, 0.51], [0.59, 0.6, 0.6, 0.61], "slower"),
        ([0.59, 0.6, 0.6, 0.61], [0.49, 0.5, 0.5, 0.51], "faster"),
        ([0.3, 0.45, 0.55, 0.8], [0.4, 0.55, 0.65, 0.9], ""),  # noise
        ([0.5, 0.5, 0.5, 0.5], [0.52, 0.52, 0.52, 0.52], ""),  # a twentieth is nothing
    ],
)
def test_slower_is_what_lies_beyond_the_noise_of_both_runs(
    before: list[float], after: list[float], verdict: str
) -> None:
    found = comparing.compare(run_of(before), run_of(after))
    assert [change.verdict for change in found.changes] == [verdict]
    assert len(found.slower) == (verdict == "slower")


def test_compare_has_the_exit_code_and_names_the_task(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b, other = (str(tmp_path / f"{name}.json") for name in ("a", "b", "other"))
    Path(a).write_text(json.dumps(run_of([0.5] * 4)))
    Path(b).write_text(json.dumps(run_of([0.7] * 4)))
    Path(other).write_text(json.dumps(run_of([0.7] * 4, device="a GPU")))
    assert main(["bench", "--compare", a, b]) == 1
    out = capsys.readouterr().out
    assert "| task | gankit | plain eager | 0.5 | 0.7 | 1.4 | slower |" in out
    assert "1 of 1 slower beyond the noise" in out
    assert main(["bench", "--compare", b, a]) == 0
    for arguments, words in (
        (["--compare", a, other], "differ in device"),
        (["--compare", a, str(tmp_path / "absent.json")], "absent.json: No such file"),
        (["gan", "--compare", a, b], "leave out the rest"),
        (["gam"], "nothing called 'gam'"),
        (["ops", "--set", "lr=1"], "--set changes a recipe"),
        (["ops", "--seconds", "0"], "--seconds"),
        (["scripts", "--seconds", "1"], "--seconds is not for scripts"),
        (["scripts", "--leave-out", "plain"], "--leave-out is not for scripts"),
        (["scripts", "--cpu-time"], "--cpu-time is not for scripts"),
        (["scripts", "--only", "nothing"], "--only nothing fits no task of scripts"),
    ):
        assert main(["bench", *arguments]) == 2
        assert words in capsys.readouterr().err
    Path(b).write_text("{}")
    assert main(["bench", "--compare", a, b]) == 2
    assert "is no result of benchmarks" in capsys.readouterr().err


def test_a_damaged_run_is_refused_in_a_sentence(tmp_path: Path) -> None:
    for number, data in enumerate(
        ([0.5] * 3, [], [0.0] * 4, [-1.0] * 4, [float("nan")] * 4, ["0.5"] * 4, [None] * 4)
    ):
        file = tmp_path / f"{number}.json"
        file.write_text(json.dumps(run_of(data)))  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match=f"{number}.json is no result of benchmarks"):
            comparing.read_run(file)
    for key, value in (("group", 3), ("extra_info", {"contender": ["gankit"]})):
        run = run_of([0.5] * 4)
        for entry in run["benchmarks"]:
            entry[key] = {**entry[key], **value} if isinstance(value, dict) else value
        file.write_text(json.dumps(run))
        with pytest.raises(ConfigError, match="is no result of benchmarks"):
            comparing.read_run(file)
    file.write_text("[" * 100_000)
    with pytest.raises(ConfigError, match="is no result of benchmarks"):
        comparing.read_run(file)
    for kept in comparing.RESULTS.glob("*/*.json"):
        comparing.read_run(kept)


def test_runs_without_gankit_or_a_baseline_are_not_called_equal() -> None:
    for role in ("plain", "gankit"):
        run = run_of([0.5] * 4)
        run["benchmarks"] = [e for e in run["benchmarks"] if e["extra_info"]["role"] != role]
        with pytest.raises(ConfigError, match="no contender of gankit beside a baseline"):
            comparing.compare(run_of([0.5] * 4), run)


def test_a_recipe_is_raced_kept_and_compared_with_the_baseline_of_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(comparing, "RESULTS", tmp_path / "results")
    file = tmp_path / "run.json"
    command = ["bench", "gan", "--device", "cpu", "--threads", "1", "--seconds", "0.01"]
    command += ["--leave-out", "compile,tuned", "--set", "batch_size=4", "--json", str(file)]
    threads = torch.get_num_threads()
    assert main(command) == 0
    assert torch.get_num_threads() == threads
    out = capsys.readouterr().out
    assert "### gan step, batch 4" in out
    assert "14 of 19 layers fused (74%): LeakyReLUDropout 3, Linear 8" in out
    assert "no baseline of gan" in out
    run = json.loads(file.read_text())
    assert [e["extra_info"]["contender"] for e in run["benchmarks"]] == ["plain eager", "gankit"]
    assert run["machine_info"]["gankit"]["torch"] == torch.__version__
    # What a hundred times faster gankit left is a baseline that this one misses.
    (entry,) = (e for e in run["benchmarks"] if e["extra_info"]["role"] == "gankit")
    entry["stats"]["data"] = [each / 100 for each in entry["stats"]["data"]]
    folder = tmp_path / "results" / comparing.slug(run["machine_info"]["gankit"]["device"])
    folder.mkdir(parents=True)
    (folder / "gan.json").write_text(json.dumps(run))
    assert main(command) == 1
    assert f"compared with {folder.name}/gan.json" in capsys.readouterr().out
    assert main([*command, "--cpu-time"]) == 0
    assert "not compared" in capsys.readouterr().out


def test_the_processes_of_scripts_have_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    seen = []

    def measure(*_: object) -> dict[str, Any]:
        seen.append(os.environ["OMP_NUM_THREADS"])
        return {"seconds": [1.0], "fused": {}}

    monkeypatch.setattr("gankit.bench.scripts.measure", measure)
    assert main(["bench", "scripts", "--only", "dcgan", "--threads", "1"]) == 0
    assert set(seen) == {"1"}
    assert os.environ["OMP_NUM_THREADS"] == "2"


def test_ops_and_what_is_wrong_in_a_race(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["bench", "ops", "--device", "cpu", "--threads", "1", "--seconds", "0.001"]
    command += ["--leave-out", "compile"]
    assert main([*command, "--only", "linear forward 8x64x64"]) == 0
    out = capsys.readouterr().out
    assert out.count("###") == 1
    assert "### linear forward 8x64x64 float32" in out
    assert main([*command, "--only", "nothing"]) == 2
    assert "fits no task of ops" in capsys.readouterr().err
    everyone = ["--leave-out", "eager,compile,gankit,oneDNN"]
    assert main([*command, "--only", "linear forward 8x64x64", *everyone]) == 2
    assert "leaves no contender of linear forward" in capsys.readouterr().err

    def wrong(*_: object) -> None:
        raise AssertionError("another result")

    monkeypatch.setattr("gankit.bench.ops.linear._check", wrong)
    assert main([*command, "--only", "linear forward 8x64x64"]) == 2
    assert "gankit: AssertionError: another result" in capsys.readouterr().err


def test_every_suite_and_each_of_its_recipes_is_there() -> None:
    assert set(suite.STEPS) <= set(recipes.names())
