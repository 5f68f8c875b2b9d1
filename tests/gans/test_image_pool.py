"""The pool of earlier images against one that takes them one by one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gankit.errors import ConfigError
from gankit.gans.image_pool import ImagePool


class OneByOne:
    """The history as the paper's authors describe it: a list, and one image after the other."""

    def __init__(self, size: int) -> None:
        self.size, self.kept = size, list[Tensor]()

    def __call__(self, images: Tensor, drawn: Tensor) -> Tensor:
        out = []
        for image, (exchange, which) in zip(images, drawn.tolist(), strict=True):
            if len(self.kept) < self.size:
                self.kept.append(image)
                out.append(image)
            elif exchange < 0.5:
                slot = int(which * self.size)
                out.append(self.kept[slot])
                self.kept[slot] = image
            else:
                out.append(image)
        return torch.stack(out)


@pytest.mark.parametrize(("size", "n"), [(5, 3), (1, 7), (3, 8), (50, 4)])
def test_a_batch_gives_what_its_images_give_one_by_one(size: int, n: int) -> None:
    torch.manual_seed(size)
    pool, plain = ImagePool(size, (1, 2, 2)), OneByOne(size)
    earlier = 0
    for number in range(60):
        images = torch.arange(n * number, n * number + n).float()[
            :, None, None, None
        ] + torch.zeros(n, 1, 2, 2)
        drawn = torch.rand(n, 2)
        out = pool(images, drawn)
        assert torch.equal(out, plain(images, drawn))
        earlier += int((out != images).any((1, 2, 3)).sum())
        assert torch.equal(pool.images[: len(plain.kept)], torch.stack(plain.kept))
    assert int(pool.filled) == size
    assert 0.4 < earlier / (60 * n - size) < 0.6


def test_parts_of_a_batch_give_what_the_whole_gives() -> None:
    whole, parts = ImagePool(4, (1, 1, 1)), ImagePool(4, (1, 1, 1))
    torch.manual_seed(0)
    for _ in range(10):
        images, drawn = torch.randn(6, 1, 1, 1), torch.rand(6, 2)
        two = [parts(x, u) for x, u in zip(images.chunk(2), drawn.chunk(2), strict=True)]
        assert torch.equal(whole(images, drawn), torch.cat(two))
    assert torch.equal(whole.images[:4], parts.images[:4])


def test_without_room_images_pass_and_others_are_refused() -> None:
    images = torch.randn(3, 1, 2, 2)
    pool = ImagePool(0, (1, 2, 2))
    assert torch.equal(pool(images, torch.rand(3, 2)), images)
    with pytest.raises(ConfigError, match=r"keeps images of shape \[1, 2, 2\].*got \[1, 4, 4\]"):
        pool(torch.randn(3, 1, 4, 4), torch.rand(3, 2))
    for size in (-1, 2.5, True):
        with pytest.raises(ConfigError, match=r"pool_size is .* integers from 0"):
            ImagePool(size, (1, 2, 2))  # type: ignore[arg-type]
