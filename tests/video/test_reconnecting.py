"""Sources that go away and come back: a real camera server on loopback, and a stand-in where time is to be given."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction

import cv2
import numpy as np
import pytest
from faulty_camera import WAIT_S, FaultyCamera, jpeg_of, part_of

from edge_deeplab.errors import DeviceError
from edge_deeplab.video import pipeline, reconnecting
from edge_deeplab.video.cameras import Camera, CameraSource
from edge_deeplab.video.frame_checks import FROZEN, CheckOptions
from edge_deeplab.video.frames import Frame, Source
from edge_deeplab.video.motion_jpeg import MotionJpegSource
from edge_deeplab.video.pipeline import run_pipeline
from edge_deeplab.video.reconnecting import ReconnectingSource, ReconnectOptions
from edge_deeplab.video.sink import NullSink, SinkOptions, open_sink
from edge_deeplab.video.source import SourceOptions, open_source
from edge_deeplab.video.source_life import SourceLife
from edge_deeplab.video.streams import open_stream

QUICK = ReconnectOptions(
    first_wait_s=0.01, longest_wait_s=0.05, steady_after_s=0.0, checks=CheckOptions(patience_s=0.3, frozen_after_s=60)
)


@pytest.fixture
def camera() -> Iterator[FaultyCamera]:
    made = FaultyCamera()
    yield made
    made.stop()


@pytest.fixture
def reconnecting_to() -> Iterator[Callable[..., tuple[ReconnectingSource, list[str]]]]:
    """Opens a reconnecting source of a camera's stream; gives it and the lines it tells."""
    opened: list[ReconnectingSource] = []

    def start(camera: FaultyCamera, options: ReconnectOptions = QUICK, timeout_s: float = 5.0):
        def stream(closing: threading.Event | None = None) -> SourceLife:
            source = open_stream(camera.url, closing=closing)
            assert isinstance(source, MotionJpegSource)
            source._timeout_s = timeout_s
            return source

        lines: list[str] = []
        opened.append(ReconnectingSource(stream(), stream, options, tell=lines.append))
        return opened[-1], lines

    yield start
    for one in opened:
        one.close()


def textured(index: int, coded) -> np.ndarray:
    """A coded frame that no check takes for a damaged one."""
    return coded[0](index, (128, 96))


def stream_of(camera: FaultyCamera) -> Callable[[threading.Event], SourceLife]:
    return lambda closing: open_stream(camera.url, closing=closing)


class Scripted(SourceLife):
    """A live source that gives so many frames and then breaks; `clock` moves by a second with each frame."""

    is_live, fps, size_wh = True, Fraction(30), (32, 32)

    def __init__(self, count: int, clock: Clock, frame: Callable[[int], np.ndarray] | None = None) -> None:
        super().__init__()
        self._count, self._clock, self._make = count, clock, frame or noise

    def describe(self) -> str:
        return "scripted (32x32)"

    def _frames(self) -> Iterator[Frame]:
        for index in range(self._count):
            self._clock.now_s += 1
            yield Frame(index, float(index), self._make(index), captured_ns=round(self._clock.now_s * 1e9))
        raise DeviceError("scripted: the stream ended")


def noise(index: int) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 255, (32, 32, 3), np.uint8)


class Clock:
    def __init__(self) -> None:
        self.now_s, self.waits_s = 0.0, []

    def __call__(self) -> float:
        return self.now_s

    def wait(self, seconds: float) -> bool:
        self.waits_s.append(seconds)
        self.now_s += seconds
        return False


def scripted(counts, clock: Clock, options: ReconnectOptions, lines: list[str], **named) -> ReconnectingSource:
    """A source whose openings give `counts` frames each; None: it cannot be opened that time."""
    left = iter(counts)

    def open_again(closing: threading.Event | None = None) -> SourceLife:
        count = next(left)
        if count is None:
            raise DeviceError("scripted: nobody there")
        return Scripted(count, clock, **named)

    return ReconnectingSource(open_again(), open_again, options, tell=lines.append, wait=clock.wait, clock_s=clock)


def test_it_keeps_the_protocol_and_goes_on_counting_across_a_loss() -> None:
    clock, lines = Clock(), []
    source = scripted([3, None, None, 4], clock, ReconnectOptions(), lines)
    assert isinstance(source, Source)
    frames = list(itertools.islice(source, 7))
    assert [frame.index for frame in frames] == list(range(7))
    times_s = [frame.time_s for frame in frames]
    assert times_s == sorted(times_s) and times_s[0] == 0
    assert np.array_equal(frames[3].bgr, noise(0))
    assert len(lines) == 2
    assert lines[0] == "scripted: the stream ended; trying again for 10 minutes"
    assert lines[1].startswith("scripted: is back after ")
    assert source.trouble == ""
    assert source.notes == [f"scripted: gave no good picture once, for {lines[1].rpartition('after ')[2]} in all"]


def test_waits_double_up_to_the_longest_and_are_shortened_by_up_to_a_half() -> None:
    clock, lines = Clock(), []
    options = ReconnectOptions(first_wait_s=0.5, longest_wait_s=15.0, gives_up_after_s=None)
    source = scripted([1, *[None] * 12, 1], clock, options, lines)
    assert len(list(itertools.islice(source, 2))) == 2
    first, *waits_s = clock.waits_s
    assert first == 0.0
    full_s = [min(15.0, 0.5 * 2**index) for index in range(12)]
    assert all(full / 2 <= wait <= full for wait, full in zip(waits_s, full_s, strict=True))
    assert len(set(waits_s[-4:])) == 4  # not in step with others that were lost in the same moment
    assert "until it is back" in lines[0] and len(lines) == 2


def test_a_source_that_flaps_keeps_its_waits_growing_and_is_told_of_once_a_minute() -> None:
    clock, lines = Clock(), []
    source = scripted([2] * 12, clock, ReconnectOptions(steady_after_s=10), lines)
    assert len(list(itertools.islice(source, 24))) == 24
    assert clock.waits_s[-1] > 5
    losses = [line for line in lines if "trying again" in line]
    assert 1 <= len(losses) <= 1 + clock.now_s // reconnecting.TOLD_AGAIN_S
    assert len([line for line in lines if "is back" in line]) == len(losses)
    assert "11 times" in source.notes[0]


def test_a_steady_source_begins_with_the_short_wait_again() -> None:
    clock = Clock()
    source = scripted([20, None, None, None, 20, 1], clock, ReconnectOptions(steady_after_s=10), [])
    list(itertools.islice(source, 41))
    assert clock.waits_s[-1] == 0.0


def test_the_notes_of_many_openings_do_not_pile_up() -> None:
    clock = Clock()
    opened = itertools.count()

    def open_again(closing: threading.Event | None = None) -> SourceLife:
        source = Scripted(1, clock)
        source.notes.append(f"opening {next(opened)} had something of its own to say")
        return source

    source = ReconnectingSource(
        open_again(), open_again, ReconnectOptions(), tell=lambda _: None, wait=clock.wait, clock_s=clock
    )
    assert len(list(itertools.islice(source, 200))) == 200
    assert len(source.notes) <= reconnecting.KEPT_NOTES + 2
    assert any("opening 198 " in note for note in source.notes)


def test_it_gives_up_after_its_time_with_a_line_that_says_why() -> None:
    clock, lines = Clock(), []
    source = scripted([2, *[None] * 1000], clock, ReconnectOptions(gives_up_after_s=120), lines)
    with pytest.raises(DeviceError, match="did not come back within 2 minutes; came scripted: nobody there") as caught:
        list(source)
    assert "\n" not in str(caught.value) and "--reconnect-minutes" in str(caught.value)
    assert 120 <= clock.now_s < 120 + 20
    assert len(lines) == 1


def test_without_reconnecting_the_first_loss_is_the_error() -> None:
    clock, lines = Clock(), []
    with pytest.raises(DeviceError, match="scripted: the stream ended"):
        list(scripted([2, 2], clock, ReconnectOptions(reconnects=False), lines))
    assert lines == [] and clock.waits_s == []


def test_a_frozen_picture_is_opened_again_once_and_then_believed() -> None:
    clock, lines = Clock(), []
    options = ReconnectOptions(checks=CheckOptions(frozen_after_s=15, look_every_s=0.5))
    source = scripted([100, 100], clock, options, lines, frame=lambda index: noise(0))
    frames = list(itertools.islice(source, 80))
    assert len(clock.waits_s) == 1 and len(frames) == 80
    assert lines[0] == f"scripted: {FROZEN}; trying again for 10 minutes" and "is back" in lines[1]
    assert len(lines) == 2 and source.trouble == ""


def test_a_frozen_picture_is_marked_where_reconnecting_is_off() -> None:
    clock, lines, troubles = Clock(), [], []
    options = ReconnectOptions(reconnects=False, checks=CheckOptions(frozen_after_s=15))
    source = scripted([30], clock, options, lines, frame=lambda index: noise(0))
    for _ in itertools.islice(source, 30):
        troubles.append(source.trouble)
    assert troubles[0] == "" and troubles[-1] == FROZEN
    assert lines == [f"scripted: {FROZEN}"]


# From here on: the real server.


def test_a_server_that_restarts_on_its_port_is_found_again(camera, coded, reconnecting_to) -> None:
    camera.show(textured(0, coded))
    source, lines = reconnecting_to(camera)
    frames = iter(source)
    first = next(frames)
    camera.stop()
    restarted = threading.Timer(0.1, lambda: (camera.start(), camera.show(textured(1, coded))))
    restarted.start()
    second = next(frames)
    restarted.join()
    assert [coded[1](one.bgr) for one in (first, second)] == [0, 1]
    assert second.index > first.index and second.time_s > first.time_s and second.captured_ns > first.captured_ns
    assert len(lines) == 2 and "the stream ended after 1 pictures; trying again" in lines[0] and "is back" in lines[1]


def test_a_server_that_stalls_is_left_and_asked_again(camera, coded, reconnecting_to) -> None:
    camera.show(textured(0, coded))
    source, lines = reconnecting_to(camera, timeout_s=0.2)
    frames = iter(source)
    next(frames)
    camera.wait_for_client()

    def answer_the_next() -> None:
        camera.cut()  # the server frees its one place when it sees that the client has gone
        camera.wait_for_client()
        camera.show(textured(1, coded))

    answering = threading.Timer(0.4, answer_the_next)
    answering.start()
    assert coded[1](next(frames).bgr) == 1
    answering.join()
    assert "no picture for 0.2 s; trying again" in lines[0] and "is back" in lines[-1] and len(lines) == 2


def test_a_change_of_size_is_followed_and_told_once(camera, coded, reconnecting_to) -> None:
    camera.show(textured(0, coded))
    source, lines = reconnecting_to(camera)
    frames = iter(source)
    assert next(frames).bgr.shape == (96, 128, 3)
    for index in (1, 2):
        camera.show(coded[0](index, (192, 160)))
        assert next(frames).bgr.shape == (160, 192, 3)
    assert source.size_wh == (192, 160)
    assert lines == [f"{camera.url}: gives 192x160 now, 128x96 before"]


@pytest.mark.parametrize("bad", ["grey below", "all grey", "black", "green", "half a JPEG", "damaged JPEG"])
def test_the_last_good_picture_is_held_through_bad_ones_and_the_user_told_once(bad, camera, coded, monkeypatch) -> None:
    """Through the whole pipeline: what is shown is only ever a good picture, and it says so while it is held."""
    monkeypatch.setattr(pipeline, "QUIET_S", 0.02)
    monkeypatch.setattr(pipeline, "QUIET_INTERVALS", 0)
    monkeypatch.setattr(pipeline, "HELD_EVERY_S", 0.02)
    monkeypatch.setattr(pipeline, "STOP_POLL_S", 0.005)
    good, last = textured(5, coded), textured(6, coded)
    grey = good.copy()
    grey[30:] = 130
    flat = {"all grey": 128, "black": 0, "green": (0, 135, 0)}
    jpeg = jpeg_of(good)
    in_scan = jpeg.index(b"\xff\xda") + 30
    parts = {
        "grey below": part_of(jpeg_of(grey)),
        "half a JPEG": part_of(jpeg[: len(jpeg) // 2 + 200]),
        "damaged JPEG": part_of(jpeg[:in_scan] + b"\xff\x8b" * 4 + jpeg[in_scan + 8 :]),
    }
    if bad in flat:
        parts[bad] = part_of(jpeg_of(np.full_like(good, flat[bad])))
    held, stop, written, lines = threading.Event(), threading.Event(), [], []

    class Sink(NullSink):
        def write(self, frame_bgr, time_s, name="") -> None:
            written.append((coded[1](frame_bgr), "held" if (frame_bgr[-1, -1] == (1, 2, 3)).all() else "new"))
            if written[-1] == (5, "new"):
                for _ in range(3):
                    camera.raw(parts[bad])
            if written.count((5, "held")) == 2 and not held.is_set():
                held.set()
                camera.show(last)
            if written[-1] == (6, "new"):
                stop.set()

    def mark(picture: np.ndarray, words: str) -> None:
        picture[-1, -1] = (1, 2, 3)

    options = ReconnectOptions(checks=CheckOptions(patience_s=60))
    camera.show(good)
    with ReconnectingSource(open_stream(camera.url), stream_of(camera), options, tell=lines.append) as it:
        report = run_pipeline(it, lambda frame: frame.bgr, Sink(), mark=mark, stop=stop)
    assert {code for code, _ in written} <= {5, 6}
    assert written[0] == (5, "new") and written[-1] == (6, "new") and report.held >= 2
    is_judged = bad in (*flat, "grey below")
    assert [line.rpartition(": ")[2].split(" after ")[0] for line in lines[1:]] == (["is back"] if is_judged else [])
    assert len(lines) == (2 if is_judged else 0)
    assert any(("no good picture once" if is_judged else "were damaged") in note for note in it.notes)


def test_closing_ends_a_wait_for_a_source_that_is_away(camera, coded, reconnecting_to) -> None:
    options = ReconnectOptions(first_wait_s=100, longest_wait_s=100)
    camera.show(textured(0, coded))
    source, lines = reconnecting_to(camera, options)
    frames, ended = iter(source), threading.Event()
    next(frames)
    camera.stop()

    def read() -> None:
        assert list(frames) == []
        ended.set()

    reader = threading.Thread(target=read)
    reader.start()
    while not lines:  # it has been lost; the first try comes at once, then the long wait
        time.sleep(0.001)
    source.close()
    assert ended.wait(WAIT_S)
    reader.join()


def test_closing_ends_an_opening_that_waits(camera, coded, reconnecting_to) -> None:
    """The server is back and answers, but no picture comes: nobody waits for the time-out to quit."""
    camera.show(textured(0, coded))
    source, _ = reconnecting_to(camera, timeout_s=5.0)
    frames, ended = iter(source), threading.Event()
    next(frames)
    camera.wait_for_client()

    def read() -> None:
        assert list(frames) == []
        ended.set()

    reader = threading.Thread(target=read)
    reader.start()
    camera.cut()
    camera.wait_for_client()
    source.close()
    assert ended.wait(2.5)
    reader.join()


def test_a_stop_ends_the_run_while_the_source_is_away(camera, coded) -> None:
    stop, lines = threading.Event(), []
    options = ReconnectOptions(first_wait_s=100, longest_wait_s=100)

    def tell(line: str) -> None:
        lines.append(line)
        stop.set()

    camera.show(textured(0, coded))
    camera.cut()
    source = ReconnectingSource(open_stream(camera.url), stream_of(camera), options, tell=tell)
    camera.stop()
    with source:
        started_s = time.monotonic()
        report = run_pipeline(source, lambda frame: frame.bgr, NullSink(), stop=stop)
    assert report.was_stopped and report.frames <= 1 and len(lines) == 1
    assert time.monotonic() - started_s < WAIT_S


def test_a_recording_goes_on_over_a_loss_and_a_change_of_size(camera, coded, tmp_path, reconnecting_to) -> None:
    """One playable file of the first size, the later frames fitted into it, its clock running on."""
    camera.show(textured(1, coded))
    source, _ = reconnecting_to(camera)
    stop, made = threading.Event(), []

    class Steps:
        def __call__(self, frame: Frame) -> np.ndarray:
            made.append(coded[1](frame.bgr))
            if len(made) == 1:
                camera.cut()
                camera.show(coded[0](2, (64, 96)))
            else:
                stop.set()
            return frame.bgr

    with open_sink(f"{tmp_path}/out.mp4", SinkOptions(media=source.media)) as sink:
        run_pipeline(source, Steps(), sink, stop=stop)
    with open_source(f"{tmp_path}/out.mp4") as written:
        frames = list(written)
    assert made == [1, 2]
    assert [frame.bgr.shape for frame in frames] == [(96, 128, 3)] * 2
    assert coded[1](frames[0].bgr) == 1 and coded[1](np.ascontiguousarray(frames[1].bgr[:, 32:96])) == 2
    assert frames[1].bgr[:, :28].max() < 40 and frames[1].time_s > frames[0].time_s


def test_open_source_brings_a_stream_back_by_default(camera, coded, caplog) -> None:
    camera.show(textured(0, coded))
    camera.cut()
    camera.show(textured(1, coded))
    with open_source(camera.url, SourceOptions(gives_up_after_s=60)) as source:
        frames = [coded[1](frame.bgr) for frame in itertools.islice(source, 2)]
    assert frames == [0, 1]
    assert ["trying again for 60 s" in caplog.messages[0], "is back" in caplog.messages[1]] == [True, True]
    assert len(caplog.messages) == 2


# Cameras: there is none on a test machine; the stand-in does what OpenCV does when a cable is pulled.


def test_a_camera_pulled_and_plugged_in_comes_back_under_its_new_index(recorded_capture, monkeypatch) -> None:
    from edge_deeplab.video import cameras

    captures = [recorded_capture(gives=3), recorded_capture(is_open=False), recorded_capture(gives=10)]
    opened: list[object] = []

    def capture(target, backend):
        opened.append(target)
        return captures[len(opened) - 1](target, backend)

    monkeypatch.setattr(cv2, "VideoCapture", capture)
    monkeypatch.setattr(CameraSource.__init__, "__kwdefaults__", {
        "size_wh": None, "fps": None, "mirror": False, "open_capture": capture,
    })  # fmt: skip
    seen = iter([
        (Camera(index=0, path="/dev/video0", name="USB cam"),),
        (),
        (Camera(index=0, path="/dev/video0", name="Built in"), Camera(index=2, path="/dev/video2", name="USB cam")),
    ])  # fmt: skip
    now: list[tuple[Camera, ...]] = [next(seen)]

    def listed(**_) -> tuple[Camera, ...]:
        return now[0]

    def wait(seconds: float) -> bool:
        now[0] = next(seen)
        return False

    monkeypatch.setattr(cameras, "list_cameras", listed)
    with open_source("0") as source:
        assert isinstance(source, ReconnectingSource)
        source._wait = wait
        frames = list(itertools.islice(source, 6))
    assert opened == [0, 0, "/dev/video2"]
    assert [frame.index for frame in frames] == list(range(6))
    assert captures[0].is_released and captures[2].is_released
