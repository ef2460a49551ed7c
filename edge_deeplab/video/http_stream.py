"""One HTTP answer that does not end: opened, read as it comes, cut off from another thread, each within bounded time.

The standard library's client does the work (redirects, chunks, TLS, Basic and Digest log-in, proxies); what is added is
a deadline that a server which sends a byte now and then cannot stretch.

    with HttpStream("http://127.0.0.1:8080/video", timeout_s=5) as stream:
        stream.content_type, stream.read_some(within_s=5)
"""

from __future__ import annotations

import contextlib
import http.client
import io
import select
import socket
import threading
import time
import urllib.error
import urllib.request
import warnings
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit, urlunsplit

from edge_deeplab.errors import DeviceError

READ_BYTES = 64 * 1024
CLOSING_POLL_S = 0.1
USER_AGENT = "edge-deeplab"


class HttpStream:
    """The body of an answer, as long as it lasts.

    Args:
        url: http or https; a user name and password in it are used to log in, and shown nowhere.
        timeout_s: for connecting, redirects, log-in and the headers together.
        closing: once set, whatever is waited for ends, as cut() does, while nobody has the stream yet to cut it.

    Attributes:
        content_type: without its parameters, in small letters.
        boundary: of a multipart body; empty when none is declared.

    Raises: DeviceError in one line: nobody there, refused, not found, no HTTP, too slow.
    """

    def __init__(self, url: str, *, timeout_s: float, closing: threading.Event | None = None) -> None:
        self._shown_url = without_password(url)
        self._wire = _Wire(timeout_s, closing or threading.Event())
        request = urllib.request.Request(_without_user(url), headers={"User-Agent": USER_AGENT, "Accept": "*/*"})
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of a log-in's realm without quotes
                self._answer = _opener(url, self._wire).open(request, timeout=timeout_s)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._wire.cut()
            raise self._failed(error) from error
        self.content_type = self._answer.headers.get_content_type()
        self.boundary = self._answer.headers.get_param("boundary") or ""
        if not isinstance(self.boundary, str):  # RFC 2231's three parts; no camera sends them
            self.boundary = self.boundary[2]

    def read_some(self, *, within_s: float) -> bytes:
        """The bytes that are there, at least one; b"" when the answer ended or was cut off.

        Raises: TimeoutError when nothing comes within the time, DeviceError when the connection breaks.
        """
        self._wire.deadline_s = time.monotonic() + within_s
        try:
            return self._answer.read1(READ_BYTES)
        except TimeoutError:
            raise
        except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: closed meanwhile
            if self._wire.is_cut:
                return b""
            raise self._failed(error) from error

    def has_more(self) -> bool:
        """Whether bytes wait to be read."""
        if self._answer.fp is None:
            return False
        self._wire.is_polled = True
        try:
            waiting = self._answer.fp.peek(1)
        except (OSError, ValueError):
            return False  # the next read says why
        finally:
            self._wire.is_polled = False
        # The line end behind a chunk is no body; what follows it may still be in the socket.
        return bool(waiting.strip(b"\r\n")) or (bool(waiting) and self._wire.is_readable())

    def cut(self) -> None:
        """Ends a read that is under way in another thread."""
        self._wire.cut()

    def close(self) -> None:
        """Lets go of the connection; twice is harmless."""
        self._wire.cut()
        with contextlib.suppress(OSError, ValueError):
            self._answer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _failed(self, error: Exception) -> DeviceError:
        reason, next_step = _in_words(error)
        return DeviceError(f"{self._shown_url}: no video comes from there", came=reason, next_step=next_step)


class _Wire(io.RawIOBase):
    """The reading side of a connection, which waits no longer than until deadline_s."""

    def __init__(self, timeout_s: float, closing: threading.Event) -> None:
        self.deadline_s, self._closing = time.monotonic() + timeout_s, closing
        self.is_polled = self.is_cut = False
        self._socket: socket.socket | None = None

    def wrap(self, connected: socket.socket) -> _WiredSocket:
        self._socket = connected
        return _WiredSocket(self, connected)

    def cut(self) -> None:
        self.is_cut = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        while self._socket is not None and not self.is_cut and not self._closing.is_set():
            left_s = 0.0 if self.is_polled else self.deadline_s - time.monotonic()
            if left_s <= 0 and not self.is_polled:
                raise TimeoutError("timed out")
            self._socket.settimeout(min(left_s, CLOSING_POLL_S))
            try:
                return self._socket.recv_into(buffer)
            except TimeoutError:
                continue
            except (BlockingIOError, InterruptedError):
                return None
            except OSError as error:  # of TLS: half a record is there
                if self.is_polled and type(error).__name__ in ("SSLWantReadError", "SSLWantWriteError"):
                    return None
                raise
        return 0

    def is_readable(self) -> bool:
        if self._socket is None or self.is_cut:
            return False
        pending = getattr(self._socket, "pending", lambda: 0)  # TLS: decrypted already
        try:
            return bool(pending()) or bool(select.select([self._socket], [], [], 0)[0])
        except (OSError, ValueError):
            return False


class _WiredSocket:
    """What http.client needs of a socket, reading through a _Wire."""

    def __init__(self, wire: _Wire, connected: socket.socket) -> None:
        self._wire, self._connected = wire, connected
        self._is_read = False

    def makefile(self, mode: str, *_: Any, **__: Any) -> io.BufferedReader:
        self._is_read = True
        return _ClosingReader(self._wire, self._connected)

    def sendall(self, data: bytes) -> None:
        self._connected.settimeout(max(0.001, self._wire.deadline_s - time.monotonic()))
        self._connected.sendall(data)

    def close(self) -> None:
        if not self._is_read:  # else the answer's reader owns it
            self._connected.close()


class _ClosingReader(io.BufferedReader):
    """Closes the connection it reads from, and leaves the _Wire open for the next one (a redirect, a log-in)."""

    def __init__(self, wire: _Wire, connected: socket.socket) -> None:
        super().__init__(wire)
        self._connected = connected

    def close(self) -> None:
        self._connected.close()


def _opener(url: str, wire: _Wire) -> urllib.request.OpenerDirector:
    def connection(kind: Any) -> Any:
        class Wired(kind):  # type: ignore[misc]
            sock: Any

            def connect(self) -> None:
                self.timeout = max(0.001, wire.deadline_s - time.monotonic())
                super().connect()
                self.sock = wire.wrap(self.sock)

        return Wired

    class Http(urllib.request.HTTPHandler):
        def http_open(self, request: urllib.request.Request) -> Any:
            return self.do_open(connection(http.client.HTTPConnection), request)

    class Https(urllib.request.HTTPSHandler):
        def https_open(self, request: urllib.request.Request) -> Any:
            return self.do_open(connection(http.client.HTTPSConnection), request)

    passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    parts = urlsplit(url)
    if parts.username is not None:
        passwords.add_password(None, _without_user(url), unquote(parts.username), unquote(parts.password or ""))
    opener = urllib.request.OpenerDirector()  # not build_opener: that one would follow into files and FTP
    for handler in (
        urllib.request.ProxyHandler(), urllib.request.UnknownHandler(), Http(), Https(),
        urllib.request.HTTPRedirectHandler(), urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(), urllib.request.HTTPBasicAuthHandler(passwords),
        urllib.request.HTTPDigestAuthHandler(passwords),
    ):  # fmt: skip
        opener.add_handler(handler)
    return opener


def _in_words(error: BaseException) -> tuple[str, str]:
    """What went wrong, and what to do about it, in few words each."""
    check = "check address, user name and network"
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        if error.code == 401:
            return (
                "it asks for a user name and a password",
                "write them into the address: http://USER:PASSWORD@HOST/...",
            )
        return _printable(f"answer {error.code} {error.reason}"), "check the address"
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, Exception):
        error = error.reason
    if isinstance(error, TimeoutError):
        return "nothing within the time that it was given", check
    if isinstance(error, socket.gaierror):
        return "no such host", check
    if isinstance(error, ConnectionError):
        return (error.strerror or type(error).__name__).lower(), check
    if type(error).__name__ == "SSLCertVerificationError":
        return "a certificate that this machine does not trust", "name it in SSL_CERT_FILE, or use http://"
    if isinstance(error, http.client.HTTPException):
        return _printable(f"no proper HTTP ({type(error).__name__}: {error})"), check
    return _printable(str(getattr(error, "strerror", None) or error)), check


def _printable(text: str) -> str:
    """A server's words may hold anything, a terminal's commands too."""
    return "".join(letter if letter.isprintable() else " " for letter in text)[:120].rstrip()


def without_password(url: str) -> str:
    """The address as it may be shown and logged: rtsp://user:secret@host/ becomes rtsp://user@host/."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    user, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user.split(':', 1)[0]}@{host}"))


def _without_user(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
