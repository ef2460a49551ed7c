"""Motion JPEG from a real server on loopback: the newest picture wins, damage is left out, no server makes it hang."""

from __future__ import annotations

import base64
import itertools
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from faulty_camera import HEAD, WAIT_S, FaultyCamera, jpeg_of, part_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_deeplab.errors import DeviceError
from edge_deeplab.video import motion_jpeg, multipart, streams
from edge_deeplab.video.http_stream import HttpStream
from edge_deeplab.video.motion_jpeg import MotionJpegSource
from edge_deeplab.video.streams import open_stream


@pytest.fixture
def camera() -> Iterator[Callable[..., FaultyCamera]]:
    made: list[FaultyCamera] = []

    def make(*arguments, **named) -> FaultyCamera:
        made.append(FaultyCamera(*arguments, **named))
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def quick(monkeypatch) -> None:
    """Time-outs that a test can wait for."""
    monkeypatch.setattr(streams, "OPEN_TIMEOUT_S", 0.4)
    monkeypatch.setattr(MotionJpegSource.__init__, "__kwdefaults__", {"mirror": False, "timeout_s": 0.4})


def one_line(caught: pytest.ExceptionInfo[DeviceError]) -> str:
    text = str(caught.value)
    assert "\n" not in text and len(text) < 400 and text.isprintable()
    return text


def test_what_waited_in_the_socket_is_passed_over_for_the_newest(camera, coded) -> None:
    coded_frame, read_code = coded
    server = camera()
    server.show(coded_frame(0))
    with open_stream(server.url) as source:
        frames = iter(source)
        assert read_code(next(frames).bgr) == 0
        for index in range(1, 60):  # a slow reader: all of these wait
            server.show(coded_frame(index))
        server.wait_until_sent()
        newest = next(frames)
        assert read_code(newest.bgr) == 59 and newest.index == 59
        server.show(coded_frame(60))
        assert read_code(next(frames).bgr) == 60


def test_frames_say_when_they_came(camera, coded) -> None:
    server = camera()
    with_times = []
    server.show(coded[0](0))
    with open_stream(server.url) as source:
        frames = iter(source)
        for index in range(1, 4):
            with_times.append(next(frames))
            server.show(coded[0](index))
    stamps = [frame.captured_ns for frame in with_times]
    assert stamps == sorted(stamps) and stamps[0] > 0 and stamps[-1] < time.perf_counter_ns()
    assert [frame.time_s for frame in with_times] == [(stamp - stamps[0]) / 1e9 for stamp in stamps]


def test_each_frame_may_have_a_size_of_its_own(camera, coded) -> None:
    server = camera()
    server.show(coded[0](0))
    with open_stream(server.url) as source:
        frames = iter(source)
        assert next(frames).bgr.shape == (48, 64, 3)
        server.show(coded[0](1, (128, 96)))
        assert next(frames).bgr.shape == (96, 128, 3)


def damaged(kind: str, jpeg: bytes) -> bytes:
    middle = jpeg.index(b"\xff\xda") + 30  # in the coded data
    return {
        "truncated": jpeg[:middle],
        "a marker in the coded data": jpeg[:middle] + b"\xff\x8b\xff\xc0" + jpeg[middle + 4 :],
        "no JPEG": b"<html>busy</html>",
        "empty": b"",
        "a header that lies": jpeg[:20] + b"\x00" * 40 + jpeg[60:],
        "too many pixels": jpeg.replace(b"\x00\x11\x08\x00\x30\x00\x40", b"\x00\x11\x08\xff\xff\xff\xff"),
    }[kind]


@pytest.mark.parametrize(
    "kind",
    ["truncated", "a marker in the coded data", "no JPEG", "empty", "a header that lies", "too many pixels"],
)
def test_a_damaged_picture_is_left_out_and_counted(kind, camera, coded, capfd) -> None:
    coded_frame, read_code = coded
    server, broken = camera(), damaged(kind, jpeg_of(coded_frame(7)))
    assert broken != jpeg_of(coded_frame(7))
    server.show(coded_frame(0))
    with open_stream(server.url) as source:
        frames = iter(source)
        assert read_code(next(frames).bgr) == 0
        server.raw(part_of(broken))
        server.wait_until_sent()
        server.raw(part_of(broken))
        following = threading.Timer(0.05, server.show, (coded_frame(1),))
        following.start()
        assert read_code(next(frames).bgr) == 1
    frames.close()
    del frames
    assert "left out" in source.notes[0] and "of" in source.notes[0]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("boundary", "line"),
    [
        ("frame", "--frame"), ("--frame", "--frame"), ('"frame"', "--frame"), ("frame", "----frame"),
        ("", "--whatever they like"), ("a+b(c)", "--a+b(c)"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("has_length", [True, False])
@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_the_ways_in_which_cameras_write_it(boundary, line, has_length, end, camera, coded) -> None:
    coded_frame, read_code = coded
    declared = f"; boundary={boundary}" if boundary else ""
    server = camera(f"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace{declared}\r\n\r\n".encode())
    for index in range(3):
        jpeg = jpeg_of(coded_frame(index))
        length = f"Content-Length: {len(jpeg)}{end}" if has_length else ""
        server.raw(f"{line}{end}Content-Type: image/jpeg{end}{length}{end}".encode() + jpeg + end.encode())
    server.raw(f"{line}{end}".encode())
    with open_stream(server.url) as source:
        assert read_code(next(iter(source)).bgr) <= 2  # the newest of the three that had come


def test_a_chunked_answer_is_read_and_its_newest_picture_wins_too(camera, coded) -> None:
    server = camera(HEAD.replace(b"Connection: close", b"Transfer-Encoding: chunked"))
    coded_frame, read_code = coded

    def show(index: int) -> None:
        data = part_of(jpeg_of(coded_frame(index)))
        for piece in (data[:100], data[100:]):
            server.raw(b"%x\r\n%b\r\n" % (len(piece), piece))

    show(0)
    with open_stream(server.url) as source:
        frames = iter(source)
        assert read_code(next(frames).bgr) == 0
        for index in range(1, 30):
            show(index)
        server.wait_until_sent()
        assert read_code(next(frames).bgr) == 29


HOSTILE = {
    "silent": None,
    "not HTTP": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "not found": b"HTTP/1.1 404 Not \x1b[31mFound\r\nContent-Length: 0\r\n\r\n",
    "wants a log-in": b'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm="cam"\r\nContent-Length: 0\r\n\r\n',
    "endless headers": b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 200,
    "a header without end": b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000,
    "redirects to a file": b"HTTP/1.1 302 Found\r\nLocation: file://localhost/etc/passwd\r\nContent-Length: 0\r\n\r\n",
}
SAYS = {
    "silent": "nothing within the time",
    "not HTTP": "no proper HTTP",
    "not found": "answer 404 Not",
    "wants a log-in": "user name and a password; write them into the address",
    "endless headers": "no proper HTTP",
    "a header without end": "no proper HTTP",
    "redirects to a file": "answer 302",
}


@pytest.mark.parametrize("kind", list(HOSTILE))
def test_a_server_that_answers_badly_is_one_line(kind, camera, quick, capfd) -> None:
    server = camera(HOSTILE[kind])
    with pytest.raises(DeviceError, match=SAYS[kind]) as caught:
        open_stream(server.url)
    assert "no video comes from there" in one_line(caught)
    assert capfd.readouterr() == ("", "")


HEADS = st.lists(
    st.sampled_from([
        b"HTTP/1.1 200 OK", b"HTTP/1.1 302 Found", b"HTTP/1.1 401 No", b"\r\n", b"\r\n", b"\n", b"Content-Type: ",
        b"multipart/x-mixed-replace; boundary=frame", b"multipart/", b"Location: /video", b"Location: ftp://x",
        b"WWW-Authenticate: Digest realm=", b"WWW-Authenticate: Basic realm=x", b"Transfer-Encoding: chunked",
        b"Content-Length: 99", b"Content-Length: -1", b"--frame\r\n", b"ffffffff\r\n", b"\xff\xd8\xff", b"\x00",
    ]), max_size=12,
).map(b"".join)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(HEADS)
def test_whatever_a_server_answers_is_one_line(quick, head) -> None:
    server = FaultyCamera(head)
    for _ in range(12):  # redirects and log-ins come again
        server.cut()
    try:
        with pytest.raises(DeviceError) as caught:
            open_multipart(server.url)
        one_line(caught)
    finally:
        server.stop()


def open_multipart(url: str) -> None:
    """Opens as open_stream does, but leaves what is no multipart to nobody: FFmpeg has other bounds."""
    with HttpStream(url, timeout_s=0.4) as stream:
        if not stream.content_type.startswith("multipart/"):
            raise DeviceError("no multipart")
        MotionJpegSource(url, stream).close()


BAD_BODIES = {
    "a giant Content-Length": (part_of(b"", length=10**13), "says it has 10000000000000 bytes; allowed"),
    "endless part headers": (b"--frame\r\n" + b"X: y\r\n" * 10_000, "headers of a part are longer"),
    "no boundary": (b"hello " * 100_000, "no boundary line"),
    "a part without end": (b"--frame\r\n\r\n" + b"x" * 300_000, "a part is longer than"),
    "the end at once": (b"--frame--\r\n", "no picture|ends before the first picture"),
    "nothing but rubbish": (part_of(b"rubbish") * 20, "cannot be used: the last one is no JPEG"),
}


@pytest.mark.parametrize("kind", list(BAD_BODIES))
def test_a_stream_out_of_bounds_is_one_line(kind, camera, quick, monkeypatch, capfd) -> None:
    monkeypatch.setattr(multipart.MultipartParts.__init__, "__kwdefaults__", {"max_part_bytes": 200_000})
    body, says = BAD_BODIES[kind]
    server = camera()
    server.raw(body)
    with pytest.raises(DeviceError, match=says) as caught:
        open_stream(server.url)
    one_line(caught)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("where", ["headers", "body"])
def test_a_server_that_drips_byte_by_byte_does_not_stretch_the_time(where, camera, quick) -> None:
    """Each byte comes well within a socket's time-out; the whole does not."""
    server, stop = camera(HEAD if where == "body" else b"HTTP/1.1 200 OK\r\n"), threading.Event()

    def drip() -> None:
        while not stop.wait(0.02):
            server.raw(b"X")

    dripping = threading.Thread(target=drip)
    dripping.start()
    try:
        with pytest.raises(DeviceError, match=r"nothing within the time|no picture for 0\.4 s"):
            open_stream(server.url)
    finally:
        stop.set()
        dripping.join()


def test_a_stream_that_stalls_is_an_error_in_bounded_time(camera, quick, coded) -> None:
    server = camera()
    server.show(coded[0](0))
    with open_stream(server.url) as source:
        frames = iter(source)
        next(frames)
        with pytest.raises(DeviceError, match=r"no picture for 0\.4 s") as caught:
            next(frames)
    one_line(caught)


@pytest.mark.parametrize("way", ["cut", "end", "in the middle of a part"])
def test_a_stream_that_ends_says_after_how_many_pictures(way, camera, coded) -> None:
    server = camera()
    server.show(coded[0](0))
    with open_stream(server.url) as source:
        frames = iter(source)
        next(frames)
        if way == "end":
            server.raw(b"--frame--\r\n")
        elif way == "in the middle of a part":
            server.raw(part_of(jpeg_of(coded[0](1)))[:300])
        server.cut()
        with pytest.raises(DeviceError, match="ended after 1 pictures"):
            next(frames)


def test_closing_cuts_a_read_off_at_once(camera, coded) -> None:
    server, begun = camera(), threading.Event()
    server.show(coded[0](0))
    source, seen = open_stream(server.url), []

    def read() -> None:
        for frame in source:
            seen.append(frame.index)
            begun.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert begun.wait(WAIT_S)
    started_s = time.monotonic()
    source.close()
    reader.join(WAIT_S)
    assert not reader.is_alive()
    assert time.monotonic() - started_s < motion_jpeg.READ_TIMEOUT_S / 2  # it did not wait for the time-out
    assert seen == [0]


def test_a_sender_that_never_pauses_does_not_keep_pictures_from_coming(camera, coded) -> None:
    server, stop = camera(), threading.Event()
    part = part_of(jpeg_of(np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)))

    def flood() -> None:
        while not stop.is_set():
            server.raw(part * 20)
            server.wait_until_sent()

    flooding = threading.Thread(target=flood, daemon=True)
    flooding.start()
    with open_stream(server.url) as source:
        frames = list(itertools.islice(source, 5))
        stop.set()
    assert len(frames) == 5
    server.stop()
    flooding.join(WAIT_S)


def test_a_log_in_from_the_address_is_sent_and_never_shown(camera, coded) -> None:
    expected = base64.b64encode(b"me:s:cr t").decode()

    def answer(request: str) -> bytes:
        assert "me:" not in request.splitlines()[0]
        return HEAD if f"Basic {expected}" in request else HOSTILE["wants a log-in"]

    server = camera(answer=answer)
    server.cut()  # the client comes again, with its log-in, over a new connection
    server.show(coded[0](5))
    with open_stream(server.url.replace("//", "//me:s%3Acr%20t@")) as source:
        assert coded[1](next(iter(source)).bgr) == 5
        assert "s%3Acr" not in source.describe() and "//me@127.0.0.1" in source.describe()
    assert len(server.requests) == 2


def test_a_wrong_password_is_one_line_without_it(camera) -> None:
    server = camera(HOSTILE["wants a log-in"])
    server.cut()
    server.cut()
    with pytest.raises(DeviceError, match="asks for a user name") as caught:
        open_stream(server.url.replace("//", "//me:secret@"))
    assert "secret" not in one_line(caught)


def test_a_digest_log_in_is_answered(camera, coded) -> None:
    asks = (
        b'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Digest realm="cam", nonce="abc", qop="auth", algorithm=MD5\r\n'
        b"Content-Length: 0\r\n\r\n"
    )
    server = camera(answer=lambda request: HEAD if 'Digest username="me"' in request else asks)
    server.cut()
    server.show(coded[0](6))
    with open_stream(server.url.replace("//", "//me:secret@")) as source:
        assert coded[1](next(iter(source)).bgr) == 6
    assert "secret" not in "".join(server.requests)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    """Of 127.0.0.1, signed by itself, with its key: as network cameras have them."""
    path = tmp_path_factory.mktemp("tls") / "camera.pem"
    command = [
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
        "-subj", "/CN=camera", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(path) + ".key", "-out", path,
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    path.write_text(path.read_text() + Path(f"{path}.key").read_text())
    return path


def test_over_tls_the_newest_picture_wins_too_and_a_strange_certificate_is_one_line(
    camera, certificate, coded, monkeypatch
) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    coded_frame, read_code = coded
    server = camera(tls=tls)
    with pytest.raises(DeviceError, match="a certificate that this machine does not trust; name it") as caught:
        open_stream(server.url)
    one_line(caught)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    server.show(coded_frame(0))
    with open_stream(server.url) as source:
        frames = iter(source)
        assert read_code(next(frames).bgr) == 0
        for index in range(1, 40):
            server.show(coded_frame(index))
        server.wait_until_sent()
        assert read_code(next(frames).bgr) == 39
