"""The drawn image sets: what the pictures show is what the set says of them."""

from __future__ import annotations

import pytest
import torch

from gankit.data import DiscData, EdgeData, load, load_discs, load_edges
from gankit.data.toy_images import FILLS, disc_masks
from gankit.errors import DataError
from gankit.runs.build import build_trainer
from gankit.training.config import RunConfig


def eroded(masks: torch.Tensor, pixels: int) -> torch.Tensor:
    """Bool ``[N, H, W]`` without a border of so many pixels."""
    outside = (~masks).float().unsqueeze(1)
    side = 2 * pixels + 1
    return torch.nn.functional.max_pool2d(outside, side, 1, pixels).squeeze(1) == 0


def values(data: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """The colors of the pixels in ``masks``, ``[P, C]``."""
    return data.permute(0, 2, 3, 1)[masks]


@pytest.mark.parametrize("image_size", [32, 64])
def test_edges_are_filled_with_one_of_the_colors_that_are_possible(image_size):
    data = load_edges(image_size=image_size, n=300)
    assert data.fields == {"a": (1, image_size, image_size), "b": (3, image_size, image_size)}
    a, b = data.a.images, data.b.images
    fill = data.colors[torch.arange(300), data.chosen]
    inside, outside = eroded(data.masks, 1), eroded(~data.masks, 2)
    assert data.masks.float().mean(dim=(1, 2)).min() > 0.045
    assert torch.equal(values(b, inside), fill[inside.nonzero()[:, 0]])
    assert (values(b, outside) == 255).all()
    # The line lies on the border of the polygon and nowhere else.
    apart = eroded(data.masks, 4) | eroded(~data.masks, 4)
    assert (values(a, apart) == 255).all()
    border = ~(eroded(data.masks, 1) | eroded(~data.masks, 1))
    assert values(a, border).float().mean() < 160


def test_a_quarter_of_the_edges_allows_two_colors():
    data = load_edges(n=400)
    assert torch.equal(data.ambiguous, data.corners == 6)
    assert torch.bincount(data.corners).tolist() == [0, 0, 0, 150, 150, 0, 100]
    for corners, colors in FILLS.items():
        own = data.colors[data.corners == corners]
        assert torch.equal(own, torch.tensor(colors, dtype=torch.uint8).expand(len(own), 2, 3))
    # Six standard deviations around a half.
    assert 20 < int(data.chosen[data.ambiguous].sum()) < 80
    # The four colors differ by a hundred levels in a channel, any two of them.
    four = torch.cat([torch.tensor(colors) for colors in FILLS.values()]).unique(dim=0)
    assert len(four) == 4
    apart = (four[:, None] - four).abs().amax(dim=2) + torch.eye(4) * 255
    assert apart.min() >= 100


def test_polygons_lie_within_the_image_and_have_their_corners():
    data = load_edges(image_size=128, n=90)
    border = torch.ones(128, 128, dtype=torch.bool)
    border[1:-1, 1:-1] = False
    assert not (data.masks & border).any()
    # Of a regular polygon of n corners the area is n/2 sin(2 pi/n) of the circle's around it.
    x = torch.arange(128.0)
    areas = data.masks.flatten(1).sum(dim=1)
    center_x = (data.masks.sum(dim=1) * x).sum(dim=1) / areas
    center_y = (data.masks.sum(dim=2) * x).sum(dim=1) / areas
    away = ((x - center_x[:, None, None]) ** 2 + (x[:, None] - center_y[:, None, None]) ** 2).sqrt()
    radius = (away * data.masks).flatten(1).amax(dim=1)
    share = areas / (torch.pi * radius**2)
    for corners, expected in ((3, 0.4135), (4, 0.6366), (6, 0.8270)):
        assert share[data.corners == corners].mean().item() == pytest.approx(expected, rel=0.12)


def test_discs_are_red_or_orange_and_where_the_masks_are():
    data = load_discs(n=200)
    assert data.fields == {"a": (3, 64, 64), "b": (3, 64, 64)}
    for images, masks, orange in ((data.a, data.masks_a, False), (data.b, data.masks_b, True)):
        seen = disc_masks(images.normalized())
        overlap = (seen & masks).flatten(1).sum(1) / (seen | masks).flatten(1).sum(1)
        assert overlap.min() > 0.9
        red, green, blue = values(images.images.float(), eroded(masks, 2)).unbind(dim=1)
        assert (red > 120).all()
        low, high = (0.45, 0.65) if orange else (0.05, 0.2)
        own = (green > low * red) & (green < high * red) & (blue < 0.2 * red)
        # Where two discs all but touch, the background shows through.
        assert own.float().mean() > 0.999
        # Textures: brightness varies within a disc.
        assert red.std() > 15
        red, _, blue = values(images.images.float(), eroded(~masks, 2)).unbind(dim=1)
        assert (blue > red + 10).all()
        share = masks.float().mean(dim=(1, 2))
        assert share.min() > 0.04
        assert share.max() < 0.5
        backgrounds = images.images[:, :, 0, 0].float()
        assert backgrounds.std(dim=0).min() > 15


@pytest.mark.parametrize("name", ["edges", "discs"])
def test_the_sets_are_fixed_and_the_splits_disjoint(name):
    train, test = (
        load(f"toy:{name}", image_size=16),
        load(f"toy:{name}", image_size=16, split="test"),
    )
    again = load(f"toy:{name}", image_size=16)
    everything = load(f"toy:{name}", image_size=16, split="all")
    for field in ("a", "b"):
        images, unseen = getattr(train, field).images, getattr(test, field).images
        assert torch.equal(images, getattr(again, field).images)
        assert torch.equal(torch.cat([images, unseen]), getattr(everything, field).images)
        known = {image.numpy().tobytes() for image in images}
        assert len(known) == len(images) == 1000
        assert not any(image.numpy().tobytes() in known for image in unseen)


def test_the_domains_of_discs_are_not_paired():
    data = load_discs(n=100)
    overlap = (data.masks_a & data.masks_b).sum() / (data.masks_a | data.masks_b).sum()
    assert overlap < 0.4


def test_they_keep_what_is_known_when_they_move_and_are_loaded_by_name():
    edges = load("toy:edges", image_size=None).to("cpu")
    assert isinstance(edges, EdgeData)
    assert (edges.name, len(edges), edges.a.shape) == ("toy:edges", 1000, (1, 64, 64))
    assert edges.masks.shape == (1000, 64, 64)
    discs = load("toy:discs", image_size=16).to("cpu")
    assert isinstance(discs, DiscData)
    assert (discs.name, discs.masks_a.shape) == ("toy:discs", (1000, 16, 16))
    moved = edges.to("meta")
    assert {moved.a.device, moved.b.device, moved.masks.device, moved.colors.device} == {
        torch.device("meta")
    }


def test_no_randomness_but_the_seed():
    before = torch.get_rng_state()
    load_edges(n=3).batch(torch.arange(3))
    load_discs(n=3).batch(torch.arange(3))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("make", [load_edges, load_discs])
def test_sizes_that_are_refused(make):
    with pytest.raises(DataError, match="image_size must be at least 16 for this toy, got 15"):
        make(image_size=15)
    with pytest.raises(DataError, match="n must be at least 1, got 0"):
        make(n=0)
    assert make(n=1).fields["b"] == (3, 64, 64)


def test_a_recipe_of_single_images_refuses_them():
    with pytest.raises(DataError, match=r"edges.* has the fields a, b, not image"):
        build_trainer(RunConfig(data="toy:edges", image_size=16, device="cpu"))
