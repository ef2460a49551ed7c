"""What a hostile caller sends: each gets a clear 4xx (or is cut off), memory stays bounded, and others are served.

Every test ends with an ordinary request that has to be answered.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import socket
import struct
import threading
import time
import zlib
from collections.abc import Iterator

import pytest
import requests
from serving_process import ServingProcess

MAX_BODY = 2_000_000  # as conftest's SMALL_BOUNDS
TIMEOUT_S = 60
MEMORY_SLACK = 60 * 1024 * 1024  # the allocator's, and a budget of 8 MB twice over


NO_FILE = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n--b--\r\n'


@pytest.fixture(autouse=True)
def still_answers(server: ServingProcess, photo: bytes) -> Iterator[None]:
    yield
    came = requests.post(f"{server.url}/v1/segment", data=photo, timeout=TIMEOUT_S)
    assert came.status_code == 200, came.text


def connect(server: ServingProcess) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT_S)


def read_all(connection: socket.socket) -> bytes:
    """What comes until the server closes."""
    parts = []
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def head(length: int | str, more: str = "") -> bytes:
    return f"POST /v1/segment HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{more}\r\n".encode()


def png_bomb(side: int) -> bytes:
    """Tens of kilobytes that say, truly, that they are side x side pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    pixels = zlib.compressobj(9)
    rows = b"".join(pixels.compress(bytes(1 + side)) for _ in range(side)) + pixels.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_a_decompression_bomb_is_refused_by_its_header(server: ServingProcess) -> None:
    bomb = png_bomb(12_000)
    assert len(bomb) < MAX_BODY
    came = requests.post(f"{server.url}/v1/segment", data=bomb, timeout=TIMEOUT_S)
    assert came.status_code == 422
    assert "too large; came 12000 x 12000" in came.json()["error"]


def test_100_mb_are_refused_unread_and_memory_stays(server: ServingProcess) -> None:
    """Declared, and undeclared (chunked); the answer arrives although the sender is not through."""
    before = server.resident_bytes()
    piece = bytes(1_000_000)

    def pieces() -> Iterator[bytes]:
        for _ in range(100):
            yield piece

    with connect(server) as connection:
        connection.sendall(head(100_000_000) + piece)
        assert b"HTTP/1.1 413 " in read_all(connection)
    with contextlib.suppress(requests.ConnectionError):  # cut off while sending, as it may be
        assert requests.post(f"{server.url}/v1/segment", data=pieces(), timeout=TIMEOUT_S).status_code == 413
    assert server.resident_bytes() - before < MEMORY_SLACK


def test_many_large_bodies_at_once_share_a_budget(server: ServingProcess) -> None:
    """Twelve bodies of 1.9 MB that stay open do not fit into 8 MB: some wait, some are told 429, none is held twice."""
    before = server.resident_bytes()
    connections = [connect(server) for _ in range(12)]
    try:
        for connection in connections:
            connection.sendall(head(1_950_000) + bytes(1_900_000))
        answers = [read_all(connection).split(b"\r\n")[0] for connection in connections]
    finally:
        for connection in connections:
            connection.close()
    assert set(answers) <= {b"HTTP/1.1 429 Too Many Requests", b"HTTP/1.1 408 Request Timeout"}
    assert answers.count(b"HTTP/1.1 429 Too Many Requests") >= 12 - 4
    assert server.resident_bytes() - before < MEMORY_SLACK


def test_slow_bodies_end_in_408_and_hold_up_nobody(server: ServingProcess, photo: bytes) -> None:
    connections = [connect(server) for _ in range(30)]
    for connection in connections:
        connection.sendall(head(1000) + b"abc")
    start_s = time.monotonic()
    assert requests.post(f"{server.url}/v1/segment", data=photo, timeout=TIMEOUT_S).status_code == 200
    answers = [read_all(connection) for connection in connections]
    assert time.monotonic() - start_s < TIMEOUT_S
    assert all(answer.startswith(b"HTTP/1.1 408 ") and b"body was not whole within 2 s" in answer for answer in answers)


def test_slow_headers_and_silence_end_in_408(server: ServingProcess) -> None:
    silent, slow = connect(server), connect(server)
    stop = threading.Event()

    def drip() -> None:
        with contextlib.suppress(OSError):
            for byte in b"GET /health HTTP/1.1\r\nX-Long: " + b"a" * 1000:
                slow.sendall(bytes([byte]))
                if stop.wait(0.1):
                    return

    dripping = threading.Thread(target=drip)
    dripping.start()
    try:
        for connection in (silent, slow):
            assert read_all(connection).startswith(b"HTTP/1.1 408 ")
    finally:
        stop.set()
        dripping.join()


def test_a_second_request_of_a_connection_has_as_little_time(server: ServingProcess) -> None:
    with connect(server) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /heal")
        came = read_all(connection)
    assert came.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 408 " in came


def test_a_flood_of_connections_is_turned_away_and_ends(server: ServingProcess) -> None:
    connections = [connect(server) for _ in range(150)]
    try:
        turned_away = 0
        for connection in connections:
            turned_away += read_all(connection).startswith(b"HTTP/1.1 503 ")
        assert turned_away >= 150 - 64
    finally:
        for connection in connections:
            connection.close()


def test_a_caller_that_closes_its_side_early_still_gets_its_answer(server: ServingProcess, photo: bytes) -> None:
    with connect(server) as connection:
        connection.sendall(head(len(photo)) + photo)
        connection.shutdown(socket.SHUT_WR)
        assert read_all(connection).startswith(b"HTTP/1.1 200 ")
    with connect(server) as connection:
        connection.sendall(head(len(photo)) + photo[:100])
        connection.shutdown(socket.SHUT_WR)
        came = read_all(connection)
        assert came.startswith(b"HTTP/1.1 400 ")
        assert b"ended after 100 bytes" in came


def test_callers_that_vanish_leave_nothing(server: ServingProcess, photo: bytes) -> None:
    for _ in range(20):
        connection = connect(server)
        connection.sendall(head(len(photo)) + photo[: len(photo) // 2])
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close with a reset
        connection.close()
    ends_s = time.monotonic() + TIMEOUT_S
    while time.monotonic() < ends_s:
        text = requests.get(f"{server.url}/metrics", timeout=TIMEOUT_S).text
        if "edge_deeplab_buffered_bytes 0.0" in text and "edge_deeplab_running_requests 1.0" in text:
            assert "Traceback" not in server.errors.read_text()
            return
    raise AssertionError(text)


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),  # TLS
        b"GET / HTTP/1.1\r\n" + b"X: " + b"a" * 100_000 + b"\r\n\r\n",
        head("-5"), head("12abc"), head(10, "Content-Length: 20\r\n"), head(10, "Transfer-Encoding: chunked\r\n"),
        b"POST /v1/segment HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\n",
        bytes(5000),
    ],
    ids=["tls", "long", "negative", "letters", "two lengths", "length and chunks", "bad chunk", "zeros"],
)  # fmt: skip
def test_what_is_no_http_gets_a_400_or_the_door(server: ServingProcess, sent: bytes) -> None:
    with connect(server) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        came = read_all(connection)
        assert not came or came.startswith(b"HTTP/1.1 4"), came[:200]


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("multipart/form-data", b"x", 400),
        ("multipart/form-data; boundary=b", NO_FILE, 400),
        ("multipart/form-data; boundary=b", b"garbage", 400),
        ("multipart/form-data; boundary=b", b"--b\r\n" + b"A: " + b"b" * 100_000, 400),
        ("multipart/form-data; boundary=\xff", b"--b", 400),
        ("application/json", b"{}", 415),
        ("text/plain;charset=nonsense", b"hello", 415),
    ],
)  # fmt: skip
def test_damaged_forms_and_wrong_types_are_said(server: ServingProcess, kind: str, body: bytes, status: int) -> None:
    headers = {"content-type": kind.encode("latin-1")}
    came = requests.post(f"{server.url}/v1/segment", data=body, headers=headers, timeout=TIMEOUT_S)
    assert (came.status_code, list(came.json())) == (status, ["error"])


def test_more_pictures_than_a_batch_may_hold_are_refused(server: ServingProcess, photo: bytes) -> None:
    files = [("pictures", ("a.jpg", photo[:50]))] * 5
    came = requests.post(f"{server.url}/v1/segment/batch", files=files, timeout=TIMEOUT_S)
    assert came.status_code == 400
    assert "at most 4 files" in came.json()["error"]


def test_beyond_the_queue_the_answer_is_429_with_a_time_to_wait(server: ServingProcess, photo: bytes) -> None:
    """A replica takes 16, and 4 may wait: of 40 at once some are refused at once, and those taken are answered."""

    def one(_: int) -> requests.Response:
        return requests.post(f"{server.url}/v1/segment", data=photo, timeout=TIMEOUT_S)

    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(one, range(40)))
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {200, 429}
    assert statuses.count(200) >= 16
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers if answer.status_code == 429)
