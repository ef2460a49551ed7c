"""Smoothing over time in C: what numpy and OpenCV make of it, frame after frame."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_deeplab import kernels
from edge_deeplab.compositing.smoothing import MatteSmoother

pytestmark = pytest.mark.skipif(not kernels.compiled(), reason="no compiler was there at installation")

ROUNDINGS = 4 * np.finfo(np.float32).eps  # the same steps in float32, some of them in another order
FRAMES = 4


@settings(max_examples=60, deadline=None)
@given(
    size_hw=st.one_of(
        st.tuples(st.integers(1, 6), st.integers(1, 6)), st.tuples(st.integers(1, 200), st.integers(1, 400))
    ),
    strength=st.floats(0, 0.99),
    noise=st.integers(0, 12),
    step=st.integers(0, 60),
    seed=st.integers(0, 2**16),
)
def test_smoothing_is_the_same_over_several_frames(
    size_hw: tuple[int, int], strength: float, noise: int, step: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    compiled, opencv = MatteSmoother(strength), MatteSmoother(strength)
    gray = rng.integers(0, 256, size_hw)
    for _ in range(FRAMES):
        matte = rng.random(size_hw, dtype=np.float32)
        gray = np.clip(gray + rng.integers(-noise, noise + 1, size_hw), 0, 255)
        gray[:, : size_hw[1] // 2] = np.clip(gray[:, : size_hw[1] // 2] + step, 0, 255)
        steady = compiled.smooth(matte, gray.astype(np.uint8))
        with kernels.opencv_only():
            expected = opencv.smooth(matte, gray.astype(np.uint8))
        assert np.abs(steady - expected).max() <= ROUNDINGS


@pytest.mark.parametrize("name", ["state", "before", "matte", "gray"])
def test_arrays_that_do_not_fit_are_refused_by_name(name: str) -> None:
    native = kernels.native()
    assert native is not None
    good = {
        "state": np.zeros((4, 5), np.float32), "before": np.zeros((4, 5), np.uint8),
        "matte": np.zeros((4, 5), np.float32), "gray": np.zeros((4, 5), np.uint8),
    }  # fmt: skip
    numbers = (0.5, 0.5, 1.0, 5.0, 1.5, 4.0)
    native.smooth(*good.values(), *numbers, 1)
    with pytest.raises(TypeError, match=name):
        native.smooth(*(good | {name: np.zeros((4, 5), np.int16)}).values(), *numbers, 1)
    with pytest.raises(ValueError, match="5 x 4"):
        native.smooth(*(good | {name: np.zeros((5, 4), good[name].dtype)}).values(), *numbers, 1)
    with pytest.raises(ValueError, match="radius"):
        native.smooth(*good.values(), *numbers, -1)
