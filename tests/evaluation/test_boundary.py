from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from edge_deeplab.evaluation.boundary import (
    boundary_f,
    boundary_tolerance_px,
    diagonal_px,
    edge_distance,
    mask_edge,
    trimap_iou,
)


def disc(radius_px: float, centre: tuple[float, float] = (60, 80), size_hw: tuple[int, int] = (120, 160)) -> np.ndarray:
    rows, columns = np.mgrid[: size_hw[0], : size_hw[1]]
    return np.hypot(rows - centre[0], columns - centre[1]) <= radius_px


def test_edge_is_the_pixels_on_both_sides_and_not_the_border() -> None:
    mask = np.zeros((5, 6), bool)
    mask[:, 3:] = True
    expected = np.zeros((5, 6), bool)
    expected[:, 2:4] = True
    np.testing.assert_array_equal(mask_edge(mask), expected)
    np.testing.assert_array_equal(mask_edge(~mask), expected)


def test_distance_is_exact_euclidean() -> None:
    edge = np.random.default_rng(0).random((61, 47)) > 0.99
    assert edge.any()
    # cv2 computes in float32; distances here stay below 64 px
    np.testing.assert_allclose(edge_distance(edge), distance_transform_edt(~edge), atol=1e-4)


def test_no_edge_is_infinitely_far() -> None:
    assert np.isinf(edge_distance(np.zeros((3, 4), bool))).all()


def test_a_perfect_mask_scores_one_and_its_opposite_keeps_its_edge() -> None:
    mask = disc(30)
    assert boundary_f(mask, mask) == 1.0
    assert boundary_f(~mask, mask) == 1.0
    assert trimap_iou(mask, mask) == 1.0
    assert trimap_iou(~mask, mask) == 0.0


def test_boundary_f_falls_once_the_edge_is_off_by_more_than_the_tolerance() -> None:
    tolerance_px = boundary_tolerance_px((120, 160))
    assert tolerance_px == pytest.approx(1.5)  # 0.0075 of a diagonal of 200
    columns = np.broadcast_to(np.arange(160), (120, 160))
    # an edge is two columns wide: shifted by 2 px, its near column is 1 px off and its far one 2 px
    for shift, expected in ((0, 1.0), (1, 1.0), (2, 0.5), (3, 0.0), (9, 0.0)):
        assert boundary_f(columns >= 80 + shift, columns >= 80) == pytest.approx(expected)


def test_tolerance_is_at_least_a_pixel() -> None:
    assert boundary_tolerance_px((30, 40)) == 1.0
    assert diagonal_px((30, 40)) == 50.0


def test_trimap_by_hand() -> None:
    truth = np.zeros((120, 160), bool)
    truth[:, 80:] = True
    predicted = np.zeros_like(truth)
    predicted[:, 78:] = True
    # band: edge columns 79 and 80, four more on either side (0.02 of 200 px); 5 of person, 5 of background, 2 wrong
    assert trimap_iou(predicted, truth) == pytest.approx((5 / 7 + 3 / 5) / 2)


def test_far_mistakes_do_not_touch_the_trimap() -> None:
    truth = disc(30)
    mistaken = truth.copy()
    mistaken[:5, :5] = True
    assert trimap_iou(mistaken, truth) == 1.0
    assert boundary_f(mistaken, truth) < 1.0


def test_truth_without_an_edge_follows_davis_and_has_no_trimap() -> None:
    empty, full, some = np.zeros((40, 50), bool), np.ones((40, 50), bool), disc(8, (20, 25), (40, 50))
    assert trimap_iou(some, empty) is None
    assert boundary_f(empty, empty) == boundary_f(full, full) == 1.0
    assert boundary_f(some, empty) == boundary_f(empty, some) == 0.0


def test_figures_do_not_change_under_mirror_and_transpose() -> None:
    predicted, truth = disc(28, (58, 83)), disc(30)
    for turn in (np.fliplr, np.flipud, np.transpose):
        assert boundary_f(turn(predicted), turn(truth)) == pytest.approx(boundary_f(predicted, truth))
        assert trimap_iou(turn(predicted), turn(truth)) == pytest.approx(trimap_iou(predicted, truth))
