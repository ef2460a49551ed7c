"""Light wrap: it adds light at the person's edge, and nothing anywhere else."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_deeplab.compositing.light_wrap import SIGMA_SHARE, LightWrap


def scene(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A picture and a background, (180, 320, 3) uint8, and alpha of a disc, (180, 320) uint8."""
    rng = np.random.default_rng(seed)
    picture, background = (rng.integers(0, 256, (180, 320, 3), np.uint8) for _ in range(2))
    alpha = np.zeros((180, 320), np.uint8)
    cv2.circle(alpha, (160, 90), 70, 255, -1)
    return picture, background, cv2.GaussianBlur(alpha, (0, 0), 1.5)


def test_no_strength_changes_nothing():
    picture, background, alpha = scene()
    np.testing.assert_array_equal(LightWrap(0.0).apply(picture.copy(), background, alpha), picture)


@given(seed=st.integers(0, 99), strength=st.floats(0, 1))
@settings(max_examples=20, deadline=None)
def test_it_only_adds_light_near_the_edge_of_the_person(seed, strength):
    picture, background, alpha = scene(seed)
    wrapped = LightWrap(strength).apply(picture.copy(), background, alpha)
    assert (wrapped >= picture).all()
    np.testing.assert_array_equal(wrapped[alpha == 0], picture[alpha == 0])
    inner = cv2.distanceTransform((alpha > 127).view(np.uint8), cv2.DIST_L2, 5) > 15  # beyond 4 standard deviations
    np.testing.assert_array_equal(wrapped[inner], picture[inner])


def test_a_black_background_gives_no_light_and_a_white_one_most_at_the_edge():
    picture, background, alpha = scene()
    picture[:] = 60
    np.testing.assert_array_equal(LightWrap(1.0).apply(picture.copy(), np.zeros_like(background), alpha), picture)
    wrapped = LightWrap(1.0).apply(picture.copy(), np.full_like(background, 255), alpha)
    share = alpha / 255.0
    light = cv2.GaussianBlur(1 - share, (0, 0), SIGMA_SHARE * math.hypot(180, 320))
    expected = 60 + share * light * (255 - 60)
    assert expected.max() > 110
    assert np.abs(wrapped[..., 1] - expected).max() <= 4  # a stack blur is nearly a Gaussian


def test_more_strength_is_more_light_of_the_backgrounds_colour():
    picture, background, alpha = scene()
    picture[:], background[:] = 60, (0, 0, 255)
    at_edge = [LightWrap(s).apply(picture.copy(), background, alpha)[90, 227].astype(int) for s in (0.2, 0.6, 1.0)]
    assert at_edge[0][2] < at_edge[1][2] < at_edge[2][2]
    assert all(colour[0] == colour[1] == 60 for colour in at_edge)


def test_the_background_is_not_written_into():
    picture, background, alpha = scene()
    kept = background.copy()
    assert LightWrap(1.0).apply(picture, background, alpha) is picture
    np.testing.assert_array_equal(background, kept)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (37, 53), (721, 1281)])
def test_any_shape_passes(shape):
    picture = np.full((*shape, 3), 50, np.uint8)
    alpha = np.full(shape, 255, np.uint8)
    np.testing.assert_array_equal(LightWrap(1.0).apply(picture.copy(), picture, alpha), picture)


def test_a_strength_out_of_range_is_refused():
    with pytest.raises(ValueError, match="strength"):
        LightWrap(1.01)
