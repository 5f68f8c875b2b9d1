"""Checkpoints of a program with a Trainer of its own: read, resumed, and across wrappers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import gankit
from gankit.cli import main
from gankit.data import BatchSampler, ImageData
from gankit.errors import CheckpointError
from gankit.models import mlp
from gankit.training import Checkpoint, GANStep, Trainer, load_checkpoint, save_checkpoint

Wrap = Callable[[nn.Module], nn.Module]


def plain(module: nn.Module) -> nn.Module:
    return module


def compiled(module: nn.Module) -> nn.Module:
    wrapped: nn.Module = torch.compile(module)
    return wrapped


def both(module: nn.Module) -> nn.Module:
    return nn.DataParallel(compiled(module))


WRAPS: list[Wrap] = [plain, compiled, nn.DataParallel, both]


def make(wrap: Wrap = plain, *, ema: float | None = None, path: Path | None = None) -> Trainer:
    torch.manual_seed(0)
    G, D = wrap(mlp.Generator(hidden=[8])), wrap(mlp.Discriminator(hidden=[8]))
    step = GANStep(
        G,
        D,
        torch.optim.Adam(G.parameters(), 2e-4),
        torch.optim.Adam(D.parameters(), 2e-4),
        noise=lambda n: torch.randn(n, 100),
        from_logits=False,
        ema=ema,
    )
    images = ImageData((torch.rand(40, 1, 28, 28) * 255).to(torch.uint8))
    callbacks = [] if path is None else [Checkpoint(path)]
    return Trainer(step, images, BatchSampler(40, 10), callbacks=callbacks)


def weights(trainer: Trainer) -> list[torch.Tensor]:
    return [*trainer.gan_step.G.parameters(), *trainer.gan_step.D.parameters()]


def test_it_goes_on_as_the_docs_say(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    make(path=path).fit(steps=3)
    again = make()
    again.load_state_dict(load_checkpoint(path))
    again.fit(steps=6)
    straight = make()
    straight.fit(steps=6)
    assert all(map(torch.equal, weights(again), weights(straight)))


def test_what_cannot_be_built_is_said_with_the_way(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "checkpoint.pt"
    make(path=path).fit(steps=1)
    words = r"checkpoint\.pt', generator=G\).*trainer\.load_state_dict\(load_checkpoint"
    for place in (path, tmp_path):
        with pytest.raises(CheckpointError, match=words):
            gankit.load(place)
    for argv in (["sample"], ["export", "--format", "torch-export"]):
        assert main([*argv, str(tmp_path)]) == 2
        assert "generator=G) gives yours the weights" in capfd.readouterr().err
    assert main(["train", "--resume", "--out", str(tmp_path), "--quiet"]) == 2
    assert "trainer.load_state_dict(load_checkpoint(" in capfd.readouterr().err


@pytest.mark.parametrize("ema", [None, 0.5])
def test_the_networks_given_get_the_sampled_weights(tmp_path: Path, ema: float | None) -> None:
    trainer = make(ema=ema, path=tmp_path / "checkpoint.pt")
    trainer.fit(steps=3)
    G = mlp.Generator(hidden=[8])
    assert gankit.load(tmp_path, generator=G) is G
    assert not G.training
    assert not any(parameter.requires_grad for parameter in G.parameters())
    sampled = trainer.gan_step.sampled.parameters()
    assert all(map(torch.equal, G.parameters(), sampled))
    with pytest.raises(CheckpointError, match=r"does not fit its generator: .*main\.0\.weight"):
        gankit.load(tmp_path, generator=mlp.Generator(hidden=[9]))


@pytest.mark.parametrize("theirs", WRAPS)
def test_wrapped_and_compiled_networks_share_checkpoints(tmp_path: Path, theirs: Wrap) -> None:
    written = make(theirs, ema=0.5)
    with torch.no_grad():
        for parameter in weights(written):
            parameter.add_(1)
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, written.state_dict())
    for wrap in WRAPS:
        trainer = make(wrap, ema=0.5)
        trainer.load_state_dict(load_checkpoint(path))
        assert all(map(torch.equal, weights(trainer), weights(written)))
        G = gankit.load(path, generator=wrap(mlp.Generator(hidden=[8])))
        assert written.gan_step.ema is not None
        assert all(map(torch.equal, G.parameters(), written.gan_step.ema.parameters()))


def test_a_part_called_module_keeps_its_name(tmp_path: Path) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = nn.Linear(2, 3)
            self.other = nn.Linear(3, 2)

    path = tmp_path / "g.safetensors"
    pytest.importorskip("safetensors.torch").save_file(Net().state_dict(), path)
    other = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    with pytest.raises(CheckpointError, match=r"Missing key.*0\.weight"):
        gankit.load(path, generator=other)
    assert isinstance(gankit.load(path, generator=nn.DataParallel(Net())), nn.DataParallel)
