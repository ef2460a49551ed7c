"""Clips made on the spot: frames that say their own number, sound that can be told apart, a camera at an address."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest
from coded_frames import coded_frame, read_code

NTSC = Fraction(30000, 1001)


def make_clip(
    path: Path,
    *,
    count: int = 20,
    fps: Fraction = Fraction(30),
    size_wh: tuple[int, int] = (64, 48),
    codec: str = "libx264",
    frame: Callable[[int], np.ndarray] | None = None,
    times_s: Sequence[Fraction] | None = None,
    time_base: Fraction | None = None,
    rotation: int = 0,
    pixel_aspect: Fraction | None = None,
    sound: str | None = None,
    sound_delay_s: float = 0.0,
    layout: str = "stereo",
) -> Path:
    """Writes a clip with PyAV; `rotation` is its display rotation, counterclockwise, as a phone writes it."""
    import av

    time_base = time_base or 1 / fps
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps, options={"crf": "10"} if codec == "libx264" else {})
        context = stream.codec_context
        context.width, context.height, context.pix_fmt, context.time_base = *size_wh, "yuv420p", time_base
        context.gop_size = 5
        if pixel_aspect:
            context.sample_aspect_ratio = pixel_aspect
        if rotation:
            stream.set_display_rotation(rotation)
        track = container.add_stream(sound, rate=48000, layout=layout) if sound else None
        for index in range(count):
            bgr = frame(index) if frame else coded_frame(index, size_wh)
            picture = av.VideoFrame.from_ndarray(bgr, format="bgr24").reformat(format="yuv420p")
            picture.pts = round((times_s[index] if times_s else index / fps) / time_base)
            picture.time_base = time_base
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
        if track:
            _write_sound(container, track, float(count / fps), sound_delay_s)
    return path


def _write_sound(container, track, duration_s: float, delay_s: float) -> None:
    import av

    context = track.codec_context
    resampler = av.AudioResampler(format=context.format or "s16", layout=context.layout, rate=48000, frame_size=1024)
    clock = np.arange(round(duration_s * 48000)) / 48000
    wave = (8000 * np.sin(2 * np.pi * 440 * clock)).astype(np.int16)
    for start in range(0, len(wave), 1024):
        both = np.repeat(wave[start : start + 1024], 2)[None]
        piece = av.AudioFrame.from_ndarray(both, format="s16", layout="stereo")
        piece.sample_rate, piece.time_base = 48000, Fraction(1, 48000)
        piece.pts = start + round(delay_s * 48000)
        for ready in resampler.resample(piece):
            container.mux(track.encode(ready))
    for ready in resampler.resample(None):
        container.mux(track.encode(ready))
    container.mux(track.encode(None))


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with plain.mp4: 20 coded frames at 30000/1001 with AAC sound. Read only."""
    folder = tmp_path_factory.mktemp("clips")
    make_clip(folder / "plain.mp4", fps=NTSC, sound="aac")
    return folder


@pytest.fixture
def clip_maker() -> Callable[..., Path]:
    return make_clip


@pytest.fixture
def coded() -> tuple[Callable[..., np.ndarray], Callable[[np.ndarray], int]]:
    return coded_frame, read_code


class _MotionJpeg(BaseHTTPRequestHandler):
    """What a network camera does: one JPEG after another in a multipart answer, until the frames are out."""

    def do_GET(self) -> None:
        if self.path == "/clip.mp4":
            self.send_response(200)
            self.send_header("Content-Type", "video/mp4")
            self.send_header("Content-Length", str(len(self.server.clip)))
            self.end_headers()
            self.wfile.write(self.server.clip)
            return
        if self.path != "/video":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for index in range(self.server.frames_to_send):
            jpeg = cv2.imencode(".jpg", coded_frame(index % 256))[1].tobytes()
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n".encode()
            try:
                self.wfile.write(head + jpeg + b"\r\n")
            except OSError:
                return  # the reader has gone
            self.server.pause.wait(0.004)

    def log_message(self, *_) -> None: ...


@pytest.fixture
def camera_url() -> Iterator[Callable[[int], str]]:
    """Starts a motion JPEG camera on 127.0.0.1 at /video; call it with the number of frames it sends.

    A clip given to it lies beside the camera at /clip.mp4.
    """
    servers: list[ThreadingHTTPServer] = []

    def start(frames_to_send: int = 10**6, clip: bytes = b"") -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _MotionJpeg)
        server.daemon_threads = True
        server.frames_to_send, server.pause, server.clip = frames_to_send, threading.Event(), clip
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/video"

    yield start
    for server in servers:
        server.frames_to_send = 0
        server.shutdown()
        server.server_close()


class RecordedCapture:
    """Stands for cv2.VideoCapture on a camera: remembers what was asked of it, gives coded frames, then fails.

    There is no camera on a test machine; what is tested with this is ours: what is asked, in which order, and
    what becomes of a camera that answers otherwise.
    """

    def __init__(self, *, size_wh=(64, 48), fps=30.0, gives=10**9, is_open=True, fails_at=()) -> None:
        self.asked: list[tuple[int, float]] = []
        self.is_released, self.grabbed = False, 0
        self._size_wh, self._fps, self._left, self._is_open = size_wh, fps, gives, is_open
        self._fails_at, self._reads = set(fails_at), 0

    def __call__(self, target, backend):
        self.opened = (target, backend)
        return self

    def isOpened(self) -> bool:  # noqa: N802  (OpenCV's name)
        return self._is_open

    def set(self, key: int, value: float) -> bool:
        self.asked.append((key, value))
        return True

    def get(self, key: int) -> float:
        return self._fps if key == cv2.CAP_PROP_FPS else 0.0

    def read(self):
        assert not self.is_released
        self._reads += 1
        if self._reads in self._fails_at or self._left <= 0:
            return False, None
        self._left -= 1
        return True, coded_frame(self._reads % 256, self._size_wh)

    def grab(self) -> bool:
        self.grabbed += 1
        return True

    def release(self) -> None:
        self.is_released = True


@pytest.fixture
def recorded_capture() -> type[RecordedCapture]:
    return RecordedCapture
