"""Pictures from the network: a camera's HTTP or RTSP address, live, or a video file on a web server.

Motion JPEG over HTTP is read by motion_jpeg.py, everything else by OpenCV's FFmpeg; opening and reading wait for a
bounded time.

    with open_stream("http://127.0.0.1:8080/video") as source: ...
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import cv2
import numpy as np

from edge_deeplab.errors import DeviceError
from edge_deeplab.video.frames import Frame, MediaFacts, rate_from_float, rate_text
from edge_deeplab.video.http_stream import HttpStream, without_password
from edge_deeplab.video.motion_jpeg import MotionJpegSource
from edge_deeplab.video.source_life import SourceLife, quiet_opencv

OPEN_TIMEOUT_S = 4.0  # of HTTP
TIMEOUT_MS = 5000  # of FFmpeg: for opening, and again for each picture
# What OpenCV hands to FFmpeg. Over UDP every lost packet is a grey patch, so TCP comes first; FFmpeg turns to UDP
# where a camera refuses it. low_delay asks its decoder for each frame as soon as it can be had.
FFMPEG_OPTIONS = "rtsp_flags;prefer_tcp|flags;low_delay"
FFMPEG_VARIABLE = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
_environment_lock = threading.Lock()


def open_stream(
    url: str, *, mirror: bool = False, closing: threading.Event | None = None
) -> MotionJpegSource | StreamSource:
    """Opens what an address gives.

    Args:
        url: http, https, rtsp or rtsps.
        mirror: turn frames left to right.
        closing: once set, opening and reading over HTTP end at once; FFmpeg's end with their time-out.

    Raises: DeviceError when nothing answers, or no picture comes.
    """
    if urlsplit(url).scheme.lower() in ("http", "https"):
        stream = HttpStream(url, timeout_s=OPEN_TIMEOUT_S, closing=closing)
        if stream.content_type.startswith("multipart/"):
            return MotionJpegSource(url, stream, mirror=mirror)
        stream.close()
    return StreamSource(url, mirror=mirror)


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
        with quiet_opencv():
            self._capture = _capture(url)
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
        self._first_ns = time.perf_counter_ns()
        self.size_wh = (self._first.shape[1], self._first.shape[0])
        self.fps = rate_from_float(self._capture.get(cv2.CAP_PROP_FPS))
        self.media = MediaFacts(fps=self.fps)

    def describe(self) -> str:
        """One line: what it is, size, rate; a password in the address is left out."""
        kind = "live stream" if self.is_live else "video"
        return f"{kind} {self._shown_url} ({self.size_wh[0]}x{self.size_wh[1]}, {rate_text(self.fps)})"

    def _frames(self) -> Iterator[Frame]:
        index, time_s, bgr, at_ns = 0, 0.0, self._first, self._first_ns
        while True:
            yield Frame(index, time_s, cv2.flip(bgr, 1) if self._mirror else bgr, captured_ns=at_ns)
            following = self._read_next(index + 1)
            if following is None:
                return
            index, bgr, at_ns = index + 1, following, time.perf_counter_ns()
            told_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            time_s = (at_ns - self._first_ns) / 1e9 if self.is_live else max(time_s, told_s)

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


def _capture(url: str) -> cv2.VideoCapture:
    """Opens with FFMPEG_OPTIONS, which OpenCV takes from the environment alone; a user's own words there hold."""
    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, TIMEOUT_MS]
    with _environment_lock:
        is_ours = FFMPEG_VARIABLE not in os.environ and urlsplit(url).scheme.lower().startswith("rtsp")
        if is_ours:
            os.environ[FFMPEG_VARIABLE] = FFMPEG_OPTIONS
        try:
            return cv2.VideoCapture(url, cv2.CAP_FFMPEG, limits)
        finally:
            if is_ours:
                del os.environ[FFMPEG_VARIABLE]
