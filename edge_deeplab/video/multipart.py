"""Motion JPEG over HTTP, taken apart: multipart/x-mixed-replace (RFC 2046, 5.1) as bytes come, with bounds.

Nothing is read here; whoever has the bytes feeds them. Cameras bend the format, so what can be understood is: a
boundary that is declared with its dashes, or not at all; parts with and without Content-Length; bare line feeds.

    parts = MultipartParts("frame")
    parts.feed(data)
    while (jpeg := parts.next_part()) is not None: ...
"""

from __future__ import annotations

import re

MAX_PART_BYTES = 32 * 2**20  # a JPEG of 50 megapixels; no camera's video has larger pictures
MAX_HEAD_BYTES = 16 * 2**10  # of one part's headers; cameras send about 100 bytes
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_LENGTH = re.compile(rb"^content-length[ \t]*:[ \t]*(\d{1,18})[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
_ANY_DELIMITER = re.compile(rb"\n-{2,}([^\s-][^\r\n]{0,199})\r?\n")


class MultipartError(ValueError):
    """The bytes are no such stream, or its parts are out of bounds. The text is one line."""


class MultipartParts:
    """Bytes in, the bodies of the parts out, in order. No more than one part and one feed is ever kept.

    Args:
        boundary: as the Content-Type declares it; empty: the first line of dashes and more is it.
        max_part_bytes: of one body.
    """

    def __init__(self, boundary: str, *, max_part_bytes: int = MAX_PART_BYTES) -> None:
        self.has_ended = False
        self._max_part = max_part_bytes
        self._delimiter = _delimiter_of(boundary.encode("latin-1", "replace").strip(b' "'))
        self._buffer = bytearray(b"\n")  # as if a line had ended: the first delimiter may be the first byte
        self._searched = 0  # no delimiter begins before
        self._passed = 0  # bytes thrown away since the last part
        self._needed: int | None = None  # bytes of the body that is awaited, where its length was said
        self._is_in_body = False

    def feed(self, data: bytes) -> None:
        """Adds bytes as they came."""
        self._buffer += data

    def next_part(self) -> bytes | None:
        """The body of the next whole part; None when more bytes are needed. Raises MultipartError."""
        while not self.has_ended:
            if not self._is_in_body:
                if not self._find_delimiter() or not self._read_head():
                    return None
            elif self._needed is not None:
                return self._cut(self._needed, self._needed) if len(self._buffer) >= self._needed else None
            else:
                return self._until_delimiter()
        return None

    def _find_delimiter(self) -> bool:
        """Throws away what lies before the next delimiter; False when there is none yet."""
        delimiter = self._delimiter or _ANY_DELIMITER
        found = delimiter.search(self._buffer)
        if found is None:
            keeps = min(len(self._buffer), 256)  # a delimiter may have begun
            self._passed += len(self._buffer) - keeps
            del self._buffer[:-keeps]
            if self._passed > (self._max_part if self._delimiter else MAX_HEAD_BYTES):
                raise MultipartError("no boundary line comes between its parts")
            return False
        if self._delimiter is None:
            self._delimiter = _delimiter_of(found.group(1).rstrip())
        del self._buffer[: found.start()]
        return True

    def _read_head(self) -> bool:
        """Reads a delimiter and the headers behind it; False when they are not whole yet."""
        assert self._delimiter is not None
        found = self._delimiter.match(self._buffer)
        assert found is not None
        behind = self._buffer[found.end() : found.end() + 2]
        if len(behind) < 2:
            return False
        if behind == b"--":
            self.has_ended = True
            self._buffer.clear()
            return False
        end = _HEAD_END.search(self._buffer, found.end())
        size = (len(self._buffer) if end is None else end.end()) - found.end()
        if size > MAX_HEAD_BYTES:
            raise MultipartError(f"the headers of a part are longer than {MAX_HEAD_BYTES} bytes")
        if end is None:
            return False
        length = _LENGTH.search(self._buffer, found.end(), end.end())
        self._needed = int(length.group(1)) if length else None
        if self._needed is not None and self._needed > self._max_part:
            raise MultipartError(f"a part says it has {self._needed} bytes; allowed: {self._max_part}")
        del self._buffer[: end.end()]
        self._is_in_body, self._searched, self._passed = True, 0, 0
        return True

    def _until_delimiter(self) -> bytes | None:
        assert self._delimiter is not None
        found = self._delimiter.search(self._buffer, self._searched)
        if found is not None:
            start = found.start()
            return self._cut(start - (start > 0 and self._buffer[start - 1] == ord("\r")), start)
        self._searched = max(0, len(self._buffer) - 256)
        if len(self._buffer) > self._max_part:
            raise MultipartError(f"a part is longer than {self._max_part} bytes")
        return None

    def _cut(self, size: int, passed: int) -> bytes:
        """The first `size` bytes as a body; the buffer goes on behind `passed`."""
        body = bytes(self._buffer[:size])
        del self._buffer[:passed]
        if not self._buffer.startswith((b"\r\n", b"\n")):
            self._buffer[:0] = b"\n"  # some cameras leave out the line end between a body and the delimiter
        self._is_in_body, self._needed = False, None
        return body


def _delimiter_of(boundary: bytes) -> re.Pattern[bytes] | None:
    """The line before each part; None where no boundary was declared. Some declare it with the line's own dashes."""
    core = boundary.lstrip(b"-")[:200]  # RFC 2046 allows 70
    return re.compile(rb"\n-{2,}" + re.escape(core)) if core else None
