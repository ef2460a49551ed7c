from __future__ import annotations

import numpy as np
import pytest

from edge_deeplab.demo_apps.controls import Settings
from edge_deeplab.demo_apps.views import Views

SIZE = (40, 100, 3)


def shown(settings: Settings, mask: np.ndarray | None = None) -> np.ndarray:
    """Of a frame that was 10 everywhere and became 200, the effect writing over it."""
    views, frame = Views(), np.full(SIZE, 10, np.uint8)
    views.keep(frame, settings)
    frame[:] = 200
    return views.show(frame, lambda: pytest.fail("no mask was asked for") if mask is None else mask, settings)


def test_the_result_is_left_alone():
    assert (shown(Settings()) == 200).all()


def test_the_source_is_the_frame_as_it_came():
    assert (shown(Settings(view="source")) == 10).all()


@pytest.mark.parametrize("split_at", [0.0, 0.25, 0.5, 1.0])
def test_a_split_shows_before_on_the_left_and_after_on_the_right(split_at):
    picture, border = shown(Settings(view="split", split_at=split_at)), round(100 * split_at)
    assert (picture[:, : max(0, border - 1)] == 10).all() and (picture[:, border + 1 :] == 200).all()
    assert (picture[:, max(0, border - 1) : border + 1] == 255).all(), "a line between them"


@pytest.mark.parametrize("channels", [1, 3])
def test_the_mask_is_shown_gray_or_in_colours(channels):
    mask = np.random.default_rng(0).integers(0, 255, SIZE if channels == 3 else SIZE[:2], np.uint8)
    picture = shown(Settings(view="mask"), mask)
    assert picture.shape == SIZE and (picture == (mask if channels == 3 else mask[..., None])).all()


def test_frames_may_change_their_size():
    views = Views()
    for size in ((40, 100, 3), (20, 30, 3), (40, 100, 3)):
        frame = np.full(size, 7, np.uint8)
        views.keep(frame, Settings(view="source"))
        assert (views.show(np.zeros(size, np.uint8), frame.copy, Settings(view="source")) == 7).all()
