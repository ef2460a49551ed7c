"""The blurred background: normalised, without the person, smooth everywhere."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge_deeplab.compositing.blur import BackgroundBlur, background_cells, blur_background, push_pull


def test_blur_equals_the_definition_of_normalised_convolution() -> None:
    """Against blur(frame * keep) / blur(keep), written with OpenCV's filter2D in float64."""
    rng = np.random.default_rng(0)
    low = rng.integers(0, 256, (60, 80, 3), np.uint8)
    alpha = np.zeros((60, 80), np.uint8)
    alpha[20:40, 30:50] = 255
    strength = 1.0
    sigma = strength * 0.025 * np.hypot(60, 80)
    gaussian = cv2.getGaussianKernel(2 * int(np.ceil(2.6 * sigma)) + 1, sigma)
    kernel = gaussian @ gaussian.T
    keep = background_cells(alpha, (60, 80)).astype(np.float64)

    def spread(plane: np.ndarray) -> np.ndarray:
        return cv2.filter2D(plane, cv2.CV_64F, kernel, borderType=cv2.BORDER_REPLICATE)

    weight = spread(keep)
    result = BackgroundBlur(strength).blur(low, alpha)
    solid = weight > 0.5  # where the far fill has no say worth a level
    for channel in range(3):
        expected = spread(low[..., channel] * keep)[solid] / weight[solid]
        # The fill's weight of 2 % against at least 50 %, times the spread of the colours, and the rounding.
        assert np.abs(result[..., channel][solid] - expected).max() < 0.04 * 128 + 1


def test_cells_count_as_background_only_where_no_pixel_of_the_person_lies() -> None:
    alpha = np.zeros((64, 96), np.uint8)
    alpha[30, 41] = 255  # one pixel of the person
    keep = background_cells(alpha, (16, 24))
    assert keep[30 // 4, 41 // 4] == 0
    assert keep[:5].min() == 1 and keep[:, 20:].min() == 1


@pytest.mark.parametrize("size_hw", [(16, 24), (17, 25), (64, 96), (10, 33)])
def test_no_cell_touched_by_the_person_is_kept_at_any_ratio(size_hw: tuple[int, int]) -> None:
    rng = np.random.default_rng(2)
    alpha = (rng.random((64, 96)) > 0.995).astype(np.uint8) * 255
    keep = background_cells(alpha, size_hw)
    touched = cv2.resize(alpha.astype(np.float32), size_hw[::-1], interpolation=cv2.INTER_AREA) > 0
    assert (keep[touched] == 0).all()


def test_what_lies_deep_inside_the_person_is_filled_from_the_background() -> None:
    frame = np.full((360, 640, 3), (10, 200, 30), np.uint8)
    alpha = np.zeros((360, 640), np.uint8)
    alpha[40:320, 80:560] = 255
    frame[alpha > 0] = (0, 0, 255)
    result = blur_background(frame, alpha, strength=0.1)
    np.testing.assert_allclose(result.reshape(-1, 3), [[10, 200, 30]] * (360 * 640), atol=1)


def test_a_person_that_fills_the_frame_gives_a_finite_picture() -> None:
    frame = np.full((48, 64, 3), 90, np.uint8)
    result = blur_background(frame, np.full((48, 64), 255, np.uint8))
    assert np.abs(result.astype(int) - 90).max() <= 1


def test_more_strength_leaves_less_detail() -> None:
    frame = np.random.default_rng(1).integers(0, 256, (360, 640, 3), np.uint8)
    alpha = np.zeros((90, 160), np.uint8)
    details = [float(blur_background(frame, alpha, strength=strength).std()) for strength in (0.1, 0.4, 1.0)]
    assert details[0] > details[1] > details[2]


def test_push_pull_keeps_what_is_known_and_fills_the_rest_between_its_bounds() -> None:
    rng = np.random.default_rng(3)
    keep = np.ones((64, 64), np.float32)
    keep[16:48, 16:48] = 0
    colours = rng.uniform(50, 100, (64, 64, 3)).astype(np.float32)
    filled = push_pull(np.dstack([colours * keep[..., None], keep]))
    assert filled.min() >= 49.9 and filled.max() <= 100.1


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_a_wide_blur_at_half_the_resolution_is_the_one_at_the_whole(strength: float) -> None:
    """The hardest of edges, against the Gaussian it stands for at the frame's own size."""
    frame = np.zeros((720, 1280, 3), np.uint8)
    frame[:, 640:] = 255
    low = cv2.resize(frame, (320, 180), interpolation=cv2.INTER_AREA)
    blurred = BackgroundBlur(strength).blur(low, np.zeros((180, 320), np.uint8))
    assert blurred.shape == (90, 160, 3)
    sigma = strength * 0.025 * np.hypot(720, 1280)
    expected = cv2.GaussianBlur(frame, (0, 0), sigma).astype(int)
    # A black-and-white edge under this Gaussian bends by 2.5 levels between two cells; cut tails and rounding add two.
    assert np.abs(cv2.resize(blurred, (1280, 720)) - expected).max() <= 5


def test_strength_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="strength"):
        BackgroundBlur(1.5)
