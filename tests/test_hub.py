"""Models by name: what comes with gankit, model folders, and torch.hub."""

from __future__ import annotations

import json
import runpy
import shutil
import sys
from pathlib import Path

import pytest
import torch

import gankit
from gankit import hub
from gankit.cli import main
from gankit.errors import CheckpointError, ConfigError
from gankit.hub import names, resolve
from gankit.loaded import LoadedGenerator
from gankit.model_folder import CARD, CONFIG, WEIGHTS
from gankit.saved import load_run
from gankit.sharing import write_model
from gankit.weights_file import HALVED, read_weights, write_weights
from tests.small_runs import SMALL

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    (folder / "small.yaml").write_text(SMALL)
    argv = ["train", "gan", "--config", str(folder / "small.yaml"), "--quiet", "--steps", "2"]
    assert main([*argv, "--out", str(folder / "run")]) == 0
    return folder / "run"


@pytest.mark.parametrize("name", names())
def test_a_model_that_comes_along_is_used(name: str) -> None:
    saved = load_run(f"hub:{name}")
    module, shape = saved.module, (3, 32, 32)
    if isinstance(module, LoadedGenerator):
        made = module.sample(3, seed=1)
        assert torch.equal(made, gankit.load(f"hub:{name}").sample(3, seed=1))
        assert made.shape == (3, *module.image_shape)
        assert made.std(0).max() > 0.1  # not one picture
    elif name == "stargan-shapes":
        made = module.translate(torch.zeros(1, *shape), "red")
    elif name == "cyclegan-discs":
        made = module.a2b(torch.zeros(1, *shape))
    else:
        made = module.enhance(torch.zeros(1, 700), module.sample_rate)
    assert made.isfinite().all()
    assert made.abs().max() <= 1.2
    assert {value.dtype for value in module.parameters()} == {torch.float32}
    assert not saved.config.trusted


def test_the_models_are_few_bytes_and_all_in_the_list() -> None:
    folder = resolve(f"hub:{names()[0]}").parent
    files = [path for path in folder.glob("*/*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 8_000_000
    assert {path.parent.name for path in files} == set(names())
    patterns = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert '"pretrained/SHA256SUMS", "pretrained/*/*"' in patterns


@pytest.mark.parametrize("file", [WEIGHTS, CONFIG, CARD])
@pytest.mark.parametrize("kind", ["altered", "truncated", "absent"])
def test_another_file_is_refused(
    kind: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(resolve(f"hub:{names()[0]}").parent, tmp_path / "models")
    monkeypatch.setattr(hub, "_FOLDER", tmp_path / "models")
    place = tmp_path / "models" / names()[0] / file
    gankit.load(f"hub:{names()[0]}")
    data = bytearray(place.read_bytes())
    data[len(data) // 2] ^= 1
    place.write_bytes(data if kind == "altered" else data[:-1])
    if kind == "absent":
        place.unlink()
    with pytest.raises(CheckpointError, match="install gankit again"):
        gankit.load(f"hub:{names()[0]}")


def test_an_unknown_name_is_a_sentence() -> None:
    with pytest.raises(ConfigError, match="did you mean progan-digits"):
        gankit.load("hub:progan-digit")


def test_a_run_becomes_a_folder_that_draws_the_same(run: Path, tmp_path: Path) -> None:
    folder = write_model(run, tmp_path / "model", license="mit")
    here, there = (gankit.load(path).sample(4, seed=3) for path in (run, folder))
    torch.testing.assert_close(here, there, atol=5e-3, rtol=0)  # float16 has 11 bits
    assert not torch.equal(here, there)
    card = (folder / CARD).read_text(encoding="utf-8")
    assert card.startswith("---\nlibrary_name: gankit\n")
    assert "license: mit\n" in card
    assert "| steps | 2, batches of 60 |" in card
    assert "`generator.hidden` | `[16, 16]`" in card
    assert 'gankit.load("model")' in card
    for file in folder.iterdir():  # nothing of where it lay
        assert str(tmp_path).encode() not in file.read_bytes()
    assert (folder / "sample.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(ConfigError, match="is there already"):
        write_model(run, folder)
    with pytest.raises(ConfigError, match="license is 'My own'"):
        write_model(run, tmp_path / "other", license="My own")
    assert not (tmp_path / "other").exists()


def test_commands_take_a_model_folder(run: Path, tmp_path: Path) -> None:
    model = str(tmp_path / "model")
    assert main(["export", str(run), "--format", "hub", "--out", model]) == 0
    assert main(["sample", model, "--n", "4", "--out", str(tmp_path / "four.npz")]) == 0
    assert (tmp_path / "four.npz").is_file()
    assert main(["export", model, "--format", "torch-export"]) == 2  # nothing goes into it
    assert sorted(path.name for path in Path(model).iterdir()) == sorted(
        [CARD, CONFIG, WEIGHTS, "sample.png"]
    )


def test_places_of_this_machine_stay_here() -> None:
    from gankit.sharing import without_places

    config = load_run(f"hub:{names()[0]}").config
    given = config.updated(data="folder:/data/me/cats/", data_root="/data/me")
    assert without_places(given).data == "folder:cats"
    assert without_places(given).data_root is None
    given = config.updated(data={"class_path": "csv:a/b.csv", "init_args": {"images": "/me/i"}})
    assert without_places(given).data == {"class_path": "csv:b.csv", "init_args": {"images": "i"}}


def test_a_folder_that_names_other_code_is_refused(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_model(run, tmp_path / "model")
    (tmp_path / "attack.py").write_text("open('touched', 'w')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    description = json.loads((folder / CONFIG).read_bytes())
    description["networks"]["G"] = "attack.G"
    (folder / CONFIG).write_text(json.dumps(description))
    with pytest.raises(CheckpointError, match="says something else of the generator"):
        gankit.load(folder)
    _, weights = read_weights(folder / WEIGHTS)
    data = write_weights(weights, {**description, HALVED: False}, {})
    (folder / WEIGHTS).write_bytes(data)
    (folder / CONFIG).write_text(json.dumps({**description, HALVED: False}))
    with pytest.raises(ConfigError, match="trust=True"):
        gankit.load(folder)
    with pytest.raises(ConfigError, match="trust=True"):
        load_run(folder)
    assert "attack" not in sys.modules


def test_safetensors_are_read_as_their_own_package_reads_them(tmp_path: Path) -> None:
    library = pytest.importorskip("safetensors.torch")
    kinds = (torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.bool)
    tensors = {f"{kind}": torch.ones(2, 3).to(kind) for kind in (*kinds, torch.uint8, torch.int8)}
    tensors |= {"none": torch.empty(0, 4), "one": torch.tensor(3.5)}
    library.save_file(tensors, tmp_path / "t.safetensors")
    description, read = read_weights(tmp_path / "t.safetensors")
    assert description is None
    assert read.keys() == tensors.keys()
    for name, value in tensors.items():
        assert read[name].dtype == value.dtype
        assert torch.equal(read[name], value)
    whole = (tmp_path / "t.safetensors").read_bytes()
    for other in (whole[:-1], whole + b"\0", whole[:20], b""):
        (tmp_path / "t.safetensors").write_bytes(other)
        with pytest.raises(CheckpointError, match="cannot be read as safetensors"):
            read_weights(tmp_path / "t.safetensors")


def test_torch_hub_knows_each_name() -> None:
    entries = runpy.run_path(str(ROOT / "hubconf.py"))
    assert {name.replace("-", "_") for name in names()} <= set(entries)
    G = torch.hub.load(str(ROOT), "progan_digits", source="local")
    assert torch.equal(G.sample(2, seed=0), gankit.load("hub:progan-digits").sample(2, seed=0))
