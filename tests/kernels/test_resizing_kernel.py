"""Pictures made smaller in C: OpenCV's bilinear resize, at every size and down to the bit where its own loops run."""

from __future__ import annotations

import platform

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge_deeplab import kernels
from edge_deeplab.imaging.resize import resize_bilinear, resize_into

pytestmark = pytest.mark.skipif(not kernels.compiled(), reason="no compiler was there at installation")

# OpenCV hands the resize to a library of the processor's maker where it has one, which may round in another way.
LEVELS = 0 if platform.machine() == "x86_64" else 1


def assert_same(picture: np.ndarray, size_hw: tuple[int, int]) -> None:
    compiled = resize_bilinear(picture, size_hw).astype(int)
    with kernels.opencv_only():
        assert np.abs(compiled - resize_bilinear(picture, size_hw)).max() <= LEVELS


@settings(max_examples=150, deadline=None)
@given(
    size_hw=st.one_of(
        st.tuples(st.integers(1, 7), st.integers(1, 7)), st.tuples(st.integers(1, 200), st.integers(1, 300))
    ),
    target_hw=st.tuples(st.integers(1, 200), st.integers(1, 300)),
    seed=st.integers(0, 2**16),
)
@example(size_hw=(360, 640), target_hw=(256, 256), seed=0)
@example(size_hw=(540, 960), target_hw=(540, 480), seed=1)
def test_a_smaller_picture_is_opencvs(size_hw: tuple[int, int], target_hw: tuple[int, int], seed: int) -> None:
    target_hw = (min(size_hw[0], target_hw[0]), min(size_hw[1], target_hw[1]))
    assert_same(np.random.default_rng(seed).integers(0, 256, (*size_hw, 3), np.uint8), target_hw)


@settings(max_examples=60, deadline=None)
@given(half_hw=st.tuples(st.integers(1, 60), st.integers(1, 90)), seed=st.integers(0, 2**16))
def test_half_a_picture_is_opencvs(half_hw: tuple[int, int], seed: int) -> None:
    assert_same(np.random.default_rng(seed).integers(0, 256, (2 * half_hw[0], 2 * half_hw[1], 3), np.uint8), half_hw)


@pytest.mark.parametrize("value", [0, 1, 254, 255])
@pytest.mark.parametrize("size_hw", [(20, 24), (17, 29), (40, 13)])
def test_a_plain_picture_stays_plain(size_hw: tuple[int, int], value: int) -> None:
    resized = resize_bilinear(np.full((40, 48, 3), value, np.uint8), size_hw)
    assert (resized == value).all()


@pytest.mark.parametrize("threads", [1, 2, 3, 16])
def test_the_picture_is_the_same_from_any_number_of_threads(threads: int) -> None:
    picture = np.random.default_rng(2).integers(0, 256, (360, 640, 3), np.uint8)
    native = kernels.native()
    assert native is not None
    for size_hw in ((180, 320), (256, 256)):
        small, alone = np.empty((*size_hw, 3), np.uint8), np.empty((*size_hw, 3), np.uint8)
        native.shrink(picture, small, threads)
        native.shrink(picture, alone, 1)
        np.testing.assert_array_equal(small, alone)


def test_rows_that_lie_apart_are_read_and_written_as_such() -> None:
    picture = np.random.default_rng(3).integers(0, 256, (40, 60, 3), np.uint8)
    canvas = np.full((20, 50, 3), 77, np.uint8)
    resize_into(picture[:, 4:56], canvas[:, 5:31])
    expected = cv2.resize(picture[:, 4:56], (26, 20), interpolation=cv2.INTER_LINEAR)
    assert np.abs(canvas[:, 5:31].astype(int) - expected).max() <= LEVELS
    assert (canvas[:, :5] == 77).all() and (canvas[:, 31:] == 77).all()


def test_what_does_not_fit_is_refused() -> None:
    native = kernels.native()
    assert native is not None
    picture = np.zeros((8, 9, 3), np.uint8)
    with pytest.raises(ValueError, match="no larger"):
        native.shrink(picture, np.zeros((9, 9, 3), np.uint8), 1)
    with pytest.raises(ValueError, match="small"):
        native.shrink(picture, np.zeros((4, 4, 4), np.uint8), 1)
    with pytest.raises(TypeError, match="picture"):
        native.shrink(picture.astype(np.float32), np.zeros((4, 4, 3), np.uint8), 1)
