"""What may stand behind a person, and how it is asked for."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_deeplab.compositing.background import (
    COLOURS,
    ColourBackground,
    MovingBackground,
    PictureBackground,
    colour_or_picture,
    cover,
    parse_colour,
)
from edge_deeplab.errors import InputError, UsageError


@pytest.mark.parametrize(
    ("text", "bgr"),
    [("red", (0, 0, 255)), ("#ff8000", (0, 128, 255)), ("#F80", (0, 136, 255)), ("Navy", (128, 0, 0))],
)
def test_colours_are_read_as_bgr(text: str, bgr: tuple[int, int, int]) -> None:
    assert parse_colour(text) == bgr


@pytest.mark.parametrize("text", ["#12", "#12345g", "12345", "rouge", ""])
def test_what_is_no_colour_is_none(text: str) -> None:
    assert parse_colour(text) is None


def test_every_named_colour_is_a_byte_triple() -> None:
    assert all(len(rgb) == 3 and all(0 <= value <= 255 for value in rgb) for rgb in COLOURS.values())


def test_an_unknown_background_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean orange"):
        colour_or_picture("orang")


def test_a_damaged_picture_is_an_input_error(tmp_path: Path) -> None:
    path = tmp_path / "room.png"
    path.write_bytes(b"not a picture")
    with pytest.raises(InputError, match=r"room\.png"):
        colour_or_picture(str(path))


def test_a_picture_covers_frames_of_any_size(tmp_path: Path) -> None:
    path = tmp_path / "room.png"
    cv2.imwrite(str(path), np.full((50, 30, 3), (10, 20, 30), np.uint8))
    background = colour_or_picture(str(path))
    for size_wh in ((640, 480), (1, 1), (7, 300)):
        picture = background.at(size_wh, 0.0)
        assert picture.shape == (size_wh[1], size_wh[0], 3)
        assert (picture == (10, 20, 30)).all()


def test_covering_cuts_the_middle_without_distortion() -> None:
    picture = np.zeros((100, 300, 3), np.uint8)
    picture[:, 100:200] = 255
    assert cover(picture, (50, 50)).min() == 255
    assert cover(picture, (150, 50)).shape == (50, 150, 3)


def test_static_backgrounds_are_made_once() -> None:
    for background in (ColourBackground((1, 2, 3)), PictureBackground(np.zeros((9, 9, 3), np.uint8))):
        assert background.at((64, 48), 0.0) is background.at((64, 48), 5.0)


def test_a_moving_background_scales_a_picture_once() -> None:
    picture = np.zeros((9, 9, 3), np.uint8)
    background = MovingBackground(lambda time_s: picture)
    assert background.at((64, 48), 0.0) is background.at((64, 48), 0.1)
