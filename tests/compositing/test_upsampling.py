"""The matte's edge goes where the picture's edge is."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge_deeplab.compositing import upsampling
from edge_deeplab.compositing.upsampling import GuidedUpsampler, upsample_matte

PLAIN = np.arange(256, dtype=np.uint8)


def scene(contrast: int) -> tuple[np.ndarray, np.ndarray]:
    """A frame with a slanted person of another colour but the same brightness, and the true mask."""
    y, x = np.mgrid[:288, :512]
    mask = (x - 200 - 40 * np.sin(y / 40)) > 0
    frame = np.full((288, 512, 3), 120, np.uint8)
    frame[mask] = (120 - contrast, 120, 120 + round(contrast * 0.114 / 0.299))  # equal luma
    noise = np.random.default_rng(0).normal(0, 2, frame.shape)
    return np.clip(frame + noise, 0, 255).astype(np.uint8), mask


def iou(prediction: np.ndarray, mask: np.ndarray) -> float:
    return float((prediction & mask).sum() / (prediction | mask).sum())


def coarse_matte(mask: np.ndarray, side: int, *, shift_px: int = 0) -> np.ndarray:
    shifted = np.roll(mask, shift_px, axis=1)
    return cv2.resize(shifted.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)


def test_edges_of_the_picture_pull_a_matte_that_is_a_little_off() -> None:
    frame, mask = scene(60)
    matte = coarse_matte(mask, 128, shift_px=4)
    plain = cv2.resize(matte, (512, 288)) > 0.5
    refined = upsample_matte(matte, frame) > 0.5
    inner = np.s_[:, 60:400]  # np.roll wraps at the border
    wrong_plain = (plain != mask)[inner].sum()
    wrong_refined = (refined != mask)[inner].sum()
    assert wrong_refined < 0.5 * wrong_plain


def test_a_picture_without_edges_leaves_the_matte_where_it_was() -> None:
    _, mask = scene(60)
    flat = np.full((288, 512, 3), 90, np.uint8)
    assert iou(upsample_matte(coarse_matte(mask, 128), flat) > 0.5, mask) > 0.98


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_decided_matte_stays_decided_whatever_the_picture(value: float) -> None:
    frame = np.random.default_rng(3).integers(0, 256, (120, 200, 3), np.uint8)
    result = upsample_matte(np.full((32, 32), value, np.float32), frame)
    np.testing.assert_allclose(result, value, atol=1e-3)


def test_gray_pictures_whose_channels_are_equal_are_no_singular_case() -> None:
    gray = np.random.default_rng(4).integers(0, 256, (120, 200, 1), np.uint8)
    result = upsample_matte(np.random.default_rng(5).random((32, 32)).astype(np.float32), np.repeat(gray, 3, axis=2))
    assert np.isfinite(result).all() and result.min() >= 0 and result.max() <= 1


def test_the_fast_filter_equals_the_plain_one_at_full_resolution() -> None:
    """Coefficients found at full resolution: He, Sun, Tang's definition, written out per pixel for a few pixels."""
    rng = np.random.default_rng(6)
    guide = cv2.GaussianBlur(rng.integers(0, 256, (24, 32, 3), np.uint8), (0, 0), 2)
    matte = np.clip(cv2.GaussianBlur(rng.random((24, 32)).astype(np.float32), (0, 0), 3), 0, 1)
    upsampler = GuidedUpsampler(window_share=2 / 32, epsilon=1e-2, contrast=1.0)
    result = upsampler.upsample(matte, guide, guide)

    radius, image = 2, guide.astype(np.float64) / 255
    slopes, offsets = np.zeros((24, 32, 3)), np.zeros((24, 32))
    for y in range(radius, 24 - radius):
        for x in range(radius, 32 - radius):
            window = np.s_[y - radius : y + radius + 1, x - radius : x + radius + 1]
            pixels, target = image[window].reshape(-1, 3), matte[window].reshape(-1).astype(np.float64)
            covariance = np.cov(pixels.T, bias=True) + 1e-2 * np.eye(3)
            cross = (pixels * target[:, None]).mean(0) - pixels.mean(0) * target.mean()
            slopes[y, x] = np.linalg.solve(covariance, cross)
            offsets[y, x] = target.mean() - slopes[y, x] @ pixels.mean(0)
    for y, x in ((10, 12), (12, 20), (8, 9)):
        window = np.s_[y - radius : y + radius + 1, x - radius : x + radius + 1]
        expected = slopes[window].reshape(-1, 3).mean(0) @ image[y, x] + offsets[window].mean()
        assert result[y, x] == pytest.approx(expected, abs=1e-4)  # float32 against float64


@pytest.mark.parametrize("high_hw", [(288, 512), (289, 515)])
def test_where_the_matte_is_plain_the_filter_is_left_out_and_nothing_changes(high_hw: tuple[int, int]) -> None:
    """Against the same filter over everything: what a threshold of no change at all makes it do."""
    frame, mask = scene(60)
    high = cv2.resize(frame, high_hw[::-1], interpolation=cv2.INTER_AREA)
    low = cv2.resize(frame, (128, 72), interpolation=cv2.INTER_AREA)
    matte = cv2.GaussianBlur(coarse_matte(mask, 64), (0, 0), 1.5)
    matte[:, -8:] = 0.0  # a second edge, and one that runs into the border
    quick = GuidedUpsampler().upsample(matte, low, high).copy()
    levels = GuidedUpsampler().levels(matte, low, high, PLAIN)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upsampling, "LEAST_CHANGE", -1.0)
        whole = GuidedUpsampler().upsample(matte, low, high)
    assert np.abs(quick - whole).max() < 1e-3
    assert np.abs(levels.astype(int) - np.rint(np.clip(whole, 0, 1) * 255)).max() <= 1


def test_an_undecided_matte_without_edges_stays_as_it_is() -> None:
    frame = np.random.default_rng(3).integers(0, 256, (120, 200, 3), np.uint8)
    assert (GuidedUpsampler().levels(np.full((32, 32), 0.5, np.float32), frame, frame, PLAIN) == 128).all()
