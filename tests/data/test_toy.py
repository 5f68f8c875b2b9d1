"""Toy data: points that are what their mixture says, and a place among the image sets."""

from __future__ import annotations

import math

import pytest
import torch

from gankit.data import ImageData, PointData, load, load_toy
from gankit.data.toy import TOYS
from gankit.errors import DataError


@pytest.mark.parametrize("name", TOYS)
def test_points_follow_their_mixture(name: str) -> None:
    data, mixture = load(f"toy:{name}"), TOYS[name]
    assert isinstance(data, PointData)
    assert data.shape == (1, 1, len(mixture.std))
    assert data.labels is not None
    points = data.normalized().flatten(1)
    assert len(points) == 10_000
    assert (points.abs() <= 1).float().mean() > 0.999
    for mode, centre in enumerate(mixture.centres):
        own = points[data.labels == mode]
        assert abs(len(own) - len(points) / len(mixture.centres)) <= 1
        # Five standard errors of a mean and of a standard deviation.
        for axis, std in enumerate(mixture.std):
            error = 5 * std / math.sqrt(len(own))
            assert own[:, axis].mean().item() == pytest.approx(centre[axis], abs=error)
            assert own[:, axis].std().item() == pytest.approx(std, abs=error)
        if len(mixture.std) == 2:
            seen = torch.corrcoef(own.T)[0, 1].item()
            assert seen == pytest.approx(mixture.correlation, abs=5 / math.sqrt(len(own)))


def test_the_mixtures_are_those_of_the_papers() -> None:
    ring, grid = TOYS["ring"], TOYS["grid"]
    centres = torch.tensor(ring.centres)
    torch.testing.assert_close(centres.norm(dim=1), torch.full((8,), 0.8))
    torch.testing.assert_close(centres[:4], -centres[4:])
    assert ring.std == pytest.approx((0.02 * 0.4, 0.02 * 0.4))
    assert len(set(grid.centres)) == 25
    assert {x for centre in grid.centres for x in centre} == {-0.8, -0.4, 0.0, 0.4, 0.8}
    assert grid.std == pytest.approx((0.05 * 0.2, 0.05 * 0.2))
    assert TOYS["height-weight"].correlation == 0.5  # tall people weigh more


def test_the_same_points_every_time_and_others_for_the_test() -> None:
    assert torch.equal(load("toy:ring").images, load_toy("ring").images)
    train, test = load_toy("ring").images, load_toy("ring", split="test").images
    assert not torch.equal(train, test)
    assert torch.equal(load("toy:ring", split="all").images, torch.cat([train, test]))
    # In random order: neighbours come from one mode in about one case of eight.
    labels = load_toy("ring").labels
    assert labels is not None
    assert 0.1 < (labels[1:] == labels[:-1]).float().mean() < 0.15


def test_points_are_gathered_as_they_are() -> None:
    data = load_toy("grid", n=50)
    picks = torch.tensor([3, 0, 3])
    assert torch.equal(data.gather(picks), data.images[picks])
    assert data.resize(8) is data
    assert torch.equal(data.to("cpu").images, data.images)
    assert isinstance(data, ImageData)


@pytest.mark.parametrize("name", ["toy:", "toy:rong"])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(DataError, match=r"allowed are .*ring"):
        load(name)


@pytest.mark.parametrize(
    ("points", "words"),
    [
        (torch.zeros(3, 1, 1, 2, dtype=torch.float64), "must be a float32 tensor"),
        (torch.zeros(3, 2), r"shape \[N, 1, 1, d\], got \[3, 2\]"),
        (torch.zeros(0, 1, 1, 2), "shape"),
        (torch.full((3, 1, 1, 2), math.nan), "finite"),
    ],
)
def test_points_that_are_refused(points: torch.Tensor, words: str) -> None:
    with pytest.raises(DataError, match=words):
        PointData(points)
    with pytest.raises(DataError, match="labels must be int64"):
        PointData(torch.zeros(3, 1, 1, 2), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(DataError, match="n must be at least 1"):
        load_toy("ring", n=0)
