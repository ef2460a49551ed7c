"""A network camera's motion JPEG over HTTP, live: the newest picture that has come, never one that waited.

What has arrived is taken in whole and only its last picture is decoded, so neither the socket nor anything else
holds a queue of old ones. A picture that the way has damaged is left out and counted.

    with MotionJpegSource("http://127.0.0.1:8080/video", stream) as source: ...
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np

from edge_deeplab.errors import DeviceError
from edge_deeplab.video.frames import Frame, rate_text
from edge_deeplab.video.http_stream import HttpStream, without_password
from edge_deeplab.video.jpeg_frames import DamagedFrameError, decode_frame
from edge_deeplab.video.multipart import MultipartError, MultipartParts
from edge_deeplab.video.source_life import SourceLife

READ_TIMEOUT_S = 5.0  # for one whole picture
DRAIN_S = 0.05  # a sender that never pauses must not keep us from decoding


class _Picture(NamedTuple):
    bgr: np.ndarray
    number: int  # among all that came
    at_ns: int


class MotionJpegSource(SourceLife):
    """The pictures of a multipart answer. Each may have a size of its own.

    Args:
        url: what it is called; a password in it is not shown.
        stream: the answer; closed with the source.
        mirror: turn frames left to right.
        timeout_s: for one picture that can be decoded.

    Raises: DeviceError when no picture comes in time or what comes is no motion JPEG; while iterating, the same, and
        when the stream ends.
    """

    is_live = True

    def __init__(
        self, url: str, stream: HttpStream, *, mirror: bool = False, timeout_s: float = READ_TIMEOUT_S
    ) -> None:
        super().__init__()
        self._shown_url, self._stream, self._mirror, self._timeout_s = without_password(url), stream, mirror, timeout_s
        self._parts = MultipartParts(stream.boundary)
        self._came = self._damaged = 0
        try:
            self._first = self._read_picture()
        except BaseException:
            stream.close()
            raise
        self.size_wh = (self._first.bgr.shape[1], self._first.bgr.shape[0])

    def describe(self) -> str:
        """One line: what it is, size, rate; a password in the address is left out."""
        return f"live stream {self._shown_url} (motion JPEG {self.size_wh[0]}x{self.size_wh[1]}, {rate_text(None)})"

    def interrupt(self) -> None:
        """Ends a read that is under way in another thread."""
        self._stream.cut()

    def _frames(self) -> Iterator[Frame]:
        picture, first = self._first, self._first
        try:
            while True:
                bgr = cv2.flip(picture.bgr, 1) if self._mirror else picture.bgr
                time_s = (picture.at_ns - first.at_ns) / 1e9
                yield Frame(picture.number - first.number, time_s, bgr, captured_ns=picture.at_ns)
                if not self._is_open:
                    return
                picture = self._read_picture()
        finally:
            if self._damaged:
                self.notes.append(
                    f"{self._shown_url}: {self._damaged} of {self._came} pictures were damaged and left out"
                )

    def _read_picture(self) -> _Picture:
        """The newest picture that can be decoded."""
        deadline_s = time.monotonic() + self._timeout_s
        reason: str | None = None
        while True:
            jpeg, at_ns = self._newest_part(deadline_s, reason)
            try:
                return _Picture(decode_frame(jpeg), self._came - 1, at_ns)
            except DamagedFrameError as error:
                self._damaged += 1
                reason = f"pictures that cannot be used: the last one {error}"

    def _newest_part(self, deadline_s: float, reason: str | None) -> tuple[bytes, int]:
        newest: bytes | None = None
        at_ns, drains_until_s = 0, deadline_s
        while True:
            part = self._next_part()
            if part is not None:
                if newest is None:
                    drains_until_s = time.monotonic() + DRAIN_S
                newest, at_ns = part, time.perf_counter_ns()
                self._came += 1
                continue
            if newest is not None and (time.monotonic() > drains_until_s or not self._stream.has_more()):
                return newest, at_ns
            try:
                data = self._stream.read_some(within_s=deadline_s - time.monotonic())
            except TimeoutError:
                raise DeviceError(f"{self._shown_url}: no picture for {self._timeout_s:g} s", came=reason) from None
            if data:
                self._parts.feed(data)
            elif newest is not None:
                return newest, at_ns
            else:
                raise self._ended()

    def _next_part(self) -> bytes | None:
        try:
            return self._parts.next_part()
        except MultipartError as error:
            raise DeviceError(f"{self._shown_url}: is no motion JPEG that can be read", came=error) from error

    def _ended(self) -> DeviceError:
        if not self._came:
            return DeviceError(
                f"{self._shown_url}: no video comes from there", came="an answer that ends before the first picture",
                next_step="check address, user name and network",
            )  # fmt: skip
        return DeviceError(f"{self._shown_url}: the stream ended after {self._came} pictures")

    def _release(self) -> None:
        self._stream.close()
