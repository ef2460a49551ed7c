"""Mean IoU near borders: small answers worked out by hand, laws, and the figure's text."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from edge_deeplab.evaluation.confusion import ConfusionMatrix
from edge_deeplab.evaluation.trimap_curve import TrimapCurve, border_distance, draw_trimap_curves
from edge_deeplab.imaging.svg_drawing import COLOURS
from edge_deeplab.labels import IGNORE


def halves(width: int = 12) -> np.ndarray:
    labels = np.zeros((8, width), np.uint8)
    labels[:, width // 2 :] = 1
    return labels


def test_distance_counts_from_1_at_a_border_on_both_sides() -> None:
    assert border_distance(halves())[3].tolist() == [6, 5, 4, 3, 2, 1, 1, 2, 3, 4, 5, 6]


def test_void_is_a_border_too_and_a_map_of_one_label_has_none() -> None:
    labels = np.zeros((8, 9), np.uint8)
    labels[:, 4] = IGNORE
    assert border_distance(labels)[3].tolist() == [4, 3, 2, 1, 1, 1, 2, 3, 4]
    assert np.isinf(border_distance(np.zeros((4, 4), np.uint8))).all()


def test_bands_by_hand() -> None:
    """One column of class 0, that beside the border, is taken for class 1; columns are counted."""
    truth, predicted = halves(), halves()
    predicted[:, 5] = 1
    curve = TrimapCurve(2, widths_px=(1, 2, 6))
    curve.add(predicted, truth)
    points = dict(curve.points())
    assert points[1] == pytest.approx((0 / 1 + 1 / 2) / 2)
    assert points[2] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert points[6] == pytest.approx((5 / 6 + 6 / 7) / 2)


def test_void_pixels_count_for_nothing() -> None:
    truth = halves()
    truth[:, 5:7] = IGNORE
    curves = []
    for wrong in (0, 1):
        predicted = halves()
        predicted[:, 5:7] = wrong
        curve = TrimapCurve(2)
        curve.add(predicted, truth)
        curves.append(curve.points())
    assert curves[0] == curves[1]
    assert curves[0][0] == (1, 1.0)


def test_widest_band_is_mean_iou_over_the_set() -> None:
    rng = np.random.default_rng(0)
    matrix, curve = ConfusionMatrix(3), TrimapCurve(3, widths_px=(1, 1000))
    for _ in range(3):
        truth = np.kron(rng.integers(0, 3, (4, 5)), np.ones((9, 9), int)).astype(np.uint8)
        truth[rng.random(truth.shape) < 0.1] = IGNORE
        predicted = rng.integers(0, 3, truth.shape)
        matrix.update(predicted, truth)
        curve.add(predicted, truth)
    assert curve.points()[-1] == (1000, pytest.approx(matrix.mean_iou()))


def test_a_set_without_borders_has_no_points() -> None:
    curve = TrimapCurve(2)
    curve.add(np.zeros((4, 4), int), np.zeros((4, 4), np.uint8))
    assert curve.points() == []


@pytest.mark.parametrize("widths", [(), (2, 1), (0, 1), (1, 1)])
def test_widths_must_ascend(widths: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="must ascend"):
        TrimapCurve(2, widths_px=widths)


def test_figure_is_well_formed_and_brings_its_style() -> None:
    text = draw_trimap_curves([("a<b", [(1, 0.4), (40, 0.7)]), ("c", [(1, 0.5), (40, 0.6)])], title="T & U")
    root = ElementTree.fromstring(text)
    space = "{http://www.w3.org/2000/svg}"
    assert root.tag == f"{space}svg"
    assert root.find(f"{space}title").text == "T & U"  # type: ignore[union-attr]
    style = root.find(f"{space}style")
    assert style is not None
    assert COLOURS[0] in (style.text or "")
    lines = root.findall(f"{space}polyline")
    assert [line.get("class") for line in lines] == ["s0", "s1"]
    (_, first), (_, last) = (tuple(map(float, point.split(","))) for point in lines[0].get("points", "").split())
    assert first > last  # higher is further up
    assert len(root.findall(f"{space}circle")) == 4


def test_figure_of_nothing_is_still_a_figure() -> None:
    ElementTree.fromstring(draw_trimap_curves([], title="t"))
    ElementTree.fromstring(draw_trimap_curves([("one", [(1, 0.5)])], title="t"))
