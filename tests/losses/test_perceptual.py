"""Perceptual features: VGG19's from a file, and those that are fitted to the data."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gankit.data.high_resolution import shrink
from gankit.data.toy_prints import load_prints
from gankit.errors import CheckpointError, ConfigError, DataError
from gankit.gans import srgan
from gankit.losses import fitted_features
from gankit.losses.fitted_features import fit_features
from gankit.losses.perceptual import VGG19Features, vgg19_file


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, torch.nn.Module]:
    """A file with random weights of torchvision's layers, and the layers."""
    vgg = pytest.importorskip("torchvision.models.vgg")
    torch.manual_seed(0)
    layers = vgg.make_layers(vgg.cfgs["E"], batch_norm=False).eval()
    state = {f"features.{name}": value for name, value in layers.state_dict().items()}
    file = tmp_path_factory.mktemp("vgg") / "vgg19.pth"
    torch.save({**state, "classifier.0.bias": torch.zeros(3)}, file)
    return file, layers


def test_vgg19_is_torchvisions_up_to_the_last_activation(
    weights: tuple[Path, torch.nn.Module],
) -> None:
    file, layers = weights
    features = VGG19Features(file)
    images = torch.rand(1, 3, 32, 48) * 2 - 1
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]
    with torch.no_grad():
        expected = layers[:-1](((images + 1) / 2 - mean) / std) / 12.75
    made = features(images)
    assert made.shape == (1, 512, 2, 3)
    assert bool(expected.any())
    torch.testing.assert_close(made, expected)
    grey = images[:, :1]
    torch.testing.assert_close(features(grey), features(grey.expand(-1, 3, -1, -1)))
    assert not list(features.parameters())
    assert set(features.state_dict()) == {"digest"}
    assert features.double()(images.double()).dtype == torch.float64
    with pytest.raises(ConfigError, match=r"allowed for VGG19's features are \[N, 3, H, W\]"):
        features(torch.zeros(1, 5, 32, 32))


def test_a_checkpoint_asks_for_the_same_vgg19(weights: tuple[Path, torch.nn.Module]) -> None:
    features = VGG19Features(weights[0])
    features.load_state_dict(features.state_dict())
    other = {"digest": features.digest ^ 1}
    with pytest.raises(CheckpointError, match="learnt from the features of another VGG19"):
        features.load_state_dict(other)
    fitted = fitted_features.FittedFeatures(3).state_dict()
    with pytest.raises(CheckpointError, match=r"kind 'fitted'.* set step.features=fitted"):
        features.load_state_dict(fitted)


def test_weights_are_found_in_torchs_cache_or_a_file_and_never_fetched(
    weights: tuple[Path, torch.nn.Module], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GANKIT_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(fitted_features, "_STEPS", 1)
    data = load_prints(n=1, image_size=32, scale=2)
    assert vgg19_file() is None
    assert srgan._features("auto", data, 0).kind == "fitted"
    with pytest.raises(ConfigError, match=r"features is 'vgg19', but torch's cache has no vgg19-"):
        srgan._features("vgg19", data, 0)
    with pytest.raises(ConfigError, match="features is 'vgg16'; allowed are 'auto', 'vgg19', 'fi"):
        srgan._features("vgg16", data, 0)
    assert srgan._features(str(weights[0]), data, 0).kind == "vgg19"
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "vgg19-dcbb9e9d.pth").symlink_to(weights[0])
    assert "VGG19, from" in srgan._features("auto", data, 0).note
    assert srgan._features("fitted", data, 0).kind == "fitted"


def test_files_that_hold_something_else_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(ConfigError, match=r"features .*text.pth' cannot be read"):
        VGG19Features(tmp_path / "text.pth")
    torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "other.pth")
    with pytest.raises(ConfigError, match=r"are not the weights of torchvision's VGG19: expected"):
        VGG19Features(tmp_path / "other.pth")


def some_prints() -> tuple[Tensor, Tensor]:
    data = load_prints(n=4, image_size=32, scale=2, augment=False)
    high = data.batch(torch.arange(len(data)))["high"]
    return shrink(high, 2), high


def test_fitted_features_are_the_same_again_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitted_features, "_STEPS", 20)
    low, high = some_prints()
    state = torch.get_rng_state()
    one, two = (fit_features(low, high, cache) for cache in (None, tmp_path))
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name]), name
    (file,) = tmp_path.iterdir()
    with monkeypatch.context() as patched:
        patched.setattr(fitted_features, "_fit", None)  # is not called again
        assert torch.equal(fit_features(low, high, tmp_path)(high), one(high))
    size = file.stat().st_size
    file.write_bytes(file.read_bytes()[:100])
    assert torch.equal(fit_features(low, high, tmp_path)(high), one(high))  # fitted again
    assert file.stat().st_size == size
    assert fit_features(-low, -high, tmp_path).gain.ne(one.gain).any()
    monkeypatch.setattr(fitted_features, "_STEPS", 2)
    assert not torch.equal(fit_features(low, high, tmp_path)(high), one(high))
    assert len(list(tmp_path.iterdir())) == 3


def test_fitted_features_have_the_scale_of_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitted_features, "_STEPS", 5)
    low, high = some_prints()
    features = fit_features(low, high)
    blurred = F.interpolate(low, high.shape[2:], mode="bicubic")
    pixels, means = (F.mse_loss(f(blurred), f(high)) for f in (lambda x: x, _means))
    distance = F.mse_loss(features(blurred), features(high))
    torch.testing.assert_close(distance, pixels + means, rtol=1e-3, atol=1e-5)
    # What the turn does not tell, brightness, is seen all the same.
    assert F.mse_loss(features(high - 0.5), features(high)) > 0.25
    with pytest.raises(DataError, match="two or more of at least 8x8 pixels"):
        fit_features(low[:1], high[:1])


def _means(images: Tensor) -> Tensor:
    return F.avg_pool2d(images, 4)
