"""DiffAugment and ADA: what they make of images, against plain formulas, and their derivatives."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from gankit.errors import ConfigError
from gankit.training import ADA, DiffAugment
from gankit.training.ada import _GATES
from gankit.training.augmentation import Augmentation, Numbers
from gankit.training.resample import BILINEAR, REFLECTION, places, resample

POLICIES = ["color", "translation", "cutout", "color,translation,cutout"]
CASES = [
    *(pytest.param(lambda policy=policy: DiffAugment(policy), id=policy) for policy in POLICIES),
    pytest.param(lambda: ADA("blit", p=1.0), id="blit"),
    pytest.param(lambda: ADA("geometry", p=0.9), id="geometry"),
    pytest.param(lambda: ADA("color", p=0.9), id="ada color"),
    pytest.param(lambda: ADA(p=0.7), id="ada"),
]


def images(n: int, channels: int, height: int = 12, width: int = 10, **like: Any) -> Tensor:
    torch.manual_seed(n)
    return torch.rand(n, channels, height, width, **like) * 2 - 1


@pytest.mark.parametrize("make", CASES)
def test_derivatives_of_both_orders(make: Any) -> None:
    augmentation: Augmentation = make()
    for channels in (1, 4):  # with color and opacity
        x = images(1, channels, 3, 3, dtype=torch.float64).requires_grad_()
        numbers = augmentation._numbers(x)
        assert gradcheck(lambda x, n=numbers: augmentation.transform(x, n), x)
        assert gradgradcheck(lambda x, n=numbers: augmentation.transform(x, n).square(), x)


@pytest.mark.parametrize("make", CASES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_shape_and_dtype_stay_and_each_call_draws_anew(make: Any, dtype: torch.dtype) -> None:
    augmentation: Augmentation = make()
    for shape in ((3, 1, 8, 8), (3, 3, 6, 9), (3, 4, 9, 6), (3, 2, 5, 5), (3, 6, 8, 8)):
        x = torch.rand(shape, dtype=dtype)
        (first,), (second,) = augmentation(x), augmentation(x)
        assert first.shape == x.shape
        assert first.dtype == dtype
        assert first.isfinite().all()
        assert not torch.equal(first, second)
        torch.manual_seed(5)
        augmentation.begin(0, 1)
        (one,) = augmentation(x)
        torch.manual_seed(5)
        augmentation.begin(0, 1)
        assert torch.equal(augmentation(x)[0], one)


@pytest.mark.parametrize("channels", [1, 3])
def test_diffaugments_colors_are_the_papers(channels: int) -> None:
    x = images(50, channels)
    augmentation = DiffAugment("color")
    numbers = augmentation._numbers(x)
    found = augmentation.transform(x, numbers)
    for image, u, new in zip(x, numbers.uniform, found, strict=True):
        expected = image + (u[0] - 0.5)
        grey = expected.mean(0, keepdim=True)
        expected = (expected - grey) * (u[1] * 2) + grey
        expected = (expected - expected.mean()) * (u[2] + 0.5) + expected.mean()
        torch.testing.assert_close(new, expected, rtol=0, atol=1e-5)


def test_diffaugments_shifts_are_of_whole_pixels_with_zeros_behind() -> None:
    x = images(300, 2, 16, 24) + 3
    (found,) = DiffAugment("translation")(x)
    seen = set()
    for image, new in zip(x, found, strict=True):
        padded = F.pad(image, (3, 3, 2, 2))
        fits = [
            (down, right)
            for down in range(5)
            for right in range(7)
            if torch.equal(padded[:, down : down + 16, right : right + 24], new)
        ]
        assert len(fits) == 1
        seen.add(fits[0])
    assert seen == {(down, right) for down in range(5) for right in range(7)}


@pytest.mark.parametrize(("height", "width"), [(16, 10), (7, 9)])
def test_diffaugments_holes_are_squares_of_half_the_side(height: int, width: int) -> None:
    x = torch.ones(400, 3, height, width)
    (found,) = DiffAugment("cutout")(x)
    sides = int(height / 2 + 0.5), int(width / 2 + 0.5)
    heights, widths = set(), set()
    for image in found:
        assert torch.equal(image[0], image[1])
        hole = image[0] == 0
        rows, columns = hole.any(1), hole.any(0)
        assert torch.equal(hole, rows[:, None] & columns)
        assert (rows.diff().sum() <= 2) & (columns.diff().sum() <= 2)  # in one piece
        heights.add(int(rows.sum()))
        widths.add(int(columns.sum()))
    assert (max(heights), max(widths)) == sides
    assert min(heights) <= sides[0] - sides[0] // 2  # some reach over the edge


def test_ada_leaves_images_as_they_are_at_p_0() -> None:
    x = images(9, 3)
    assert torch.equal(ADA(p=0.0)(x)[0], x)


def test_ada_transforms_a_part_of_the_images_that_p_says() -> None:
    x = images(2000, 1, 4, 4)
    changed = (ADA("color", p=0.5)(x)[0] != x).flatten(1).any(1).float().mean()
    # Brightness, contrast and, of those with the luma inverted, one half; hue and saturation too,
    # which change no grey beyond rounding.
    assert 1 - 0.5**2 * 0.75 - 0.05 < changed < 1 - 0.5**5 + 0.05


def matrices(p: float, numbers: Numbers, height: int, width: int) -> Tensor:
    """From places of the result to places of the image, ``[N, 3, 3]``, as the paper multiplies."""
    found = []
    rotated = 1 - math.sqrt(1 - p)
    for u, z in zip(numbers.uniform.double(), numbers.normal.double(), strict=True):
        on = [bool(u[k] < (rotated if k in (4, 6) else p)) for k in range(_GATES)]
        v = u[_GATES:]

        def scale(x: float, y: float) -> Tensor:
            return torch.diag(torch.tensor([x, y, 1.0], dtype=torch.float64))

        def turn(angle: float) -> Tensor:
            c, s = math.cos(angle), math.sin(angle)
            return torch.tensor([[c, -s, 0], [s, c, 0], [0, 0, 1]], dtype=torch.float64)

        def shift(x: float, y: float) -> Tensor:
            return torch.tensor([[1, 0, -x], [0, 1, -y], [0, 0, 1]], dtype=torch.float64)

        whole = [
            round(float((2 * v[2 + k] - 1) * 0.125 * s)) for k, s in enumerate((width, height))
        ]
        stretch = 2 ** (0.2 * float(z[1]))
        parts = (
            (on[0] and v[0] < 0.5, scale(-1, 1)),
            (on[1], turn(math.pi / 2 * int(4 * v[1]))),
            (on[2], shift(*whole)),
            (on[3], scale(2 ** (-0.2 * float(z[0])), 2 ** (-0.2 * float(z[0])))),
            (on[4], turn(float(2 * v[4] - 1) * math.pi)),
            (on[5], scale(1 / stretch, stretch)),
            (on[6], turn(float(2 * v[5] - 1) * math.pi)),
            (on[7], shift(float(z[2]) * 0.125 * width, float(z[3]) * 0.125 * height)),
        )
        product = torch.eye(3, dtype=torch.float64)
        for used, matrix in parts:
            product = product @ matrix if used else product
        found.append(product)
    return torch.stack(found)


@pytest.mark.parametrize("p", [0.4, 1.0])
def test_adas_geometry_is_the_product_of_the_papers_matrices(p: float) -> None:
    x = images(60, 3, 12, 10, dtype=torch.float64)
    augmentation = ADA("blit,geometry", p=p)
    numbers = augmentation._numbers(x)
    found = augmentation.transform(x, numbers)
    a = matrices(p, numbers, 12, 10)
    # In units of half a side, as torch takes them.
    a[:, :2] = a[:, :2] / torch.tensor([5.0, 6.0], dtype=torch.float64)[:, None]
    a[:, :, :2] = a[:, :, :2] * torch.tensor([5.0, 6.0], dtype=torch.float64)
    grid = F.affine_grid(a[:, :2], [60, 3, 12, 10], align_corners=False)
    expected = F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_adas_colors_are_the_papers_matrices(channels: int) -> None:
    p = 0.6
    x = images(80, channels, 4, 5, dtype=torch.float64)
    augmentation = ADA("color", p=p)
    numbers = augmentation._numbers(x)
    found = augmentation.transform(x, numbers)
    axis = torch.full((3,), 1 / math.sqrt(3), dtype=torch.float64)
    luma, one = torch.outer(axis, axis), torch.eye(3, dtype=torch.float64)
    k = axis[0]
    cross = torch.tensor([[0, -k, k], [k, 0, -k], [-k, k, 0]], dtype=torch.float64)
    for image, u, z, new in zip(x, numbers.uniform, numbers.normal, found, strict=True):
        on, v = u[:_GATES] < p, u[_GATES:]
        matrix, offset = one, torch.zeros(3, dtype=torch.float64)
        offset = offset + 0.2 * z[4] * on[8]
        contrast = 2 ** (0.5 * z[5] * on[9])
        maps = [one * contrast]
        maps += [one - 2 * luma] * bool(on[10] and v[6] < 0.5)
        angle = (2 * v[7] - 1) * math.pi * on[11]
        maps += [one * angle.cos() + cross * angle.sin() + luma * (1 - angle.cos())]
        maps += [luma + (one - luma) * 2 ** (z[6] * on[12])]
        for each in maps:
            matrix, offset = each @ matrix, each @ offset
        rgb = image.expand(3, -1, -1)
        expected = torch.einsum("ij,jhw->ihw", matrix, rgb) + offset[:, None, None]
        torch.testing.assert_close(new, expected[:channels], rtol=0, atol=1e-12)


@pytest.mark.parametrize("make", [lambda: DiffAugment("color"), lambda: ADA("color", p=1.0)])
def test_opacity_keeps_its_values(make: Any) -> None:
    x = images(6, 4)
    (found,) = make()(x)
    assert torch.equal(found[:, 3], x[:, 3])
    assert not torch.equal(found[:, :3], x[:, :3])


@pytest.mark.parametrize("make", [DiffAugment, lambda: ADA(p=1.0)])
def test_images_of_one_sample_are_transformed_alike(make: Any) -> None:
    x = images(6, 1)
    grey, rgb = make()(x, x.expand(-1, 3, -1, -1))
    torch.testing.assert_close(grey.expand_as(rgb), rgb)


def test_micro_batches_get_the_numbers_of_the_whole_batch() -> None:
    x, y = images(8, 3), images(9, 3)[:8]
    for make in (DiffAugment, lambda: ADA(p=0.6)):
        results = []
        for parts in (1, 2, 4):
            augmentation: Augmentation = make()
            torch.manual_seed(1)
            rows = []
            for number, (a, b) in enumerate(zip(x.chunk(parts), y.chunk(parts), strict=True)):
                augmentation.begin(number, parts)
                rows.append(torch.cat([*augmentation(a), *augmentation(b)], 1))
            results.append(torch.cat(rows))
        for other in results[1:]:
            torch.testing.assert_close(other, results[0])


def test_resampling_is_torchs_own_with_its_gradients() -> None:
    x = images(3, 2, 6, 5, dtype=torch.float64).requires_grad_()
    columns, rows = places(x)
    across = (columns * 0.9 + 0.3 * rows).expand(3, -1, -1)
    down = (rows * 1.2 - 0.1 * columns).expand(3, -1, -1)
    grid = torch.stack([across * 2 / 5, down * 2 / 6], 3)
    found = resample(x, across, down, mode=BILINEAR, padding=REFLECTION)
    expected = F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(y.square().sum(), x)[0] for y in (found, expected)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("shape", [(5, 1, 1, 1), (5, 1, 1, 2), (5, 36), (5, 1, 64)])
def test_what_are_no_images_is_refused(shape: tuple[int, ...]) -> None:
    words = r"augment is 'diffaugment', which transforms images \[N, C, H, W\] of at least 2x2"
    with pytest.raises(ConfigError, match=words):
        DiffAugment()(torch.zeros(shape))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: DiffAugment("colour"), r"policy of augment 'diffaugment' is 'colour'; allowed"),
        (lambda: DiffAugment("color,color"), r"is 'color,color'; allowed are one or more of color"),
        (lambda: DiffAugment(""), r"is ''; allowed"),
        (lambda: ADA(5), r"policy of augment 'ada' is 5; allowed are one or more of blit"),
        (lambda: ADA(target=1.5), r"target is 1.5; allowed are None and numbers in \[-1, 1\]"),
        (lambda: ADA(target=math.nan), r"target is nan; allowed"),
        (lambda: ADA(images=0), r"images is 0; allowed are integers from 1"),
        (lambda: ADA(p=-0.1), r"p is -0.1; allowed are numbers in \[0, 1\]"),
    ],
)
def test_wrong_arguments_are_refused(make: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make()
