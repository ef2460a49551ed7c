"""Which input size a picture goes to."""

from __future__ import annotations

import pytest

from edge_deeplab.serving.buckets import choose_size

SQUARES = ((128, 128), (256, 256), (512, 512))


@pytest.mark.parametrize(
    ("picture_hw", "expected"),
    [((100, 100), (128, 128)), ((256, 256), (256, 256)), ((257, 257), (512, 512)), ((4000, 4000), (512, 512))],
)
def test_of_one_shape_the_smallest_that_does_not_shrink(picture_hw: tuple[int, int], expected: tuple[int, int]) -> None:
    assert choose_size(picture_hw, SQUARES) == expected


@pytest.mark.parametrize(
    ("picture_hw", "expected"),
    [((1080, 1920), (144, 256)), ((1920, 1080), (256, 144)), ((900, 1000), (256, 256))],
)
def test_the_nearest_shape_comes_first(picture_hw: tuple[int, int], expected: tuple[int, int]) -> None:
    assert choose_size(picture_hw, ((256, 256), (144, 256), (256, 144))) == expected


def test_order_of_the_sizes_does_not_matter() -> None:
    for picture_hw in [(10, 300), (300, 10), (200, 210)]:
        assert choose_size(picture_hw, SQUARES) == choose_size(picture_hw, SQUARES[::-1])
