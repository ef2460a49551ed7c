"""Pictures from the network: a camera's HTTP (motion JPEG) or RTSP address, live.

OpenCV reads them; opening and reading wait for a bounded time.

    with StreamSource("http://127.0.0.1:8080/video") as source: ...
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import cv2
import numpy as np

from edge_deeplab.errors import DeviceError
from edge_deeplab.video.frames import Frame, MediaFacts, rate_from_float, rate_text
from edge_deeplab.video.source_life import SourceLife, quiet_opencv

TIMEOUT_MS = 5000


class StreamSource(SourceLife):
    """A stream at an address. One that says how many frames it has (a video file on a web server) is no live one.

    Args:
        url: http, https, rtsp or rtsps.
        mirror: turn frames left to right.

    Raises: DeviceError when nothing answers within TIMEOUT_MS, or no picture comes; while iterating, when a live
        stream ends.
    """

    def __init__(self, url: str, *, mirror: bool = False) -> None:
        super().__init__()
        self._shown_url, self._mirror = without_password(url), mirror
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, TIMEOUT_MS]
        with quiet_opencv():
            self._capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG, limits)
            self._first: np.ndarray
            is_read = self._capture.isOpened()
            if is_read:
                is_read, self._first = self._capture.read()
        if not is_read:
            self._capture.release()
            raise DeviceError(
                f"{self._shown_url}: no video comes from there", next_step="check address, user name and network"
            )
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.is_live = urlsplit(url).scheme.startswith("rtsp") or count <= 0
        self.frame_count = None if self.is_live else count
        if not self.is_live:
            self.notes.append(f"{self._shown_url}: sound and exact time stamps are kept from a downloaded file only")
        self.size_wh = (self._first.shape[1], self._first.shape[0])
        self.fps = rate_from_float(self._capture.get(cv2.CAP_PROP_FPS))
        self.media = MediaFacts(fps=self.fps)

    def describe(self) -> str:
        """One line: what it is, size, rate; a password in the address is left out."""
        kind = "live stream" if self.is_live else "video"
        return f"{kind} {self._shown_url} ({self.size_wh[0]}x{self.size_wh[1]}, {rate_text(self.fps)})"

    def _frames(self) -> Iterator[Frame]:
        began_s = time.perf_counter()
        index, time_s, bgr = 0, 0.0, self._first
        while True:
            yield Frame(index, time_s, cv2.flip(bgr, 1) if self._mirror else bgr)
            following = self._read_next(index + 1)
            if following is None:
                return
            index, bgr = index + 1, following
            now_s = time.perf_counter() - began_s
            time_s = now_s if self.is_live else max(time_s, self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)

    def _read_next(self, count: int) -> np.ndarray | None:
        """The next picture, None where a finite video ends. Raises DeviceError where a live one does."""
        with quiet_opencv():
            is_read, bgr = self._capture.read()
        if is_read:
            return bgr
        if self.is_live:
            raise DeviceError(f"{self._shown_url}: the stream ended after {count} frames")
        if self.frame_count is not None and count < self.frame_count:
            missing = self.frame_count - count
            self.notes.append(f"{self._shown_url}: {missing} of {self.frame_count} frames did not come")
        return None

    def _release(self) -> None:
        self._capture.release()


def without_password(url: str) -> str:
    """The address as it may be shown and logged: rtsp://user:secret@host/ becomes rtsp://user@host/."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    user, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user.split(':', 1)[0]}@{host}"))
