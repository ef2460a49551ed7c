"""Regions of a matte in C: bit for bit what OpenCV finds, on mattes of every size and raggedness."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_deeplab import kernels
from edge_deeplab.compositing.held_objects import held_regions
from edge_deeplab.compositing.islands import small_islands

pytestmark = pytest.mark.skipif(not kernels.compiled(), reason="no compiler was there at installation")


def ragged(seed: int, size_hw: tuple[int, int], patch_px: int, contrast: float, level: float) -> np.ndarray:
    """Regions, holes in them and islands in the holes, hard and soft, that touch each other and the border."""
    rng = np.random.default_rng(seed)
    small = rng.random((max(1, size_hw[0] // patch_px), max(1, size_hw[1] // patch_px)), dtype=np.float32)
    way = (cv2.INTER_LINEAR, cv2.INTER_NEAREST)[seed % 2]
    large = cv2.resize(small, size_hw[::-1], interpolation=way).reshape(size_hw)
    return np.clip((large - 0.5) * np.float32(contrast) + np.float32(level), 0, 1)


mattes = st.builds(
    ragged,
    seed=st.integers(0, 2**16),
    size_hw=st.one_of(
        st.tuples(st.integers(1, 6), st.integers(1, 6)), st.tuples(st.integers(1, 140), st.integers(1, 140))
    ),
    patch_px=st.integers(1, 9),
    contrast=st.floats(0.5, 4),
    level=st.floats(0.35, 0.6),
)


def assert_same(compiled: np.ndarray | None, opencv: np.ndarray | None) -> None:
    assert (compiled is None) == (opencv is None)
    if compiled is not None:
        np.testing.assert_array_equal(compiled, opencv)


@settings(max_examples=200, deadline=None)
@given(matte=mattes, least_share=st.floats(0.01, 1))
def test_the_same_islands_are_small(matte: np.ndarray, least_share: float) -> None:
    compiled = small_islands(matte, least_share)
    with kernels.opencv_only():
        assert_same(compiled, small_islands(matte, least_share))


@settings(max_examples=200, deadline=None)
@given(matte=mattes)
def test_the_same_regions_are_held(matte: np.ndarray) -> None:
    compiled = held_regions(matte)
    with kernels.opencv_only():
        assert_same(compiled, held_regions(matte))


def test_what_a_hole_encloses_belongs_to_it() -> None:
    """A ring of the person, in it a hole half seen, in that an island of the person with a hole of its own."""
    matte = np.ones((40, 40), np.float32)
    matte[:2] = matte[-2:] = 0
    matte[:, :2] = matte[:, -2:] = 0
    matte[8:32, 8:32] = 0.35
    matte[14:26, 14:26] = 1.0
    matte[18:22, 18:22] = 0.1  # on its own too little seen to be filled
    compiled = held_regions(matte)
    assert compiled is not None and compiled[10, 10] == 255 and compiled[20, 20] == 255 and compiled[15, 15] == 0
    with kernels.opencv_only():
        assert_same(compiled, held_regions(matte))


@pytest.mark.parametrize("function", ["small_islands", "held_regions"])
def test_masks_that_do_not_fit_are_refused(function: str) -> None:
    def call(matte: np.ndarray, mask: np.ndarray) -> bool:
        last = (0.5, 0.4, 1, 0.3) if function == "held_regions" else (0.5, 0.25, 1, 5)
        return bool(getattr(kernels.native(), function)(matte, mask, *last))

    matte = np.zeros((8, 9), np.float32)
    assert not call(matte, np.zeros((8, 9), np.uint8))
    with pytest.raises(ValueError, match="8 x 9"):
        call(matte, np.zeros((9, 8), np.uint8))
    with pytest.raises(TypeError, match="matte"):
        call(matte.astype(np.float64), np.zeros((8, 9), np.uint8))
    with pytest.raises((ValueError, TypeError, BufferError)):
        read_only = np.zeros((8, 9), np.uint8)
        read_only.flags.writeable = False
        call(matte, read_only)
