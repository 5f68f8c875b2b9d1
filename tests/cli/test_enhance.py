"""gankit enhance, and gankit.load and export of a run that takes the noise out of speech."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import gankit
from gankit.cli import main
from gankit.enhancer import LoadedEnhancer
from gankit.errors import CheckpointError, ConfigError
from gankit.training import load_checkpoint, save_checkpoint

sf = pytest.importorskip("soundfile")
pytestmark = pytest.mark.usefixtures("in_a_folder_of_its_own")
FEW = ["--steps", "2", "--device", "cpu", "--quiet", "--batch-size", "4"]
FEW += [
    f"--set={setting}"
    for setting in (
        *("grid_rows=2", "grid_columns=2", "ema=0.5", "data.window=64", "data.n=2"),
        *("generator.width=2", "discriminator.width=2", "discriminator.references=3"),
    )
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run of two steps, at 8 kHz."""
    folder = tmp_path_factory.mktemp("runs") / "segan"
    assert main(["train", "segan-toy", "--out", str(folder), *FEW]) == 0
    assert list((folder / "samples").glob("*.png"))
    return folder


def enhance(*arguments: object) -> int:
    return main(["enhance", *map(str, arguments)])


def recordings(folder: Path) -> dict[str, tuple[np.ndarray, int]]:
    """Sounds of several kinds below ``folder``."""
    random = np.random.default_rng(0)
    made = {
        "a b.wav": (random.uniform(-0.3, 0.3, (5000, 2)), 44100, "PCM_16"),
        "below/a.flac": (random.uniform(-0.3, 0.3, 3001), 8000, "PCM_24"),
        "u8.wav": (random.uniform(-0.3, 0.3, 999), 11025, "PCM_U8"),
        "one.wav": (np.array([0.1]), 16000, "FLOAT"),
    }
    for name, (sound, rate, subtype) in made.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        sf.write(folder / name, sound, rate, subtype=subtype)
    return {name: (sound, rate) for name, (sound, rate, _) in made.items()}


def test_a_folder_of_sounds_of_any_length_and_rate(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = recordings(tmp_path / "in")
    (tmp_path / "in" / "notes.txt").write_text("no sound")
    assert enhance(run, tmp_path / "in", "--out", tmp_path / "out") == 0
    said = capsys.readouterr().out
    assert "4 sound files are in" in said
    assert "and 1 other file left alone" in said
    found = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.*")}
    assert found == set(made)
    for name in made:
        before, after = (sf.info(tmp_path / folder / name) for folder in ("in", "out"))
        for about in ("samplerate", "channels", "frames", "format", "subtype"):
            assert getattr(before, about) == getattr(after, about), (name, about)
    G = gankit.load(run)
    assert isinstance(G, LoadedEnhancer)
    assert (G.sample_rate, G.window, G.preemphasis > 0, G.step) == (8000, 64, True, 2)
    given, _ = sf.read(tmp_path / "in" / "below" / "a.flac")
    expected = G.enhance(torch.from_numpy(given), 8000, seed=0)
    written, _ = sf.read(tmp_path / "out" / "below" / "a.flac")
    assert np.abs(written - expected.numpy()).max() < 1e-6
    # One file alone comes out the same, and another seed is other noise.
    one = tmp_path / "in" / "below" / "a.flac"
    assert enhance(run, one, "--out", tmp_path / "x.flac") == 0
    assert enhance(run, one, "--out", tmp_path / "other", "--seed", 1) == 0
    first, same, other = (
        (tmp_path / place).read_bytes() for place in ("out/below/a.flac", "x.flac", "other/a.flac")
    )
    assert first == same
    assert first != other


def test_clipping_is_told_and_silence_is_silent(
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        LoadedEnhancer, "stream", lambda self, blocks, rate, **_: (3 * block for block in blocks)
    )
    (tmp_path / "in").mkdir()
    sf.write(tmp_path / "in" / "loud.wav", np.full(90, 0.5), 8000)
    sf.write(tmp_path / "in" / "loud-float.wav", np.full(90, 0.5), 8000, subtype="FLOAT")
    assert enhance(run, tmp_path / "in", "--out", tmp_path / "out") == 0
    assert "loud.wav: 90 samples beyond full scale clipped" in capsys.readouterr().err
    assert sf.read(tmp_path / "out" / "loud.wav")[0].min() > 0.999
    assert np.abs(sf.read(tmp_path / "out" / "loud-float.wav")[0] - 1.5).max() < 1e-6
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    sf.write("silence.wav", np.zeros(4000), 8000)
    assert enhance(run, "silence.wav", "--out", "silent.wav") == 0
    assert not sf.read("silent.wav")[0].any()


def test_broken_files_are_named_and_skipped(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recordings(tmp_path / "in")
    (tmp_path / "in" / "text.wav").write_text("no sound at all")
    sf.write(tmp_path / "in" / "empty.wav", np.zeros(0), 8000)
    sf.write(tmp_path / "in" / "nan.wav", np.full(9, np.nan), 8000, subtype="FLOAT")
    assert enhance(run, tmp_path / "in", "--out", tmp_path / "out") == 1
    said = capsys.readouterr()
    assert "4 sound files are in" in said.out
    assert [line.partition("/in/")[2].partition(" ")[0] for line in said.err.splitlines()] == [
        "empty.wav:",
        "nan.wav:",
        "text.wav:",
    ]
    assert not list((tmp_path / "out").rglob("*.tmp"))


def test_what_cannot_be_enhanced_is_one_sentence(
    run: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    recordings(tmp_path / "in")
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.wav").write_text("no sound")
    given, out = tmp_path / "in", tmp_path / "out"

    def said(sound: Path, place: Path = out) -> str:
        words = refused("enhance", str(run), str(sound), "--out", str(place))
        assert not out.exists()
        return words

    assert "there is no file or folder" in said(tmp_path / "absent.wav")
    assert "has no sound files in it" in said(tmp_path / "empty")
    assert "text.wav: not a sound file that can be read" in said(tmp_path / "text.wav")
    assert "is not an empty folder" in said(given, given)
    assert "names a file; allowed for a folder is a folder" in said(given, tmp_path / "new.wav")
    assert "the format stays that of" in said(given / "u8.wav", tmp_path / "new.flac")
    assert "is there already" in said(given / "u8.wav", given / "one.wav")
    for command in (["sample"], ["translate", str(given), "--out", str(out)]):
        words = refused(command[0], str(run), *command[1:])
        assert "gankit enhance does" in words


def test_the_weights_alone_and_runs_of_another_kind(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    file = tmp_path / "g.safetensors"
    assert main(["export", str(run), "--format", "safetensors", "--out", str(file)]) == 0
    sound = torch.rand(900)
    kept, whole = gankit.load(file), gankit.load(run)
    assert torch.equal(kept.enhance(sound, seed=0), whole.enhance(sound, seed=0))
    state = load_checkpoint(run / "checkpoint.pt")
    assert set(whole.network.state_dict()) <= {
        name.removeprefix("averages.G.") for name in state["gan_step"]
    }


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("sample_rate", "fast", "its sample rate is 'fast'"),
        ("sample_rate", None, "its sample rate is None"),
        ("fields", {"noisy": [1, 2**40], "clean": [1, 64]}, "its windows have shape"),
        ("fields", {"noisy": [1, 63], "clean": [1, 63]}, "does not fit its generator"),
        ("fields", None, "its windows have shape None"),
    ],
)
def test_a_damaged_description_is_refused(
    run: Path, tmp_path: Path, key: str, value: object, words: str
) -> None:
    state = load_checkpoint(run / "checkpoint.pt")
    state["config"][key] = value
    save_checkpoint(tmp_path / "c.pt", state)
    with pytest.raises(CheckpointError, match=words):
        gankit.load(tmp_path / "c.pt")


@pytest.mark.parametrize("kind", ["torch-export", pytest.param("onnx", marks=pytest.mark.slow)])
def test_a_graph_takes_windows_of_any_length(run: Path, tmp_path: Path, kind: str) -> None:
    file = tmp_path / "graph"
    arguments = ["--format", kind, "--out", str(file)]
    network = gankit.load(run).network
    length = 11 * network.size_multiple
    sound, z = torch.rand(3, 1, length) - 0.5, torch.randn(3, *network.z_shape(length))
    if kind == "onnx":
        runtime = pytest.importorskip("onnxruntime")
        assert main(["export", str(run), *arguments]) == 0
        session = runtime.InferenceSession(file)
        made = session.run(None, {"input": sound.numpy(), "z": z.numpy()})[0]
        about = session.get_modelmeta().custom_metadata_map
        assert (about["sample_rate"], about["window"]) == ("8000", "64")
        torch.testing.assert_close(torch.from_numpy(made), network(sound, z), atol=1e-5, rtol=1e-4)
        return
    assert main(["export", str(run), *arguments]) == 0
    made = torch.export.load(file).module()(sound, z)
    torch.testing.assert_close(made, network(sound, z), atol=1e-6, rtol=1e-5)


def test_a_direction_is_of_images_alone(run: Path) -> None:
    with pytest.raises(ConfigError, match="direction is 'a2b', which is for runs of pix2pix"):
        gankit.export(run, "safetensors", direction="a2b")
