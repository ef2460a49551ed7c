"""Capture, process and write at the same time, each in a thread of its own, and say how long each took.

The caller's thread writes (windows must live in the main thread); capture and each stage of the processing run in
threads that `run_pipeline` owns. OpenCV, PyAV and LiteRT let go of Python's lock while they work: all really overlap.
Live, the newest frame wins between capture and the first stage; a file's frames are all processed, in order.

    with open_source("talk.mp4") as source, open_sink("blurred.mp4", options) as sink:
        report = run_pipeline(source, lambda frame: compose(frame.bgr), sink, stop=stop)
        report = run_pipeline(source, (Stage("infer", infer), Stage("compose", compose)), sink)
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from edge_deeplab.errors import DeviceError
from edge_deeplab.video.frames import CanPause, Frame, Sink, Source
from edge_deeplab.video.mailbox import Mailbox, MailboxEmpty, MailboxEnded, NewestMailbox, OrderedMailbox
from edge_deeplab.video.timing import RecentMedian, RecentRate, StageClock, StageTiming, SteadyRate

STOP_POLL_S = 0.05  # how late a stop from a signal handler may be seen; too short only costs processor time
STOP_WAIT_S = 10.0  # longer than any read of ours may block (streams and cameras give up after 5 s)
PROGRESS_EVERY_S = 0.5
QUIET_S = 1.0  # so long without a frame, and the last picture is shown again, marked
QUIET_INTERVALS = 4  # and no sooner than so many of the source's own intervals: a camera of one frame in 2 s is well
HELD_EVERY_S = 0.25
NO_PICTURE = "no picture comes"


@dataclass(frozen=True)
class Stage:
    """One step of what becomes of a frame, run in a thread of its own while others work at other frames.

    Attributes:
        name: what the report calls it.
        run: the first stage is given the Frame, each further one what the one before returned; the last one returns the
            (H, W, 3) uint8 BGR picture. Called in order, from one thread.
        inner_ms: called after each `run`, in its thread; milliseconds by name, reported as "NAME/name".
    """

    name: str
    run: Callable[[Any], Any]
    inner_ms: Callable[[], Mapping[str, float]] | None = None


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is.

    Attributes:
        frames: written so far.
        total: frames that will come, as the file says; None when unknown or endless.
        dropped: frames skipped so far because newer ones had come.
        elapsed_s: seconds since the run began.
        fps: frames written per second lately; None before the second one.
        left_s: seconds left at the rate so far; None when unknown.
        latency_ms: milliseconds from a frame's capture to the end of its writing, the median of the last ones; None
            before the first.
        trouble: the source's: why no new picture comes; empty while all is well.
        status: what the program says of itself in a few words; the pipeline leaves it empty.
    """

    frames: int
    total: int | None
    dropped: int
    elapsed_s: float
    fps: float | None
    left_s: float | None
    latency_ms: float | None = None
    trouble: str = ""
    status: str = ""


@dataclass(frozen=True, kw_only=True)
class PipelineReport:
    """What a run did.

    Attributes:
        frames: written to the sink.
        dropped: captured, then skipped for newer ones, by the source or here; always 0 for a file.
        duration_s: wall-clock seconds from start to the last frame written.
        fps: written frames per second after warm-up, over n-1 intervals; None for fewer than two.
        stages: latency of "capture" (live: mostly waiting for the camera), "process" or the stages given in its place,
            what they named inside, "write", and "latency", from the moment a frame was captured to the moment it was
            written.
        cpu_s: processor seconds of the whole process, all threads; over duration_s it is the cores kept busy.
        was_stopped: ended by the stop signal rather than by the source.
        notes: what source and sink could not read or keep.
        held: times the last good picture was written again, marked, because no new one came; not among `frames`.
    """

    frames: int
    dropped: int
    duration_s: float
    fps: float | None
    stages: dict[str, StageTiming] = field(repr=False)
    cpu_s: float
    was_stopped: bool
    notes: tuple[str, ...]
    held: int = 0


class _Captured(NamedTuple):
    frame: Frame
    at_ns: int
    doubt: str  # the source's trouble as it gave the frame


class _Made(NamedTuple):
    made: Any  # of the last stage: the picture
    captured: _Captured


def run_pipeline(
    source: Source,
    process: Callable[[Frame], np.ndarray] | Sequence[Stage],
    sink: Sink,
    *,
    stop: threading.Event | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    inner_stages: Callable[[], Mapping[str, float]] | None = None,
    least_interval_s: Callable[[], float] | None = None,
    mark: Callable[[np.ndarray, str], None] | None = None,
    warmup_frames: int = 5,
) -> PipelineReport:
    """Runs every frame of the source through `process` into the sink, until the source ends or `stop` is set.

    The caller opens and closes source and sink. An exception in any stage stops all stages and is raised here as
    it was. Stopped or not, no thread outlives the call, but one that hangs in a device for STOP_WAIT_S.

    Args:
        process: makes the (H, W, 3) uint8 BGR picture to write of a frame; called in one thread, in order. Or the
            stages that do so one after the other, each in a thread of its own.
        stop: set it, from any thread or signal handler, to end the run early; what is processed is still written.
        on_progress: called in the caller's thread, at most every PROGRESS_EVERY_S seconds, and at the end.
        inner_stages: of a single `process`, as Stage.inner_ms.
        least_interval_s: called before a frame is taken for processing: the seconds that shall lie between two of them.
            Live, the frames that come meanwhile are dropped, and not even read where the source may_pause; a file is
            processed no faster.
        mark: writes a few words over a picture, in place. With it, a live source that gives nothing new has the last
            picture written again, with the words and the seconds on it, so that windows and cameras stay alive.
        warmup_frames: how many first frames the latencies and the rate tell apart.

    Raises: DeviceError when a stage hangs; whatever source, process, sink or on_progress raise.
    """
    stages = (Stage("process", process, inner_stages),) if callable(process) else tuple(process)
    run = _Run(source, stages, least_interval_s, StageClock(warmup_frames), stop or threading.Event())
    written = _Writer(source, sink, run, on_progress, mark, SteadyRate(warmup_frames))
    cpu_before_s = time.process_time()
    try:
        run.start()
        written.until_ended()
    finally:
        run.end()
    if run.error is not None:
        raise run.error
    if run.stuck_stage is not None:
        raise DeviceError(f"{source.describe()}: the {run.stuck_stage} stage did not stop within {STOP_WAIT_S:g} s")
    if not run.was_stopped:
        sink.finish()
    written.report_progress(is_last=True)
    return PipelineReport(
        frames=written.rate.count, dropped=run.dropped, duration_s=written.duration_s(),
        fps=written.rate.per_second(), stages=run.clock.summary(),
        cpu_s=time.process_time() - cpu_before_s, was_stopped=run.was_stopped, notes=(*source.notes, *sink.notes),
        held=written.held,
    )  # fmt: skip


class _Run:
    """The threads that `run_pipeline` owns, the boxes between them, and the first error of any of them."""

    def __init__(
        self,
        source: Source,
        stages: tuple[Stage, ...],
        least_interval_s: Callable[[], float] | None,
        clock: StageClock,
        stop: threading.Event,
    ) -> None:
        self.clock, self.stop = clock, stop
        self.error: BaseException | None = None
        self.was_stopped = False
        self.stuck_stage: str | None = None
        self.to_process: Mailbox[_Captured] = NewestMailbox() if source.is_live else OrderedMailbox()
        # Live, one waiting picture: more would only be older ones.
        self.to_write: Mailbox[_Made] = OrderedMailbox(capacity=1 if source.is_live else 4)
        between: list[Mailbox[_Made]] = [OrderedMailbox(capacity=1) for _ in stages[1:]]
        self._boxes: tuple[Mailbox[Any], ...] = (self.to_process, *between, self.to_write)
        self._source, self._least_interval_s = source, least_interval_s
        # Where no frame grows old unread: those that nobody will see are not even decoded.
        self._pauses_capture = isinstance(source, CanPause) and source.is_live and source.may_pause
        self._taken_s = float("-inf")
        self._skipped = 0
        self._error_lock = threading.Lock()
        works: list[tuple[str, Callable[[], None]]] = [("capture", self._capture)]
        for place, stage in enumerate(stages):
            works.append((stage.name, functools.partial(self._run_stage, stage, place)))
        # Daemons: a camera driver that never returns must not keep the program from ending.
        self._threads = [
            threading.Thread(target=self._guard, args=(work,), name=f"video-{name}", daemon=True)
            for name, work in works
        ]

    @property
    def dropped(self) -> int:
        return self._skipped + self.to_process.dropped

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def request_stop(self) -> None:
        """Ends capture and drops what waits for process; what is processed can still be taken."""
        self.was_stopped = True
        self.to_process.abort()

    def end(self) -> None:
        """Wakes and joins the threads, waiting no longer than STOP_WAIT_S for all."""
        self._abort()
        if self._source.is_live and self._threads[0].is_alive():
            self._source.close()  # ends a read that waits for the world; the caller's own closing is harmless
        deadline_s = time.monotonic() + STOP_WAIT_S
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline_s - time.monotonic()))
            if thread.is_alive() and self.stuck_stage is None:
                self.stuck_stage = thread.name.removeprefix("video-")

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            work()
        except MailboxEnded:
            pass  # the other side ended first
        except BaseException as error:
            with self._error_lock:
                if self.error is None:
                    self.error = error
            if work == self._capture:  # what was captured before is whole: a recording ends with its last frame
                self.to_process.close()
            else:
                self._abort()

    def _abort(self) -> None:
        for box in self._boxes:
            box.abort()

    def _capture(self) -> None:
        frames, following = iter(self._source), 0
        while not self.stop.is_set():
            if self._pauses_capture:
                self._keep_interval()
            started_ns = time.perf_counter_ns()
            try:
                frame = next(frames)
            except StopIteration:
                break
            now_ns = time.perf_counter_ns()
            self.clock.add("capture", (now_ns - started_ns) / 1e6)
            self._skipped += max(0, frame.index - following)
            following = frame.index + 1
            self.to_process.put(_Captured(frame, frame.captured_ns or now_ns, self._source.trouble))
        self.to_process.close()

    def _run_stage(self, stage: Stage, place: int) -> None:
        """Takes from the box before the stage, gives to the one behind it, until the former ends."""
        before, behind = self._boxes[place], self._boxes[place + 1]
        is_first = place == 0
        while True:
            try:
                if is_first and not self._pauses_capture:
                    self._keep_interval()
                if self._source.is_live:  # a frame taken now would only grow old before the next stage takes it
                    behind.wait_for_room()
                came = before.take(timeout_s=STOP_WAIT_S)
            except MailboxEmpty:
                continue  # a slow source; an abort or close would have ended the wait
            except MailboxEnded:
                behind.close()
                return
            with self.clock.measure(stage.name):
                made = stage.run(came.frame if is_first else came.made)
            if stage.inner_ms is not None:
                for name, duration_ms in stage.inner_ms().items():
                    self.clock.add(f"{stage.name}/{name}", duration_ms)
            behind.put(_Made(made, came if is_first else came.captured))

    def _keep_interval(self) -> None:
        """Waits until the next frame may be taken; a stop ends the wait."""
        if self._least_interval_s is None:
            return
        due_s = self._taken_s + self._least_interval_s()
        self.stop.wait(max(0.0, due_s - time.perf_counter()))
        self._taken_s = time.perf_counter()


class _Writer:
    """The caller's thread: takes what is processed, writes it, tells of it."""

    def __init__(
        self,
        source: Source,
        sink: Sink,
        run: _Run,
        on_progress: Callable[[Progress], None] | None,
        mark: Callable[[np.ndarray, str], None] | None,
        rate: SteadyRate,
    ) -> None:
        self.rate, self.held = rate, 0
        self._source, self._mark = source, mark if source.is_live else None
        self._last: _Made | None = None
        self._written_s = self._held_s = self._time_s = 0.0
        self._whole = SteadyRate()
        self._recent, self._latency_ms = RecentRate(), RecentMedian()
        self._sink, self._run, self._on_progress = sink, run, on_progress
        self._total = source.frame_count
        self._started_s = time.perf_counter()
        self._told_s = self._started_s
        self._stop_deadline_s: float | None = None

    def until_ended(self) -> None:
        """Writes until both stages ended; after a stop, no longer than STOP_WAIT_S."""
        while True:
            if self._run.stop.is_set() and self._stop_deadline_s is None:
                self._run.request_stop()
                self._stop_deadline_s = time.monotonic() + STOP_WAIT_S
            try:
                done = self._run.to_write.take(timeout_s=STOP_POLL_S)
            except MailboxEmpty:
                if self._stop_deadline_s is not None and time.monotonic() > self._stop_deadline_s:
                    return
                self._sink.idle()
                self._hold()
                continue
            except MailboxEnded:
                return
            if self._mark is not None and done.captured.doubt:
                self._mark(done.made, done.captured.doubt)
            with self._run.clock.measure("write"):
                frame = done.captured.frame
                self._sink.write(done.made, frame.time_s, frame.name)
            self._count(done.captured.at_ns)
            self._time_s, self._written_s = frame.time_s, time.perf_counter()
            if not done.captured.doubt:
                self._last = done
            self.report_progress()

    def duration_s(self) -> float:
        return (time.perf_counter() if self.rate.last_s is None else self.rate.last_s) - self._started_s

    def _hold(self) -> None:
        """Writes the last picture again, marked, where no new one has come for a while."""
        now_s = time.perf_counter()
        if self._mark is None or self._last is None or now_s - max(self._held_s, self._written_s) < HELD_EVERY_S:
            return
        quiet_s, rate = now_s - self._written_s, self._recent.per_second() or float(self._source.fps or 30)
        if quiet_s < max(QUIET_S, QUIET_INTERVALS / rate):
            return
        self._held_s = now_s
        picture, frame = self._last.made.copy(), self._last.captured.frame
        self._mark(picture, f"{self._source.trouble or NO_PICTURE} ({quiet_s:.0f} s)")
        self._sink.write(picture, self._time_s + quiet_s, frame.name)
        self.held += 1
        self.report_progress()

    def _count(self, captured_at_ns: int) -> None:
        now_s, latency_ms = time.perf_counter(), (time.perf_counter_ns() - captured_at_ns) / 1e6
        self._run.clock.add("latency", latency_ms)
        self._latency_ms.add(latency_ms)
        self.rate.tick(now_s)
        self._whole.tick(now_s)
        self._recent.tick()

    def report_progress(self, *, is_last: bool = False) -> None:
        now_s = time.perf_counter()
        if self._on_progress is None or (now_s - self._told_s < PROGRESS_EVERY_S and not is_last):
            return
        self._told_s = now_s
        overall = self._whole.per_second()
        left = None if self._total is None else max(0, self._total - self.rate.count)
        self._on_progress(
            Progress(
                frames=self.rate.count, total=self._total, dropped=self._run.dropped,
                elapsed_s=now_s - self._started_s, fps=self._recent.per_second(),
                left_s=left / overall if left is not None and overall else None,
                latency_ms=self._latency_ms.median(), trouble=self._source.trouble,
            )
        )  # fmt: skip
