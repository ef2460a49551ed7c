"""What all sources share: being open or closed, safely across threads, and OpenCV kept quiet.

A source fills in `_frames`, a generator that opens nothing and blocks only for a bounded time, and `_release`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from types import TracebackType
from typing import Self

import cv2

from edge_deeplab.errors import DeviceError
from edge_deeplab.video.frames import Frame, MediaFacts

CLOSE_WAIT_S = 6.0  # a read of ours blocks for at most 5 s; releasing a device under a read crashes in C++


class SourceLife:
    """Base of the sources: one iteration, closed from any thread, never released while a read is under way."""

    is_live = False
    fps: Fraction | None = None
    size_wh: tuple[int, int] = (0, 0)
    frame_count: int | None = None
    trouble = ""
    may_pause = False

    def __init__(self) -> None:
        self.media = MediaFacts()
        self.notes: list[str] = []
        self._reading = threading.Lock()
        self._is_open = True
        self._is_released = False

    def describe(self) -> str:
        """One line: what it is, size, rate."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[Frame]:
        frames = self._frames()
        while True:
            with self._reading:
                if not self._is_open:
                    return
                try:
                    frame = next(frames)
                except StopIteration:
                    return
                except DeviceError:
                    if not self._is_open:  # closing cut the read off
                        return
                    raise
            yield frame

    def close(self) -> None:
        """Lets go of the device or file once no read is under way; twice is harmless."""
        self._is_open = False
        self.interrupt()
        if self._is_released:
            return
        if not self._reading.acquire(timeout=CLOSE_WAIT_S):
            import logging  # here: it costs a live program's start more than this room does

            logging.getLogger(__name__).warning(
                "%s: does not answer; it is left open until the program ends", self.describe()
            )
            return
        try:
            if not self._is_released:
                self._is_released = True
                self._release()
        finally:
            self._reading.release()

    def interrupt(self) -> None:
        """Ends a read that is under way in another thread, where that can be done at once."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _frames(self) -> Iterator[Frame]:
        raise NotImplementedError

    def _release(self) -> None: ...


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """Keeps OpenCV and its FFmpeg from writing to stderr while something is opened that may not be there.

    FFmpeg's level is read by OpenCV once per process, from the environment, when it is first used.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)
