"""The guided filter in C against the one in OpenCV, and what it refuses."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_deeplab import kernels
from edge_deeplab.compositing.blending import alpha_curve
from edge_deeplab.compositing.upsampling import GuidedUpsampler

# Both round the filter's value to a level and put that under the curve, from sums taken in another order: a rounding
# may tip over. So they are held against each other under a curve that leaves a level a level.
TIPPED_LEVELS = 1
PLAIN = np.arange(256, dtype=np.uint8)


@pytest.fixture(scope="module")
def native() -> Any:
    if not kernels.compiled():
        pytest.skip("needs the compiled kernels: test_room.py says whether they should be here")
    return kernels.native()


def scene(rng: np.random.Generator, low_hw: tuple[int, int], high_hw: tuple[int, int]) -> tuple[np.ndarray, ...]:
    """A matte of blots, a low and a high picture of random detail."""
    matte_hw = (int(rng.integers(1, 70)), int(rng.integers(1, 70)))
    blots = cv2.GaussianBlur(rng.random(matte_hw), (0, 0), float(rng.uniform(0.5, 8)))
    matte = np.clip((blots - 0.5) * rng.choice([0.5, 5.0, 60.0]) + 0.5, 0.0, 1.0).astype(np.float32)
    high = cv2.GaussianBlur(rng.integers(0, 256, (*high_hw, 3), np.uint8), (0, 0), float(rng.uniform(0.5, 5)))
    high = high.reshape(*high_hw, 3)
    low = cv2.resize(high, low_hw[::-1], interpolation=cv2.INTER_AREA).reshape(*low_hw, 3)
    return matte.reshape(matte_hw), low, high


@given(seed=st.integers(0, 9999), factor=st.integers(0, 5), threads=st.integers(1, 3))
@settings(max_examples=80, deadline=None)
def test_levels_in_c_are_those_of_opencv(native: Any, seed: int, factor: int, threads: int) -> None:
    """Factor 0: the picture is no whole multiple of the coefficients' size."""
    rng = np.random.default_rng(seed)
    low_hw = (int(rng.integers(1, 60)), int(rng.integers(1, 90)))
    high_hw = (low_hw[0] * factor, low_hw[1] * factor)
    if not factor:
        high_hw = (low_hw[0] + int(rng.integers(0, 90)), low_hw[1] + int(rng.integers(0, 90)))
    matte, low, high = scene(rng, low_hw, high_hw)
    before = cv2.getNumThreads()
    cv2.setNumThreads(threads)
    try:
        ours = GuidedUpsampler().levels(matte, low, high, PLAIN)
        with kernels.opencv_only():
            theirs = GuidedUpsampler().levels(matte, low, high, PLAIN)
    finally:
        cv2.setNumThreads(before)
    assert np.abs(ours.astype(int) - theirs).max() <= TIPPED_LEVELS


@pytest.mark.parametrize("side", [1, 2, 7, 40])
@pytest.mark.parametrize("radius", [1, 2, 15])
def test_windows_larger_than_the_picture_are_reflected_as_opencv_does(native: Any, side: int, radius: int) -> None:
    rng = np.random.default_rng(side)
    matte, low, high = scene(rng, (side, side + 1), (3 * side, 3 * side + 3))
    share = radius / (side + 1)
    ours = GuidedUpsampler(window_share=share).levels(matte, low, high, PLAIN)
    with kernels.opencv_only():
        theirs = GuidedUpsampler(window_share=share).levels(matte, low, high, PLAIN)
    assert np.abs(ours.astype(int) - theirs).max() <= TIPPED_LEVELS


def test_the_curve_is_laid_over_what_is_drawn(native: Any) -> None:
    rng = np.random.default_rng(2)
    _, low, high = scene(rng, (40, 60), (160, 240))
    matte = rng.random((40, 60)).astype(np.float32)  # an edge everywhere
    curve = alpha_curve(0.2, 0.6)
    plain = GuidedUpsampler().levels(matte, low, high, PLAIN)
    np.testing.assert_array_equal(GuidedUpsampler().levels(matte, low, high, curve), curve[plain])


def test_a_window_too_large_for_its_integers_is_left_to_opencv(native: Any) -> None:
    matte, low, high = scene(np.random.default_rng(1), (40, 60), (80, 120))
    with pytest.raises(ValueError, match="radius must be 1 to 15; came 16"):
        levels = np.empty((80, 120), np.uint8)
        models = np.empty((160, 60), np.float32)
        native.guided_levels(matte, low, high, PLAIN.reshape(1, 256), models, levels, 16, 3e-4, 3.0, 1)
    ours = GuidedUpsampler(window_share=0.3).levels(matte, low, high, PLAIN)
    with kernels.opencv_only():
        np.testing.assert_array_equal(ours, GuidedUpsampler(window_share=0.3).levels(matte, low, high, PLAIN))


def test_a_matte_that_is_no_number_gives_a_level_all_the_same(native: Any) -> None:
    _, low, high = scene(np.random.default_rng(1), (40, 60), (80, 120))
    for value in (np.nan, np.inf, -np.inf, 1e30):
        levels = GuidedUpsampler().levels(np.full((9, 9), value, np.float32), low, high, PLAIN)
        assert set(np.unique(levels)) <= {0, 255}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"matte": np.zeros((9, 9))}, "matte must hold 'f'; came 'd'"),
        ({"low": np.zeros((4, 6), np.uint8)}, "low_bgr must have 3 dimensions, 3 channels; came 2 dimensions"),
        ({"high": np.zeros((8, 0, 3), np.uint8)}, "high_bgr must have 1 to 65536 rows and columns; came 8 x 0"),
        ({"curve": np.zeros((1, 255), np.uint8)}, "curve must be 1 x 256; came 1 x 255"),
        ({"models": np.zeros((15, 6), np.float32)}, "models must be 16 x 6; came 15 x 6"),
        ({"levels": np.zeros((8, 11), np.uint8)}, "levels must be 8 x 12; came 8 x 11"),
        ({"matte": np.zeros((9, 18), np.float32)[:, ::2]}, "matte must have rows without gaps"),
    ],
)
def test_what_does_not_fit_is_refused(native: Any, change: dict[str, np.ndarray], message: str) -> None:
    fitting = {
        "matte": np.zeros((9, 9), np.float32), "low": np.zeros((4, 6, 3), np.uint8),
        "high": np.zeros((8, 12, 3), np.uint8), "curve": np.zeros((1, 256), np.uint8),
        "models": np.zeros((16, 6), np.float32), "levels": np.zeros((8, 12), np.uint8),
    }  # fmt: skip
    native.guided_levels(*fitting.values(), 1, 3e-4, 3.0, 1)
    with pytest.raises((TypeError, ValueError), match=message.replace("(", r"\(")):
        native.guided_levels(*(fitting | change).values(), 1, 3e-4, 3.0, 1)
