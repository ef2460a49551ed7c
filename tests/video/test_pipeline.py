"""Laws of the pipeline: errors reach the caller and stop everything, files lose nothing, live drops are counted."""

from __future__ import annotations

import dataclasses
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np
import pytest

from edge_deeplab.errors import DeviceError
from edge_deeplab.video import pipeline
from edge_deeplab.video.frames import Frame, MediaFacts
from edge_deeplab.video.pipeline import Progress, Stage, run_pipeline
from edge_deeplab.video.sink import NullSink

WAIT_S = 10.0


def do_nothing(index: int) -> None: ...


def hand_on(frame: Frame) -> np.ndarray:
    return frame.bgr


class CountingSource:
    """Frames whose pixels say their index; `gate` is called before each."""

    def __init__(self, count: int, *, is_live: bool = False, gate=do_nothing) -> None:
        self.is_live, self.fps, self.size_wh = is_live, Fraction(30), (4, 2)
        self.frame_count = None if is_live else count
        self.media, self.notes, self.trouble = MediaFacts(), [], ""
        self._count, self._gate = count, gate

    def describe(self) -> str:
        return "counting"

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self._count):
            self._gate(index)
            yield Frame(index, index / 30, np.full((2, 4, 3), index % 256, np.uint8))

    def close(self) -> None: ...

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None: ...


class RememberingSink(NullSink):
    def __init__(self, on_write=do_nothing) -> None:
        super().__init__()
        self.values: list[int] = []
        self.is_finished = False
        self._on_write = on_write

    def write(self, frame_bgr, time_s, name="") -> None:
        self._on_write(int(frame_bgr[0, 0, 0]))
        self.values.append(int(frame_bgr[0, 0, 0]))

    def finish(self) -> None:
        self.is_finished = True


class BrokenStageError(Exception):
    pass


def breaking_at(place: int) -> Callable[..., np.ndarray]:
    """A function that hands its frame on `place` times, then fails; without a frame it hands on an empty mapping."""
    calls = itertools.count()

    def run(given=None, *_):
        if next(calls) >= place:
            raise BrokenStageError
        return given.bgr if isinstance(given, Frame) else {}

    return run


def video_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("video-")]


def handing_on_twice(second: Callable[..., np.ndarray]) -> tuple[Stage, Stage]:
    """Two stages, "infer" and "compose", with something of the first carried to the second."""
    return Stage("infer", lambda frame: (frame, frame.index)), Stage("compose", lambda made: second(made[0]))


@pytest.mark.parametrize("is_live", [False, True])
@pytest.mark.parametrize("place", ["first", "second"])
def test_an_error_in_any_of_several_stages_reaches_the_caller(place, is_live) -> None:
    broken, source = breaking_at(20), CountingSource(10**9, is_live=is_live)
    stages = handing_on_twice(broken if place == "second" else hand_on)
    if place == "first":
        stages = (Stage("infer", broken), Stage("compose", lambda made: made))
    with pytest.raises(BrokenStageError):
        run_pipeline(source, stages, RememberingSink())
    assert not video_threads()


def test_several_stages_lose_nothing_keep_order_and_are_timed_by_name() -> None:
    sink, count = RememberingSink(), 100
    infer, compose = handing_on_twice(hand_on)
    stages = (Stage(infer.name, infer.run, lambda: {"invoke": 3.0}), compose)
    report = run_pipeline(CountingSource(count), stages, sink)
    assert sink.values == list(range(count)) and report.dropped == 0
    assert set(report.stages) == {"capture", "infer", "infer/invoke", "compose", "write", "latency"}
    assert report.stages["infer/invoke"].median_ms == 3.0 and report.stages["compose"].count == count - 5


def test_several_stages_work_at_different_frames_at_once() -> None:
    """Capture, both stages and write wait for one another, which only succeeds when all are under way."""
    meeting = threading.Barrier(4)

    def meet_at(place: int) -> Callable[[int], None]:
        return lambda index: None if index != place else (meeting.wait(WAIT_S), None)[1]

    def infer(frame: Frame) -> Frame:
        meet_at(3)(frame.index)
        return frame

    def compose(frame: Frame) -> np.ndarray:
        meet_at(2)(frame.index)
        return frame.bgr

    stages = (Stage("infer", infer), Stage("compose", compose))
    report = run_pipeline(CountingSource(10, gate=meet_at(5)), stages, RememberingSink(meet_at(1)))
    assert report.frames == 10


def test_live_no_stage_takes_a_frame_before_there_is_room_for_what_it_makes() -> None:
    """While the sink is stuck on the first frame at most three more are taken: one a stage could hand on, one a box."""
    captured_all, taken, count = threading.Event(), [], 200
    quiet = threading.Event()

    def gate(index: int) -> None:
        quiet.wait(0.001)  # time for the stages to take what they would take
        if index == count - 1:
            captured_all.set()

    def process(frame: Frame) -> np.ndarray:
        taken.append(frame.index)
        return frame.bgr

    sink = RememberingSink(lambda index: captured_all.wait(WAIT_S))
    run_pipeline(CountingSource(count, is_live=True, gate=gate), process, sink)
    assert len(taken) <= 4 and taken[-1] == count - 1, "what is shown last is the newest frame there was"


def test_an_interval_is_kept_and_a_file_loses_nothing_by_it() -> None:
    asked, sink = [], RememberingSink()

    def interval_s() -> float:
        asked.append(1)
        return 0.002

    report = run_pipeline(CountingSource(20), hand_on, sink, least_interval_s=interval_s)
    assert sink.values == list(range(20)) and len(asked) >= 20
    assert report.duration_s >= 18 * 0.002


def test_live_frames_that_nobody_will_see_are_not_read_where_the_source_allows() -> None:
    """Ten intervals are kept; what is read is what is shown, but where frames build on one another."""
    for may_pause in (True, False):
        stop, read = threading.Event(), []

        def gate(index: int, read: list[int] = read) -> None:
            read.append(index)
            time.sleep(0.0005)

        source = CountingSource(10**9, is_live=True, gate=gate)
        source.may_pause = may_pause  # type: ignore[attr-defined]
        written: list[int] = []

        def on_write(index: int, written: list[int] = written, stop: threading.Event = stop) -> None:
            written.append(index)
            if len(written) == 10:
                stop.set()

        sink = RememberingSink(on_write)
        run_pipeline(source, hand_on, sink, stop=stop, least_interval_s=lambda: 0.01)
        assert (len(read) <= len(written) + 2) == may_pause


def test_a_stop_ends_the_wait_of_an_interval() -> None:
    stop, started_s = threading.Event(), time.monotonic()
    sink = RememberingSink(lambda index: stop.set())
    report = run_pipeline(CountingSource(10**9), hand_on, sink, stop=stop, least_interval_s=lambda: 1000.0)
    assert report.was_stopped and report.frames == 1
    assert time.monotonic() - started_s < WAIT_S


@pytest.mark.parametrize("is_live", [False, True])
@pytest.mark.parametrize("stage", ["capture", "process", "inner_stages", "write", "on_progress"])
def test_an_error_in_any_stage_stops_all_stages_and_reaches_the_caller(stage, is_live, monkeypatch) -> None:
    monkeypatch.setattr(pipeline, "PROGRESS_EVERY_S", 0)
    broken = breaking_at(20)
    source = CountingSource(10**9, is_live=is_live, gate=broken if stage == "capture" else do_nothing)
    sink = RememberingSink(broken if stage == "write" else do_nothing)
    callbacks = {stage: broken} if stage in ("inner_stages", "on_progress") else {}
    started_s = time.monotonic()
    with pytest.raises(BrokenStageError):
        run_pipeline(source, broken if stage == "process" else hand_on, sink, **callbacks)
    assert time.monotonic() - started_s < WAIT_S
    assert not video_threads()
    assert not sink.is_finished


@pytest.mark.parametrize("is_live", [False, True])
def test_what_was_captured_before_a_source_broke_is_written(is_live) -> None:
    sink, breaks = RememberingSink(), threading.Event()

    def gate(index: int) -> None:
        if index == 2:
            breaks.set()
            raise BrokenStageError

    def process(frame: Frame) -> np.ndarray:
        if frame.index == 1:
            assert breaks.wait(WAIT_S)  # this one is still made when the source breaks
        return frame.bgr

    with pytest.raises(BrokenStageError):
        run_pipeline(CountingSource(5, is_live=is_live, gate=gate), process, sink)
    assert sink.values[-1] == 1 and not sink.is_finished


class Lead:
    """Lets a stage wait until another one is some frames ahead: slowness without sleeping."""

    def __init__(self) -> None:
        self._changed, self._reached = threading.Condition(), -1

    def reach(self, index: int) -> None:
        with self._changed:
            self._reached = index
            self._changed.notify_all()

    def wait_for(self, index: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._reached >= index, WAIT_S)


@pytest.mark.parametrize("slow", ["none", "process", "write"])
def test_a_file_loses_no_frame_and_keeps_order(slow) -> None:
    count, lead = 200, Lead()

    def process(frame: Frame) -> np.ndarray:
        if slow == "process":
            lead.wait_for(min(frame.index + 3, count - 1))
        return frame.bgr

    def on_write(index: int) -> None:
        if slow == "write":
            lead.wait_for(min(index + 5, count - 1))

    sink = RememberingSink(on_write)
    report = run_pipeline(CountingSource(count, gate=lead.reach), process, sink)
    assert sink.values == list(range(count))
    assert (report.frames, report.dropped, report.was_stopped) == (count, 0, False)
    assert sink.is_finished


def test_live_the_newest_frame_wins_and_every_drop_is_counted() -> None:
    captured_all = threading.Event()
    count = 50

    def gate(index: int) -> None:
        if index == count - 1:
            captured_all.set()

    def process(frame: Frame) -> np.ndarray:
        assert captured_all.wait(WAIT_S)  # stuck on the first frame until the last one is there
        return frame.bgr

    sink = RememberingSink()
    report = run_pipeline(CountingSource(count, is_live=True, gate=gate), process, sink)
    assert sink.values[-1] == count - 1
    assert report.frames + report.dropped == count
    assert report.frames <= 4  # the first one, the newest one, at most two in between while threads woke
    assert sink.values == sorted(sink.values)


def test_stop_ends_an_endless_source_and_writes_what_is_processed() -> None:
    stop = threading.Event()
    sink = RememberingSink(lambda index: stop.set() if index == 10 else None)
    report = run_pipeline(CountingSource(10**9), hand_on, sink, stop=stop)
    assert report.was_stopped
    assert not sink.is_finished
    assert sink.values == list(range(len(sink.values)))
    assert not video_threads()


def test_a_stage_that_hangs_is_named_after_a_bounded_wait(monkeypatch) -> None:
    monkeypatch.setattr(pipeline, "STOP_WAIT_S", 0.2)
    release, stop = threading.Event(), threading.Event()

    def gate(index: int) -> None:
        if index == 3:
            stop.set()
            release.wait(WAIT_S)

    try:
        with pytest.raises(DeviceError, match="capture stage did not stop"):
            run_pipeline(CountingSource(10, gate=gate), hand_on, RememberingSink(), stop=stop)
    finally:
        release.set()


def test_an_interruption_of_the_caller_ends_the_threads() -> None:
    def interrupt(index: int) -> None:
        if index == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_pipeline(CountingSource(10**9), hand_on, RememberingSink(interrupt))
    assert not video_threads()


def test_the_report_counts_every_stage_and_tells_the_warm_up_apart() -> None:
    report = run_pipeline(
        CountingSource(40), hand_on, RememberingSink(),
        inner_stages=lambda: {"invoke": 2.0}, warmup_frames=5,
    )  # fmt: skip
    assert set(report.stages) == {"capture", "process", "process/invoke", "write", "latency"}
    for timing in report.stages.values():
        assert (timing.count, timing.warmup_count) == (35, 5)
        assert 0 <= timing.median_ms <= timing.p90_ms <= timing.p99_ms
    assert report.stages["process/invoke"].median_ms == 2.0
    assert report.fps is not None and report.fps > 0
    assert report.cpu_s >= 0 and report.duration_s > 0


def test_progress_comes_at_a_bounded_rate_and_at_the_end(monkeypatch) -> None:
    told: list[Progress] = []
    monkeypatch.setattr(pipeline, "PROGRESS_EVERY_S", 0.001)
    run_pipeline(CountingSource(2000), hand_on, RememberingSink(), on_progress=told.append)
    assert 2 <= len(told) < 2000
    gaps_s = [later.elapsed_s - earlier.elapsed_s for earlier, later in itertools.pairwise(told[:-1])]
    assert all(gap_s >= 0.001 for gap_s in gaps_s)
    assert (told[-1].frames, told[-1].total, told[-1].left_s) == (2000, 2000, 0.0)
    assert told[-1].fps is not None and told[-1].fps > 0
    assert all(one.left_s is None or one.left_s >= 0 for one in told)
    assert told[-1].latency_ms is not None and told[-1].latency_ms >= 0


def test_latency_begins_when_the_source_says_the_frame_was_captured() -> None:
    earlier_ns = 5 * 10**9

    class Late(CountingSource):
        def __iter__(self) -> Iterator[Frame]:
            for frame in super().__iter__():
                yield dataclasses.replace(frame, captured_ns=time.perf_counter_ns() - earlier_ns)

    told: list[Progress] = []
    report = run_pipeline(Late(12), hand_on, RememberingSink(), on_progress=told.append)
    assert report.stages["latency"].median_ms >= earlier_ns / 1e6
    assert told[-1].latency_ms is not None and told[-1].latency_ms >= earlier_ns / 1e6


def test_stages_overlap() -> None:
    """All three stages wait for one another, which only succeeds when they are under way at the same time."""
    meeting = threading.Barrier(3)

    def meet_at(place: int) -> Callable[[int], None]:
        def check(index: int) -> None:
            if index == place:
                meeting.wait(WAIT_S)

        return check

    def process(frame: Frame) -> np.ndarray:
        meet_at(2)(frame.index)
        return frame.bgr

    report = run_pipeline(CountingSource(8, gate=meet_at(4)), process, RememberingSink(meet_at(1)))
    assert report.frames == 8


def test_a_live_run_reports_rates_and_no_total() -> None:
    told: list[Progress] = []
    stop = threading.Event()
    sink = RememberingSink(lambda index: stop.set() if index >= 40 else None)
    source = CountingSource(10**9, is_live=True)
    report = run_pipeline(source, hand_on, sink, stop=stop, on_progress=told.append)
    assert told[-1].total is None and told[-1].left_s is None
    assert told[-1].dropped == report.dropped


def test_frames_that_the_source_skipped_count_as_dropped() -> None:
    class EveryThird(CountingSource):
        def __iter__(self) -> Iterator[Frame]:
            return itertools.islice(super().__iter__(), 1, None, 3)

    report = run_pipeline(EveryThird(30, is_live=True), hand_on, NullSink())
    assert report.frames + report.dropped == 29  # 1, 4 ... 28; the one behind the last is not known of


def test_a_quiet_live_source_has_its_last_picture_held_and_marked(monkeypatch) -> None:
    """Nothing new comes: the output goes on with the last good picture, which says so, and its clock goes on."""
    monkeypatch.setattr(pipeline, "QUIET_S", 0.02)
    monkeypatch.setattr(pipeline, "HELD_EVERY_S", 0.01)
    monkeypatch.setattr(pipeline, "STOP_POLL_S", 0.005)
    monkeypatch.setattr(pipeline, "PROGRESS_EVERY_S", 0)
    marked: list[tuple[int, str]] = []
    written: list[tuple[int, float]] = []
    held, told = threading.Event(), []

    def mark(picture: np.ndarray, words: str) -> None:
        marked.append((int(picture[0, 0, 0]), words))
        picture[:] = 99

    def gate(index: int) -> None:
        if index == 6:
            source.trouble = "the cable is out"
            assert held.wait(WAIT_S)
            source.trouble = ""

    class Sink(NullSink):
        def write(self, frame_bgr, time_s, name="") -> None:
            written.append((int(frame_bgr[0, 0, 0]), time_s))
            if [value for value, _ in written].count(99) == 3:
                held.set()

    source = CountingSource(9, is_live=True, gate=gate)
    report = run_pipeline(source, hand_on, Sink(), mark=mark, on_progress=told.append)
    assert report.held >= 3 and report.frames + report.dropped == 9
    assert {value for value, _ in marked} == {5}  # the last good one, and never one that was marked before
    assert all(words.startswith("the cable is out (") for _, words in marked)
    assert [value for value, _ in written].count(99) == report.held
    held_s = [time_s for value, time_s in written if value == 99]
    assert held_s == sorted(held_s) and held_s[0] > 5 / 30
    assert "the cable is out" in [one.trouble for one in told] and told[-1].trouble == ""


def test_a_picture_that_is_doubted_is_marked_as_it_comes() -> None:
    source = CountingSource(4, is_live=True)
    source.trouble = "the picture stands still"
    marked = []
    report = run_pipeline(source, hand_on, NullSink(), mark=lambda picture, words: marked.append(words))
    assert marked == ["the picture stands still"] * report.frames


def test_a_slow_camera_is_not_held_within_its_own_pace(monkeypatch) -> None:
    monkeypatch.setattr(pipeline, "QUIET_S", 0.001)
    monkeypatch.setattr(pipeline, "HELD_EVERY_S", 0.001)
    monkeypatch.setattr(pipeline, "STOP_POLL_S", 0.005)
    monkeypatch.setattr(pipeline, "QUIET_INTERVALS", 1000)
    pause = threading.Event()
    source = CountingSource(5, is_live=True, gate=lambda index: pause.wait(0.03) if index > 1 else None)
    assert run_pipeline(source, hand_on, NullSink(), mark=lambda *_: None).held == 0


def test_a_stop_closes_a_live_source_so_that_no_read_outlasts_it() -> None:
    closed, stop = threading.Event(), threading.Event()

    class Waiting(CountingSource):
        def close(self) -> None:
            closed.set()

    def gate(index: int) -> None:
        if index == 3:
            stop.set()
            assert closed.wait(WAIT_S)

    assert run_pipeline(Waiting(5, is_live=True, gate=gate), hand_on, NullSink(), stop=stop).was_stopped
