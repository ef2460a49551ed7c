"""The newest frame as a JPEG for any number of viewers: encoded once, in a thread of its own, only while one watches.

feed = FrameFeed()
feed.put(frame_bgr)                                  # the writing thread; never waits
with feed.watching():                                # a viewer's thread
    index, jpeg = feed.next_after(0, timeout_s=5.0)
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

import cv2
import numpy as np

JPEG_QUALITY = 80  # 720p: about 100 kB and 3 ms; 95 doubles both and shows no difference on a screen


class FeedEnded(Exception):  # noqa: N818  (a signal between threads, not an error)
    """No further frame will come."""


class FrameFeed:
    """One writer, one encoding thread, any number of viewers; one that is late gets the newest frame, not the next.

    Attributes:
        viewers: how many watch now.
        put_count: frames that were put.
        put_s: time.monotonic() of the last one; None before the first.
    """

    def __init__(self) -> None:
        self.viewers = 0
        self.put_count = 0
        self.put_s: float | None = None
        self._changed = threading.Condition()
        self._frame = np.empty((0, 0, 3), np.uint8)  # what came last; changed under the lock alone
        self._is_fresh = False  # the frame is newer than the JPEG
        self._jpeg, self._index = b"", 0
        self._is_ended = False
        self._encoding = threading.Thread(target=self._encode, name="http-encode", daemon=True)
        self._encoding.start()

    def put(self, frame_bgr: np.ndarray) -> None:
        """Takes the next frame, (H, W, 3) uint8 BGR; copied where somebody watches, else only counted."""
        with self._changed:
            self.put_count += 1
            self.put_s = time.monotonic()
            if not self.viewers:
                return
            if self._frame.shape != frame_bgr.shape:
                self._frame = np.empty_like(frame_bgr)
            np.copyto(self._frame, frame_bgr)
            self._is_fresh = True
            self._changed.notify_all()

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Counts as a viewer inside the block."""
        with self._changed:
            self.viewers += 1
        try:
            yield
        finally:
            with self._changed:
                self.viewers -= 1

    def next_after(self, index: int, *, timeout_s: float) -> tuple[int, bytes] | None:
        """The newest JPEG once it is newer than `index`, with its own index; None when the time is over.

        Raises: FeedEnded.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._is_ended or self._index > index, timeout_s)
            if self._is_ended:
                raise FeedEnded
            return (self._index, self._jpeg) if self._index > index else None

    @property
    def index(self) -> int:
        """Of the newest JPEG; 0 before the first."""
        return self._index

    def close(self) -> None:
        """Ends the viewers' waits and the encoding; twice is harmless."""
        with self._changed:
            self._is_ended = True
            self._changed.notify_all()
        self._encoding.join()

    def _encode(self) -> None:
        work = np.empty((0, 0, 3), np.uint8)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_ended or self._is_fresh)
                if self._is_ended:
                    return
                self._frame, work = work, self._frame  # two buffers in turn: the writer never waits for the encoder
                self._is_fresh = False
            jpeg = cv2.imencode(".jpg", work, (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))[1].tobytes()
            with self._changed:
                self._jpeg = jpeg
                self._index += 1
                self._changed.notify_all()
