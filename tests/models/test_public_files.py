"""Released files of pix2pix and CycleGAN load, and mean what they meant."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from gankit.errors import ConfigError
from gankit.models import patch, resnet, unet
from tests.models import public_layout

State = dict[str, Tensor]


def saved(network: nn.Module, folder: Path, parallel: bool) -> State:
    """The weights as in a file of ``network``, or of it within ``DataParallel``."""
    whole = nn.ModuleDict({"module": network}) if parallel else network
    torch.save(whole.state_dict(), folder / "latest_net_G.pth")
    found: State = torch.load(folder / "latest_net_G.pth", weights_only=True)
    return found


def random_weights(network: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    network.double()
    for parameter in network.parameters():
        nn.init.normal_(parameter, 0.05, 0.2)
    for name, buffer in network.named_buffers():
        if "running" in name:
            nn.init.uniform_(buffer, 0.5, 1.5)
    return network


def check_equal(theirs: nn.Module, ours: nn.Module, images: Tensor) -> None:
    """Outputs and gradients in training and in evaluation, and the statistics in between."""
    for training in (True, False):
        results = []
        for network in (theirs.train(training), ours.train(training)):
            for module in network.modules():
                if isinstance(module, nn.Dropout):
                    module.eval()
                if isinstance(module, nn.InstanceNorm2d):
                    module.train()  # the old files' statistics were tracked, never used
            x = images.clone().requires_grad_()
            y = network(x)
            network.zero_grad()
            (y * torch.linspace(-1, 1, y[0].numel()).view_as(y[0])).sum().backward()
            weights = sorted(
                (p.grad for p in network.parameters()), key=lambda g: (g.numel(), g.norm().item())
            )
            results.append([y, x.grad, *weights])
        for a, b in zip(*results, strict=True):
            torch.testing.assert_close(b, a, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("norm", ["instance", "old instance", "batch"])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_resnet(norm: str, dropout: float, parallel: bool, tmp_path: Path) -> None:
    theirs = random_weights(public_layout.resnet((3, 2), 4, 2, norm, dropout))
    ours = resnet.ResNetGenerator(3, 2, 32, 4, 2, norm.split()[-1], dropout=dropout).double()
    state = resnet.from_public(saved(theirs, tmp_path, parallel))
    ours.load_state_dict(state, strict=True)
    check_equal(theirs, ours, torch.randn(2, 3, 16, 12, dtype=torch.float64))


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("norm", ["instance", "old instance", "batch"])
@pytest.mark.parametrize("levels", [5, 7])
def test_unet(norm: str, levels: int, parallel: bool, tmp_path: Path) -> None:
    theirs = random_weights(public_layout.unet((2, 3), levels, 3, norm))
    ours = unet.UNetGenerator(2, 3, 2**levels, 3, norm.split()[-1], dropout=0.0).double()
    state = unet.from_public(saved(theirs, tmp_path, parallel))
    ours.load_state_dict(state, strict=True)
    check_equal(theirs, ours, torch.randn(2, 2, 2**levels, 2**levels, dtype=torch.float64))


@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize("layers", [1, 3, 5])
def test_patch_discriminator(norm: str, layers: int) -> None:
    theirs = random_weights(public_layout.patch(3, 4, layers, norm))
    ours = patch.PatchDiscriminator(3, 4, layers, norm).double()
    state = {key.replace("model.", "main.", 1): v for key, v in theirs.state_dict().items()}
    ours.load_state_dict(state, strict=True)
    size = ours.min_size
    check_equal(theirs, ours, torch.randn(2, 3, size + 8, size, dtype=torch.float64))


def test_sizes_are_those_of_the_papers_code() -> None:
    """The numbers that the public code prints, in millions, at its defaults."""

    def millions(network: nn.Module) -> float:
        return round(sum(p.numel() for p in network.parameters()) / 1e6, 3)

    with torch.device("meta"):
        assert millions(unet.UNetGenerator()) == 54.414
        assert millions(resnet.ResNetGenerator()) == 11.378
        assert millions(patch.PatchDiscriminator(6)) == 2.769
        assert millions(patch.PatchDiscriminator(norm="instance")) == 2.765


@pytest.mark.parametrize(
    ("module", "key"),
    [
        (resnet, "main.1.weight"),
        (resnet, "model.10.conv_block.weight"),
        (resnet, "model"),
        (unet, "model.1.weight"),
        (unet, "model.model.1.model.2.model.1.weight"),
        (unet, "model.model.3.model.1.weight"),
        (unet, "down.0.0.weight"),
        (unet, "model.model.9.weight"),
    ],
)
def test_a_file_of_something_else_is_refused(module: object, key: str) -> None:
    with pytest.raises(ConfigError, match="state must have the keys of the public"):
        module.from_public({key: torch.zeros(1)})  # type: ignore[attr-defined]
