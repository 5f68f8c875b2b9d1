"""Large images in tiles: the same as in one piece, with the memory of a tile."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gankit.errors import ConfigError
from gankit.models.srresnet import SRResNet
from gankit.training.upscaling import bicubic, tiles, upscale, upscale_tiles


def network(scale: int = 2, blocks: int = 1) -> SRResNet:
    torch.manual_seed(0)
    G = SRResNet(2, scale, 4, blocks).double()
    for _ in range(3):
        G(torch.randn(2, 2, 8, 8, dtype=torch.float64))
    return G.eval()


@pytest.mark.parametrize(("scale", "tile"), [(2, 7), (4, 16), (2, 1)])
def test_tiles_join_to_the_image_in_one_piece(scale: int, tile: int) -> None:
    G = network(scale)
    images = torch.randn(2, 2, 33, 20, dtype=torch.float64)[:, :, : 33 if tile > 1 else 5]
    with torch.no_grad():
        whole = G(images).float()
    made = upscale(G, images, scale, tile)
    torch.testing.assert_close(made, whole, rtol=1e-6, atol=1e-6)
    # With less around each tile there are seams: the margin is what makes it so.
    G.context -= 1
    assert (upscale(G, images, scale, tile) - whole).abs().max() > 1e-4


def test_no_forward_sees_more_than_a_tile_and_its_margin() -> None:
    class Recording(nn.Module):
        context = 3

        def __init__(self) -> None:
            super().__init__()
            self.seen: list[torch.Size] = []

        def forward(self, images: Tensor) -> Tensor:
            self.seen.append(images.shape)
            return images.repeat_interleave(2, 2).repeat_interleave(2, 3)

    G = Recording()
    image = torch.randn(1, 50, 30)
    made = upscale(G, image[None], 2, tile=8)
    assert torch.equal(made[0], image.repeat_interleave(2, 1).repeat_interleave(2, 2))
    assert len(G.seen) == 7 * 4
    assert max(max(shape) for shape in G.seen) == 8 + 2 * 3
    pixels = sum(
        (t.rows.stop - t.rows.start) * (t.columns.stop - t.columns.start)
        for t in tiles(50, 30, 8, 3)
    )
    assert pixels == 50 * 30


def test_modes_and_statistics_stay() -> None:
    G = network().train()
    before = {name: value.clone() for name, value in G.state_dict().items()}
    upscale(G, torch.randn(1, 2, 9, 9), 2)
    assert all(module.training for module in G.modules())
    for name, value in G.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_network_of_another_scale_is_named() -> None:
    with pytest.raises(ConfigError, match=r"SRResNet turned an image of \[3, 3\] pixels into \[6,"):
        next(upscale_tiles(network(2), torch.randn(2, 3, 3), 4))
    assert bicubic(torch.randn(1, 3, 4, 5) * 9, 4).abs().max() <= 1
