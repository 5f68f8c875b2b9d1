"""Generators of finished runs: loaded, exported, and the same images everywhere."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import gankit
from gankit.cli import main
from gankit.errors import CheckpointError, ConfigError, MissingExtra
from gankit.exporting import PT2_METADATA, export
from gankit.saved import load_run
from gankit.training.weights import weights_under
from tests.small_runs import environment

SMALL = """
sample_every: 100
grid_rows: 2
grid_columns: 2
device: cpu
batch_size: 16
"""
GENERATORS = {
    "gan": "{class_path: gankit.models.mlp.Generator, init_args: {hidden: [16, 16]}}",
    "dcgan": "{class_path: gankit.models.dcgan.Generator, init_args: {width: 4}}",
    "cgan": "{class_path: gankit.models.conditional_mlp.Generator, init_args: {hidden: [16]}}",
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for recipe, generator in GENERATORS.items():
        ema = "ema: 0.5\n" if recipe == "dcgan" else ""
        discriminator = generator.replace("Generator", "Discriminator")
        (folder / "small.yaml").write_text(
            f"{SMALL}{ema}generator: {generator}\ndiscriminator: {discriminator}\n"
        )
        out = str(folder / recipe)
        argv = ["train", recipe, "--config", str(folder / "small.yaml"), "--quiet"]
        assert main([*argv, "--steps", "3", "--out", out]) == 0
    return folder


def inputs(recipe: str, n: int) -> tuple[torch.Tensor, ...]:
    z = torch.randn(n, 100, generator=torch.Generator().manual_seed(5))
    return (z, torch.arange(n) % 10) if recipe == "cgan" else (z,)


def said_of(recipe: str) -> dict[str, str]:
    """What a file of the recipe's generator says of it."""
    said = {
        "gankit_version": gankit.__version__,
        "step": "3",
        "z_dim": "100",
        "z_distribution": "uniform" if recipe == "cgan" else "normal",
        "image_shape": "[1, 28, 28]",
        "value_range": "[-1.0, 1.0]",
    }
    classes = {"n_classes": "10", "classes": str(list(range(10)))}
    return {**said, **classes} if recipe == "cgan" else said


@pytest.mark.parametrize("recipe", GENERATORS)
@torch.no_grad()
def test_load_gives_the_sampled_weights(runs: Path, recipe: str) -> None:
    G = gankit.load(runs / recipe)
    assert not G.training
    assert not any(p.requires_grad for p in G.parameters())
    state = torch.load(runs / recipe / "checkpoint.pt", weights_only=True)
    kept = any(name.startswith("averages.") for name in state["gan_step"])
    assert kept == (recipe == "dcgan")
    weights = weights_under(state["gan_step"], "averages.G" if kept else "G")
    assert all(torch.equal(weights[name], value) for name, value in G.state_dict().items())
    assert G(*inputs(recipe, 4)).shape == (4, 1, 28, 28)
    again = gankit.load(runs / recipe / "checkpoint.pt")
    assert torch.equal(G(*inputs(recipe, 4)), again(*inputs(recipe, 4)))


def test_load_needs_torch_and_numpy_alone(runs: Path) -> None:
    code = (
        "import sys\n"
        "for name in ('PIL', 'matplotlib', 'sklearn', 'torchvision', 'tqdm', 'yaml',\n"
        "             'jsonargparse', 'safetensors', 'scipy'):\n"
        "    sys.modules[name] = None\n"
        "import torch, gankit\n"
        "G = gankit.load(sys.argv[1])\n"
        "print(list(G(torch.randn(2, G.z_dim)).shape), list(G.sample(2).shape))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(runs / "gan")],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "[2, 1, 28, 28] [2, 1, 28, 28]\n", done.stderr


@pytest.mark.parametrize("recipe", GENERATORS)
@torch.no_grad()
def test_safetensors(runs: Path, recipe: str, tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    path = export(runs / recipe, "safetensors", tmp_path / "g.safetensors")
    theirs, ours = gankit.load(path), gankit.load(runs / recipe)
    assert torch.equal(theirs(*inputs(recipe, 5)), ours(*inputs(recipe, 5)))


@pytest.mark.parametrize("recipe", GENERATORS)
@torch.no_grad()
def test_torch_export(runs: Path, recipe: str) -> None:
    assert main(["export", str(runs / recipe), "--format", "torch-export"]) == 0
    extra = {PT2_METADATA: ""}
    program = torch.export.load(runs / recipe / "generator.pt2", extra_files=extra)
    assert json.loads(extra[PT2_METADATA]) == said_of(recipe)
    operators = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert not any("gankit" in name or "batch_norm" in name for name in operators), operators
    G = gankit.load(runs / recipe)
    for n in (1, 5):
        made = program.module()(*inputs(recipe, n))
        torch.testing.assert_close(made, G(*inputs(recipe, n)), rtol=0, atol=1e-5)


@pytest.mark.parametrize("recipe", GENERATORS)
@torch.no_grad()
def test_onnx(runs: Path, recipe: str, tmp_path: Path) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    import onnxruntime

    path = export(runs / recipe, "onnx", tmp_path / "g.onnx")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    assert said_of(recipe).items() <= metadata.items()
    G = gankit.load(runs / recipe)
    for n in (1, 5):
        fed = dict(zip(("z", "labels"), (x.numpy() for x in inputs(recipe, n)), strict=False))
        (made,) = session.run(["images"], fed)
        torch.testing.assert_close(torch.from_numpy(made), G(*inputs(recipe, n)), rtol=0, atol=1e-5)


def test_what_cannot_be_had_is_said(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CheckpointError, match=r"there is no checkpoint at .*absent"):
        gankit.load(tmp_path / "absent")
    with pytest.raises(CheckpointError, match="there is no file"):
        gankit.load(tmp_path / "absent.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"no")
    with pytest.raises(CheckpointError, match="cannot be read as safetensors"):
        gankit.load(tmp_path / "bad.safetensors")
    with pytest.raises(ConfigError, match="format is 'coreml'; allowed are safetensors"):
        export(runs / "gan", "coreml")
    assert main(["export", str(tmp_path), "--format", "torch-export"]) == 2
    assert "there is no checkpoint" in capfd.readouterr().err
    monkeypatch.setattr("gankit.exporting.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"onnx is not installed: pip install 'gankit\[export\]"):
        export(runs / "gan", "onnx")


def test_a_generator_that_cannot_be_traced_is_named(
    runs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import dataclasses

    class Branching(torch.nn.Module):
        z_dim = 100

        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return z if float(z.sum()) > 0 else -z

    saved = load_run(runs / "gan")
    module = gankit.LoadedGenerator(Branching(), saved.interface)
    saved = dataclasses.replace(saved, module=module)
    monkeypatch.setattr("gankit.exporting.load_run", lambda run, **_: saved)
    with pytest.raises(ConfigError, match="generator Branching cannot be exported: ") as caught:
        export("any", "torch-export", tmp_path / "g.pt2")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
