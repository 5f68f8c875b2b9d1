"""The operations laid out for Hugging Face's kernels, loaded by it beside gankit's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from gankit import ops
from tests.build.test_checks import tool

kernels = pytest.importorskip("kernels", reason="pip install 'gankit[test]'")


@pytest.fixture(scope="module")
def layout() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        yield tool(patch, "kernel_layout")


@pytest.fixture(scope="module")
def folder(layout: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("kernels") / "gankit-ops"
    layout.write(place)
    return place


@pytest.fixture(scope="module")
def loaded(folder: Path) -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        module: ModuleType = kernels.get_local_kernel(folder, backend="cpu")
    return module


def test_the_files_are_what_kernels_reads(layout: ModuleType, folder: Path) -> None:
    from kernels._rust import Build, Metadata

    backends = [str(each) for each in Build.open(folder).general.backends]
    assert backends == list(layout.BACKENDS)
    for backend in backends:
        variant = folder / "build" / f"torch-{backend}"
        found = Metadata.read_from_file(variant / "metadata.json")
        assert (str(found.name), found.version) == ("gankit-ops", layout.VERSION)
        assert str(found.backend.backend_type) == backend
        assert (variant / "__init__.py").is_file()
    assert (folder / "torch-ext" / "gankit_ops" / "__init__.py").is_file()


def test_it_has_every_operation_under_its_own_name(loaded: ModuleType) -> None:
    assert loaded.__all__ == ops.__all__
    assert loaded.linear is not ops.linear
    assert not loaded.__name__.startswith("gankit.")
    space = loaded.namespace.NAMESPACE
    assert hasattr(getattr(torch.ops, space), "batch_norm_act")
    assert loaded.backends.choose("cpu")[0] == "reference"


def test_it_computes_what_gankit_does(loaded: ModuleType) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(8, 3, 6, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    results = []
    for module in (loaded, ops):
        y = module.batch_norm_act(x, None, None, training=True, activation="leaky_relu")
        (first,) = torch.autograd.grad(y.pow(3).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), x)
        results.append((y, first, second))
    torch.testing.assert_close(*results)
    scores = torch.randn(16, 1, generator=generator)
    arguments = (scores, scores.flip(0), torch.tensor(5))
    torch.testing.assert_close(*(module.gan_bce(*arguments[:2]) for module in (loaded, ops)))
    seed = torch.tensor([7])
    dropped = [module.leaky_relu_dropout(scores, p=0.5, seed=seed) for module in (loaded, ops)]
    assert torch.equal(*dropped)


def test_another_source_has_another_namespace(layout: ModuleType) -> None:
    texts = layout.sources()
    space, written = layout.renamed(texts)
    assert f'"{space}"' in written["namespace.py"]
    assert layout.renamed({**texts, "philox.py": ""})[0] != space
    with pytest.raises(ValueError, match=r"expected one line NAMESPACE = \.\.\., got 0"):
        layout.renamed({**texts, "namespace.py": ""})


def test_a_layout_is_replaced_and_nothing_else(layout: ModuleType, tmp_path: Path) -> None:
    place = tmp_path / "out"
    layout.write(place)
    (place / "build" / "stale.py").touch()
    layout.write(place)
    assert not (place / "build" / "stale.py").exists()
    assert [each.name for each in tmp_path.iterdir()] == ["out"]
    mine = tmp_path / "mine"
    mine.mkdir()
    with pytest.raises(ValueError, match="expected a new folder or an earlier layout"):
        layout.write(mine)
    identifiers = [
        json.loads(file.read_text())["id"] for file in place.glob("build/*/metadata.json")
    ]
    assert len(set(identifiers)) == 2
