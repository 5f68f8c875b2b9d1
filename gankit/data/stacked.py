"""Three digits in one image: 1,000 modes that a generator can be asked to cover."""

from __future__ import annotations

import torch

from gankit.data.digits import load_digits
from gankit.data.images import ImageData
from gankit.errors import DataError
from gankit.scalars import is_integer

_SEEDS = {"train": 0, "test": 1, "all": 2}


def load_stacked(*, image_size: int = 8, n: int = 10_000, split: str = "train") -> ImageData:
    """Images with a digit in each of three channels, all 1,000 combinations as likely.

    As the stacked MNIST of Metz, Poole, Pfau and Sohl-Dickstein (2016, arXiv:1611.02163), section
    3.3.2, of the digits of scikit-learn (``gankit.data.load("digits")``). The label is the mode:
    100, 10 and 1 times the digits of the channels. Every call gives the same images.

    Args:
        image_size: height and width.
        n: number of images.
        split: of the digits; ``"train"``, ``"test"`` or ``"all"``.

    Returns:
        uint8 images ``[n, 3, image_size, image_size]`` with labels from 0 to 999.

    Raises:
        DataError: ``n`` is no positive integer.
        MissingExtra: scikit-learn is not installed.
    """
    if not is_integer(n) or n < 1:
        raise DataError(f"n must be a positive integer, got {n!r}")
    digits = load_digits(image_size=image_size, split=split)
    assert digits.labels is not None
    generator = torch.Generator().manual_seed(_SEEDS[split])
    classes = [(digits.labels == digit).nonzero()[:, 0] for digit in range(10)]
    modes = torch.randint(1000, (n,), generator=generator)
    chosen = torch.empty(n, 3, dtype=torch.int64)
    for channel, scale in enumerate((100, 10, 1)):
        wanted = modes // scale % 10
        for digit, members in enumerate(classes):
            places = (wanted == digit).nonzero()[:, 0]
            drawn = torch.randint(len(members), (len(places),), generator=generator)
            chosen[places, channel] = members[drawn]
    images = digits.images[chosen.flatten(), 0].reshape(n, 3, image_size, image_size)
    return ImageData(images, modes, "stacked digits")
