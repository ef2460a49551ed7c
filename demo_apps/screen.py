"""What is drawn over the window's picture and nowhere else: the help, a line of state, what a key just did, REC.

screen = Screen(helps=[("h ?", "this help"), ("q", "quit")])
screen.say("blur 60%")
shown = screen.over(picture)        # the picture itself, or a copy that was drawn on
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from edge_deeplab.compositing.overlay import draw_text
from edge_deeplab.video.timing import rate_over

SAID_FOR_S = 2.5
RATE_FRAMES = 30  # the rate shown is that of the last so many frames
FIRST_HINT = "h for help"
RED = (40, 40, 230)


class RateText:
    """The rate of what passes, and the latency where it is known: "29.8 fps, latency 41 ms".

    Args:
        latency_ms: from a frame's capture to its writing, lately; None where it says nothing.
        clock: seconds; time.perf_counter.
    """

    def __init__(
        self, latency_ms: Callable[[], float | None] = lambda: None, *, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._latency_ms, self._clock = latency_ms, clock
        self._times_s = array("d")

    def tick(self) -> None:
        """Counts a frame."""
        self._times_s.append(self._clock())
        del self._times_s[:-RATE_FRAMES]

    def text(self) -> str:
        """Empty before the second frame."""
        rate, latency_ms = rate_over(self._times_s), self._latency_ms()
        if rate is None:
            return ""
        return f"{rate:.1f} fps" + ("" if latency_ms is None else f", latency {latency_ms:.0f} ms")


class Screen:
    """Used from one thread.

    Args:
        helps: keys and what they do, a line each.
        rate: what the line of state shows.
        shows_rate: whether it is shown from the start.
        is_recording: whether a recording that began still runs: it may fail while others go on.
        clock: seconds; time.monotonic.

    Attributes:
        picture: (H, W, 3) uint8 BGR, the last one as it came; None before the first.
        shows_help: whether the help is shown.
        records_since_s: when a recording began, on the clock; None while there is none.
    """

    def __init__(
        self,
        helps: Sequence[tuple[str, str]],
        rate: RateText,
        *,
        shows_rate: bool = False,
        is_recording: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._is_recording = is_recording
        self.picture: np.ndarray | None = None
        self.shows_help, self.shows_rate = False, shows_rate
        self.records_since_s: float | None = None
        self._helps, self._rate, self._clock = tuple(helps), rate, clock
        self._said, self._said_until_s = FIRST_HINT, clock() + 2 * SAID_FOR_S
        self._canvas = np.empty((0, 0, 3), np.uint8)

    def say(self, text: str) -> None:
        """Shows a few words for a moment."""
        self._said, self._said_until_s = text, self._clock() + SAID_FOR_S

    def start_recording(self) -> None:
        """Shows REC and how long it has been."""
        self.records_since_s = self._clock()

    def over(self, picture: np.ndarray) -> np.ndarray:
        """What the window shows.

        picture: (H, W, 3) uint8 BGR, left as it is.
        Returns: the same, or a copy that was drawn on, valid until the next call.
        """
        self.picture = picture
        self._rate.tick()
        if self.records_since_s is not None and not self._is_recording():
            self.records_since_s = None
            self.say("the recording failed")
        said = self._said if self._clock() < self._said_until_s else ""
        rate = self._rate.text() if self.shows_rate else ""
        if not (said or rate or self.shows_help or self.records_since_s is not None):
            return picture
        if self._canvas.shape != picture.shape:
            self._canvas = np.empty_like(picture)
        np.copyto(self._canvas, picture)
        self._draw(said, rate)
        return self._canvas

    def _draw(self, said: str, rate: str) -> None:
        height, width = self._canvas.shape[:2]
        scale = text_scale(self._canvas)
        line = round(34 * scale)
        if self.shows_help:
            self._draw_help(scale, line)
        if rate:
            draw_text(self._canvas, rate, (line, height - line), scale)
        if said:
            (across, _), _ = cv2.getTextSize(said, cv2.FONT_HERSHEY_SIMPLEX, scale, max(1, round(2 * scale)))
            draw_text(self._canvas, said, (max(line, width - across - line), height - line), scale)
        if self.records_since_s is not None:
            seconds = int(self._clock() - self.records_since_s)
            text = f"REC {seconds // 60}:{seconds % 60:02d}"
            (across, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, max(1, round(2 * scale)))
            left = width - across - line
            cv2.circle(self._canvas, (left - line, line + line // 4), line // 3, RED, cv2.FILLED, cv2.LINE_AA)
            draw_text(self._canvas, text, (left, line + line // 2), scale)

    def _draw_help(self, scale: float, line: int) -> None:
        """A darkened panel with a line for each key, made smaller where the picture has no room for it."""
        height, width = self._canvas.shape[:2]
        fits = min(1.0, (height - 2 * line) / (line * (len(self._helps) + 1.5)))
        scale, line = scale * fits, max(1, int(line * fits))
        thickness = max(1, round(2 * scale))

        def across(text: str) -> int:
            return int(cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)[0][0])

        keys_width = max(across(keys) for keys, _ in self._helps)
        panel_width = keys_width + max(across(what) for _, what in self._helps) + 4 * line
        bottom = 2 * line + line // 2 + line * len(self._helps)
        panel = self._canvas[line:bottom, line : min(width, line + panel_width)]
        np.copyto(panel, panel // 4)
        for row, (keys, what) in enumerate(self._helps):
            below = 2 * line + round(line * (row + 0.5))
            draw_text(self._canvas, keys, (2 * line, below), scale)
            draw_text(self._canvas, what, (3 * line + keys_width, below), scale)


def text_scale(picture: np.ndarray) -> float:
    """OpenCV's font scale at which text can be read on a picture, (H, W, 3)."""
    return max(0.4, picture.shape[0] / 900)
