"""A window on the screen. Headless OpenCV has none, and says so in one line.

The one place that talks to OpenCV's highgui.

    with WindowSink(on_key=lambda key: stop.set() if key == "q" else None) as sink: ...
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from edge_deeplab.errors import DeviceError
from edge_deeplab.video.output import SinkLife

NAMED_KEYS = {27: "escape", 13: "enter", 32: "space", 9: "tab", 8: "backspace"}
ARROWS = {0xFF51: "left", 0xFF53: "right"}  # as X11 numbers them, in GTK, Qt on X11 and macOS alike
WINDOWS_ARROWS = {0x250000: "left", 0x270000: "right"}


class WindowSink(SinkLife):
    """Shows frames; keys and the closing of the window go to callbacks. Use it from the main thread.

    Args:
        title: of the window.
        on_key: called with the key's character, or "escape", "enter", "space", "tab", "backspace".
        on_closed: called once when the user closes the window; set the pipeline's stop there.
        on_drag: called with where the mouse is while its left button is down, as a share of the picture's width.
        over: gives what is shown of each frame: the frame itself, or a copy that was drawn on.
        is_paced: each frame waits for its own time (a file shown at its speed); a live source needs no pace.

    Raises: DeviceError when OpenCV has no windows or there is no screen.
    """

    def __init__(
        self,
        *,
        title: str = "edge-deeplab",
        on_key: Callable[[str], None] | None = None,
        on_closed: Callable[[], None] | None = None,
        on_drag: Callable[[float], None] | None = None,
        over: Callable[[np.ndarray], np.ndarray] | None = None,
        is_paced: bool = False,
    ) -> None:
        super().__init__()
        self._on_drag, self._over, self._width = on_drag, over, 1
        self._title, self._on_key, self._on_closed, self._is_paced = title, on_key, on_closed, is_paced
        self._is_shown = False
        self._is_told = False
        self._began_s: float | None = None
        if not has_screen():  # asked first: OpenCV's Qt builds end the whole process where there is none
            raise _no_window("there is no screen", "write to a file with --output")
        _name_fonts()
        try:
            # GUI_NORMAL: without it Qt's builds put a toolbar above the picture and take some keys for it
            cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
        except (cv2.error, AttributeError) as error:
            raise _no_window(
                "this OpenCV is headless, or the screen cannot be reached",
                "pip install 'edge-deeplab[device]' in place of [headless], or write to a file with --output",
            ) from error

    def describe(self) -> str:
        """One line: what it is, where it goes."""
        return f"window {self._title!r}"

    def _write(self, frame_bgr: np.ndarray, time_s: float, name: str) -> None:
        if self._is_told:
            return
        if not self._is_shown:
            cv2.resizeWindow(self._title, frame_bgr.shape[1], frame_bgr.shape[0])
            if self._on_drag is not None:
                cv2.setMouseCallback(self._title, self._mouse_moved)
        self._width = frame_bgr.shape[1]
        cv2.imshow(self._title, frame_bgr if self._over is None else self._over(frame_bgr))
        self._wait(self._delay_ms(time_s))
        self._is_shown = True

    def idle(self) -> None:
        """Answers keys and closing while no frame comes; without it the desktop would call the window hung."""
        if self._is_open and self._is_shown and not self._is_told:
            self._wait(1)

    def _wait(self, delay_ms: int) -> None:
        self._hand_over(cv2.waitKeyEx(delay_ms))
        # Before the first picture is drawn some toolkits call the window invisible.
        if self._is_shown and cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1:
            self._is_told = True
            if self._on_closed is not None:
                self._on_closed()

    def _mouse_moved(self, event: int, x: int, y: int, flags: int, parameter: object) -> None:
        if self._on_drag is not None and flags & cv2.EVENT_FLAG_LBUTTON and event != cv2.EVENT_LBUTTONUP:
            self._on_drag(min(1.0, max(0.0, x / self._width)))

    def _delay_ms(self, time_s: float) -> int:
        """At least 1: waitKey(0) waits for a key for ever, and windows are drawn only while it waits."""
        now_s = time.perf_counter()
        if self._began_s is None:
            self._began_s = now_s - time_s
        wait_s = self._began_s + time_s - now_s if self._is_paced else 0.0
        return max(1, round(wait_s * 1000))

    def _hand_over(self, code: int) -> None:
        if self._on_key is None:
            return
        if code & 0xFFFF in ARROWS:  # some toolkits set bits above the key, for modifiers
            self._on_key(ARROWS[code & 0xFFFF])
        elif code in WINDOWS_ARROWS:
            self._on_key(WINDOWS_ARROWS[code])
        elif code & 0xFF00 == 0 and code & 0xFF:
            self._on_key(NAMED_KEYS.get(code & 0xFF, chr(code & 0xFF)))

    def _close(self) -> None:
        cv2.destroyWindow(self._title)

    def _discard(self) -> None:
        cv2.destroyWindow(self._title)


def has_screen() -> bool:
    """Whether there is a screen to open a window on; on Linux, whether one is named in the environment."""
    if sys.platform.startswith("linux"):
        return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return True


def _name_fonts() -> None:
    """Tells Qt where a folder of fonts is; OpenCV's wheels name one that they do not bring, and Qt complains of it."""
    if sys.platform.startswith("linux") and not Path(os.environ.get("QT_QPA_FONTDIR") or "/missing").is_dir():
        os.environ["QT_QPA_FONTDIR"] = "/usr/share/fonts"


def _no_window(why: str, next_step: str) -> DeviceError:
    return DeviceError(f"no window can be opened: {why}", next_step=next_step)
