"""What can stand behind a person instead of the frame's own background: a colour, a picture, moving pictures.

    background = PictureBackground(rgb[..., ::-1])
    background.at((1280, 720), time_s=0.0)      # (720, 1280, 3) uint8 BGR

Files are read here only where they are single pictures; moving ones come in as a callable.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from edge_deeplab.compositing.options import Background
from edge_deeplab.errors import UsageError, nearest
from edge_deeplab.imaging.decode import read_image

# CSS's basic colours and a few more, as RGB; "green" is CSS's dark one, "lime" and "chroma" that of a green screen.
COLOURS: dict[str, tuple[int, int, int]] = {
    "black": (0, 0, 0), "silver": (192, 192, 192), "gray": (128, 128, 128), "white": (255, 255, 255),
    "maroon": (128, 0, 0), "red": (255, 0, 0), "purple": (128, 0, 128), "fuchsia": (255, 0, 255),
    "green": (0, 128, 0), "lime": (0, 255, 0), "olive": (128, 128, 0), "yellow": (255, 255, 0),
    "navy": (0, 0, 128), "blue": (0, 0, 255), "teal": (0, 128, 128), "aqua": (0, 255, 255),
    "orange": (255, 165, 0), "pink": (255, 192, 203), "brown": (165, 42, 42), "beige": (245, 245, 220),
    "skyblue": (135, 206, 235), "indigo": (75, 0, 130), "chroma": (0, 255, 0), "grey": (128, 128, 128),
}  # fmt: skip

_HEX = re.compile(r"#(?:[0-9a-f]{3}|[0-9a-f]{6})", re.IGNORECASE)


class ColourBackground:
    """One colour everywhere."""

    def __init__(self, bgr: tuple[int, int, int]) -> None:
        self.bgr = bgr
        self._filled = np.empty((0, 0, 3), np.uint8)

    def at(self, size_wh: tuple[int, int], time_s: float) -> np.ndarray:
        """The colour as a picture."""
        if self._filled.shape[1::-1] != size_wh:
            self._filled = np.full((size_wh[1], size_wh[0], 3), self.bgr, np.uint8)
        return self._filled


class PictureBackground:
    """A picture that covers the frame: scaled without distortion, cut equally at both sides.

    Args:
        bgr: (h, w, 3) uint8.
    """

    def __init__(self, bgr: np.ndarray) -> None:
        self._picture = bgr
        self._covering = np.empty((0, 0, 3), np.uint8)

    def at(self, size_wh: tuple[int, int], time_s: float) -> np.ndarray:
        """The picture at the frame's size."""
        if self._covering.shape[1::-1] != size_wh:
            self._covering = cover(self._picture, size_wh)
        return self._covering


class MovingBackground:
    """Moving pictures that cover the frame.

    Args:
        picture_at: gives the picture for a time in seconds: (h, w, 3) uint8 BGR, of any size. The same array for two
            times is scaled once.
    """

    def __init__(self, picture_at: Callable[[float], np.ndarray]) -> None:
        self._picture_at = picture_at
        self._last: np.ndarray | None = None
        self._covering = np.empty((0, 0, 3), np.uint8)

    def at(self, size_wh: tuple[int, int], time_s: float) -> np.ndarray:
        """The picture of that time at the frame's size."""
        picture = self._picture_at(time_s)
        if picture is not self._last or self._covering.shape[1::-1] != size_wh:
            self._last, self._covering = picture, cover(picture, size_wh)
        return self._covering


def cover(picture: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
    """The middle of a picture, as much as has the shape of size_wh, brought to that size.

    Args:
        picture: (h, w, 3) uint8.

    Returns: (H, W, 3) uint8.
    """
    height, width = picture.shape[:2]
    scale = max(size_wh[0] / width, size_wh[1] / height)
    cut_w, cut_h = max(1, min(width, round(size_wh[0] / scale))), max(1, min(height, round(size_wh[1] / scale)))
    top, left = (height - cut_h) // 2, (width - cut_w) // 2
    way = cv2.INTER_AREA if scale < 1.0 else cv2.INTER_LINEAR
    return cv2.resize(picture[top : top + cut_h, left : left + cut_w], size_wh, interpolation=way)


def parse_colour(text: str) -> tuple[int, int, int] | None:
    """The BGR colour a word means: a name of COLOURS, #rgb or #rrggbb; None when it is no colour."""
    if text.lower() in COLOURS:
        red, green, blue = COLOURS[text.lower()]
        return blue, green, red
    if not _HEX.fullmatch(text):
        return None
    digits = text[1:] if len(text) == 7 else "".join(digit * 2 for digit in text[1:])
    red, green, blue = bytes.fromhex(digits)
    return blue, green, red


def colour_or_picture(text: str) -> Background:
    """A background from a colour (parse_colour) or from a picture file.

    Raises: UsageError when it is neither a colour nor a file that exists; InputError when the file is no picture.
    """
    colour = parse_colour(text)
    if colour is not None:
        return ColourBackground(colour)
    path = Path(text)
    if not path.is_file():
        raise UsageError(
            f"{text}: no such background", allowed=f"blur, #rrggbb, a picture, a video, or {nearest(text, COLOURS)}"
        )
    return PictureBackground(np.ascontiguousarray(read_image(path)[..., ::-1]))
