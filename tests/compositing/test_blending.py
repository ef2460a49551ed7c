"""The blend and the curve before it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_deeplab.compositing.blending import Blender, alpha_curve


@given(seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_the_blend_is_within_one_level_of_the_formula_and_exact_at_the_ends(seed: int) -> None:
    rng = np.random.default_rng(seed)
    frame, background = (rng.integers(0, 256, (9, 14, 3), np.uint8) for _ in range(2))
    alpha = rng.choice(np.array([0, 1, 77, 128, 200, 254, 255], np.uint8), (9, 14))
    result = Blender().blend(frame, background, alpha, np.empty_like(frame))
    share = alpha[..., None] / 255.0
    expected = share * frame + (1 - share) * background
    assert np.abs(result - expected).max() <= 1.0
    np.testing.assert_array_equal(result[alpha == 255], frame[alpha == 255])
    np.testing.assert_array_equal(result[alpha == 0], background[alpha == 0])


@pytest.mark.parametrize("softness", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("level", [0.05, 0.45, 0.95])
def test_the_curve_rises_from_0_to_255(softness: float, level: float) -> None:
    curve = alpha_curve(softness, level).astype(int)
    assert curve[0] == 0 and curve[-1] == 255
    assert (np.diff(curve) >= 0).all()


def test_a_lower_level_keeps_more_and_more_softness_widens() -> None:
    assert (alpha_curve(0.4, 0.3) >= alpha_curve(0.4, 0.6)).all()

    def undecided(softness: float) -> int:
        curve = alpha_curve(softness, 0.5)
        return int(((curve > 0) & (curve < 255)).sum())

    assert undecided(0.0) < undecided(0.5) < undecided(1.0)


@given(seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_the_clean_blend_finds_the_person_in_a_mixed_pixel(seed: int) -> None:
    rng = np.random.default_rng(seed)
    person, behind, background = (rng.integers(0, 256, (9, 14, 3), np.uint8) for _ in range(3))
    alpha = rng.integers(0, 256, (9, 14)).astype(np.uint8)
    share = alpha[..., None] / 255.0
    frame = np.rint(share * person + (1 - share) * behind).astype(np.uint8)
    result = Blender().blend_clean(frame, behind, background, alpha, np.empty_like(frame))
    # Half a level for the frame's own rounding, half for each of the two products, which the sum then adds up.
    assert np.abs(result - (share * person + (1 - share) * background)).max() <= 1.5


def test_the_clean_blend_is_exact_where_alpha_is_decided() -> None:
    rng = np.random.default_rng(0)
    frame, behind, background = (rng.integers(0, 256, (9, 14, 3), np.uint8) for _ in range(3))
    alpha = rng.choice(np.array([0, 255], np.uint8), (9, 14))
    result = Blender().blend_clean(frame, behind, background, alpha, frame)
    np.testing.assert_array_equal(result[alpha == 0], background[alpha == 0])
