"""Pictures over HTTP: who may watch, who is late, who goes away, and what a browser and our own reader see."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from edge_deeplab.errors import OutputError, UsageError
from edge_deeplab.video import mjpeg_server
from edge_deeplab.video.mjpeg_server import CONTROL_HEADER, HttpAddress, MjpegSink
from edge_deeplab.video.source import open_source

TOKEN = "a-word-of-ours"
WAIT_S = 20.0  # for what must happen; never for what must not


def frame(level: int = 100, size_wh: tuple[int, int] = (64, 48)) -> np.ndarray:
    return np.full((size_wh[1], size_wh[0], 3), level, np.uint8)


class Player:
    """Writes frames into a sink until it is left, the next one once somebody may have seen the last."""

    def __init__(self, sink: MjpegSink, make=frame) -> None:
        self.sink, self.make, self.written = sink, make, 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._play, daemon=True)

    def _play(self) -> None:
        while not self._ended.wait(0.005):
            self.sink.write(self.make(), self.written / 200)
            self.written += 1

    def __enter__(self) -> Player:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


@pytest.fixture
def serve() -> Iterator:
    """Starts a sink on a free port of this machine; a host in brackets of a parsed address stays as it is."""
    sinks: list[MjpegSink] = []

    def start(host: str = "127.0.0.1", *, token: str = "", is_open: bool = False, **wiring) -> MjpegSink:
        sinks.append(MjpegSink(HttpAddress(host=host, port=0, token=token, is_open=is_open), **wiring))
        return sinks[-1]

    yield start
    for sink in sinks:
        sink.close()


def port_of(sink: MjpegSink) -> int:
    return int(sink.url.split(":")[-1].partition("/")[0])


def ask(sink: MjpegSink, path: str, *, method: str = "GET", headers: dict[str, str] | None = None):
    """(status, headers, body)."""
    connection = http.client.HTTPConnection("127.0.0.1", port_of(sink), timeout=WAIT_S)
    connection.request(method, path, headers=headers or {})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, answer.headers, body


def watcher(sink: MjpegSink, path: str = "/stream.mjpeg") -> socket.socket:
    """A viewer that has asked and reads nothing yet."""
    viewer = socket.create_connection(("127.0.0.1", port_of(sink)), timeout=WAIT_S)
    viewer.sendall(f"GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n".encode())
    return viewer


def until(condition) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline_s, "it did not happen"
        time.sleep(0.005)


def test_our_own_reader_watches_it(serve) -> None:
    levels = iter(range(10**6))
    sink = serve()
    with Player(sink, lambda: frame(next(levels) % 200 + 20)), open_source(f"{sink.url}stream.mjpeg") as source:
        frames = iter(source)
        seen = [next(frames).bgr for _ in range(5)]
    assert all(bgr.shape == (48, 64, 3) and np.ptp(bgr.astype(int)) <= 4 for bgr in seen)
    assert len({int(bgr.mean()) for bgr in seen}) > 1, "they move"


def test_a_snapshot_is_the_newest_picture(serve) -> None:
    sink = serve()
    with Player(sink, lambda: frame(77)):
        status, headers, body = ask(sink, "/snapshot.jpg")
    picture = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR)
    assert (status, headers["Content-Type"]) == (200, "image/jpeg") and np.abs(picture.astype(int) - 77).max() <= 2


def test_nothing_is_encoded_while_nobody_watches(serve, monkeypatch) -> None:
    encoded: list[int] = []
    imencode = cv2.imencode
    monkeypatch.setattr(cv2, "imencode", lambda *given: encoded.append(1) or imencode(*given))
    sink = serve()
    for index in range(50):
        sink.write(frame(), index / 30)
    assert encoded == [] and ask(sink, "/state")[0] == 200 and encoded == []


def test_a_frame_is_encoded_once_for_all_that_watch(serve, monkeypatch) -> None:
    encoded: list[int] = []
    imencode = cv2.imencode
    monkeypatch.setattr(cv2, "imencode", lambda *given: encoded.append(1) or imencode(*given))
    sink = serve()
    viewers = [watcher(sink) for _ in range(4)]
    until(lambda: sink.viewers == 4)
    for index in range(20):
        sink.write(frame(index), index / 30)
        until(lambda count=index + 1: len(encoded) == count)
    for viewer in viewers:
        received = b""
        while received.count(b"image/jpeg") < 1:
            received += viewer.recv(65536)
        viewer.close()
    assert len(encoded) == 20


def test_a_slow_viewer_misses_frames_and_holds_nobody_up(serve) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)  # about 100 kB as a JPEG
    sink = serve()
    with Player(sink, lambda: noise) as player:
        slow = watcher(sink)
        with open_source(f"{sink.url}stream.mjpeg") as source:
            frames = iter(source)
            for _ in range(30):
                next(frames)
        before = player.written
        until(lambda: player.written > before + 30)  # with one that takes nothing, writing goes on
        began = sink._feed.index
        received = b""
        while received.count(b"--frame\r\nContent-Type") < 3:
            received += slow.recv(2**20)
        assert began >= 30, "many frames were made that the slow one never got"
        slow.close()


def test_viewers_that_vanish_leave_nothing(serve) -> None:
    sink = serve()
    before = threading.active_count()
    with Player(sink):
        viewers = [watcher(sink) for _ in range(6)]
        until(lambda: sink.viewers == 6)
        for viewer in viewers:
            viewer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")  # a reset, as a pulled plug
            viewer.close()
        until(lambda: sink.viewers == 0)
    until(lambda: threading.active_count() <= before)


def test_a_viewer_that_vanishes_is_noticed_while_no_frame_comes(serve) -> None:
    sink = serve()
    viewer = watcher(sink)
    until(lambda: sink.viewers == 1)
    viewer.close()
    until(lambda: sink.viewers == 0)


def test_one_viewer_too_many_is_told_so(serve, monkeypatch) -> None:
    monkeypatch.setattr(mjpeg_server, "MOST_VIEWERS", 2)
    sink = serve()
    viewers = [watcher(sink) for _ in range(2)]
    until(lambda: sink.viewers == 2)
    status, headers, body = ask(sink, "/stream.mjpeg")
    assert status == 503 and headers["Retry-After"] and b"2 watch already" in body
    assert ask(sink, "/state")[0] == 200
    viewers[0].close()
    until(lambda: sink.viewers == 1)
    viewers.append(watcher(sink))
    until(lambda: sink.viewers == 2)
    for viewer in viewers:
        viewer.close()


def test_connections_are_bounded(serve, monkeypatch) -> None:
    monkeypatch.setattr(mjpeg_server, "MOST_CONNECTIONS", 3)
    sink = serve()
    idle = [socket.create_connection(("127.0.0.1", port_of(sink)), timeout=WAIT_S) for _ in range(3)]
    until(lambda: len(sink._server._open) == 3)
    assert ask(sink, "/health")[0] == 503
    for one in idle:
        one.close()
    until(lambda: not sink._server._open)
    assert json.loads(ask(sink, "/health")[2])["status"] == "waiting"


def test_closing_ends_viewers_and_threads_at_once(serve) -> None:
    before = threading.active_count()
    sink = serve()
    stuck = watcher(sink)
    with Player(sink, lambda: np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)) as player:
        until(lambda: sink.viewers == 1 and player.written > 40)  # its buffers are full: a send is under way
    sink.close()
    until(lambda: threading.active_count() <= before)
    with contextlib.suppress(ConnectionError):
        while stuck.recv(2**20):
            pass
    stuck.close()
    with pytest.raises(ConnectionError):
        ask(sink, "/")


def test_health_says_whether_pictures_come(serve, monkeypatch) -> None:
    sink = serve(token=TOKEN)
    assert ask(sink, "/health")[0] == 503 and json.loads(ask(sink, "/health")[2])["status"] == "waiting"
    sink.write(frame(), 0.0)
    status, _, body = ask(sink, "/health")
    assert status == 200 and json.loads(body)["frames"] == 1
    monkeypatch.setattr(mjpeg_server, "STALE_S", -1.0)
    assert ask(sink, "/health")[0] == 503 and json.loads(ask(sink, "/health")[2])["status"] == "stalled"


def test_the_state_is_what_the_program_says(serve) -> None:
    sink = serve(state=lambda: {"fps": 29.5, "latency_ms": 40.0})
    said = json.loads(ask(sink, "/state")[2])
    assert said["fps"] == 29.5 and said["latency_ms"] == 40.0 and said["viewers"] == 0 and said["status"] == "waiting"


def test_controls_do_what_they_are_called(serve) -> None:
    done: list[str] = []
    sink = serve(controls={"more blur": lambda: done.append("more") or "blur 60%"})
    ours = {CONTROL_HEADER: "1"}
    status, _, body = ask(sink, "/control?name=more%20blur", method="POST", headers=ours)
    assert (status, json.loads(body), done) == (200, {"says": "blur 60%"}, ["more"])
    assert ask(sink, "/control?name=format", method="POST", headers=ours)[0] == 404
    assert ask(sink, "/control?name=more%20blur", method="POST")[0] == 403, "a form of another site sends no header"
    assert ask(sink, "/control?name=more%20blur")[0] == 404, "nor is looking a change"
    assert done == ["more"]
    assert b'["more blur"]' in ask(sink, "/")[2]


@pytest.mark.parametrize("path", ["/", "/stream.mjpeg", "/snapshot.jpg", "/state"])
def test_with_a_token_nothing_is_shown_without_it(path, serve) -> None:
    sink = serve(token=TOKEN)
    for given in ("", "?token=wrong", "?token="):
        status, headers, body = ask(sink, path + given)
        assert status == 401 and headers["WWW-Authenticate"] == "Bearer" and TOKEN.encode() not in body
    assert ask(sink, path, headers={"Authorization": "Bearer wrong"})[0] == 401


def test_a_token_opens_in_the_address_and_in_the_header(serve) -> None:
    sink = serve(token=TOKEN)
    assert sink.url.endswith(f"/?token={TOKEN}")
    assert ask(sink, f"/?token={TOKEN}")[0] == 200
    assert ask(sink, "/state", headers={"Authorization": f"Bearer {TOKEN}"})[0] == 200
    with Player(sink), open_source(f"http://127.0.0.1:{port_of(sink)}/stream.mjpeg?token={TOKEN}") as source:
        assert next(iter(source)).bgr.shape == (48, 64, 3)


def test_a_name_that_was_made_to_lead_here_is_refused(serve) -> None:
    """DNS rebinding: a site's own name leads to 127.0.0.1, and the browser takes our answers for the site's."""
    sink = serve()
    for host in ("evil.example", "evil.example:80", "", "127.0.0.1.evil.example", "[::1"):
        assert ask(sink, "/", headers={"Host": host})[0] == 421
    for host in ("localhost:8080", "127.0.0.1", "[::1]:8080"):
        assert ask(sink, "/", headers={"Host": host})[0] == 200


def test_other_sites_may_not_show_the_pictures(serve) -> None:
    sink = serve()
    headers = ask(sink, "/")[1]
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin" and "frame-ancestors 'none'" in str(headers)
    assert headers["Access-Control-Allow-Origin"] is None


@pytest.mark.parametrize("request_text", ["", "\0" * 100, "GET", "GET / HTTP/9.9\r\n\r\n", "PUT / HTTP/1.0\r\n\r\n",
                                          "GET /" + "a" * 70_000 + " HTTP/1.0\r\n\r\n"])  # fmt: skip
def test_what_is_no_request_ends_only_itself(request_text, serve, capfd) -> None:
    sink = serve()
    with socket.create_connection(("127.0.0.1", port_of(sink)), timeout=WAIT_S) as broken:
        broken.sendall(request_text.encode())
        broken.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            while broken.recv(65536):
                pass
    assert ask(sink, "/")[0] == 200 and capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("8080", "127.0.0.1", 8080), ("localhost:1", "localhost", 1), ("[::1]:80", "::1", 80),
        ("127.0.0.2:0", "127.0.0.2", 0),
    ],
)  # fmt: skip
def test_addresses_are_read(text, host, port) -> None:
    address = HttpAddress.parse(text)
    assert (address.host, address.port, address.is_loopback) == (host, port, True)


@pytest.mark.parametrize("text", ["", "host", "1:2:3", "70000", "a b:80", ":80", "::1:80"])
def test_what_is_no_address_says_what_one_is(text) -> None:
    with pytest.raises(UsageError, match=r"PORT or HOST:PORT, such as 127\.0\.0\.1:8080"):
        HttpAddress.parse(text)


@pytest.mark.parametrize("text", ["0.0.0.0:8080", "[::]:8080", "192.168.1.7:80", "camera.local:80"])
def test_others_may_watch_only_when_that_is_said(text) -> None:
    with pytest.raises(UsageError, match=r"anybody in the network could watch.*--http-token WORD.*--http-open"):
        HttpAddress.parse(text)
    assert not HttpAddress.parse(text, token=TOKEN).is_loopback
    assert not HttpAddress.parse(text, is_open=True).is_loopback


@pytest.mark.parametrize("token", ["short", "with space in", "a" * 201, "slash/es/and"])
def test_a_token_that_would_not_go_into_an_address_is_refused(token) -> None:
    with pytest.raises(UsageError, match="8 to 200 letters"):
        HttpAddress(token=token)


def test_an_address_in_use_is_one_line(serve) -> None:
    taken = port_of(serve())
    before = threading.active_count()
    with pytest.raises(OutputError, match=r"cannot be served; came Address already in use; name another") as caught:
        MjpegSink(HttpAddress(port=taken))
    assert "\n" not in str(caught.value) and threading.active_count() == before


def test_on_all_addresses_the_one_to_type_is_told(serve) -> None:
    assert serve("0.0.0.0", is_open=True).url.startswith("http://127.0.0.1:")


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def test_a_real_browser_shows_the_pictures_and_the_state(serve, tmp_path) -> None:
    """Debian's Chromium, headless; the screenshot's pixels are the pictures that were sent."""
    if CHROMIUM is None:
        pytest.skip("needs a browser: apt-get install chromium (CI has it)")
    left, right = (40, 40, 220), (200, 120, 20)  # BGR
    picture = np.zeros((360, 640, 3), np.uint8)
    picture[:, :320], picture[:, 320:] = left, right
    sink = serve(token=TOKEN, state=lambda: {"fps": 30.0, "latency_ms": 41.0}, controls={"more blur": lambda: "blur"})
    with Player(sink, lambda: picture):
        # The stream never ends, so the page never finishes loading: it is taken after four seconds.
        subprocess.run(
            [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--force-color-profile=srgb",
             f"--user-data-dir={tmp_path}/profile", "--window-size=900,600", "--timeout=4000",
             f"--screenshot={tmp_path}/page.png", sink.url],
            check=True, timeout=120, capture_output=True,
        )  # fmt: skip
    page = cv2.imread(f"{tmp_path}/page.png").astype(int)
    reds = np.abs(page - left).max(axis=2) <= 12
    blues = np.abs(page - right).max(axis=2) <= 12
    for half in (reds, blues):
        assert half.sum() > 0.9 * 320 * 360 and half.sum() < 1.4 * 320 * 360
    assert np.flatnonzero(reds.any(axis=0)).max() < np.flatnonzero(blues.any(axis=0)).min() + 3
