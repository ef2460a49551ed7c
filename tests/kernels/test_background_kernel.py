"""The blurred background in C: what OpenCV makes of it, at every size, and nothing but arrays that fit."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_deeplab import kernels
from edge_deeplab.compositing.blur import BackgroundBlur

pytestmark = pytest.mark.skipif(
    not kernels.compiled(), reason="the kernels were not built: no compiler at installation"
)

# Both ways sum the same products in float32, in another order, and round once.
LEVELS = 1


def scene(
    rng: np.random.Generator, low_hw: tuple[int, int], alpha_hw: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Patches of colour, and a person with a soft edge."""
    patches = rng.integers(0, 256, (low_hw[0] // 3 + 1, low_hw[1] // 3 + 1, 3), np.uint8)
    low = cv2.resize(patches, low_hw[::-1], interpolation=cv2.INTER_NEAREST).reshape(*low_hw, 3)
    alpha = np.zeros(alpha_hw, np.uint8)
    cv2.ellipse(
        alpha, (alpha_hw[1] // 2, alpha_hw[0]), (alpha_hw[1] // 3 + 1, alpha_hw[0] // 2 + 1), 0, 0, 360, 255, cv2.FILLED
    )
    return low, cv2.blur(alpha, (5, 5)).reshape(alpha_hw)


def both_ways(low: np.ndarray, alpha: np.ndarray, strength: float) -> tuple[np.ndarray, np.ndarray]:
    compiled = BackgroundBlur(strength).blur(low, alpha).astype(int)
    with kernels.opencv_only():
        return compiled, BackgroundBlur(strength).blur(low, alpha).astype(int)


@settings(max_examples=60, deadline=None)
@given(
    low_hw=st.tuples(st.integers(1, 90), st.integers(1, 120)),
    factors=st.tuples(st.floats(1, 5), st.floats(1, 5)),
    strength=st.floats(0, 1),
    seed=st.integers(0, 2**16),
)
def test_the_blur_is_opencvs_at_every_size(
    low_hw: tuple[int, int], factors: tuple[float, float], strength: float, seed: int
) -> None:
    alpha_hw = (int(low_hw[0] * factors[0]), int(low_hw[1] * factors[1]))
    compiled, opencv = both_ways(*scene(np.random.default_rng(seed), low_hw, alpha_hw), strength)
    assert np.abs(compiled - opencv).max() <= LEVELS


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_blur_is_the_same_from_any_number_of_threads(threads: int) -> None:
    low, alpha = scene(np.random.default_rng(1), (180, 320), (360, 640))
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(threads)
        compiled, opencv = both_ways(low, alpha, 0.5)
    finally:
        cv2.setNumThreads(before)
    assert np.abs(compiled - opencv).max() <= LEVELS


@pytest.mark.parametrize("low_hw", [(1, 1), (1, 50), (50, 1), (2, 3)])
def test_a_person_that_fills_the_smallest_frames_leaves_their_own_colours(low_hw: tuple[int, int]) -> None:
    low, _ = scene(np.random.default_rng(2), low_hw, low_hw)
    compiled, opencv = both_ways(low, np.full(low_hw, 255, np.uint8), 0.5)
    assert np.abs(compiled - opencv).max() <= LEVELS


def test_rows_that_lie_apart_give_the_same_picture() -> None:
    low, alpha = scene(np.random.default_rng(3), (40, 60), (80, 120))
    wide = np.full((40, 75, 3), 77, np.uint8)
    wide[:, :60] = low
    whole, _ = both_ways(low, alpha, 0.3)
    part, _ = both_ways(wide[:, :60], alpha, 0.3)
    np.testing.assert_array_equal(part, whole)


GOOD = {
    "low_bgr": np.zeros((8, 9, 3), np.uint8),
    "alpha": np.zeros((16, 18), np.uint8),
    "ramp": np.ones((1, 256), np.float32),
    "taps": np.ones((1, 3), np.float32) / 3,
    "blurred": np.zeros((8, 9, 3), np.uint8),
}


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("low_bgr", np.zeros((8, 9, 4), np.uint8)),
        ("low_bgr", np.zeros((0, 9, 3), np.uint8)),
        ("low_bgr", np.zeros((8, 9, 3), np.float32)),
        ("low_bgr", np.zeros((8, 18, 3), np.uint8)[:, ::2]),
        ("alpha", np.zeros((7, 18), np.uint8)),
        ("alpha", np.zeros((16, 18, 1), np.uint8)),
        ("ramp", np.ones((1, 255), np.float32)),
        ("taps", np.ones((1, 4), np.float32)),
        ("taps", np.ones((3, 1), np.float32)),
        ("blurred", np.zeros((9, 9, 3), np.uint8)),
    ],
)
def test_arrays_that_do_not_fit_are_refused_by_name(name: str, wrong: np.ndarray) -> None:
    native = kernels.native()
    assert native is not None
    native.blur_background(*GOOD.values(), 0.02, 1)
    with pytest.raises((ValueError, TypeError), match=name):
        native.blur_background(*(GOOD | {name: wrong}).values(), 0.02, 1)
