"""Images out of a generator, and grids of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from gankit.data import ImageData
from gankit.errors import ConfigError
from gankit.models import conditional_mlp
from gankit.training import GANStep, SampleGrid, Trainer, generate, save_grid
from gankit.training.pictures import generate_batches, spread
from gankit.training.seeds import derived_seed


def pixels(path: Path) -> Tensor:
    with Image.open(path) as picture:
        return torch.from_numpy(np.array(picture))


def test_a_grid_holds_the_images_pixel_by_pixel(tmp_path: Path) -> None:
    images = torch.randint(0, 256, (5, 3, 4, 6), dtype=torch.uint8)
    scale, high, wide = 3, 14, 20
    for inverted in (False, True):
        path = tmp_path / f"{inverted}.png"
        save_grid(path, [images / 127.5 - 1], columns=2, scale=scale, inverted=inverted)
        page = pixels(path)
        assert page.shape == (3 * high + 2, 2 * wide + 2, 3)
        wanted = 255 - images if inverted else images
        for number, image in enumerate(wanted):
            y, x = number // 2 * high + 2, number % 2 * wide + 2
            block = page[y : y + 12, x : x + 18].permute(2, 0, 1)
            assert torch.equal(block, image.repeat_interleave(3, 1).repeat_interleave(3, 2))
        assert bool((page[-high:, -wide:] == (255 if inverted else 0)).all())  # there is no sixth


def test_long_names_stay_above_their_columns(tmp_path: Path) -> None:
    black = torch.full((3, 1, 28, 28), -1.0)
    names = ["", "a name of many words", ""]
    save_grid(tmp_path / "x.png", [black], columns=3, inverted=False, column_names=names)
    letters = (pixels(tmp_path / "x.png")[:18] > 40).any(dim=0).nonzero().flatten()
    assert 58 <= int(letters.min()) < 64, "it begins where the column does"
    assert 100 < int(letters.max()) <= 2 * 58


@pytest.mark.parametrize(
    ("size", "shown"), [((28, 28), 56), ((32, 40), 64), ((64, 64), 64), ((8, 8), 56), ((3, 9), 24)]
)
def test_small_images_are_enlarged(size: tuple[int, int], shown: int, tmp_path: Path) -> None:
    save_grid(tmp_path / "grid.png", [torch.zeros(1, 1, *size)], columns=1)
    assert pixels(tmp_path / "grid.png").shape[0] == shown + 4


def test_a_grid_says_what_is_on_it(tmp_path: Path) -> None:
    """Letters above the panel and the column that they name, and nowhere else."""
    black = torch.full((4, 1, 28, 28), -1.0)

    def written(name: str, **words: list[str]) -> Tensor:
        save_grid(tmp_path / name, [black, black], columns=4, inverted=False, **words)  # type: ignore
        return pixels(tmp_path / name) > 40

    plain = written("plain.png")
    page = written("page.png", captions=["generated, step 12", ""], column_names=["7", "", "", ""])
    assert page.shape[0] == plain.shape[0] + 36
    panel = 4 * 58 + 2
    assert page[:18, :panel].any()
    assert page[18:36, :58].any()
    assert not page[18:36, 58:panel].any()
    assert not page[:18, panel + 12 :].any()
    assert torch.equal(page[36:], plain)
    # A longer number of steps leaves the size as it is: a GIF's frames have one size.
    narrow = [black[:1]]
    for step in (1, 10_000_000):
        caption = [f"generated, step {step}"]
        save_grid(tmp_path / f"{step}.png", narrow, columns=1, captions=caption)
    assert pixels(tmp_path / "1.png").shape == pixels(tmp_path / "10000000.png").shape
    assert not torch.equal(pixels(tmp_path / "1.png"), pixels(tmp_path / "10000000.png"))


@pytest.mark.parametrize(
    ("channels", "mode"), [(1, "L"), (2, "RGB"), (3, "RGB"), (4, "RGBA"), (5, "RGB"), (28, "RGB")]
)
def test_any_number_of_channels_is_drawn(channels: int, mode: str, tmp_path: Path) -> None:
    images = torch.rand(3, channels, 9, 9) * 2 - 1
    save_grid(tmp_path / "a.png", [images, images], columns=2, captions=["generated", "real"])
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.mode == mode


def test_what_a_grid_cannot_be_given(tmp_path: Path) -> None:
    images = [torch.zeros(4, 1, 5, 5)]
    for words, wanted in (
        ({"captions": ["a", "b"]}, "captions has 2 entries; allowed are 0 and 1"),
        ({"column_names": ["0"]}, "column_names has 1 entries; allowed are 0 and 2"),
        ({"scale": 0}, "scale is 0; allowed are integers from 1"),
    ):
        with pytest.raises(ConfigError, match=wanted):
            save_grid(tmp_path / "grid.png", images, columns=2, **words)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_classes_are_spread_over_too_few_columns() -> None:
    assert spread([1, 4, 7], 8) == [1, 4, 7]
    assert spread(list(range(26)), 5) == [0, 5, 10, 15, 20]
    assert len(set(spread(list(range(11)), 10))) == 10


class Noisy(nn.Module):
    """A generator with noise of its own and a constant, the first numbers of a run: as StyleGAN."""

    z_dim = 16

    def __init__(self) -> None:
        super().__init__()
        self.constant = nn.Parameter(torch.randn(64, 16))
        self.seen: list[tuple[Tensor, ...]] = []

    def forward(self, z: Tensor) -> Tensor:
        self.seen.append((z, torch.randn(z.shape), torch.rand(z.shape)))
        return (z + self.seen[-1][1]).view(-1, 1, 4, 4)


@pytest.mark.parametrize("seed", [0, 5, 2**40])
@pytest.mark.parametrize("distribution", ["normal", "uniform"])
def test_a_generators_own_noise_is_independent_of_z(seed: int, distribution: str) -> None:
    torch.manual_seed(seed)  # as the run of that seed drew the weights
    G = Noisy()
    first = generate(G, 64, seed=seed, distribution=distribution, batch=32)  # type: ignore[arg-type]
    streams = [torch.cat(parts).flatten() for parts in zip(*G.seen, strict=True)]
    streams.append(G.constant.detach().flatten())
    table = torch.stack(streams)
    # 1,024 independent numbers are correlated by 0.03 or so.
    assert (table.corrcoef() - torch.eye(4)).abs().max() < 0.2
    halves = G.seen[0][1], G.seen[1][1]
    assert torch.stack([half.flatten() for half in halves]).corrcoef()[0, 1].abs() < 0.2
    again = generate(G, 64, seed=seed, distribution=distribution, batch=32)  # type: ignore[arg-type]
    assert torch.equal(first, again)


def test_derived_seeds_are_the_same_everywhere_and_differ() -> None:
    assert derived_seed(0, "z") == derived_seed(0, "z")
    seeds = {derived_seed(seed, name) for seed in range(50) for name in ("z", "rank 0", "rank 1")}
    assert len(seeds) == 150
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_images_come_batch_by_batch_and_nothing_global_changes() -> None:
    G = Noisy().train()
    state = torch.get_rng_state()
    parts = generate_batches(G, 10, seed=1, batch=4)
    for size in (4, 4, 2):
        assert next(parts).shape == (size, 1, 4, 4)
        assert torch.equal(torch.get_rng_state(), state)
        assert G.training
    with pytest.raises(ConfigError, match="n is 0"):
        generate_batches(G, 0, seed=1)


@pytest.mark.parametrize("columns", [8, 2])
def test_a_conditional_run_has_a_column_per_class_that_occurs(
    columns: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Classes 1, 3 and 4 of images that show their class as their brightness."""
    labels = torch.tensor([3, 1, 4, 3, 1, 3, 3])
    images = labels.to(torch.uint8).mul(50).view(-1, 1, 1, 1).expand(-1, 1, 4, 4)
    G = conditional_mlp.Generator(5, 3, (1, 4, 4), (8,))
    D = conditional_mlp.Discriminator(3, (1, 4, 4), (8,))
    step = GANStep(G, D, *(torch.optim.Adam(m.parameters()) for m in (G, D)))
    data = ImageData(images.contiguous(), labels)
    trainer = Trainer(step, data, data.sampler(2))
    trainer.step = 9
    drawn: dict[str, object] = {}
    monkeypatch.setattr(
        "gankit.training.callbacks.sample_grid.save_grid",
        lambda path, panels, **words: drawn.update(words, panels=panels),
    )
    seen: list[Tensor] = []
    G.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[1]))
    SampleGrid(tmp_path, rows=3, columns=columns)._draw(trainer)
    shown = [1, 3, 4] if columns == 8 else [1, 3]
    assert torch.cat(seen).tolist() == shown * 3
    assert drawn["columns"] == len(shown)
    assert drawn["column_names"] == [str(label) for label in shown]
    assert drawn["captions"] == ["generated, step 9", "real"]
    fakes, reals = drawn["panels"]  # type: ignore[misc]
    assert fakes.shape == reals.shape
    brightness = ((reals[:, 0, 0, 0] + 1) * 127.5 / 50).round().int()
    assert brightness.tolist() == shown * 3


def test_grids_of_a_training_run(tmp_path: Path) -> None:
    from gankit import recipes
    from gankit.runs.build import build_trainer

    config = recipes.get("cgan").config.updated(
        device="cpu", image_size=8, generator="gankit.models.conditional_mlp.Generator"
    )
    trainer: Trainer = build_trainer(config, callbacks=[SampleGrid(tmp_path / "s", columns=10)])
    trainer.fit(steps=1)
    (path,) = (tmp_path / "s").iterdir()
    assert pixels(path).shape == (36 + 8 * 58 + 2, 2 * 582 + 12)


def test_processes_and_runs_share_no_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rank 1 of seed 0 is not rank 0 of seed 1, and neither draws what the weights were."""
    from gankit import recipes
    from gankit.runs import build

    for name in ("ShareOfBatches", "broadcast_state", "average_gradients"):
        monkeypatch.setattr(build, name, lambda *given: given[0])
    config = recipes.get("gan-1d").config.updated(device="cpu")
    seeds = []
    for seed, rank in ((0, 0), (0, 1), (1, 0), (1, 1)):
        monkeypatch.setattr(build, "world", lambda rank=rank: (rank, 2))
        build.build_trainer(config.updated(seed=seed))
        seeds.append(torch.initial_seed())
    assert len({*seeds, 0, 1}) == 6
