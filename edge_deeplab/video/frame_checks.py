"""Whether a live frame is a picture of something: not a camera's black or green start, a decoder's grey, a frozen one.

A dark room, a grey wall and a covered lens are real too, so no doubt lasts: what stays is believed. Files are never
judged. No thread and no clock of its own.

    check = FrameCheck()
    check.begin(now_s)                         # a camera was opened
    judgement = check.judge(frame_bgr, now_s)
    if judgement.is_shown: ...
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

GRID_SIDE = 40  # points across the shorter side that are looked at: 30 microseconds whatever the frame's size
FLAT_SPAN = 2  # levels of a channel over the whole frame; a lens cap before a real sensor leaves more noise
GREY_LEVELS = (124, 134)  # a missing reference is 128 in full range and 130 of limited range; rounding around both
GREY_SPAN = 3  # between a grey pixel's channels
GREY_SHARE = 0.3  # of the frame, more than the last good one had
ROW_STEP = 4  # rows between those compared for stillness: a clock in the picture is higher than that

FLAT, GREY, FROZEN = "only one colour comes", "the picture comes grey", "the picture stands still"


@dataclass(frozen=True, kw_only=True)
class CheckOptions:
    """How long a doubt lasts, in seconds.

    Attributes:
        patience_s: how long flat or grey frames are held back before they are believed; encoders send a whole picture
            every 2 s or so, cameras start within one.
        frozen_after_s: how long the very same picture may come.
        look_every_s: how often it is looked whether it is the same.
    """

    patience_s: float = 3.0
    frozen_after_s: float = 15.0
    look_every_s: float = 0.5


@dataclass(frozen=True, slots=True)
class Judgement:
    """What to do with a frame.

    Attributes:
        is_shown: whether it is handed on; else the last good one is kept.
        trouble: what is wrong in a few words, empty when nothing is.
        reopens: whether opening the source again may help.
    """

    is_shown: bool = True
    trouble: str = ""
    reopens: bool = False


GOOD = Judgement()


class FrameCheck:
    """Judges the frames of one live source, one after the other."""

    def __init__(self, options: CheckOptions | None = None) -> None:
        self._options = options or CheckOptions()
        self._has_shown = False  # a good one, since the source was opened
        self._bad_since_s: float | None = None
        self._grey_share = 0.0  # of the last good frame
        self._print: int | None = None  # of the picture looked at last
        self._same_since_s = self._looked_s = float("-inf")
        self._reopened_for: int | None = None
        self._is_first_look = True
        self._may_stand_still = False

    def begin(self, now_s: float) -> None:
        """Says that the source was opened, or opened again. now_s: seconds on a clock that never goes back."""
        self._has_shown, self._bad_since_s = False, None
        self._same_since_s, self._looked_s, self._is_first_look = now_s, float("-inf"), True

    def judge(self, bgr: np.ndarray, now_s: float) -> Judgement:
        """Judges the next frame. bgr: (H, W, 3) uint8, not kept. now_s: as begin's."""
        channels = _grid_of(bgr)
        grey_share = _grey_share(channels)
        words = FLAT if _is_flat(channels) else GREY if grey_share >= self._grey_share + GREY_SHARE else ""
        if words and not self._is_believed(now_s):
            return Judgement(is_shown=False, trouble=words if self._has_shown else "")
        if not words:
            self._bad_since_s = None
        self._has_shown, self._grey_share = True, grey_share
        return self._judge_stillness(bgr, now_s)

    def _is_believed(self, now_s: float) -> bool:
        if self._bad_since_s is None:
            self._bad_since_s = now_s
        return now_s - self._bad_since_s >= self._options.patience_s

    def _judge_stillness(self, bgr: np.ndarray, now_s: float) -> Judgement:
        if self._may_stand_still:
            return GOOD
        if now_s - self._looked_s >= self._options.look_every_s:
            self._looked_s = now_s
            seen = zlib.crc32(np.ascontiguousarray(bgr[::ROW_STEP]).data)
            if seen != self._print:
                self._print, self._same_since_s = seen, now_s
            elif (
                seen == self._reopened_for and self._is_first_look
            ):  # opened again, and the same picture: that is what it looks at
                self._may_stand_still = True
                return GOOD
            self._is_first_look = False
        if now_s - self._same_since_s < self._options.frozen_after_s:
            return GOOD
        reopens = self._reopened_for != self._print
        self._reopened_for = self._print
        return Judgement(trouble=FROZEN, reopens=reopens)


def _grid_of(bgr: np.ndarray) -> np.ndarray:
    """(3, n) uint8: every so-many-th pixel of every so-many-th row, by channel."""
    step = max(1, min(bgr.shape[:2]) // GRID_SIDE)
    return np.ascontiguousarray(bgr[step // 2 :: step, step // 2 :: step].reshape(-1, 3).T)


def _is_flat(channels: np.ndarray) -> bool:
    return all(int(channel.max()) - int(channel.min()) <= FLAT_SPAN for channel in channels)


def _grey_share(channels: np.ndarray) -> float:
    blue, green, red = channels
    low, high = np.minimum(np.minimum(blue, green), red), np.maximum(np.maximum(blue, green), red)
    is_grey = (low >= GREY_LEVELS[0]) & (high <= GREY_LEVELS[1]) & (high - low <= GREY_SPAN)
    return float(np.count_nonzero(is_grey)) / is_grey.size
