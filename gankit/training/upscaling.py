"""Generators that make small images large, in training and on images of any size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.errors import ConfigError
from gankit.nn.inference import eval_mode
from gankit.training.phases import Batch
from gankit.training.reports import Curves, Panel
from gankit.training.step import Step

# The side of the part of an image that is made at once, and, for a network that does not say it,
# how much of the neighborhood it sees beside.
TILE, _CONTEXT = 128, 64


class UpscalingStep(Step):
    """A step whose network ``G`` makes images ``low`` as large as their originals ``high``.

    A sample grid shows the small images, their bicubic enlargements, what G makes of them, and the
    originals.
    """

    fields = ("low", "high")
    data_kinds: ClassVar[Mapping[str, str]] = {"folder": "highres"}

    @property
    def inference_keys(self) -> dict[str, str]:
        return {"upscale": self.key_of("G")}

    @torch.no_grad()
    def check_outputs(self, batch: Batch) -> None:
        given, target = batch["low"], batch["high"]
        shape = self.run_tensor(self.networks["G"], given).shape
        if shape != target.shape:
            raise ConfigError(
                f"G turned images of shape {list(given.shape)} into {list(shape)}; allowed is "
                f"{list(target.shape)}, that of the originals"
            )

    def summarize(self, means: dict[str, float]) -> dict[str, float]:
        """With the PSNR in dB that ``mse`` is, of a range of 2."""
        mse = torch.tensor(means["mse"], dtype=torch.float64)
        return {**means, "psnr": float(10 * (4 / mse).log10())}

    def curves(self) -> tuple[Curves, ...]:
        return Curves("losses", self.metrics), Curves("PSNR in dB", {"psnr": "PSNR"})

    def panels(self, batch: Batch, seed: int) -> list[Panel]:
        low, high = batch["low"].float().cpu(), batch["high"].float().cpu()
        shown = {
            "low": F.interpolate(low, high.shape[2:], mode="nearest"),
            "bicubic": bicubic(low, high.shape[2] // low.shape[2]),
            "made": upscale(self.average_of("G"), low, high.shape[2] // low.shape[2]),
            "original": high,
        }
        return [Panel(caption, images) for caption, images in shown.items()]


def bicubic(images: Tensor, scale: int) -> Tensor:
    """Floats ``[N, C, H, W]`` in [-1, 1], ``scale`` times as high and wide, and clamped."""
    return F.interpolate(images, scale_factor=scale, mode="bicubic").clamp(-1, 1)


class Tile(NamedTuple):
    """A rectangle of the small image, and the one around it that the network is shown."""

    rows: slice
    columns: slice
    seen_rows: slice
    seen_columns: slice


def upscale(network: nn.Module, images: Tensor, scale: int, tile: int = TILE) -> Tensor:
    """What ``network`` makes of ``images`` ``[N, C, H, W]``, float32 on the CPU.

    It runs in eval mode, on one tile of one image at a time; see ``upscale_tiles``.
    """
    n, _, height, width = images.shape
    made: Tensor | None = None
    for number in range(n):
        for part, result in upscale_tiles(network, images[number], scale, tile):
            if made is None:
                made = result.new_empty(n, len(result), scale * height, scale * width)
            made[number][:, _times(part.rows, scale), _times(part.columns, scale)] = result
    assert made is not None
    return made


@torch.no_grad()
def upscale_tiles(
    network: nn.Module, image: Tensor, scale: int, tile: int = TILE
) -> Iterator[tuple[Tile, Tensor]]:
    """The tiles of ``image`` ``[C, H, W]`` and what ``network`` makes of each, float32 on the CPU.

    A tile is shown together with as much around it as the attribute ``context`` of the network
    says that a pixel depends on, so that the tiles join to what the whole image gives, up to
    rounding; memory is that of one tile, whatever the size of the image.

    Raises ConfigError if the network makes an image of another size than ``scale`` times its own.
    """
    like = next(network.parameters(), image)
    height, width = image.shape[1:]
    for part in tiles(height, width, tile, int(getattr(network, "context", _CONTEXT))):
        shown = image[None, :, part.seen_rows, part.seen_columns]
        with eval_mode(network):
            made = network(shown.to(like.device, like.dtype)).float().cpu()[0]
        expected = [scale * side for side in shown.shape[2:]]
        if list(made.shape[1:]) != expected:
            raise ConfigError(
                f"{type(network).__name__} turned an image of {list(shown.shape[2:])} pixels into "
                f"{list(made.shape[1:])}; allowed is {expected}"
            )
        rows, columns = (
            slice(scale * (inner.start - outer.start), scale * (inner.stop - outer.start))
            for inner, outer in ((part.rows, part.seen_rows), (part.columns, part.seen_columns))
        )
        yield part, made[:, rows, columns]


def tiles(height: int, width: int, tile: int, context: int) -> Iterator[Tile]:
    """Tiles of at most ``tile`` pixels to a side that cover an image, row by row."""
    for top in range(0, height, tile):
        bottom = min(top + tile, height)
        for left in range(0, width, tile):
            right = min(left + tile, width)
            yield Tile(
                slice(top, bottom),
                slice(left, right),
                slice(max(top - context, 0), min(bottom + context, height)),
                slice(max(left - context, 0), min(right + context, width)),
            )


def _times(place: slice, scale: int) -> slice:
    return slice(scale * place.start, scale * place.stop)
