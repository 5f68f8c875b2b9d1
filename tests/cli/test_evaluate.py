"""gankit evaluate: runs, folders, what is kept, and what is refused in one sentence."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gankit.cli import main
from tests.small_runs import SMALL as PLAIN
from tests.small_runs import environment

pytest.importorskip("torch_fidelity")
pytestmark = pytest.mark.usefixtures("in_a_folder_of_its_own")
FEW = ["--steps", "2", "--device", "cpu", "--quiet", "--set", "sample_every=1000"]
CONDITIONAL = """
generator: {class_path: gankit.models.conditional_mlp.Generator, init_args: {hidden: [16]}}
discriminator: {class_path: gankit.models.conditional_mlp.Discriminator,
                init_args: {hidden: [16], output: logit}}
image_size: 8
device: cpu
"""


@pytest.fixture(autouse=True)
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Classifiers that have seen little, kept in this test's own cache."""
    monkeypatch.setattr("gankit.metrics.digit_classifier._STEPS", 5)
    monkeypatch.setenv("GANKIT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("once")
    (folder / "plain.yaml").write_text(PLAIN)
    config, out = str(folder / "plain.yaml"), str(folder / "run")
    assert main(["train", "gan", "--config", config, "--out", out, *FEW]) == 0
    return folder


@pytest.fixture
def run(trained_once: Path) -> Path:
    shutil.copytree(trained_once, ".", dirs_exist_ok=True)
    return Path("run")


def evaluate(capfd: pytest.CaptureFixture[str], *arguments: str) -> dict:
    capfd.readouterr()
    assert main(["evaluate", *arguments, "--json"]) == 0
    found: dict = json.loads(capfd.readouterr().out)
    return found


def results(run: Path) -> list[dict]:
    found: list[dict] = json.loads((run / "evaluation.json").read_text())["results"]
    return found


def test_a_run_is_compared_with_its_data(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    found = evaluate(capfd, "run", "--n", "100")
    expected = "fid kid kid_std precision recall density coverage classes_found confidence"
    assert [*found["values"]] == expected.split()
    assert (found["n_generated"], found["n_real"], found["step"]) == (100, 1442, 2)
    assert found["features"] == "small"
    assert found["preprocessing"].startswith("uint8, 1x28x28; ")
    assert results(run) == [found]
    assert evaluate(capfd, "run", "--n", "100") == found  # the same bits, kept once
    assert results(run) == [found]
    other = evaluate(capfd, "run", "--n", "100", "--seed", "1", "--metrics", "fid")
    assert other["values"]["fid"] != found["values"]["fid"]
    assert results(run) == [found, other]
    capfd.readouterr()
    assert main(["evaluate", "run/checkpoint.pt", "--n", "100", "--metrics", "kid,fid"]) == 0
    printed = capfd.readouterr().out
    assert f"fid      {found['values']['fid']:.6g}\n" in printed
    assert "100 generated images, run/checkpoint.pt at step 2\n" in printed
    assert f"features: small {found['features_hash']}\n" in printed
    # A new run in the folder takes the numbers of the old one away.
    again = ["train", "gan", "--config", "plain.yaml", "--out", "run", "--overwrite", *FEW]
    assert main(again) == 0
    assert not (run / "evaluation.json").exists()


def test_drawn_images_are_worth_what_their_run_is(
    run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    of_run = evaluate(capfd, "run", "--n", "64", "--metrics", "fid,prc")["values"]
    for out in ("drawn/", "drawn.npz"):
        assert main(["sample", "run", "--n", "64", "--out", out]) == 0
    names = {"drawn": "digits", "npz:drawn.npz": "digits"}
    for made, real in names.items():
        arguments = (made, "--against", real, "--image-size", "28", "--metrics", "fid,prc")
        found = evaluate(capfd, *arguments)["values"]
        assert found == pytest.approx(of_run, rel=1e-5)


def test_a_conditional_run_draws_the_classes_of_its_data(
    capfd: pytest.CaptureFixture[str],
) -> None:
    Path("cgan.yaml").write_text(CONDITIONAL)
    assert main(["train", "cgan", "--config", "cgan.yaml", "--out", "cgan", *FEW]) == 0
    found = evaluate(capfd, "cgan", "--n", "50")["values"]
    assert 0 <= found["label_accuracy"] <= 1
    assert evaluate(capfd, "cgan", "--n", "50", "--metrics", "ppl,is")["values"]["ppl"] >= 0


def test_translated_images_are_compared_with_their_targets(
    capfd: pytest.CaptureFixture[str], refused: Callable[..., str]
) -> None:
    small = ["--set", "generator.width=2", "--set", "data.n=8"]
    assert main(["train", "pix2pix-toy", "--out", "p", *FEW, *small]) == 0
    found = evaluate(capfd, "p")
    assert [*found["values"]] == ["mae", "psnr", "ssim"]
    assert found["features"] is None
    assert 0 < found["values"]["mae"] < 1
    test = evaluate(capfd, "p", "--split", "test", "--metrics", "l1", "--n", "4")
    assert (test["n_generated"], test["n_real"]) == (4, 4)
    assert "lpips needs https://" in refused("evaluate", "p", "--metrics", "lpips")
    assert "features inception need https://" in refused("evaluate", "p", "--metrics", "fid")
    assert main(["train", "cyclegan-toy", "--out", "c", *FEW, *small]) == 0
    assert "direction is not given" in refused("evaluate", "c")
    both = refused("evaluate", "c", "--direction", "a2b", "--metrics", "l1")
    assert "l1 needs images with a target each" in both


FLAT = """
import torch
class Flat(torch.nn.Module):
    def forward(self, images):
        return torch.nn.functional.adaptive_avg_pool2d(images.float(), 4).flatten(1)
def wrong():
    return 3
"""


def test_features_of_ones_own(
    run: Path, capfd: pytest.CaptureFixture[str], refused: Callable[..., str]
) -> None:
    Path("flat.py").write_text(FLAT)
    found = evaluate(capfd, "run", "--features", "flat.Flat", "--metrics", "fid", "--n", "30")
    assert found["features"] == "flat.Flat"
    fid = ("evaluate", "run", "--metrics", "fid", "--features")
    assert "'flat.wrong' gave a int; allowed is a Module" in refused(*fid, "flat.wrong")
    assert "cannot be imported" in refused(*fid, "flat.absent")
    assert "features is 'larg'; allowed are auto, small, inception" in refused(*fid, "larg")


def test_what_is_refused(run: Path, refused: Callable[..., str]) -> None:
    assert "metrics has 'fit'; allowed are fid, kid" in refused("evaluate", "run", "--metrics=fit")
    Path("images").mkdir()
    pixels = np.zeros((8, 8), dtype=np.uint8)
    for number in range(3):
        Image.fromarray(pixels).save(f"images/{number}.png")
    assert "images is no run; give --against" in refused("evaluate", "images")
    assert "there is no runs/gone; expected a run or" in refused("evaluate", "runs/gone")
    many = refused("evaluate", "images", "--against", "digits", "--n", "5")
    assert "n is 5; allowed for folder:images are 1 to 3" in many
    few = refused("evaluate", "images", "--against", "digits")
    assert "needs at least 4 generated images, and there are 3" in few
    weights = refused("evaluate", "run", "--features", "inception", "--weights", "absent.pth")
    assert "--weights absent.pth: no such file" in weights
    assert not (run / "evaluation.json").exists()


def test_a_result_that_cannot_be_kept_is_still_printed(
    run: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    (run / "evaluation.json").mkdir()
    capfd.readouterr()
    assert main(["evaluate", "run", "--n", "50", "--metrics", "fid"]) == 0
    assert capfd.readouterr().out.startswith("fid ")
    assert f"the result cannot be kept in {run / 'evaluation.json'} (" in caplog.text


def test_data_of_somebody_elses_run_need_trust(
    capfd: pytest.CaptureFixture[str], refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("plain.yaml").write_text(PLAIN)
    Path("theirs.py").write_text(
        "from pathlib import Path\nfrom gankit.data import load\n"
        "def digits():\n    Path('ran').touch()\n    return load('digits')\n"
    )
    train = ["train", "gan", "--config", "plain.yaml", "--data", "theirs.digits", "--out", "run"]
    assert main([*train, *FEW]) == 0
    Path("ran").unlink()
    monkeypatch.delitem(sys.modules, "theirs")
    assert "names code that is not gankit's: data is 'theirs.digits'" in refused("evaluate", "run")
    assert not Path("ran").exists()
    evaluate(capfd, "run", "--against", "digits", "--n", "20")
    assert not Path("ran").exists()
    evaluate(capfd, "run", "--trust", "--n", "20")
    assert Path("ran").exists()
    assert "argument 'split'" in refused("evaluate", "run", "--trust", "--split", "test")


def test_real_images_have_the_size_of_those_the_run_makes_or_that_asked_for(
    capfd: pytest.CaptureFixture[str],
) -> None:
    Path("plain.yaml").write_text(PLAIN)
    Path("pictures").mkdir()
    random = np.random.default_rng(0)
    for number in range(60):
        pixels = random.integers(0, 256, (24, 24), dtype=np.uint8)
        Image.fromarray(pixels).save(f"pictures/{number}.png")
    Path("mean.py").write_text(
        "import torch\nclass Mean(torch.nn.Module):\n"
        "    def forward(self, images):\n        return images.float().mean((2, 3))\n"
    )
    train = ["train", "gan", "--config", "plain.yaml", "--data", "folder:pictures", *FEW]
    assert main([*train, "--set", "data.image_size=16", "--out", "sized"]) == 0
    for against in ([], ["--against", "pictures"]):
        arguments = ["sized", *against, "--metrics", "fid", "--features", "mean.Mean"]
        assert evaluate(capfd, *arguments)["preprocessing"].startswith("uint8, 1x16x16;")
        other = evaluate(capfd, *arguments, "--image-size", "20")
        assert other["preprocessing"].startswith("uint8, 1x16x16 and 1x20x20;")


@pytest.mark.slow
def test_the_numbers_are_those_of_the_command_of_torch_fidelity(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inception of random weights, which both read from one file, on the same folders."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    with monkeypatch.context() as patch:
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        torch.manual_seed(0)
        torch.save({}, "empty.pth")
        network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], "empty.pth")
    torch.save(network.state_dict(), "weights.pth")
    random = np.random.default_rng(0)
    for name, size, count in (("made", (24, 32, 3), 7), ("real", (40, 20), 6)):
        Path(name).mkdir()
        for number in range(count):
            pixels = random.integers(0, 256, size, dtype=np.uint8)
            Image.fromarray(pixels).save(f"{name}/{number}.png")
    command = [sys.executable, "-m", "torch_fidelity.fidelity", "--cpu", "--json", "--silent"]
    command += ["--isc", "--isc-splits", "7", "--kid", "--kid-subset-size", "6", "--prc"]
    command += [
        "--save-cpu-ram",
        "--no-cache",
        "--rng-seed",
        "0",
        "--feature-extractor",
        "inception-v3-compat",
    ]
    command += ["--feature-extractor-weights-path", "weights.pth"]
    done = subprocess.run(
        [*command, "--input1", "made", "--input2", "real"],
        capture_output=True, text=True, check=True, env=environment(),
    )  # fmt: skip
    theirs = json.loads(done.stdout)
    arguments = ("made", "--against", "real", "--features", "inception", "--weights", "weights.pth")
    ours = evaluate(capfd, *arguments, "--metrics", "is,kid,prc")["values"]
    for name, key in {
        "is": "inception_score_mean",
        "kid": "kernel_inception_distance_mean",
        "precision": "precision",
        "recall": "recall",
    }.items():
        assert ours[name] == pytest.approx(theirs[key], rel=1e-6, abs=1e-6), name
