"""A loaded generator: it samples itself, and is the network that it holds."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gankit
from gankit.cli import main
from gankit.errors import CheckpointError, ConfigError
from gankit.loaded import Interface, LoadedGenerator
from gankit.models import conditional_mlp, mlp
from gankit.saved import load_run
from gankit.training import generate

NORMAL = Interface(5, "normal", (1, 4, 4), step=7)


def plain(interface: Interface = NORMAL) -> LoadedGenerator:
    torch.manual_seed(0)
    network = mlp.Generator(5, (1, 4, 4), (8,)).eval().requires_grad_(False)
    return LoadedGenerator(network, interface)


def conditional(classes: tuple[int, ...] = ()) -> LoadedGenerator:
    torch.manual_seed(0)
    network = conditional_mlp.Generator(4, 5, (1, 4, 4), (8,)).eval().requires_grad_(False)
    return LoadedGenerator(network, Interface(5, "uniform", (1, 4, 4), 4, classes))


def test_samples_are_those_of_generate() -> None:
    G = plain()
    images = G.sample(9, seed=3)
    assert images.shape == (9, 1, 4, 4)
    assert images.dtype == torch.float32
    assert images.abs().max() <= 1
    assert torch.equal(images, generate(G.network, 9, seed=3))
    assert torch.equal(images, G.sample(np.int64(9), seed=np.int64(3), batch=9))
    torch.testing.assert_close(images, G.sample(9, seed=3, batch=2))
    assert not torch.equal(images, G.sample(9, seed=4))
    uniform = plain(Interface(5, "uniform", (1, 4, 4)))
    wanted = generate(G.network, 9, seed=3, distribution="uniform")
    assert torch.equal(uniform.sample(9, seed=3), wanted)


def test_without_a_seed_images_follow_the_global_one() -> None:
    G = plain()
    torch.manual_seed(1)
    first, second = G.sample(3), G.sample(3)
    assert not torch.equal(first, second)
    torch.manual_seed(1)
    assert torch.equal(G.sample(3), first)
    state = torch.get_rng_state()
    G.sample(3, seed=0)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("label", [2, np.int64(2), [2, 2, 2], torch.tensor([2, 2, 2])])
def test_samples_of_a_class(label: object) -> None:
    G = conditional()
    asked: list[Tensor] = []
    G.network.register_forward_pre_hook(lambda module, inputs: asked.append(inputs[1]))
    G.sample(3, seed=0, label=label)  # type: ignore[arg-type]
    assert asked.pop().tolist() == [2, 2, 2]
    G.sample(6, seed=0)
    assert asked.pop().tolist() == [0, 1, 2, 3, 0, 1]
    conditional((1, 3)).sample(3, seed=0)
    assert conditional((1, 3)).interface.labels(3).tolist() == [1, 3, 1]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "label",
    [4, -1, 1.5, True, "two", [0, 1], torch.tensor([0.0, 1.0, 2.0]), torch.eye(3), [[0, 1], [2]]],
)
def test_labels_that_there_are_not(label: object) -> None:
    with pytest.raises(ConfigError, match="allowed are an integer of 0 to 3 and 3 of them"):
        conditional().sample(3, label=label)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="but this generator is not conditional"):
        plain().sample(3, label=label)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        *(({"n": n}, "n is .*; allowed are integers from 1") for n in (0, -1, 2.5, True, "2")),
        *(({"n": 2, "seed": s}, "seed is .*; allowed are None and integers") for s in (1.5, "1")),
        *(({"n": 2, "batch": b}, "batch is .*; allowed are integers from 1") for b in (0, 0.5)),
    ],
)
def test_what_a_sample_is_not(arguments: dict[str, Any], words: str) -> None:
    for G in (plain(), conditional()):
        with pytest.raises(ConfigError, match=words):
            G.sample(**arguments)


def test_calls_are_the_networks_and_missing_labels_are_said() -> None:
    G, z = plain(), torch.randn(3, 5)
    assert torch.equal(G(z), G.network(z))
    with pytest.raises(ConfigError, match="labels are given, but this generator is"):
        G(z, torch.zeros(3, dtype=torch.int64))
    G = conditional()
    labels = torch.tensor([0, 3, 1])
    assert torch.equal(G(z, labels), G.network(z, labels))
    with pytest.raises(ConfigError, match=r"labels are missing: .* G\(z, labels\) .* of 0 to 3"):
        G(z)


def test_the_decoder_of_an_autoencoder_cannot_be_sampled() -> None:
    G = plain(Interface(5, None, (1, 4, 4)))
    assert G(torch.randn(2, 5)).shape == (2, 1, 4, 4)
    with pytest.raises(ConfigError, match=r"without a distribution of codes.*codes \[N, 5\]"):
        G.sample(2)


def test_it_is_the_network() -> None:
    """One set of weights under one set of names, whichever of the two is changed."""
    G, z = plain(), torch.randn(3, 5)
    network = G.network
    before = network(z)
    assert list(G.state_dict()) == list(network.state_dict())
    names = [name for name, _ in G.named_parameters()]
    assert names == list(network.state_dict())
    assert G.main is network.main
    assert G.image_shape == (1, 4, 4)
    G.double()
    assert network(z.double()).dtype == torch.float64
    G.float().load_state_dict({name: value * 2 for name, value in G.state_dict().items()})
    assert not torch.equal(network(z), before)
    assert torch.equal(G(z), network(z))
    G.train()
    assert network.training
    assert all(child.training for child in network.modules())
    G.eval()
    assert not any(child.training for child in network.modules())
    assert G.sample(2, seed=0).dtype == torch.float32
    with pytest.raises(AttributeError):
        G.absent  # noqa: B018
    doubled = torch.func.functional_call(G, {k: v * 0 for k, v in G.state_dict().items()}, (z,))
    assert torch.equal(doubled, torch.zeros(3, 1, 4, 4))


def test_it_can_be_copied_pickled_traced_and_exported(tmp_path: Path) -> None:
    G, z = plain(), torch.randn(3, 5)
    for twin in (copy.deepcopy(G), pickle.loads(pickle.dumps(G))):
        assert torch.equal(twin(z), G(z))
        with torch.no_grad():
            next(twin.parameters()).zero_()
        assert torch.equal(twin(z), twin.network(z))
        assert not torch.equal(twin(z), G(z))
        assert twin.interface == G.interface
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(G, (z[:2],), dynamic_shapes=({0: batch},))
    torch.testing.assert_close(program.module()(z), G(z))
    path = gankit.export(G, "torch-export", tmp_path / "g.pt2")
    torch.testing.assert_close(torch.export.load(path).module()(z), G(z), rtol=0, atol=1e-5)
    assert type(gankit.plain_copy(G)) is mlp.Generator


class Sampler(nn.Module):
    """A network with attributes of the names that a loaded one has."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 16)
        self.step, self.z_distribution = "none", "mine"

    def sample(self, mean: Tensor) -> Tensor:
        return mean + 1

    def forward(self, z: Tensor) -> Tensor:
        assert self.z_distribution == "mine"
        return self.sample(self.layer(z)).view(-1, 1, 4, 4)


def test_a_network_keeps_its_own_attributes() -> None:
    network = Sampler()
    network.z_dim = 5  # type: ignore[assignment]
    G = LoadedGenerator(network.eval(), NORMAL)
    assert G.sample(2, seed=0).shape == (2, 1, 4, 4)
    assert (G.step, network.step) == (7, "none")


def test_uniform_noise_of_a_run(tmp_path: Path) -> None:
    """The distribution of z goes with the run, its checkpoint and each of its files."""
    out = tmp_path / "run"
    small = "{class_path: gankit.models.mlp.Generator, init_args: {hidden: [8]}}"
    argv = ["train", "gan-1d", "--steps", "3", "--out", str(out), "--quiet", "--device", "cpu"]
    assert main([*argv, "--set", f"generator={small}"]) == 0
    G, saved = gankit.load(out), load_run(out)
    assert (G.z_distribution, G.n_classes, G.image_shape, G.step) == ("uniform", None, (1, 1, 1), 3)
    made = G.sample(4000, seed=1)
    wanted = generate(saved.generator, 4000, seed=1, distribution="uniform")
    assert torch.equal(made, wanted.reshape(-1, 1, 1, 1))
    z = torch.rand(100_000, G.z_dim, generator=torch.Generator().manual_seed(5)) * 2 - 1
    uniform, normal = G(z).std(), G(torch.randn(100_000, G.z_dim)).std()
    assert abs(float(made.std() / uniform) - 1) < 0.1
    assert float(normal / uniform) > 1.3  # what normal noise would have given
    pytest.importorskip("safetensors")
    from safetensors import safe_open

    path = gankit.export(out, "safetensors")
    again = gankit.load(path)
    assert again.interface == G.interface
    assert torch.equal(again.sample(9, seed=2), G.sample(9, seed=2))
    with safe_open(path, "pt") as file:
        said = file.metadata()
    wanted_text = {
        "gankit_version": gankit.__version__,
        "step": "3",
        "z_dim": str(G.z_dim),
        "z_distribution": "uniform",
        "image_shape": "[1, 1, 1]",
        "value_range": "[-1.0, 1.0]",
    }
    assert {key: said[key] for key in wanted_text} == wanted_text
    state = torch.load(out / "checkpoint.pt", weights_only=True)
    for key, value in (("z_distribution", "cauchy"),):
        state["config"][key] = value
        torch.save(state, out / "checkpoint.pt")
        with pytest.raises((CheckpointError, ConfigError)):
            gankit.load(out)


@pytest.mark.slow  # mypy reads all of torch
def test_the_documented_lines_are_typed(tmp_path: Path) -> None:
    api = pytest.importorskip("mypy.api")
    script = tmp_path / "sampling.py"
    script.write_text(
        "import gankit, torch\n"
        "G = gankit.load('runs/digits')\n"
        "images: torch.Tensor = G.sample(64, seed=0)\n"
        "z = torch.randn(64, G.z_dim)\n"
        "same = G(z)\n"
        "channels: int = G.image_shape[0]\n"
        "if G.n_classes is not None:\n"
        "    ones = G.sample(4, label=G.n_classes - 1)\n"
    )
    printed, errors, code = api.run(["--strict", "--follow-imports=silent", str(script)])
    assert code == 0, printed + errors
