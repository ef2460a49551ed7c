"""The looks that can be chosen, through the whole of compositing: what each changes, and what none may."""

from __future__ import annotations

import dataclasses
from typing import Any

import cv2
import numpy as np
import pytest

from edge_deeplab.compositing.background import ColourBackground
from edge_deeplab.compositing.compositor import PortraitCompositor
from edge_deeplab.compositing.options import CompositingOptions

WALL, SKIN = (60, 180, 40), (105, 130, 185)
NEW = ColourBackground((210, 190, 170))


def scene(height: int = 360, width: int = 640) -> tuple[np.ndarray, np.ndarray]:
    """A person before a coloured wall with a light in it, (H, W, 3) uint8, and a matte, (128, 128) float32."""
    mask = np.zeros((height, width), np.uint8)
    cv2.ellipse(mask, (width // 2, height * 2 // 3), (width // 6, height // 2), 0, 0, 360, 255, -1)
    alpha = cv2.GaussianBlur(mask, (0, 0), 2)
    share = alpha[..., np.newaxis] / 255.0
    wall = np.full((height, width, 3), WALL, np.float64)
    cv2.circle(wall, (60, 60), 3, (255, 255, 255), -1)
    frame = np.rint(share * np.array(SKIN) + (1 - share) * wall).astype(np.uint8)
    matte = cv2.resize(alpha, (128, 128), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    return frame, matte


def composed(frame: np.ndarray, matte: np.ndarray, **given: Any) -> tuple[np.ndarray, np.ndarray]:
    """The picture and its alpha."""
    compositor = PortraitCompositor(CompositingOptions(**given))
    return compositor.compose(frame, matte), compositor.alpha.copy()


def names(look: dict[str, Any]) -> str:
    return ", ".join("replaced" if key == "background" else f"{key} {value}" for key, value in look.items())


LOOKS: list[dict[str, Any]] = [
    {"blur_style": "lens", "highlights": 1.0},
    {"blur_style": "lens", "aperture": "pentagon", "strength": 1.0},
    {"background": NEW, "despill": 1.0},
    {"background": NEW, "light_wrap": 1.0},
    {"background": NEW, "despill": 0.5, "light_wrap": 0.5, "cleans_edges": False},
]


@pytest.mark.parametrize("look", LOOKS, ids=names)
def test_the_inner_person_stays_untouched_and_the_edge_where_it_was(look):
    frame, matte = scene()
    plain, alpha = composed(frame, matte, background=look.get("background"))
    picture, with_look = composed(frame, matte, **look)
    np.testing.assert_array_equal(with_look, alpha)
    inner = cv2.distanceTransform((alpha == 255).view(np.uint8), cv2.DIST_L2, 5) > 40  # more than any stage reaches
    assert inner.any()
    np.testing.assert_array_equal(picture[inner], frame[inner])
    if "background" in look:
        np.testing.assert_array_equal(picture[alpha == 0], plain[alpha == 0])


@pytest.mark.parametrize("look", LOOKS, ids=names)
def test_every_look_changes_the_picture_and_may_be_written_over_the_frame(look):
    frame, matte = scene()
    plain, _ = composed(frame, matte, background=look.get("background"))
    picture, _ = composed(frame.copy(), matte, **look)
    assert (picture != plain).any()
    own = frame.copy()
    PortraitCompositor(CompositingOptions(**look)).compose(own, matte, out=own)
    np.testing.assert_array_equal(own, picture)


@pytest.mark.parametrize("look", [{"despill": 1.0}, {"light_wrap": 1.0}])
def test_what_is_for_another_background_leaves_a_blurred_one_alone(look):
    frame, matte = scene()
    np.testing.assert_array_equal(composed(frame, matte, **look)[0], composed(frame, matte)[0])


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (37, 53), (481, 641), (721, 1281), (1920, 1080)])
@pytest.mark.parametrize("look", [*LOOKS, {"people": "largest"}], ids=names)
def test_any_frame_shape_passes(look, shape):
    frame = np.random.default_rng(1).integers(0, 256, (*shape, 3), np.uint8)
    compositor = PortraitCompositor(CompositingOptions(**look))
    _, matte = scene()
    for _ in range(2):
        assert compositor.compose(frame, matte).shape == frame.shape


def test_a_light_in_the_background_becomes_a_disc():
    frame, matte = scene()
    frame[:] = np.where(frame == np.array(WALL, np.uint8), np.uint8(0), frame)
    lens, _ = composed(frame, matte, blur_style="lens", highlights=1.0)
    soft, _ = composed(frame, matte)
    at_light, off_center = lens[60, 60, 1], lens[60, 60 + 12, 1]
    assert off_center > 0.9 * at_light > 2 * soft[60, 60, 1]  # even over its width, and brighter


def test_the_largest_person_alone_is_shown_until_all_are_asked_for():
    frame, _ = scene()
    matte = np.zeros((128, 128), np.float32)
    cv2.circle(matte, (30, 70), 24, 1.0, -1)
    cv2.circle(matte, (98, 70), 20, 1.0, -1)
    compositor = PortraitCompositor(CompositingOptions(people="largest"))
    compositor.compose(frame, matte)
    row = compositor.alpha[360 * 70 // 128]
    assert row[640 * 30 // 128] == 255 and row[640 * 98 // 128] == 0
    compositor.options = dataclasses.replace(compositor.options, people="all", smoothing=0.0)
    compositor.compose(frame, matte)
    row = compositor.alpha[360 * 70 // 128]
    assert row[640 * 30 // 128] == row[640 * 98 // 128] == 255


def test_a_hole_half_seen_is_filled_unless_told_otherwise():
    frame, matte = scene()
    frame[:] = SKIN  # no edge of the picture for the matte to be drawn to
    matte[90:100, 60:68] = 0.38
    row, column = 360 * 95 // 128, 320
    assert composed(frame, matte)[1][row, column] == 255
    assert composed(frame, matte, keeps_held=False)[1][row, column] < 128
