"""Files of networks: right for every batch size, or not written."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import gankit
from gankit import nn as gnn
from gankit.errors import ConfigError, MissingExtra
from gankit.exporting import PT2_METADATA


def needs(format: str) -> None:
    """Skip where a package for the format is missing."""
    for package in ("onnx", "onnxscript", "onnxruntime") if format == "onnx" else ():
        pytest.importorskip(package)


class Base(nn.Module):
    z_dim = 6

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(6, 16)

    def images(self, z: Tensor) -> Tensor:
        return torch.tanh(self.a(z)).view(-1, 1, 4, 4)


class BySize(Base):
    def forward(self, z: Tensor) -> Tensor:
        return torch.tanh(self.a(z)).view(z.size(0), 1, 4, 4)


class ByLength(Base):
    def forward(self, z: Tensor) -> Tensor:
        return torch.tanh(self.a(z)).view(len(z), 1, 4, 4)


class ByInt(Base):
    def forward(self, z: Tensor) -> Tensor:
        return torch.tanh(self.a(z)).view(int(z.size(0)), 1, 4, 4)


class Stacked(Base):
    def forward(self, z: Tensor) -> Tensor:
        return torch.stack([self.images(one)[0] for one in z])


class OneIsOther(Base):
    def forward(self, z: Tensor) -> Tensor:
        return self.images(z) * (0.5 if z.shape[0] == 1 else 1.0)


class ManyAreOther(Base):
    def forward(self, z: Tensor) -> Tensor:
        return self.images(z) * (0.5 if z.shape[0] > 10 else 1.0)


class AboveThirty(Base):
    def forward(self, z: Tensor) -> Tensor:
        return self.images(z) * (0.5 if z.shape[0] > 30 else 1.0)


class EightIsOther(Base):
    def forward(self, z: Tensor) -> Tensor:
        return self.images(z) * (0.5 if z.shape[0] % 8 == 0 else 1.0)


class Halves(Base):
    """Style mixing: torch.export takes the halves' sizes for fixed, and they are not."""

    def forward(self, z: Tensor) -> Tensor:
        half = z.shape[0] // 2
        return self.images(torch.cat([z[:half], -z[half:]]))


class Constant(Base):
    def forward(self, z: Tensor) -> Tensor:
        return self.images(z) + torch.arange(float(len(z))).view(-1, 1, 1, 1)


class Cut(Base):
    def forward(self, z: Tensor) -> Tensor:
        return self.images(z[:2])


class BatchStatistics(Base):
    def forward(self, z: Tensor) -> Tensor:
        return F.batch_norm(self.images(z), None, None, training=True)


class NeedsTwo(Base):
    def forward(self, z: Tensor) -> Tensor:
        return self.images(F.batch_norm(z, None, None, training=True))


class Noisy(Base):
    def forward(self, z: Tensor) -> Tensor:
        h = self.a(z)
        return torch.tanh(h + 0.1 * torch.randn_like(h)).view(-1, 1, 4, 4)


class Dropping(Base):
    def forward(self, z: Tensor) -> Tensor:
        return F.dropout(self.images(z), 0.3)


class Arguments(Base):
    def forward(self, *inputs: Tensor) -> Tensor:
        return self.images(inputs[0])


class Keywords(Base):
    def forward(self, z: Tensor, scale: float = 2.0, **ignored: object) -> Tensor:
        return scale * self.images(z)


class Two(Base):
    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return self.images(z), z


class Conditional(Base):
    n_classes = 3

    def __init__(self) -> None:
        super().__init__()
        self.classes = nn.Embedding(3, 6)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        return self.images(z + self.classes(labels))


class ByLabels(Conditional):
    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        return torch.tanh(self.a(z + self.classes(labels))).view(len(labels), 1, 4, 4)


class Wide(nn.Module):
    """Outputs of some hundreds, whose rounding is no fault; behind a norm that is folded."""

    z_dim = 6

    def __init__(self) -> None:
        super().__init__()
        self.main = nn.Sequential(nn.Linear(6, 256), nn.BatchNorm1d(256), nn.Linear(256, 256))
        nn.init.normal_(self.main[2].weight, 0, 20.0)  # type: ignore[arg-type]

    def forward(self, z: Tensor) -> Tensor:
        y: Tensor = self.main(z)
        return y


def call(path: Path, *inputs: Tensor) -> Tensor:
    """What the file makes of ``inputs``, in torch or in onnxruntime."""
    if path.suffix == ".pt2":
        made: Tensor = torch.export.load(path).module()(*inputs)
        return made
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]
    fed = {name: x.numpy() for name, x in zip(names, inputs, strict=True)}
    return torch.from_numpy(np.asarray(session.run(None, fed)[0]))


def suffix(format: str) -> str:
    return {"torch-export": "g.pt2", "onnx": "g.onnx"}[format]


@pytest.mark.parametrize(
    ("kind", "format", "wrong"),
    [
        (ByLength, "torch-export", "does not hold for every batch size; take the batch size from"),
        (ByLength, "onnx", "its file takes batches of 3 alone; take the batch size from the shape"),
        (ByInt, "torch-export", "does not hold for every batch size"),
        (Stacked, "torch-export", "does not hold for every batch size"),
        (Constant, "torch-export", "does not hold for every batch size"),
        (OneIsOther, "torch-export", r"its file differs by 0\.\d+ of .* for a batch of 1;"),
        (OneIsOther, "onnx", r"its file differs by 0\.\d+ of .* for a batch of 1;"),
        (ManyAreOther, "torch-export", "does not hold for every batch size"),
        (AboveThirty, "onnx", r"its file differs by 0\.\d+ of .* for a batch of 31;"),
        (EightIsOther, "onnx", r"its file differs by 0\.\d+ of .* for a batch of 8;"),
        (ByLabels, "torch-export", "does not hold for every batch size"),
        (Cut, "torch-export", r"returned \[2, 1, 4, 4\] for a batch of 5; allowed is a row for"),
        (NeedsTwo, "torch-export", "fails for a batch of 1: Expected more than 1 value per chan"),
        (Noisy, "torch-export", r"draws random numbers in its forward.*differ by 0\.\d+ of its"),
        (Dropping, "onnx", "draws random numbers in its forward"),
        (Two, "torch-export", "returned tuple; allowed is one floating-point tensor"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
def test_what_holds_for_some_batches_only_is_refused(
    kind: type[Base], format: str, wrong: str, tmp_path: Path
) -> None:
    needs(format)
    torch.manual_seed(0)
    G = kind()
    state = torch.get_rng_state()
    with pytest.raises(ConfigError, match=wrong) as caught:
        gankit.export(G, format, tmp_path / "g")
    assert f"the generator {kind.__name__} " in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
    assert torch.equal(torch.get_rng_state(), state)


def wrapped(name: str) -> nn.Module:
    G = BySize()
    if name == "DataParallel":
        return nn.DataParallel(G)
    if name == "compiled":
        return torch.compile(G)  # type: ignore[return-value]
    if name == "compiled child":
        G.a = torch.compile(G.a)  # type: ignore[assignment]
    if name == "compiled in place":
        G.compile()
    if name == "accelerated":
        gankit.accelerate(G)
    return G.double() if name == "float64" else G.bfloat16() if name == "bfloat16" else G


@pytest.mark.parametrize(
    "name",
    [
        *("DataParallel", "compiled", "compiled child", "compiled in place", "accelerated"),
        *("float64", "bfloat16"),
    ],
)
@torch.no_grad()
def test_wrappers_and_dtypes(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    G = wrapped(name)
    path = tmp_path / "g.pt2"
    dtype = next(G.parameters()).dtype
    gankit.export(G, "torch-export", path, inputs=[torch.randn(2, 6, dtype=dtype)])
    z = torch.randn(4, 6, dtype=dtype)
    inside: nn.Module = getattr(G, "module", getattr(G, "_orig_mod", G))  # type: ignore[assignment]
    plain = BySize().to(dtype)
    plain.load_state_dict(
        {key.replace("_orig_mod.", ""): value for key, value in inside.state_dict().items()}
    )
    made = call(path, z)
    assert made.dtype == dtype
    torch.testing.assert_close(made, plain(z))


@pytest.mark.parametrize(
    ("kind", "format"),
    [
        *((kind, "torch-export") for kind in (BatchStatistics, Arguments, Keywords)),
        *((kind, format) for kind in (Conditional, Wide) for format in ("torch-export", "onnx")),
        (Halves, "onnx"),
    ],
)
@torch.no_grad()
def test_files_hold_for_every_batch(kind: type[Base], format: str, tmp_path: Path) -> None:
    needs(format)
    torch.manual_seed(0)
    G = kind().train()
    path = gankit.export(G, format, tmp_path / suffix(format))
    assert G.training
    G.eval()
    for n in (1, 2, 7, 30):
        inputs = [torch.randn(n, 6)]
        if kind is Conditional:
            inputs.append(torch.arange(n) % 3)
        wanted, made = G(*inputs), call(path, *inputs)
        assert made.shape == wanted.shape
        assert float((made - wanted).abs().max()) <= 1e-4 * float(wanted.abs().max())


def test_what_a_network_is_called_with(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="inputs is None; allowed for a network without an attri"):
        gankit.export(nn.Linear(3, 2), "torch-export", tmp_path / "g.pt2")
    with pytest.raises(ConfigError, match="inputs are no tensors with a batch"):
        gankit.export(nn.Linear(3, 2), "torch-export", tmp_path / "g.pt2", inputs=[])
    with pytest.raises(ConfigError, match="out is None; allowed for a network is the file"):
        gankit.export(BySize(), "torch-export")
    with pytest.raises(ConfigError, match="format is 'safetensors', which is for runs"):
        gankit.export(BySize(), "safetensors", tmp_path / "g.safetensors")
    with pytest.raises(ConfigError, match="inputs are for a network"):
        gankit.export(tmp_path, "torch-export", inputs=[torch.zeros(1)])
    assert not list(tmp_path.iterdir())


def test_onnx_is_not_written_unchecked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gankit.exporting.find_spec", lambda name: name != "onnxruntime" or None)
    with pytest.raises(MissingExtra, match="onnxruntime is not installed"):
        gankit.export(BySize(), "onnx", tmp_path / "g.onnx")
    assert not list(tmp_path.iterdir())


def test_a_bare_network_says_what_it_knows(tmp_path: Path) -> None:
    path = gankit.export(Conditional(), "torch-export", tmp_path / "g.pt2")
    extra = {PT2_METADATA: ""}
    torch.export.load(path, extra_files=extra)
    said = json.loads(extra[PT2_METADATA])
    assert said == {"gankit_version": gankit.__version__, "z_dim": "6", "n_classes": "3"}


def layers() -> nn.Sequential:
    torch.manual_seed(0)
    network = nn.Sequential(
        gnn.Linear(6, 32),
        gnn.LeakyReLUDropout(0.2, 0.5),
        gnn.BatchNormAct1d(32, activation="leaky_relu"),
        nn.Unflatten(1, (2, 4, 4)),
        gnn.BatchNormAct2d(2, activation="relu"),
        gnn.ConvTransposeBNAct2d(2, 4, 4, 2, 1),
        gnn.ConvTransposeAct2d(4, 1, 4, 2, 1, activation="tanh"),
    )
    for _ in range(3):
        network(torch.randn(16, 6))
    return network


@pytest.mark.parametrize("accelerated", [False, True])
@torch.no_grad()
def test_our_layers_in_anybodys_export(accelerated: bool) -> None:
    """torch.export with no op of ours in its graph, and torch.jit.trace."""
    network = layers().eval()
    x = torch.randn(5, 6)
    wanted = network(x)
    if accelerated:
        gankit.accelerate(network)
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(network, (x[:3],), dynamic_shapes=({0: batch},))
    assert not any("gankit" in str(node.target) for node in program.graph.nodes)
    torch.testing.assert_close(program.module()(x), wanted, rtol=0, atol=1e-5)
    traced = torch.jit.trace(network, (x[:3],))
    assert "gankit::" not in str(traced.inlined_graph)
    torch.testing.assert_close(traced(x), wanted, rtol=0, atol=1e-5)


def test_our_layers_trace_in_training_too() -> None:
    program = torch.export.export(layers().train(), (torch.randn(8, 6),))
    assert not any("gankit" in str(node.target) for node in program.graph.nodes)
    network, twin = layers().train(), layers().train()
    network[1].p = twin[1].p = 0.0  # type: ignore[assignment]
    x = torch.randn(8, 6)
    program = torch.export.export(network, (x,))
    torch.testing.assert_close(program.module()(x), twin(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("dynamo", [False, True])
@torch.no_grad()
def test_our_layers_in_torch_onnx_export(dynamo: bool) -> None:
    needs("onnx")
    import onnxruntime

    network, x = layers().eval(), torch.randn(5, 6)
    file = io.BytesIO()
    if dynamo:
        program = torch.onnx.export(network, (x,), dynamo=True, verbose=False)
        assert program is not None
        file.write(program.model_proto.SerializeToString())
    else:
        torch.onnx.export(network, (x,), file, dynamo=False)
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    (made,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(made), network(x), rtol=0, atol=1e-5)


@torch.no_grad()
def test_scripting_is_refused_with_the_way_out() -> None:
    network, x = layers().eval(), torch.randn(5, 6)
    keys = list(network.state_dict())
    for layer in network:
        if type(layer).__module__.startswith("gankit"):
            with pytest.raises(TypeError, match=r"torch\.jit\.script does not know gankit\.nn\."):
                torch.jit.script(nn.Sequential(layer))
    assert list(network.state_dict()) == keys
    scripted = torch.jit.script(gankit.plain_copy(network))
    torch.testing.assert_close(scripted(x), network(x), rtol=0, atol=1e-5)
