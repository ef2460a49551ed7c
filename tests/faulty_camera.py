"""A network camera that does what it is told: a real HTTP server on 127.0.0.1 that stalls, cuts, lies and comes back.

camera = FaultyCamera()
camera.show(frame_bgr)          # waits in a queue until a client is there
camera.wait_for_client()
camera.cut()                    # or stop(), start(): away, and back on the same port
"""

from __future__ import annotations

import contextlib
import queue
import socket
import ssl
import threading
from collections.abc import Callable

import cv2
import numpy as np

WAIT_S = 10.0
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\nConnection: close\r\n\r\n"
CUT = object()


def jpeg_of(bgr: np.ndarray, quality: int = 90) -> bytes:
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def part_of(jpeg: bytes, *, length: int | None = None) -> bytes:
    said = len(jpeg) if length is None else length
    return b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b\r\n" % (said, jpeg)


class FaultyCamera:
    """One client at a time gets what was queued; what was not sent when it went is for the next one. With tls: HTTPS.

    Attributes:
        head: what a client is answered; None: nothing at all.
        answer: in place of head, made of the request.
        requests: as they came, headers too.
    """

    def __init__(
        self,
        head: bytes | None = HEAD,
        *,
        answer: Callable[[str], bytes] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.head, self.answer, self._tls = head, answer, tls
        self.requests: list[str] = []
        self._port = 0
        self._queue: queue.Queue[object] = queue.Queue()
        self._clients = threading.Semaphore(0)
        self._listener: socket.socket | None = None
        self._connections: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.start()

    @property
    def url(self) -> str:
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self._port}/video"

    def start(self) -> None:
        """Listens, after stop() on the same port."""
        self._listener = socket.create_server(("127.0.0.1", self._port))
        self._port = self._listener.getsockname()[1]
        thread = threading.Thread(target=self._accept, args=(self._listener,), daemon=True)
        thread.start()
        self._threads.append(thread)

    def stop(self) -> None:
        """Away: no one is listened to, and every connection is closed."""
        listener, self._listener = self._listener, None
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for connection in self._connections:
            _close(connection)
        self._queue.put(CUT)
        for thread in self._threads:
            thread.join(WAIT_S)
            assert not thread.is_alive()
        self._threads.clear()
        self._connections.clear()
        while not self._queue.empty():
            self._queue.get()
            self._queue.task_done()

    def show(self, bgr: np.ndarray) -> None:
        self.raw(part_of(jpeg_of(bgr)))

    def raw(self, data: bytes) -> None:
        """Sends bytes as they are."""
        self._queue.put(data)

    def cut(self) -> None:
        """Closes the connection once all that was queued before is sent."""
        self._queue.put(CUT)

    def wait_for_client(self) -> None:
        """Until one more client has been answered."""
        assert self._clients.acquire(timeout=WAIT_S)

    def wait_until_sent(self) -> None:
        """Until what was queued lies in the client's socket."""
        self._queue.join()

    def _accept(self, listener: socket.socket) -> None:
        while self._listener is listener:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            with contextlib.suppress(OSError):
                if self._tls is not None:
                    connection = self._tls.wrap_socket(connection, server_side=True)
                    self._connections.append(connection)
                self._serve(connection)
            _close(connection)

    def _serve(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        request = b""
        while b"\r\n\r\n" not in request:
            more = connection.recv(4096)
            if not more:
                return
            request += more
        self.requests.append(request.decode())
        head = self.answer(self.requests[-1]) if self.answer else self.head
        if head is not None:
            connection.sendall(head)
        self._clients.release()
        while True:
            data = self._queue.get()
            try:
                if data is CUT:
                    return
                connection.sendall(data)
            finally:
                self._queue.task_done()


def _close(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
