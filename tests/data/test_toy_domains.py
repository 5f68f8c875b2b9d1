"""toy:arrows and toy:shapes: what the pictures show is what the sets say of them."""

from __future__ import annotations

import pytest
import torch

from gankit.data import ArrowData, ShapeData, load, load_arrows, load_shapes
from gankit.data.toy_domains import COLORS
from gankit.errors import DataError


@pytest.mark.parametrize("image_size", [32, 64])
def test_arrows_are_filled_or_outlined_and_point_where_the_set_says(image_size: int) -> None:
    data = load_arrows(image_size=image_size, n=120)
    assert data.fields == dict.fromkeys("ab", (1, image_size, image_size))
    line = (torch.arange(image_size) + 0.5) * (2 / image_size) - 1
    for images, angles in ((data.a, data.angles_a), (data.b, data.angles_b)):
        dark = 1 - images.images[:, 0].float() / 255
        if image_size == 64:
            assert dark[:, 0].max() == 0
            assert dark[:, :, -1].max() == 0
        # The center of the ink lies on the arrow's line: in front where the head is filled, which
        # is wider than the shaft, and behind where the shaft has the longer outline.
        x, y = (dark * line).sum((1, 2)), (dark * line[:, None]).sum((1, 2))
        along = (x * angles.cos() + y * angles.sin()) / x.hypot(y)
        assert (along if images is data.a else -along).min() > 0.7
    filled, outlined = (images.images.float().mean() for images in (data.a, data.b))
    assert filled < outlined
    assert -torch.pi <= float(data.angles_a.min()) < -3
    assert 3 < float(data.angles_a.max()) <= torch.pi
    assert not torch.equal(data.angles_a, data.angles_b)


def test_shapes_have_the_color_of_their_label_and_lie_in_their_masks() -> None:
    data = load_shapes(image_size=32, n=200)
    assert data.fields == {"image": (3, 32, 32), "label": ()}
    assert data.class_names == tuple(COLORS)
    assert torch.bincount(data.labels).tolist() == [50] * 4
    pixels = data.images.float().permute(0, 2, 3, 1)
    border = torch.nn.functional.max_pool2d(data.masks[:, None].float(), 5, 1, 2)[:, 0] > 0
    background = pixels[~border]
    assert (background.amax(1) - background.amin(1)).max() <= 1  # grey
    core = torch.nn.functional.max_pool2d(1 - data.masks[:, None].float(), 3, 1, 1)[:, 0] == 0
    for label, color in enumerate(COLORS.values()):
        own = pixels[data.labels == label][core[data.labels == label]]
        assert ((own - torch.tensor(color)).abs() <= 0.1 * torch.tensor(color) + 1).all()
    assert not (data.masks[:, 0] | data.masks[:, -1] | data.masks[:, :, 0]).any()
    assert data.masks.float().mean((1, 2)).min() > 0.05


@pytest.mark.parametrize(("name", "kind"), [("toy:arrows", ArrowData), ("toy:shapes", ShapeData)])
def test_splits_and_devices(name: str, kind: type) -> None:
    def first(split: str, **more: int) -> torch.Tensor:
        data = load(name, split=split, image_size=16, **more)
        assert isinstance(data, kind)
        images: torch.Tensor = data.a.images if isinstance(data, ArrowData) else data.images  # type: ignore[attr-defined]
        return images

    train, test, both = (first(split, n=8) for split in ("train", "test", "all"))
    assert torch.equal(both, torch.cat([train, test]))
    assert not torch.equal(train, test)
    assert torch.equal(train, first("train", n=8))
    moved = load(name, n=4, image_size=16).to("cpu")
    assert isinstance(moved, kind)
    assert moved.device.type == "cpu"
    for wrong in ({"image_size": 15}, {"n": 0}):
        with pytest.raises(DataError, match="must be at least"):
            load(name, **wrong)  # type: ignore[arg-type]
