"""Pictures of points: which sets get them, and that they show what was made."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gankit import recipes
from gankit.cli.main import main
from gankit.errors import ConfigError
from gankit.runs.build import build_trainer
from gankit.training import SampleGrid
from gankit.training.point_pictures import are_points, save_points

Image = pytest.importorskip("PIL.Image")
pytest.importorskip("matplotlib")
SMALL = {
    "generator": {"class_path": "gankit.models.mlp.Generator", "init_args": {"hidden": [8]}},
    "discriminator": {
        "class_path": "gankit.models.mlp.Discriminator",
        "init_args": {"hidden": [8]},
    },
}


def pixels(path: Path) -> torch.Tensor:
    with Image.open(path) as picture:
        image = picture.convert("RGB")
        return torch.tensor(list(image.tobytes())).view(image.height, image.width, 3)


def test_points_are_one_or_two_numbers() -> None:
    assert are_points((1, 1, 1))
    assert are_points((1, 1, 2))
    assert not are_points((1, 1, 3))
    assert not are_points((1, 28, 28))
    with pytest.raises(ConfigError, match=r"points are \[3, 1, 1, 3\]"):
        save_points("nowhere.png", torch.zeros(3, 1, 1, 3))


def test_a_cloud_stands_where_its_points_are(tmp_path: Path) -> None:
    columns = []
    for x in (-0.5, 0.5):
        path = tmp_path / f"{x}.png"
        save_points(path, torch.tensor([[[[x, -0.5]]]]).expand(50, 1, 1, 2))
        half = pixels(path)[pixels(path).shape[0] // 2 :]
        red, blue = half[..., 0], half[..., 2]
        where = ((red - blue) > 150).nonzero()
        assert len(where)
        columns.append(where[:, 1].float().mean().item())
    assert columns[1] - columns[0] > 80


def test_the_answer_is_drawn_over_densities(tmp_path: Path) -> None:
    seen = []
    values = torch.rand(40, 1, 1, 1, generator=torch.Generator().manual_seed(0))

    def answer(points: torch.Tensor) -> torch.Tensor:
        seen.append(points)
        return points.sigmoid()

    save_points(tmp_path / "with.png", values, -values, answer=answer)
    save_points(tmp_path / "without.png", values, -values)
    assert seen[0].shape == (201, 1, 1, 1)
    assert (tmp_path / "with.png").read_bytes() != (tmp_path / "without.png").read_bytes()


@pytest.mark.parametrize("data", ["toy:normal", "toy:ring"])
def test_training_on_points_draws_them_and_changes_no_network(data: str, tmp_path: Path) -> None:
    config = recipes.get("gan").config.updated(device="cpu", data=data, **SMALL)
    trainer = build_trainer(config, callbacks=[SampleGrid(tmp_path / "samples")])
    trainer.fit(steps=2)
    assert trainer.gan_step.D.training
    twin = build_trainer(config)
    twin.fit(steps=2)
    ours, theirs = trainer.gan_step.D.parameters(), twin.gan_step.D.parameters()
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    (picture,) = (tmp_path / "samples").glob("*.png")
    assert pixels(picture).shape == (288, 360, 3)


def test_the_command_line_trains_on_points_resumes_and_samples(tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "out.png"
    flags = ["--out", str(run), "--quiet", "--device", "cpu"]
    assert main(["train", "gan", "--data", "toy:ring", "--steps", "2", *flags]) == 0
    assert main(["train", "gan", "--resume", "--steps", "4", *flags]) == 0
    assert main(["sample", str(run), "--n", "50", "--out", str(out)]) == 0
    assert pixels(out).shape == (288, 360, 3)
    assert (run / "samples.gif").is_file()


def test_a_caption_stands_above_the_points(tmp_path: Path) -> None:
    points = torch.rand(50, 1, 1, 2) * 2 - 1
    for name, caption in (("plain", ""), ("one", "step 1"), ("two", "step 2")):
        save_points(tmp_path / f"{name}.png", points, caption=caption)
    pages = [Image.open(tmp_path / f"{name}.png").convert("L") for name in ("plain", "one", "two")]
    assert len({page.size for page in pages}) == 1
    assert len({page.tobytes() for page in pages}) == 3
