"""Laws of windows, scales and mirror images: what a local predictor says does not depend on how it is asked."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_deeplab.errors import ModelError, UsageError
from edge_deeplab.evaluation.inference import (
    Look,
    fill_up,
    mirrored,
    multi_scale,
    scaled_size,
    sliding_windows,
    window_starts,
)

# float32 sums of at most some hundred probabilities
ROUNDING = 1e-5
sides = st.integers(1, 40)
sizes = st.tuples(sides, sides)
overlaps = st.floats(0, 0.9)


def picture_of(size_hw: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size_hw, 3), np.uint8)


def pixelwise(picture: np.ndarray) -> np.ndarray:
    """Probabilities of three classes from each pixel alone: local, and the same wherever the pixel stands."""
    scores = np.exp(picture.astype(np.float32) / 64)
    return scores / scores.sum(axis=2, keepdims=True)


def blurred(picture: np.ndarray) -> np.ndarray:
    """A local predictor that sees one pixel around: 3 x 3 mean of the first channel, borders replicated."""
    return cv2.blur(picture[..., 0].astype(np.float32) / 255, (3, 3), borderType=cv2.BORDER_REPLICATE)


@settings(max_examples=60, deadline=None)
@given(size_hw=sizes, crop_hw=sizes, overlap=overlaps)
def test_a_pixelwise_predictor_says_the_same_through_windows(
    size_hw: tuple[int, int], crop_hw: tuple[int, int], overlap: float
) -> None:
    """Any picture size against any window: cut, filled up and covered without a gap, a shift or a leak of padding."""
    picture, seen = picture_of(size_hw), []

    def watching(window: np.ndarray) -> np.ndarray:
        seen.append(window.shape)
        return pixelwise(window)

    result = sliding_windows(watching, picture, crop_hw, overlap=overlap)
    assert result.shape == (*size_hw, 3) and result.dtype == np.float32
    assert set(seen) == {(*crop_hw, 3)}
    np.testing.assert_allclose(result, pixelwise(picture), atol=ROUNDING)


@settings(max_examples=60, deadline=None)
@given(length=st.integers(1, 200), crop=st.integers(1, 60), overlap=overlaps)
def test_windows_cover_a_side_and_end_with_it(length: int, crop: int, overlap: float) -> None:
    length = max(length, crop)
    starts = window_starts(length, crop, overlap)
    assert starts[0] == 0 and starts[-1] == length - crop
    steps = np.diff(starts)
    assert (steps > 0).all() and (steps <= max(1, round(crop * (1 - overlap)))).all()
    assert (steps <= crop).all()  # so no pixel is left out


@settings(max_examples=40, deadline=None)
@given(size_hw=st.tuples(st.integers(12, 40), st.integers(12, 40)), overlap=overlaps)
def test_away_from_window_borders_a_local_predictor_says_the_same(size_hw: tuple[int, int], overlap: float) -> None:
    """Each pixel further than the reach of the predictor from every border between windows."""
    picture, crop = picture_of(size_hw), 12
    result = sliding_windows(blurred, picture, (crop, crop), overlap=overlap)
    inner = [np.ones(length, bool) for length in size_hw]
    for side, length in zip(inner, size_hw):
        for start in window_starts(length, crop, overlap):
            for border in (start, start + crop - 1):
                if 0 < border < length - 1:
                    side[border] = False
    whole, mask = blurred(picture), np.outer(*inner)
    np.testing.assert_allclose(result[mask], whole[mask], atol=ROUNDING)


def test_coarse_maps_are_brought_to_the_window() -> None:
    picture = np.full((50, 70, 3), 200, np.uint8)
    result = sliding_windows(lambda window: pixelwise(window)[::4, ::4], picture, (32, 32))
    np.testing.assert_allclose(result, pixelwise(picture), atol=ROUNDING)


def test_overlaps_are_means_of_probabilities() -> None:
    """Two windows of 4 over 6 columns, the first says 0 and the second 1: 0 0 half half 1 1."""
    answers = iter((0.0, 1.0))
    result = sliding_windows(
        lambda window: np.full(window.shape[:2], next(answers), np.float32), picture_of((4, 6)), (4, 4), overlap=0.5
    )
    np.testing.assert_array_equal(result, np.tile([0, 0, 0.5, 0.5, 1, 1], (4, 1)).astype(np.float32))


@pytest.mark.parametrize(("dtype", "colour"), [(np.uint8, 128), (np.float32, 127.5)])
def test_small_pictures_are_filled_up_below_and_to_the_right(dtype: type, colour: float) -> None:
    picture = picture_of((3, 5)).astype(dtype)
    filled = fill_up(picture, (6, 4))
    assert filled.shape == (6, 5, 3) and filled.dtype == dtype
    np.testing.assert_array_equal(filled[:3], picture)
    assert (filled[3:] == colour).all()
    assert fill_up(picture, (3, 5)) is picture


def test_the_padding_colour_may_differ_by_channel() -> None:
    filled = fill_up(np.zeros((1, 1, 3), np.float32), (2, 1), (123.15, 115.9, 103.06))
    np.testing.assert_allclose(filled[1, 0], (123.15, 115.9, 103.06), rtol=1e-6)


@settings(max_examples=30, deadline=None)
@given(size_hw=sizes, flip=st.booleans())
def test_mirroring_changes_nothing_for_a_predictor_without_sides(size_hw: tuple[int, int], flip: bool) -> None:
    picture = picture_of(size_hw)
    np.testing.assert_allclose(mirrored(pixelwise, picture, flip=flip), pixelwise(picture), atol=ROUNDING)


def test_a_mirrored_look_is_mirrored_back() -> None:
    """A predictor that says 1 in its left half is answered by its own right half: half everywhere."""

    def left(picture: np.ndarray) -> np.ndarray:
        seen = np.zeros(picture.shape[:2], np.float32)
        seen[:, : picture.shape[1] // 2] = 1
        return seen

    np.testing.assert_array_equal(mirrored(left, picture_of((4, 6))), np.full((4, 6), 0.5, np.float32))


@settings(max_examples=30, deadline=None)
@given(size_hw=sizes, scales=st.lists(st.floats(0.2, 3), min_size=1, max_size=4), flip=st.booleans())
def test_scales_keep_size_and_sum_of_probabilities(size_hw: tuple[int, int], scales: list[float], flip: bool) -> None:
    asked = []

    def watching(picture: np.ndarray) -> np.ndarray:
        asked.append(picture.shape[:2])
        return pixelwise(picture)

    result = multi_scale(watching, picture_of(size_hw), scales, flip=flip)
    assert result.shape == (*size_hw, 3)
    np.testing.assert_allclose(result.sum(axis=2), 1, atol=ROUNDING)
    assert asked == [scaled_size(size_hw, scale) for scale in scales for _ in range(1 + flip)]


def test_scales_are_averaged_alike() -> None:
    """A predictor that says its own height: the mean over scales of 10 rows times them."""
    result = multi_scale(lambda p: np.full(p.shape[:2], p.shape[0], np.float32), picture_of((10, 10)), (0.5, 1, 1.5))
    np.testing.assert_allclose(result, 10.0)


def test_one_colour_looks_the_same_at_every_scale_through_windows() -> None:
    picture = np.full((45, 61, 3), (10, 200, 90), np.uint8)
    look = Look(scales=(0.5, 1.0, 2.0), flip=True, window=True).over(pixelwise, crop_hw=(64, 64))
    # bilinear steps of one colour are exact, and padding is cut off before it is enlarged
    np.testing.assert_allclose(look(picture), pixelwise(picture), atol=1e-4)


def test_the_plain_look_is_the_predictor_itself() -> None:
    assert Look().is_plain and str(Look()) == "one look"
    assert Look().over(pixelwise, crop_hw=(8, 8)) is pixelwise
    assert str(Look(scales=(0.5, 1), flip=True, window=True)) == "windows, scales 0.5, 1, mirrored"


def test_factor_one_without_windows_is_the_whole_picture() -> None:
    """The model's own resize is used where it fits; other factors go in windows of its size."""
    asked = []

    def model(picture: np.ndarray) -> np.ndarray:
        asked.append(picture.shape[:2])
        return np.zeros((4, 4, 2), np.float32)

    result = Look(scales=(0.5, 1.0, 2.0)).over(model, crop_hw=(16, 16))(picture_of((48, 32)))
    assert result.shape == (48, 32, 2)
    assert asked[0] == (16, 16)  # half of the model's size, filled up
    assert asked[1] == (48, 32)
    assert set(asked[2:]) == {(16, 16)} and len(asked[2:]) == len(window_starts(32, 16)) ** 2


def test_factors_keep_the_shape_for_a_model_that_letterboxes() -> None:
    asked = []

    def model(picture: np.ndarray) -> np.ndarray:
        asked.append(picture)
        return picture[..., 0] / 255

    picture = np.full((40, 20, 3), 255, np.uint8)
    Look(scales=(2.0,)).over(model, crop_hw=(16, 16), fit="letterbox")(picture)
    # 16 x 8 inside the model, doubled 32 x 16: windows need no padding
    assert len(asked) == len(window_starts(32, 16)) and all((window == 255).all() for window in asked)


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 300), (511, 3), (257, 513)])
def test_any_picture_size(size_hw: tuple[int, int]) -> None:
    look = Look(scales=(0.5, 1.5), flip=True, window=True).over(pixelwise, crop_hw=(65, 65))
    result = look(picture_of(size_hw))
    assert result.shape == (*size_hw, 3) and np.isfinite(result).all()


@pytest.mark.parametrize("scales", [(), (0.0,), (-1.0,), (9.0,), (1.0, 1.0), (float("nan"),)])
def test_bad_scales_are_one_line(scales: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match=r"scales; came .*allowed: .*0\.1\.\.8"):
        Look(scales=scales)


@pytest.mark.parametrize("overlap", [-0.1, 0.95, float("nan")])
def test_bad_overlaps_are_one_line(overlap: float) -> None:
    with pytest.raises(UsageError, match="overlap of windows"):
        Look(overlap=overlap)
    with pytest.raises(UsageError, match="overlap of windows"):
        sliding_windows(pixelwise, picture_of((4, 4)), (2, 2), overlap=overlap)


def test_bad_maps_windows_and_scales_are_refused() -> None:
    with pytest.raises(ModelError, match=r"\(h, w\)"):
        sliding_windows(lambda window: np.zeros(3), picture_of((4, 4)), (2, 2))
    with pytest.raises(UsageError, match="window size"):
        sliding_windows(pixelwise, picture_of((4, 4)), (0, 2))
    with pytest.raises(UsageError, match="scales"):
        multi_scale(pixelwise, picture_of((4, 4)), ())
    channels = iter(range(1, 9))
    with pytest.raises(ModelError, match="differ"):
        sliding_windows(lambda window: np.zeros((2, 2, next(channels))), picture_of((4, 4)), (2, 2))
