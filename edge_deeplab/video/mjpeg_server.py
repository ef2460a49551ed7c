"""Moving pictures over HTTP, as Motion JPEG: browsers show them, and so do programs that read a network camera.

    with MjpegSink(HttpAddress.parse("127.0.0.1:8080")) as sink:
        sink.write(frame_bgr, 0.0)          # http://127.0.0.1:8080/

    /              a page with the pictures, the state, and buttons for what may be changed
    /stream.mjpeg  the pictures
    /snapshot.jpg  the newest one
    /state         the state, as JSON
    /health        whether pictures come, as JSON: 200 or 503; needs no token
    POST /control?name=NAME

Who may watch: this machine alone, unless a token is asked for or the user allows everybody. A page of another site that
the user's own browser shows gets nothing either: other host names are refused, and a control needs a header that only
our page can send.
"""

from __future__ import annotations

import contextlib
import hmac
import ipaddress
import json
import re
import socket
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from edge_deeplab.errors import OutputError, UsageError
from edge_deeplab.video.frame_feed import FeedEnded, FrameFeed
from edge_deeplab.video.mjpeg_page import PAGE
from edge_deeplab.video.output import SinkLife

LOOPBACK = "127.0.0.1"
MOST_CONNECTIONS = 24  # threads; a page and its picture hold one or two
MOST_VIEWERS = 12
REQUEST_WAIT_S = 10.0  # for a request, and for a viewer to take a picture: then it has gone
SNAPSHOT_WAIT_S = 5.0
STALE_S = 5.0  # without a new picture for so long, /health says so
SEND_BUFFER_BYTES = 256 * 1024  # two or three pictures: more of them in the network's buffers would only be late ones
CONTROL_HEADER = "X-Edge-Deeplab"


@dataclass(frozen=True, kw_only=True)
class HttpAddress:
    """Where pictures are served, and to whom.

    Attributes:
        host: a name or an address; port 0 takes a free one.
        token: asked for in `?token=` or as a bearer token; empty asks for none.
        is_open: whether anybody may watch, where the address can be reached from outside and no token is asked for.

    Raises: UsageError for an address that others can reach, with neither a token nor is_open.
    """

    host: str = LOOPBACK
    port: int = 8080
    token: str = ""
    is_open: bool = False

    def __post_init__(self) -> None:
        if self.token and not re.fullmatch(r"[A-Za-z0-9._~-]{8,200}", self.token):
            raise UsageError(
                "--http-token: too short, or with signs that an address cannot hold",
                allowed="8 to 200 letters, digits, and . _ ~ -",
            )
        if not self.is_loopback and not self.token and not self.is_open:
            raise UsageError(
                f"--http {self.host}:{self.port}: anybody in the network could watch",
                next_step="ask for a word with --http-token WORD, or allow it with --http-open",
            )

    @classmethod
    def parse(cls, text: str, *, token: str = "", is_open: bool = False) -> HttpAddress:
        """From "8080", "HOST:PORT" or "[::1]:PORT". Raises UsageError."""
        match = re.fullmatch(r"(?:(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+):)?(\d{1,5})", text.strip())
        if match is None or int(match.group(2)) > 65535:
            raise UsageError(f"--http {text}: is no address", allowed=f"PORT or HOST:PORT, such as {LOOPBACK}:8080")
        host = (match.group(1) or LOOPBACK).strip("[]")
        return cls(host=host, port=int(match.group(2)), token=token, is_open=is_open)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host.lower() == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


class MjpegSink(SinkLife):
    """Serves what is written to it, from threads of its own; writing never waits for a viewer.

    Args:
        address: where.
        state: what the page shows beside the pictures, asked for about once a second from another thread; for JSON.
        controls: what the page offers as buttons: a name, and what does it and returns a few words on what holds then;
            called from another thread.

    Raises: OutputError when the address cannot be served.
    """

    def __init__(
        self,
        address: HttpAddress,
        *,
        state: Callable[[], Mapping[str, Any]] | None = None,
        controls: Mapping[str, Callable[[], str]] | None = None,
    ) -> None:
        super().__init__()
        self._feed = FrameFeed()
        try:
            self._server = _Server(address, self._feed, state or dict, controls or {})
        except (OSError, OverflowError) as error:
            self._feed.close()
            reason = getattr(error, "strerror", None) or str(error)
            raise OutputError(
                f"http://{_authority(address.host, address.port)}/: cannot be served", came=reason,
                next_step="name another: --http HOST:PORT",
            ) from error  # fmt: skip
        self._serving = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="http-serve", daemon=True
        )
        self._serving.start()

    @property
    def url(self) -> str:
        """What to type into a browser, token and all."""
        address, port = self._server.address, self._server.server_port
        host = LOOPBACK if address.host == "0.0.0.0" else "::1" if address.host == "::" else address.host
        return f"http://{_authority(host, port)}/" + (f"?token={address.token}" if address.token else "")

    @property
    def viewers(self) -> int:
        """How many watch now."""
        return self._feed.viewers

    def describe(self) -> str:
        """One line: what it is, where it goes."""
        return f"pictures at {self.url}"

    def _write(self, frame_bgr: np.ndarray, time_s: float, name: str) -> None:
        self._feed.put(frame_bgr)

    def _close(self) -> None:
        self._feed.close()
        self._server.shutdown()
        self._server.server_close()
        self._serving.join()

    def _discard(self) -> None:
        self._close()


class _Server(ThreadingHTTPServer):
    """A thread a connection, no more than MOST_CONNECTIONS at a time, all ended with the server."""

    daemon_threads = True
    block_on_close = False  # a viewer that takes nothing is cut off, not waited for
    request_queue_size = 16

    def __init__(
        self,
        address: HttpAddress,
        feed: FrameFeed,
        state: Callable[[], Mapping[str, Any]],
        controls: Mapping[str, Callable[[], str]],
    ) -> None:
        self.address, self.feed, self.state, self.controls = address, feed, state, controls
        self.address_family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        self.viewer_slots = threading.BoundedSemaphore(MOST_VIEWERS)
        self._slots = threading.BoundedSemaphore(MOST_CONNECTIONS)
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        super().__init__((address.host, address.port), _Handler)

    def server_bind(self) -> None:
        """As HTTPServer's, without asking a name server who we are: that may take seconds."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        """Refuses at once what would be one connection too many."""
        if not self._slots.acquire(blocking=False):
            with contextlib.suppress(OSError):
                request.settimeout(1.0)
                request.sendall(b"HTTP/1.0 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n")
            self.shutdown_request(request)
            return
        with self._open_lock:
            self._open.add(request)
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread could be started
            self._release(request)
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """One connection, from its first byte to its end."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._release(request)

    def server_close(self) -> None:
        """Ends listening and cuts off everybody."""
        super().server_close()
        with self._open_lock:
            for request in self._open:
                with contextlib.suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke is no news; it costs this viewer its picture and nobody anything else."""

    def _release(self, request: Any) -> None:
        with self._open_lock:
            self._open.discard(request)
        self._slots.release()


class _Handler(BaseHTTPRequestHandler):
    """One request. HTTP/1.0: a connection serves one request, so that none idles in a thread."""

    server: _Server
    timeout = REQUEST_WAIT_S
    server_version, sys_version = "edge-deeplab", ""

    def do_GET(self) -> None:
        """Any of the pages."""
        path = urllib.parse.urlsplit(self.path).path
        if path == "/health":
            self._send_health()
            return
        if not self._is_allowed():
            return
        pages = {"/": self._send_page, "/stream.mjpeg": self._send_stream, "/snapshot.jpg": self._send_snapshot,
                 "/state": self._send_state}  # fmt: skip
        page = pages.get(path)
        if page is None:
            self._refuse(404, f"there is no {path[:80]}; there are {', '.join(pages)} and /health")
        else:
            page()

    def do_POST(self) -> None:
        """A control."""
        if not self._is_allowed():
            return
        url = urllib.parse.urlsplit(self.path)
        if url.path != "/control":
            self._refuse(404, "there is /control alone")
            return
        if self.headers.get(CONTROL_HEADER) is None:
            self._refuse(403, f"needs the header {CONTROL_HEADER}")
            return
        name = (urllib.parse.parse_qs(url.query).get("name") or [""])[0]
        control = self.server.controls.get(name)
        if control is None:
            self._refuse(404, f"no such control; there are: {', '.join(self.server.controls) or 'none'}")
            return
        self._send_json(200, {"says": control()})

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing: the terminal shows the program's own lines."""

    def _is_allowed(self) -> bool:
        """Whether the request may be answered; otherwise it has been refused."""
        address = self.server.address
        if address.is_loopback and not self._is_for_us():
            self._refuse(421, f"this is {_authority(address.host, self.server.server_port)}, and no other host")
            return False
        if not address.token:
            return True
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        given = (query.get("token") or [""])[0] or self.headers.get("Authorization", "").removeprefix("Bearer ")
        if hmac.compare_digest(given.encode(), address.token.encode()):
            return True
        self._refuse(401, "a token is needed: add ?token=... to the address", {"WWW-Authenticate": "Bearer"})
        return False

    def _is_for_us(self) -> bool:
        """Whether the browser asked for this machine: a site whose name was made to lead here would have its own."""
        try:
            host = urllib.parse.urlsplit(f"//{self.headers.get('Host', '')}").hostname or ""
            return HttpAddress(host=host, is_open=True).is_loopback
        except ValueError:
            return False

    def _send_page(self) -> None:
        buttons = json.dumps(list(self.server.controls)).replace("<", "\\u003c")
        page = PAGE.replace("/*CONTROLS*/[]", buttons).replace("/*HEADER*/", CONTROL_HEADER)
        policy = "default-src 'none'; img-src 'self'; connect-src 'self'; style-src 'unsafe-inline'; "
        self._send(200, "text/html; charset=utf-8", page.encode(), {
            "Content-Security-Policy": policy + "script-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
        })  # fmt: skip

    def _send_stream(self) -> None:
        if not self.server.viewer_slots.acquire(blocking=False):
            self._refuse(503, f"{MOST_VIEWERS} watch already", {"Retry-After": "5"})
            return
        try:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._head(200, "multipart/x-mixed-replace; boundary=frame", {})
            # The boundary that ends a picture is sent with it: browsers show a picture when they have seen its end.
            self.wfile.write(b"--frame\r\n")
            with self.server.feed.watching(), contextlib.suppress(FeedEnded, OSError):
                index = 0
                while True:
                    newest = self.server.feed.next_after(index, timeout_s=1.0)
                    if newest is None:
                        self._check_there()
                        continue
                    index, jpeg = newest
                    head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n".encode()
                    self.wfile.write(head + jpeg + b"\r\n--frame\r\n")
        finally:
            self.server.viewer_slots.release()

    def _check_there(self) -> None:
        """OSError when the viewer has hung up; it has nothing more to say, so a readable connection is an ended one."""
        self.connection.setblocking(False)
        try:
            if self.connection.recv(1) == b"":
                raise ConnectionAbortedError
        except BlockingIOError:
            pass
        finally:
            self.connection.settimeout(REQUEST_WAIT_S)

    def _send_snapshot(self) -> None:
        feed = self.server.feed
        try:
            with feed.watching():
                newest = feed.next_after(feed.index, timeout_s=SNAPSHOT_WAIT_S)
        except FeedEnded:
            newest = None
        if newest is None:
            self._refuse(503, "no picture comes now", {"Retry-After": "5"})
        else:
            self._send(200, "image/jpeg", newest[1], {})

    def _send_state(self) -> None:
        self._send_json(200, {**self.server.state(), **self._pulse(), "viewers": self.server.feed.viewers})

    def _send_health(self) -> None:
        pulse = self._pulse()
        self._send_json(200 if pulse["status"] == "ok" else 503, pulse)

    def _pulse(self) -> dict[str, Any]:
        feed = self.server.feed
        age_s = None if feed.put_s is None else round(time.monotonic() - feed.put_s, 3)
        status = "waiting" if age_s is None else "stalled" if age_s > STALE_S else "ok"
        return {"status": status, "frames": feed.put_count, "age_s": age_s}

    def _send_json(self, status: int, value: Mapping[str, Any]) -> None:
        self._send(status, "application/json", json.dumps(value, default=str).encode(), {})

    def _refuse(self, status: int, reason: str, headers: Mapping[str, str] | None = None) -> None:
        self._send(status, "text/plain; charset=utf-8", f"{reason}\n".encode(), headers or {})

    def _send(self, status: int, kind: str, body: bytes, headers: Mapping[str, str]) -> None:
        self._head(status, kind, {**headers, "Content-Length": str(len(body))})
        self.wfile.write(body)

    def _head(self, status: int, kind: str, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        fixed = {
            "Content-Type": kind, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer", "Cross-Origin-Resource-Policy": "same-origin",
        }  # fmt: skip
        for name, value in {**fixed, **headers}.items():
            self.send_header(name, value)
        self.end_headers()


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
