"""Bringing a picture to a model and its maps back: laws of the geometry, cv2 and area means as oracles."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_deeplab.imaging.resize import (
    LETTERBOX_VALUE,
    PictureFitter,
    Placement,
    fit_image,
    resize_bilinear,
    resize_image,
)

FLOAT_ROUNDING = 1e-5  # a few products of float32 in 0..1
sides = st.integers(1, 60)
sizes = st.tuples(sides, sides)


def ramp(size_hw: tuple[int, int]) -> np.ndarray:
    """0..1 along both axes, sampled at pixel centres: bilinear interpolation keeps it, whatever the size."""
    rows, columns = ((np.arange(size) + 0.5) / size for size in size_hw)
    return (rows[:, None] * 0.6 + columns[None, :] * 0.4).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(source=sizes, target=sizes, fit=st.sampled_from(["stretch", "letterbox"]), align=st.sampled_from([1, 4]))
def test_placement_lies_inside_the_target(
    source: tuple[int, int], target: tuple[int, int], fit: str, align: int
) -> None:
    if min(target) < align:
        return
    placement = Placement.plan(source, target, fit, align=align)
    assert placement.top >= 0 and placement.left >= 0
    assert placement.top + placement.inner_hw[0] <= target[0]
    assert placement.left + placement.inner_hw[1] <= target[1]
    assert min(placement.inner_hw) >= 1
    if fit == "letterbox":
        assert placement.top % align == placement.left % align == 0
        assert placement.inner_hw[0] % align == placement.inner_hw[1] % align == 0


@settings(max_examples=60, deadline=None)
@given(source=sizes, target=sizes, stride=st.sampled_from([1, 2, 4]))
def test_restore_returns_the_source_size_and_stays_in_range(
    source: tuple[int, int], target: tuple[int, int], stride: int
) -> None:
    placement = Placement.plan(source, target, "letterbox")
    output_hw = tuple(max(1, side // stride) for side in target)
    values = np.random.default_rng(0).random((*output_hw, 2), np.float32)
    restored = placement.restore(values)
    assert restored.shape == (*source, 2) and restored.dtype == np.float32
    assert restored.min() >= values.min() - FLOAT_ROUNDING and restored.max() <= values.max() + FLOAT_ROUNDING


@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
@pytest.mark.parametrize("source", [(90, 160), (160, 90), (64, 64), (37, 101)])
def test_restore_undoes_fit_on_a_ramp(source: tuple[int, int], fit: str) -> None:
    original = ramp(source)
    fitted, placement = fit_image(original, (128, 128), fit)
    restored = placement.restore(fitted)
    # The outermost pixels of a ramp are clamped to the last sample, which costs at most one pixel of slope there.
    one_pixel = 1 / min(*placement.inner_hw, *source)
    assert np.abs(restored - original).max() < one_pixel
    inside = np.s_[3:-3, 3:-3]
    assert np.abs(restored - original)[inside].max() < FLOAT_ROUNDING * 10


def test_letterbox_restore_is_the_crop_resized() -> None:
    placement = Placement.plan((720, 1280), (256, 256), "letterbox")
    assert (placement.top, placement.left, placement.inner_hw) == (56, 0, (144, 256))
    values = np.random.default_rng(1).random((256, 256), np.float32)
    oracle = cv2.resize(values[56:200], (1280, 720), interpolation=cv2.INTER_LINEAR)
    assert np.abs(placement.restore(values) - oracle).max() < FLOAT_ROUNDING
    assert np.array_equal(placement.crop(values), values[56:200])


def test_padding_never_leaks_into_the_restored_map() -> None:
    placement = Placement.plan((30, 70), (65, 65), "letterbox")
    values = np.full((65, 65), 1e9, np.float32)
    values[placement.top : placement.top + placement.inner_hw[0]] = 0.25
    assert np.allclose(placement.restore(values), 0.25)


def test_letterbox_pads_with_mid_grey_and_keeps_the_shape() -> None:
    fitted, placement = fit_image(np.zeros((50, 100, 3), np.uint8), (64, 64), "letterbox")
    assert placement.inner_hw == (32, 64)
    assert (fitted[:16] == LETTERBOX_VALUE).all() and (fitted[48:] == LETTERBOX_VALUE).all()
    assert (fitted[16:48] == 0).all()


def test_aligned_letterbox_crops_an_output_of_a_coarser_stride_exactly() -> None:
    placement = Placement.plan((90, 160), (256, 256), "letterbox", align=8)
    output = np.arange(32 * 32).reshape(32, 32)
    cropped = placement.crop(output)
    assert cropped.shape == (placement.inner_hw[0] // 8, 32)
    assert cropped[0, 0] == output[placement.top // 8, 0]


def test_restored_labels_are_labels_that_were_there() -> None:
    labels = np.random.default_rng(2).choice(np.array([0, 7, 255], np.uint8), (64, 64))
    placement = Placement.plan((33, 90), (64, 64), "letterbox")
    restored = placement.restore_labels(labels)
    assert restored.shape == (33, 90) and restored.dtype == np.uint8
    assert set(np.unique(restored)) <= {0, 7, 255}


def test_restored_labels_at_the_same_size_are_the_labels() -> None:
    labels = np.random.default_rng(3).integers(0, 21, (40, 50))
    assert np.array_equal(Placement.plan((40, 50), (40, 50), "stretch").restore_labels(labels), labels)


def test_bilinear_follows_the_half_pixel_formula() -> None:
    values = np.random.default_rng(4).random((5, 7), np.float32)

    def along(array: np.ndarray, size: int) -> np.ndarray:
        at = np.clip((np.arange(size) + 0.5) * array.shape[0] / size - 0.5, 0, array.shape[0] - 1)
        low = np.floor(at).astype(int)
        share = (at - low)[:, None]
        return array[low] * (1 - share) + array[np.minimum(low + 1, array.shape[0] - 1)] * share

    expected = along(along(values, 13).T, 4).T
    assert np.abs(resize_bilinear(values, (13, 4)) - expected).max() < FLOAT_ROUNDING


@pytest.mark.parametrize("channels", [1, 2, 21])
def test_resize_keeps_the_channel_axis(channels: int) -> None:
    assert resize_bilinear(np.zeros((8, 8, channels), np.float32), (4, 6)).shape == (4, 6, channels)


def test_resize_refuses_what_cannot_be_interpolated() -> None:
    with pytest.raises(ValueError, match="bool"):
        resize_bilinear(np.zeros((8, 8), bool), (4, 4))


def test_halving_is_the_mean_of_four_pixels() -> None:
    image = np.random.default_rng(5).integers(0, 256, (64, 96), dtype=np.uint8)
    means = image.reshape(32, 2, 48, 2).mean(axis=(1, 3))
    assert np.abs(resize_image(image, (32, 48)) - means).max() <= 0.5


@pytest.mark.parametrize("size_hw", [(256, 256), (144, 192), (97, 97), (40, 300)])
def test_shrinking_does_not_alias(size_hw: tuple[int, int]) -> None:
    # White noise is the worst case: its area mean is nearly flat, a plain bilinear shrink keeps the noise.
    noise = np.random.default_rng(6).integers(0, 256, (720, 1280), dtype=np.uint8)
    area = cv2.resize(noise, size_hw[::-1], interpolation=cv2.INTER_AREA).astype(np.float32)
    plain = cv2.resize(noise, size_hw[::-1], interpolation=cv2.INTER_LINEAR).astype(np.float32)
    ours = resize_image(noise, size_hw).astype(np.float32)
    assert np.abs(ours - area).mean() < 0.6 * np.abs(plain - area).mean()


def test_an_image_of_the_right_size_is_handed_through() -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    assert fit_image(image, (32, 32))[0] is image


def test_plan_refuses_unknown_fit_and_empty_sizes() -> None:
    with pytest.raises(ValueError, match="stretch, letterbox"):
        Placement.plan((4, 4), (4, 4), "crop")
    with pytest.raises(ValueError, match="positive"):
        Placement.plan((0, 4), (4, 4), "stretch")


def test_a_fitter_gives_what_fit_image_gives_and_keeps_its_memory() -> None:
    rng = np.random.default_rng(3)
    for fit in ("stretch", "letterbox"):
        fitter = PictureFitter((64, 48), fit, align=4)
        pictures = [rng.integers(0, 256, (360, 640, 3), np.uint8) for _ in range(3)]
        first, _ = fitter.fit(pictures[0])
        for picture in pictures:
            fitted, placement = fitter.fit(picture)
            expected, where = fit_image(picture, (64, 48), fit, align=4)
            np.testing.assert_array_equal(fitted, expected)
            assert placement == where and np.shares_memory(fitted, first)
        other, _ = fitter.fit(rng.random((90, 70), np.float32))
        assert other.shape == (64, 48) and other.dtype == np.float32
    fitting = rng.integers(0, 256, (64, 48, 3), np.uint8)
    assert PictureFitter((64, 48)).fit(fitting)[0] is fitting
