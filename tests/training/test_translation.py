"""Images through generators of images: sizes, noise, and what stays as it was."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from gankit.models.resnet import ResNetGenerator
from gankit.models.unet import UNetGenerator
from gankit.training.pictures import save_grid
from gankit.training.translation import least_size, translate


class Same(nn.Module):
    """Returns its input, and notes the sizes that it was given."""

    size_multiple, min_size = 4, 8

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(tuple(images.shape))
        return images


def test_images_of_any_size_are_continued_by_their_mirror_image_and_cut_back() -> None:
    network = Same()
    for size, taken in (((8, 12), (8, 12)), ((9, 5), (12, 8)), ((1, 1), (8, 8))):
        images = torch.randn(2, 3, *size)
        assert torch.equal(translate(network, images, seed=0), images)
        assert network.seen[-1] == (2, 3, *taken)
    columns = torch.arange(3.0).expand(1, 1, 8, 3)
    seen: list[Tensor] = []
    network.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    translate(network, columns, seed=0)
    assert seen[0][0, 0, 0].tolist() == [0, 1, 2, 2, 1, 0, 0, 1]
    assert least_size(network, 13) == 16
    assert least_size(nn.Identity(), 13) == 13


@pytest.mark.parametrize("size", [(16, 16), (21, 34)])
def test_networks_of_both_papers_take_any_size(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    images = torch.rand(2, 3, *size) * 2 - 1
    for network in (ResNetGenerator(width=2, blocks=1), UNetGenerator(3, 1, 16, width=2)):
        made = translate(network, images, seed=0)
        assert made.shape == (2, network.out_channels, *size)
        assert made.abs().max() <= 1
        assert network.training


def test_dropout_is_noise_that_the_seed_decides_whatever_stands_beside_an_image() -> None:
    torch.manual_seed(0)
    network = UNetGenerator(1, 1, 16, width=4).eval()
    with torch.no_grad():  # statistics of training that no single image has
        for name, value in network.named_buffers():
            if name.endswith("running_mean"):
                value.fill_(0.5)
    images = torch.rand(3, 1, 16, 16) * 2 - 1
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.get_rng_state()
    made = translate(network, images, seed=4)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(made, translate(network, images, seed=4))
    assert torch.equal(made[1:2], translate(network, images[1:2], seed=4))
    assert not torch.equal(made, translate(network, images, seed=5))
    assert not any(module.training for module in network.modules())
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name
    with network.sampling():
        torch.manual_seed(1)
        again = network(images[:1])
    assert (again - made[:1]).abs().max() < 2  # of the same kind, with other noise
    plain = UNetGenerator(1, 1, 16, width=4, dropout=0.0)
    assert torch.equal(translate(plain, images, seed=0), translate(plain, images, seed=1))


def test_a_grid_shows_grey_and_colored_images_side_by_side(tmp_path: object) -> None:
    path = f"{tmp_path}/grid.png"
    grey, red = torch.zeros(2, 1, 8, 8), torch.tensor([1.0, -1.0, -1.0]).view(1, 3, 1, 1)
    save_grid(path, [grey, red.expand(2, 3, 8, 8)], columns=2, scale=1)
    with Image.open(path) as image:
        assert image.mode == "RGB"
        assert image.getpixel((4, 4)) == (128, 128, 128)
        assert image.getpixel((image.width - 5, 4)) == (255, 0, 0)
