"""A small RTSP camera on 127.0.0.1: motion JPEG in RTP (RFC 2435), within the RTSP connection or over UDP (RFC 2326).

camera = RtspCamera(frames)            # (H, W, 3) uint8 BGR, sides multiples of 8; shown one after the other, again
camera.url                             # rtsp://127.0.0.1:PORT/live
camera.pause(), camera.stop(), camera.start()
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import re
import socket
import struct
import threading
from collections.abc import Callable

import cv2
import numpy as np

WAIT_S = 10.0
INTERVAL_S = 0.02
RTP_JPEG = 26
CLOCK = 90_000
PACKET_BYTES = 1400
SDP = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\nm=video 0 RTP/AVP 26\r\n" \
      "a=framerate:50\r\na=control:track0\r\n"  # fmt: skip


class RtspCamera:
    """Serves one client at a time.

    Attributes:
        refuses_tcp: whether RTP within the RTSP connection is refused, as some cameras do.
        user, password: asked for where a user is given (Basic).
        transports: what clients asked for in SETUP.
    """

    def __init__(
        self, frame: Callable[[int], np.ndarray], *, refuses_tcp: bool = False, user: str = "", password: str = ""
    ) -> None:
        self._frame, self.refuses_tcp, self.user, self.password = frame, refuses_tcp, user, password
        self.transports: list[str] = []
        self.requests: list[str] = []
        self._port = 0
        self._stopping, self._paused = threading.Event(), threading.Event()
        self._connections: list[socket.socket] = []
        self.start()

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self._port}/live"

    def start(self) -> None:
        self._stopping.clear()
        self._listener = socket.create_server(("127.0.0.1", self._port))
        self._port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        if self._stopping.is_set():
            return
        self._stopping.set()
        for one in (self._listener, *self._connections):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()
        self._connections.clear()

    def pause(self) -> None:
        """Stays connected and sends nothing more."""
        self._paused.set()

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            with contextlib.suppress(OSError):
                self._serve(connection)
            connection.close()

    def _serve(self, connection: socket.socket) -> None:
        reader, lock = connection.makefile("rb"), threading.Lock()
        send: Callable[[bytes], None] = connection.sendall
        ended = threading.Event()
        playing: threading.Thread | None = None
        try:
            while True:
                request = ""
                while (line := reader.readline().decode("latin-1")) not in ("", "\r\n"):
                    request += line
                if not line:
                    return
                self.requests.append(request)
                if "Transport:" in request and "interleaved" not in request and "client_port" in request:
                    ports = re.search(r"client_port=(\d+)", request)
                    outlet = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                    outlet.bind(("127.0.0.1", 0))
                    outlet.connect(("127.0.0.1", int(ports.group(1))))
                    self._connections.append(outlet)
                    send = outlet.send
                answer = self._answer(request, send)
                with lock:
                    connection.sendall(answer)
                if request.startswith("PLAY"):
                    is_tcp = send == connection.sendall
                    playing = threading.Thread(target=self._play, args=(send, is_tcp, lock, ended), daemon=True)
                    playing.start()
                if request.startswith("TEARDOWN"):
                    return
        finally:
            ended.set()
            if playing is not None:
                playing.join(WAIT_S)

    def _answer(self, request: str, send: Callable[[bytes], None]) -> bytes:
        method = request.split(" ", 1)[0]
        number = re.search(r"CSeq: *(\d+)", request)
        head, status, body = [f"CSeq: {number.group(1) if number else 0}"], "200 OK", ""
        expected = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        if self.user and f"Basic {expected}" not in request:
            status, method = "401 Unauthorized", ""
            head.append('WWW-Authenticate: Basic realm="camera"')
        if method == "OPTIONS":
            head.append("Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER")
        elif method == "DESCRIBE":
            body = SDP
            head += [f"Content-Base: {self.url}/", "Content-Type: application/sdp"]
        elif method == "SETUP":
            wanted = re.search(r"Transport: *(.*?)\r\n", request).group(1)
            self.transports.append(wanted)
            head.append("Session: 1")
            if "TCP" in wanted and self.refuses_tcp:
                status = "461 Unsupported Transport"
            elif "TCP" in wanted:
                head.append("Transport: RTP/AVP/TCP;unicast;interleaved=0-1")
            else:
                ports = re.search(r"client_port=([\d-]+)", wanted).group(1)
                head.append(f"Transport: RTP/AVP/UDP;unicast;client_port={ports};server_port=6970-6971")
        elif method in ("PLAY", "GET_PARAMETER", "TEARDOWN"):
            head.append("Session: 1")
        head.append(f"Content-Length: {len(body)}")
        return ("\r\n".join([f"RTSP/1.0 {status}", *head]) + "\r\n\r\n" + body).encode()

    def _play(self, send: Callable[[bytes], None], is_tcp: bool, lock: threading.Lock, ended: threading.Event) -> None:
        number = itertools.count()
        for index in itertools.count():
            if ended.wait(INTERVAL_S) or self._stopping.is_set():
                return
            if self._paused.is_set():
                continue
            for packet in rtp_packets(self._frame(index), round(index * INTERVAL_S * CLOCK), number):
                with lock, contextlib.suppress(ConnectionRefusedError):
                    try:
                        send(b"$\x00" + struct.pack(">H", len(packet)) + packet if is_tcp else packet)
                    except (BrokenPipeError, ConnectionResetError):
                        return


def rtp_packets(bgr: np.ndarray, time_90k: int, number) -> list[bytes]:
    """One picture in RTP packets: tables and coded data of its JPEG, which RFC 2435 takes apart."""
    height, width = bgr.shape[:2]
    jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
    tables, at = b"", 2
    while jpeg[at + 1] != 0xDA:
        length = struct.unpack_from(">H", jpeg, at + 2)[0]
        if jpeg[at + 1] == 0xDB:
            tables += b"".join(jpeg[start + 1 : start + 65] for start in range(at + 4, at + 2 + length, 65))
        at += 2 + length
    scan = jpeg[at + 2 + struct.unpack_from(">H", jpeg, at + 2)[0] : jpeg.rindex(b"\xff\xd9")]
    packets = []
    for start in range(0, len(scan), PACKET_BYTES):
        piece = scan[start : start + PACKET_BYTES]
        is_last = start + PACKET_BYTES >= len(scan)
        head = struct.pack(">BBHII", 0x80, is_last << 7 | RTP_JPEG, next(number) & 0xFFFF, time_90k & 0xFFFFFFFF, 1)
        head += struct.pack(">IBBBB", start, 1, 255, width // 8, height // 8)  # type 1: 4:2:0
        packets.append(head + (struct.pack(">BBH", 0, 0, len(tables)) + tables if start == 0 else b"") + piece)
    return packets
