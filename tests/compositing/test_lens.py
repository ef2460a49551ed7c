"""A background out of focus: what light does in a lens, and that the person's light does not."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_deeplab.compositing.blur import MAX_SIGMA_SHARE, BackgroundBlur
from edge_deeplab.compositing.lens import BLADES, LensBlur, aperture

NOBODY = np.zeros((180, 320), np.uint8)
DIAGONAL = math.hypot(180, 320)


def one_light(level: int = 255) -> np.ndarray:
    picture = np.zeros((180, 320, 3), np.uint8)
    picture[90, 160] = level
    return picture


@pytest.mark.parametrize("shape", BLADES)
@pytest.mark.parametrize("radius", [0.0, 0.3, 1.0, 2.5, 9.2])
def test_every_aperture_has_the_area_of_its_disc_and_loses_no_light(shape, radius):
    kernel = aperture(radius, shape)
    assert kernel.sum() == pytest.approx(1.0, abs=1e-5)
    if radius > 2:
        assert 1 / kernel.max() == pytest.approx(math.pi * radius**2, rel=0.03)  # the cells are counted by 8 x 8 points


@pytest.mark.parametrize(("shape", "corners"), [("pentagon", 5), ("hexagon", 6), ("octagon", 8)])
def test_a_polygon_has_its_corners_and_one_of_them_is_at_the_top(shape, corners):
    kernel = aperture(40.0, shape)
    outline = max(cv2.findContours((kernel > kernel.max() / 2).astype(np.uint8), 0, 1)[0], key=len)
    found = cv2.approxPolyDP(outline, 4.0, True).reshape(-1, 2)
    assert len(found) == corners
    top = found[found[:, 1].argmin()]
    assert top[0] == pytest.approx(kernel.shape[1] // 2, abs=2)


@pytest.mark.parametrize("strength", [0.2, 0.35])
def test_a_point_of_light_becomes_a_disc_of_the_right_radius_and_brightness(strength):
    radius = 2 * strength * MAX_SIGMA_SHARE * DIAGONAL
    picture = LensBlur(strength, highlights=0.0).blur(one_light(), NOBODY)
    y, x = np.mgrid[:180, :320]
    distance = np.hypot(y - 90, x - 160)
    expected = 255 * math.sqrt(1 / (math.pi * radius**2))  # its light, spread evenly over the disc
    assert np.abs(picture[distance < radius - 1].astype(float) - expected).max() <= 2
    assert picture[distance > radius + 1].max() <= 1


def test_the_pentagon_stands_upright_in_the_picture():
    picture = LensBlur(0.35, highlights=0.0, shape="pentagon").blur(one_light(), NOBODY)[..., 0]
    rows = np.flatnonzero(picture.max(axis=1) > picture.max() / 2)
    widths = (picture > picture.max() / 2).sum(axis=1)
    assert widths[rows[0]] < widths[rows[-1]]  # a corner above, a side below


def test_the_cost_does_not_grow_with_the_strength():
    shapes = [LensBlur(strength).blur(one_light(), NOBODY).shape[:2] for strength in (0.35, 0.7, 1.0)]
    assert shapes[0] == (180, 320) and shapes[0] > shapes[1] > shapes[2]


def test_highlights_make_a_light_stand_out_and_leave_what_is_not_bright():
    def disc_level(level: int, highlights: float) -> int:
        return int(LensBlur(0.35, highlights=highlights).blur(one_light(level), NOBODY)[90, 160, 0])

    assert disc_level(255, 0.0) < disc_level(255, 0.5) < disc_level(255, 1.0)
    assert disc_level(255, 1.0) == pytest.approx(5 * disc_level(255, 0.0), rel=0.1)  # the root of 25 times the light
    assert disc_level(120, 1.0) <= disc_level(120, 0.0) + 1


def test_a_coloured_light_keeps_its_hue():
    picture = one_light()
    picture[90, 160] = (80, 160, 240)
    disc = LensBlur(0.25, highlights=1.0).blur(picture, NOBODY)[90, 160].astype(float)
    assert disc[1] / disc[2] == pytest.approx(160 / 240, abs=0.03) and disc[0] / disc[2] == pytest.approx(
        1 / 3, abs=0.03
    )


@given(
    colour=st.tuples(*[st.integers(0, 255)] * 3), strength=st.floats(0, 1), highlights=st.floats(0, 1),
    shape=st.sampled_from(sorted(BLADES)),
)  # fmt: skip
@settings(max_examples=30, deadline=None)
def test_an_even_surface_stays_as_it_is(colour, strength, highlights, shape):
    picture = np.full((90, 160, 3), colour, np.uint8)
    blurred = LensBlur(strength, highlights=highlights, shape=shape).blur(picture, NOBODY)
    assert np.abs(blurred.astype(int) - colour).max() <= 1  # one rounding


@given(seed=st.integers(0, 99), strength=st.floats(0.05, 1), highlights=st.floats(0, 1))
@settings(max_examples=20, deadline=None)
def test_nothing_is_brighter_than_the_brightest_or_darker_than_the_darkest(seed, strength, highlights):
    rng = np.random.default_rng(seed)
    gray = rng.integers(40, 230, (60, 80, 1), np.uint8).repeat(3, axis=2)
    blurred = LensBlur(strength, highlights=highlights).blur(gray, NOBODY)
    assert gray.min() - 1 <= blurred.min() and blurred.max() <= gray.max() + 1


@pytest.mark.parametrize("strength", [0.1, 0.5, 1.0])
def test_light_of_the_person_never_enters(strength):
    picture = np.full((360, 640, 3), (0, 120, 0), np.uint8)
    alpha = np.zeros((360, 640), np.uint8)
    cv2.circle(picture, (320, 200), 100, (0, 0, 255), -1)
    cv2.circle(alpha, (320, 200), 100, 255, -1)
    blurred = LensBlur(strength, highlights=1.0).blur(picture, alpha)
    assert blurred[..., 2].max() <= 1, "red of the person"
    assert np.abs(blurred[..., 1].astype(int) - 120).max() <= 2


def test_a_frame_full_of_the_person_and_one_pixel_give_a_picture():
    assert LensBlur(0.3).blur(one_light(), np.full((180, 320), 255, np.uint8)).shape == (180, 320, 3)
    assert LensBlur(0.5).blur(np.full((1, 1, 3), 9, np.uint8), np.zeros((1, 1), np.uint8)).tolist() == [[[9, 9, 9]]]


def test_it_blurs_about_as_far_as_the_soft_style():
    """The same variance: both leave as much of coarse detail."""
    coarse = cv2.GaussianBlur(np.random.default_rng(0).normal(0, 1, (180, 320)).astype(np.float32), (0, 0), 12)
    picture = cv2.cvtColor(cv2.normalize(coarse, None, 80, 160, cv2.NORM_MINMAX).astype(np.uint8), cv2.COLOR_GRAY2BGR)
    lens = LensBlur(0.35, highlights=0.0).blur(picture, NOBODY).std()
    soft = BackgroundBlur(0.35).blur(picture, NOBODY).std()
    assert lens == pytest.approx(soft, rel=0.1)


def test_unknown_values_are_refused():
    with pytest.raises(ValueError, match=r"0\.\.1"):
        LensBlur(1.5)
    with pytest.raises(KeyError):
        aperture(3.0, "square")  # type: ignore[arg-type]
