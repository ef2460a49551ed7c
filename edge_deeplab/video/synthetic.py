"""A moving picture without a camera: pan, zoom and shake over a still one, the same frames every time.

It stands in for a camera in the demo and in tests, and knows its own true motion.

    with SyntheticSource(size_wh=(640, 480), frame_count=120) as source: ...
    cv2.warpAffine(picture, source.view(7), source.size_wh)    # frame 7, but for the filter
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from edge_deeplab.errors import MissingExtraError, UsageError
from edge_deeplab.imaging.decode import read_image
from edge_deeplab.video.frames import Frame, MediaFacts, rate_text
from edge_deeplab.video.source_life import SourceLife

PAN_PERIODS_S = (7.0, 5.0)  # across, down
ZOOM_PERIOD_S = 6.0
ASTRONAUT_FOCUS_XY = (0.4, 0.06)
SHAKE_HZ = (1.3, 2.1, 3.7)  # where the tremor of a hand that holds a camera lies, below its 8 to 12 Hz peak


@dataclass(frozen=True, kw_only=True)
class Motion:
    """How the view moves over the picture.

    Attributes:
        zoom: the closest view is this many times closer than the widest one, which spans the picture.
        focus_xy: where in the room beside the view it wanders, 0 (left, top) to 1; None: the middle, and for the
            astronaut her head, which is at the picture's upper edge.
        pan: how much of the way from focus to the nearer edge is wandered through, 0..1.
        shake: the tremor's largest shift, as a part of the view's height.
        seed: of the tremor's phases.
    """

    zoom: float = 1.25
    focus_xy: tuple[float, float] | None = None
    pan: float = 0.7
    shake: float = 0.006
    seed: int = 0

    def __post_init__(self) -> None:
        is_inside = all(0 <= part <= 1 for part in (*(self.focus_xy or ()), self.pan))
        if not is_inside or not 1 <= self.zoom <= 20 or not 0 <= self.shake <= 0.1:
            raise UsageError(
                "motion is out of range", came=self, allowed="zoom 1..20, focus and pan 0..1, shake 0..0.1"
            )


class SyntheticSource(SourceLife):
    """A camera's view that wanders over a picture. Nothing outside the picture is ever seen.

    Args:
        picture: (H, W, 3) uint8 RGB, the path of a picture, or None for scikit-image's astronaut (a portrait of
            Eileen Collins by NASA, public domain).
        size_wh: of the frames in pixels.
        fps: frames per second.
        frame_count: how many frames come; None for a live view without end, at the world's pace.
        motion: how the view moves.

    Raises: InputError for a path that is no picture, MissingExtraError when scikit-image is needed and missing.
    """

    def __init__(
        self,
        picture: np.ndarray | Path | None = None,
        *,
        size_wh: tuple[int, int] = (640, 480),
        fps: Fraction = Fraction(30),
        frame_count: int | None = 300,
        motion: Motion | None = None,
    ) -> None:
        super().__init__()
        if min(size_wh) < 2 or fps <= 0 or (frame_count is not None and frame_count < 1):
            raise UsageError(
                "synthetic source: out of range", came=(size_wh, fps, frame_count),
                allowed="size from 2x2, fps above 0, at least 1 frame",
            )  # fmt: skip
        self._motion = motion or Motion()
        self._focus_xy = np.array(self._motion.focus_xy or ((0.5, 0.5) if picture is not None else ASTRONAUT_FOCUS_XY))
        self._name = "array" if isinstance(picture, np.ndarray) else str(picture) if picture else "astronaut"
        self._picture = cv2.cvtColor(_load(picture), cv2.COLOR_RGB2BGR)
        self._fitted, self._fitted_to_picture = _fit(self._picture, size_wh)
        self.size_wh, self.fps, self.frame_count = size_wh, fps, frame_count
        self.is_live = self.may_pause = frame_count is None
        self.media = MediaFacts(fps=fps)
        # A random phase for each pair of tremor frequency and axis.
        self._phases = np.random.default_rng(self._motion.seed).uniform(0, 2 * np.pi, (2, len(SHAKE_HZ)))

    @property
    def picture_bgr(self) -> np.ndarray:
        """The still picture that the view wanders over: (H, W, 3) uint8 BGR."""
        return self._picture

    def view(self, index: int) -> np.ndarray:
        """Where frame `index` looks: the (2, 3) float64 affine map from picture pixels to frame pixels, centres at .0.

        The true motion between frames i and j is `view(j)` after the inverse of `view(i)`.
        """
        assert self.fps is not None
        time_s, motion = float(index / self.fps), self._motion
        width, height = self.size_wh
        picture_h, picture_w = self._picture.shape[:2]
        widest = min(picture_w / width, picture_h / height)  # picture pixels per frame pixel, view inside the picture
        shift = motion.shake * np.sin(2 * np.pi * np.array(SHAKE_HZ) * time_s + self._phases).mean(axis=1)
        # It begins at the widest view and breathes between there and `zoom`.
        closeness = motion.zoom ** (0.5 - 0.5 * np.cos(2 * np.pi * time_s / ZOOM_PERIOD_S))
        scale = widest / closeness
        view = np.array([width, height]) * scale
        room = np.array([picture_w, picture_h]) - view
        reach = motion.pan * np.minimum(self._focus_xy, 1 - self._focus_xy)
        pan = self._focus_xy + reach * np.sin(2 * np.pi * time_s / np.array(PAN_PERIODS_S))
        corner = np.clip(room * pan + shift * view[1], 0, room)
        # Pixel areas [0, view) and [0, frame) coincide; the half pixels take the centres' convention into account.
        offset = (0.5 - corner) / scale - 0.5
        return np.array([[1 / scale, 0, offset[0]], [0, 1 / scale, offset[1]]])

    def describe(self) -> str:
        """One line: what it is, size, rate."""
        length = "without end" if self.frame_count is None else f"{self.frame_count} frames"
        return f"synthetic view of {self._name} ({self.size_wh[0]}x{self.size_wh[1]}, {rate_text(self.fps)}, {length})"

    def _frames(self) -> Iterator[Frame]:
        assert self.fps is not None
        began_s, index = time.perf_counter(), 0
        while self.frame_count is None or index < self.frame_count:
            time_s = float(index / self.fps)
            if self.is_live:
                late = int((time.perf_counter() - began_s) * self.fps)
                if late > index + 1:  # nobody looked for more than a frame: what would have been shown is gone
                    index, time_s = late, float(late / self.fps)
                time.sleep(max(0.0, began_s + time_s - time.perf_counter()))
            yield Frame(index, time_s, self._render(self.view(index)))
            index += 1

    def _render(self, view: np.ndarray) -> np.ndarray:
        from_fitted = np.vstack([view, (0, 0, 1)]) @ self._fitted_to_picture
        return cv2.warpAffine(
            self._fitted, from_fitted[:2], self.size_wh, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
        )


def _fit(picture: np.ndarray, size_wh: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The picture averaged down so far that the widest view of it is sampled once a pixel.

    Sampled directly, a large photo would flicker as the view moves.
    Returns: the picture, and the (3, 3) map from its pixels to those of the one that came, centres at .0.
    """
    shrink = min(picture.shape[1] / size_wh[0], picture.shape[0] / size_wh[1])
    if shrink <= 1:
        return picture, np.eye(3)
    fitted_wh = (round(picture.shape[1] / shrink), round(picture.shape[0] / shrink))
    across, down = picture.shape[1] / fitted_wh[0], picture.shape[0] / fitted_wh[1]
    back = np.array([[across, 0, across / 2 - 0.5], [0, down, down / 2 - 0.5], [0, 0, 1]])
    return cv2.resize(picture, fitted_wh, interpolation=cv2.INTER_AREA), back


def _load(picture: np.ndarray | Path | None) -> np.ndarray:
    if isinstance(picture, Path):
        return read_image(picture)
    if picture is None:
        return astronaut()
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise UsageError(
            "synthetic source: not a picture", came=f"{picture.dtype} {picture.shape}", allowed="(H, W, 3) uint8 RGB"
        )
    return picture


def astronaut() -> np.ndarray:
    """scikit-image's photo of the astronaut Eileen Collins: (512, 512, 3) uint8 RGB, NASA, public domain.

    Raises: MissingExtraError when scikit-image is not installed.
    """
    try:
        from skimage import data
    except ImportError as error:
        raise MissingExtraError("scikit-image", extra="demo", purpose="the built-in moving picture") from error
    return np.asarray(data.astronaut())
