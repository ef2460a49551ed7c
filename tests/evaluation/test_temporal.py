"""Steadiness over time: dtSSD by hand, flicker along the picture's motion, laws."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge_deeplab.evaluation.temporal import Flow, dtssd, picture_flow, steadiness

SIZE_HW = (96, 128)


def texture(seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (*SIZE_HW, 3)).astype(np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX)


def moved(picture: np.ndarray, across: float, down: float) -> np.ndarray:
    shift = np.float32([[1, 0, across], [0, 1, down]])
    return cv2.warpAffine(picture, shift, picture.shape[1::-1], borderMode=cv2.BORDER_REFLECT)


def disc(radius_px: float, across: float = 0.0) -> np.ndarray:
    rows, columns = np.mgrid[: SIZE_HW[0], : SIZE_HW[1]]
    soft = np.clip((radius_px - np.hypot(rows - 48, columns - 64 - across)) / 4 + 0.5, 0, 1)
    return soft.astype(np.float32)


def test_dtssd_by_hand() -> None:
    before, now = np.array([[0.0, 0.5]]), np.array([[0.5, 0.5]])
    still = np.array([[0.2, 0.2]])
    assert dtssd(before, now, still, still) == pytest.approx(100 * np.sqrt(0.25 / 2))
    assert dtssd(before, now, still, still + now - before) == pytest.approx(0)


def test_an_error_that_stays_costs_nothing_and_one_that_flickers_does() -> None:
    truth = [disc(30, across=2 * index) for index in range(3)]
    wrong = disc(8)
    assert dtssd(truth[0] - wrong, truth[1] - wrong, truth[0], truth[1]) == pytest.approx(0, abs=1e-5)
    series = [dtssd(truth[0], truth[1] - share * wrong, truth[0], truth[1]) for share in (0, 0.2, 0.5, 1)]
    assert series == sorted(series) and series[0] == 0 < series[1]


def test_steadiness_by_hand() -> None:
    before, now = np.array([[1.0, 1.0, 0.0, 0.0]]), np.array([[1.0, 0.6, 0.7, 0.0]])
    found = steadiness(before, now)
    assert (found.iou, found.difference) == (pytest.approx(2 / 3), pytest.approx(1.1 / 4))
    assert steadiness(now, now).difference == 0


def test_flow_finds_a_known_shift() -> None:
    flow = picture_flow(texture(), moved(texture(), 3, -2))
    inner = (slice(12, -12), slice(12, -12))
    assert flow.is_known[inner].mean() > 0.95
    # DIS is sub-pixel but not exact: a quarter of a pixel at the median
    assert np.median(np.abs(flow.back[inner] - (-3, 2))) < 0.25


def test_a_matte_that_goes_with_the_picture_is_steady_only_along_its_motion() -> None:
    flow = picture_flow(texture(), moved(texture(), 4, 0))
    before, now = disc(25), disc(25, across=4)
    plain, along = steadiness(before, now), steadiness(before, now, flow=flow)
    assert along.difference < plain.difference / 4
    assert along.iou > 0.98 > plain.iou


def test_flicker_is_seen_along_the_motion_and_grows() -> None:
    flow = picture_flow(texture(), moved(texture(), 4, 0))
    before, now = disc(25), disc(25, across=4)
    series = [steadiness(before, np.clip(now - share, 0, 1), flow=flow).difference for share in (0.0, 0.1, 0.3)]
    assert series == sorted(series) and series[0] < series[1]


def test_what_left_or_came_into_view_is_not_known() -> None:
    flow = picture_flow(texture(), moved(texture(), 8, 0))
    unrelated = picture_flow(texture(), texture(7))
    assert flow.is_known[:, :6].mean() < 0.2  # a reflected border came in from the left
    assert unrelated.is_known.mean() < 0.4 < flow.is_known.mean()  # a few chance matches are left


def test_pixels_of_unknown_motion_count_for_nothing() -> None:
    flow = Flow(np.zeros((*SIZE_HW, 2), np.float32), np.zeros(SIZE_HW, bool))
    assert steadiness(disc(10), disc(30), flow=flow) == steadiness(disc(10), disc(10))


def test_the_flow_is_the_same_every_time() -> None:
    one, other = (picture_flow(texture(), moved(texture(), 2, 1)) for _ in range(2))
    np.testing.assert_array_equal(one.back, other.back)


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        steadiness(np.zeros((3, 4)), np.zeros((4, 3)))
    with pytest.raises(ValueError, match="one size"):
        picture_flow(texture(), texture()[:-2])
