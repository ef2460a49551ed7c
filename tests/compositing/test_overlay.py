"""Classes over a frame."""

from __future__ import annotations

import numpy as np
import pytest

from edge_deeplab.compositing.options import OverlayOptions
from edge_deeplab.compositing.overlay import ClassOverlay, enlarge_classes, overlay_classes
from edge_deeplab.labels import VOC, colour_map

PLAIN = OverlayOptions(shows_legend=False)


def test_background_is_untouched_and_classes_take_their_colour() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    classes = np.zeros((40, 60), np.int32)
    classes[10:20, 10:30] = 15
    options = OverlayOptions(shows_legend=False, opacity=1.0)
    picture = ClassOverlay(VOC, options).draw(frame, classes)
    np.testing.assert_array_equal(picture[classes == 0], frame[classes == 0])
    assert (picture[classes == 15] == colour_map(16)[15][::-1]).all()


def test_the_first_class_is_drawn_where_it_is_no_background() -> None:
    frame = np.full((20, 20, 3), 200, np.uint8)
    picture = ClassOverlay(("sky", "road"), PLAIN).draw(frame, np.zeros((20, 20), np.uint8))
    assert not np.array_equal(picture, frame)


def test_legend_changes_pixels_only_where_a_class_is_seen() -> None:
    frame = np.full((240, 320, 3), 90, np.uint8)
    overlay = ClassOverlay(VOC)
    np.testing.assert_array_equal(overlay.draw(frame, np.zeros((60, 80), np.uint8)), frame)
    classes = np.zeros((60, 80), np.uint8)
    classes[40:, 60:] = 3
    with_legend, without = overlay.draw(frame, classes), ClassOverlay(VOC, PLAIN).draw(frame, classes)
    assert not np.array_equal(with_legend[:120, :160], without[:120, :160])


@pytest.mark.parametrize("size_wh", [(160, 90), (33, 71), (4, 4), (1, 50)])
def test_enlarging_invents_no_class(size_wh: tuple[int, int]) -> None:
    classes = np.random.default_rng(1).choice(np.array([0, 4, 9], np.uint8), (12, 16))
    result = enlarge_classes(classes, size_wh)
    assert result.shape == size_wh[::-1] and set(np.unique(result)) <= {0, 4, 9}


def test_enlarging_keeps_regions_in_place() -> None:
    classes = np.zeros((8, 8), np.uint8)
    classes[:, 4:] = 7
    result = enlarge_classes(classes, (80, 80))
    assert (result[:, :40] == 0).all() and (result[:, 40:] == 7).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 200), (200, 1), (5, 7)])
def test_tiny_frames_are_drawn_on(shape: tuple[int, int]) -> None:
    frame = np.zeros((*shape, 3), np.uint8)
    assert ClassOverlay(VOC).draw(frame, np.full((4, 4), 2, np.uint8)).shape == frame.shape


def test_the_frame_is_changed_only_when_asked() -> None:
    frame = np.zeros((16, 16, 3), np.uint8)
    classes = np.ones((16, 16), np.uint8)
    overlay_classes(frame, classes)
    assert not frame.any()
    assert overlay_classes(frame, classes, out=frame) is frame and frame.any()
