"""One video from its file to its result, in a worker process of its own: a file that kills its decoder costs no more.

work_on(folder, VideoWork(...))      # run by Ray, see video_jobs

Frames go to the replicas a window at a time, in order, so that they share runs of the model; those whose replica died
are sent again.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge_deeplab.errors import EdgeDeepLabError, InputError
from edge_deeplab.imaging.resize import fit_image
from edge_deeplab.serving.buckets import choose_size
from edge_deeplab.serving.dispatch import FIRST_PAUSE_S, LONGEST_PAUSE_S, MAX_DEATHS, lost_errors
from edge_deeplab.serving.job_store import CANCELLED, DONE, FAILED, RUNNING, Job
from edge_deeplab.serving.replica import ModelFacts

SAY_EVERY_S = 0.25
ANSWERS = ("overlay", "matte")


@dataclass(frozen=True, kw_only=True)
class VideoWork:
    """What is to be done.

    Attributes:
        application: of Ray Serve, whose replicas are asked.
        answer: "overlay" (the classes over the video) or "matte" (the person, grey).
        window: frames under way at once.
        limit_s: seconds it may take; timeout_s: of one frame.
        max_pixels: of a frame.
        max_bytes: of the job's files together.
    """

    application: str
    facts: ModelFacts
    answer: str
    window: int
    limit_s: float
    timeout_s: float
    max_pixels: int
    max_bytes: int


class _StoppedError(Exception):
    """It was told to end."""


def work_on(folder: str, work: VideoWork) -> None:
    """Does it, and leaves the outcome in the job's record; an error of ours is one line there."""
    job = Job(Path(folder))
    job.change(state=RUNNING)
    try:
        notes = _segment(job, work)
        job.change(state=DONE, notes=notes)
    except _StoppedError:
        job.change(state=CANCELLED)
    except EdgeDeepLabError as error:
        job.change(state=FAILED, error=str(error).replace(str(job.input), "the video"))
    finally:
        job.input.unlink(missing_ok=True)
        if job.read()["state"] != DONE:
            job.result.unlink(missing_ok=True)


def _segment(job: Job, work: VideoWork) -> list[str]:
    from ray import serve

    from edge_deeplab.video.sink import SinkOptions, open_sink
    from edge_deeplab.video.source import SourceOptions, open_source

    replicas = serve.get_app_handle(work.application).segment_frame
    ends_s = time.monotonic() + work.limit_s
    said_s, done = 0.0, 0
    with open_source(str(job.input), SourceOptions()) as source:
        width, height = source.size_wh
        if width * height > work.max_pixels:
            raise InputError(
                "the video's frames are too large", came=f"{width} x {height}", allowed=f"{work.max_pixels} pixels"
            )
        job.change(frame_count=source.frame_count)
        draw = _Drawing(work)
        under_way: deque[_Frame] = deque()
        with open_sink(str(job.result), SinkOptions(media=source.media)) as sink:
            frames = iter(source)
            while True:
                while len(under_way) < work.window and (frame := next(frames, None)) is not None:
                    under_way.append(_Frame(replicas, work, frame))
                if not under_way:
                    break
                first = under_way.popleft()
                sink.write(draw(first.bgr, first.result()), first.time_s)
                done += 1
                now_s = time.monotonic()
                if now_s - said_s >= SAY_EVERY_S:
                    said_s = now_s
                    _check_bounds(job, work, is_late=now_s > ends_s)
                    job.change(frames=done)
            sink.finish()
        job.change(frames=done, frame_count=done)
        return [note.replace(str(job.input), "the video") for note in [*source.notes, *sink.notes]]


def _check_bounds(job: Job, work: VideoWork, *, is_late: bool) -> None:
    if job.wants_stop:
        raise _StoppedError
    if is_late:
        raise InputError("the video took too long", allowed=f"{work.limit_s:g} seconds", next_step="send it in parts")
    if job.size_bytes() > work.max_bytes:
        raise InputError("the video's result is too large", allowed=f"{work.max_bytes} bytes")


class _Frame:
    """A frame under way to a replica and back."""

    def __init__(self, replicas: Any, work: VideoWork, frame: Any) -> None:
        self.bgr, self.time_s = frame.bgr, frame.time_s
        self._replicas, self._work = replicas, work
        facts = work.facts
        size_hw = choose_size((self.bgr.shape[0], self.bgr.shape[1]), facts.sizes_hw)
        fitted, self._placement = fit_image(self.bgr, size_hw, facts.fit, align=facts.align)
        self._rgb = cv2.cvtColor(fitted, cv2.COLOR_BGR2RGB)
        self._response = self._send()

    def _send(self) -> Any:
        return self._replicas.remote(self._rgb, self._placement, self._work.answer)

    def result(self) -> np.ndarray:
        """The frame's map. Raises InputError when no replica gives one in time."""
        from ray.serve.exceptions import BackPressureError

        ends_s = time.monotonic() + self._work.timeout_s
        deaths, pause_s = 0, FIRST_PAUSE_S
        while time.monotonic() < ends_s and deaths < MAX_DEATHS:
            try:
                came: np.ndarray = self._response.result(timeout_s=max(0.001, ends_s - time.monotonic()))
                return came
            except BackPressureError:  # others are served first
                pass
            except TimeoutError:
                break
            except lost_errors():
                deaths += 1
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            self._response = self._send()
        raise InputError("a frame got no result in time", allowed=f"{self._work.timeout_s:g} seconds")


class _Drawing:
    """A frame and its map as the result's frame."""

    def __init__(self, work: VideoWork) -> None:
        from edge_deeplab.compositing.overlay import ClassOverlay

        self._overlay = ClassOverlay(work.facts.labels) if work.answer == "overlay" else None

    def __call__(self, bgr: np.ndarray, came: np.ndarray) -> np.ndarray:
        """bgr: (H, W, 3) uint8; came: (h, w) uint8. Returns: (H, W, 3) uint8, BGR."""
        if self._overlay is not None:
            return self._overlay.draw(bgr, came)
        matte = cv2.resize(came, (bgr.shape[1], bgr.shape[0]), interpolation=cv2.INTER_LINEAR)
        return cv2.cvtColor(matte, cv2.COLOR_GRAY2BGR)
