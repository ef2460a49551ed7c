"""Less flicker where nothing moves, no trail where something does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_deeplab.compositing.smoothing import MatteSmoother

SIDE = 96


def still_picture() -> np.ndarray:
    return np.random.default_rng(5).integers(40, 210, (SIDE, SIDE)).astype(np.uint8)


def bar(position: int, width: int = 20) -> np.ndarray:
    matte = np.zeros((SIDE, SIDE), np.float32)
    matte[:, position : position + width] = 1.0
    return matte


def test_flicker_on_a_still_picture_is_reduced_by_more_than_half() -> None:
    rng = np.random.default_rng(0)
    gray = still_picture()
    edge = np.tile(np.clip(np.linspace(-1, 2, SIDE), 0, 1).astype(np.float32), (SIDE, 1))
    smoother = MatteSmoother(0.7)
    raw, smooth = [], []
    for _ in range(30):
        noisy_gray = np.clip(gray + rng.normal(0, 2, gray.shape), 0, 255).astype(np.uint8)  # a webcam's noise
        matte = np.clip(edge + rng.normal(0, 0.15, edge.shape), 0, 1).astype(np.float32)
        raw.append(matte)
        smooth.append(smoother.smooth(matte, noisy_gray).copy())
    undecided = (edge > 0.2) & (edge < 0.8)

    def flicker(mattes: list[np.ndarray]) -> float:
        return float(np.abs(np.diff(np.stack(mattes[10:]), axis=0))[:, undecided].mean())

    assert flicker(smooth) < 0.5 * flicker(raw)


def test_a_fast_move_leaves_no_trail() -> None:
    smoother = MatteSmoother(0.9)
    background = still_picture()
    for step in range(8):
        matte = bar(4 + 9 * step)
        picture = np.where(matte > 0, 255, background).astype(np.uint8)
        smooth = smoother.smooth(matte, picture)
        assert np.abs(smooth - matte).max() < 0.02, f"step {step}"


def test_a_cut_starts_anew() -> None:
    smoother = MatteSmoother(0.9)
    rng = np.random.default_rng(1)
    smoother.smooth(bar(0), rng.integers(0, 256, (SIDE, SIDE)).astype(np.uint8))
    after = bar(60)
    np.testing.assert_allclose(
        smoother.smooth(after, rng.integers(0, 256, (SIDE, SIDE)).astype(np.uint8)), after, atol=0.05
    )


def test_a_lasting_change_is_followed_even_where_the_picture_is_still() -> None:
    smoother = MatteSmoother(0.7)
    gray = still_picture()
    smoother.smooth(bar(10), gray)
    for _ in range(12):  # 0.4 s at 30 frames a second
        smooth = smoother.smooth(bar(50), gray)
    np.testing.assert_allclose(smooth, bar(50), atol=0.02)


def test_strength_zero_returns_the_matte() -> None:
    smoother = MatteSmoother(0.0)
    for position in (5, 30):
        np.testing.assert_array_equal(smoother.smooth(bar(position), still_picture()), bar(position))


def test_reset_and_another_shape_forget_the_past() -> None:
    smoother = MatteSmoother(0.9)
    smoother.smooth(bar(0), still_picture())
    smoother.reset()
    np.testing.assert_array_equal(smoother.smooth(bar(40), still_picture()), bar(40))
    small = np.full((8, 8), 0.25, np.float32)
    np.testing.assert_array_equal(smoother.smooth(small, np.zeros((8, 8), np.uint8)), small)


@given(seed=st.integers(0, 1000), strength=st.floats(0.0, 0.95))
@settings(max_examples=30, deadline=None)
def test_the_result_lies_between_the_past_and_the_new(seed: int, strength: float) -> None:
    rng = np.random.default_rng(seed)
    smoother = MatteSmoother(strength)
    past = smoother.smooth(
        rng.random((12, 9)).astype(np.float32), rng.integers(0, 256, (12, 9)).astype(np.uint8)
    ).copy()
    new = rng.random((12, 9)).astype(np.float32)
    result = smoother.smooth(new, rng.integers(0, 256, (12, 9)).astype(np.uint8))
    tolerance = 1e-6  # float32 rounding
    assert (result >= np.minimum(past, new) - tolerance).all() and (result <= np.maximum(past, new) + tolerance).all()


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        MatteSmoother(0.5).smooth(np.zeros((4, 4), np.float32), np.zeros((4, 5), np.uint8))
