"""The words of this room: a frame, what a file carries beside its pictures, and what sources and sinks promise.

No device, file or thread is touched here.

    with open_source("talk.mp4") as source:
        for frame in source:
            frame.bgr, frame.time_s
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

import numpy as np


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture in time. The array is the receiver's own: it may be written into.

    Attributes:
        index: 0, 1, 2 ... as captured; live, a gap in the indices is a dropped frame.
        time_s: seconds since the source began (a file: its first picture or sound, whichever comes first); it never
            goes backwards.
        bgr: (H, W, 3) uint8, BGR, upright.
        name: the file's stem where each frame is a file of its own, else empty.
        captured_ns: time.perf_counter_ns() when the camera, the network or the decoder had given it; 0 when unknown.
    """

    index: int
    time_s: float
    bgr: np.ndarray = field(repr=False)
    name: str = ""
    captured_ns: int = 0


@dataclass(frozen=True, kw_only=True)
class MediaFacts:
    """What a video file carries beside its pictures, for a sink that is to keep it.

    Attributes:
        fps: the exact nominal frame rate, e.g. Fraction(30000, 1001); None when there is none.
        time_base: a unit in seconds in which every time stamp is whole; None when times are a clock's.
        pixel_aspect: width over height of one pixel, after rotation.
        sound_from: the file whose sound belongs to the pictures; None when it has no sound.
        offset_s: the file's own time of time_s = 0; sound is moved by it too.
    """

    fps: Fraction | None = None
    time_base: Fraction | None = None
    pixel_aspect: Fraction = Fraction(1)
    sound_from: Path | None = None
    offset_s: Fraction = Fraction(0)


@runtime_checkable
class Source(Protocol):
    """Where frames come from. Made by `open_source`; iterate it once; closing twice is harmless.

    Attributes:
        is_live: frames come at the world's pace, so a slow receiver must skip some.
        fps: nominal frames per second, exact where a file says so; None when unknown.
        size_wh: width and height of the frames in pixels, after rotation. A file keeps to it; a folder's pictures and
            a live stream may change.
        frame_count: how many frames will come, as the file says; None when unknown or endless.
        media: what a sink needs to keep what the file carries.
        notes: one line each for what could not be had as asked or read; complete once iteration ended.
        trouble: live, a few words on why no new picture comes, or why what comes is doubted; empty while all is well.
    """

    is_live: bool
    fps: Fraction | None
    size_wh: tuple[int, int]
    frame_count: int | None
    media: MediaFacts
    notes: list[str]
    trouble: str

    def describe(self) -> str:
        """One line: what it is, size, rate."""
        ...

    def __iter__(self) -> Iterator[Frame]: ...

    def close(self) -> None:
        """Lets go of the device or file. Iteration ends soon after, also in another thread."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@runtime_checkable
class CanPause(Protocol):
    """A source that says whether it may be left unread for a while.

    Attributes:
        may_pause: live, what was not read in time is gone, and the next frame is new; so a program that wants few
            frames need not pay for the others. Not so where frames build on one another, as in a compressed stream.
    """

    may_pause: bool


@runtime_checkable
class Sink(Protocol):
    """Where frames go. Made by `open_sink`; used from one thread.

    A file sink writes under a temporary name in the same folder. `close` makes what was written so far a whole,
    playable file and gives it its name; `discard` leaves nothing. Left by an exception, a `with` block discards,
    unless the exception is an interruption or a device that went away: then what was recorded is kept. A recording of
    something live is kept after any exception.
    """

    @property
    def notes(self) -> list[str]:
        """One line each for what could not be kept."""
        ...

    def write(self, frame_bgr: np.ndarray, time_s: float, name: str = "") -> None:
        """Takes the next frame: (H, W, 3) uint8 BGR. Raises OutputError.

        An output that has one size, such as a video file, takes the first frame's and fits others into it.
        """
        ...

    def idle(self) -> None:
        """Called from the same thread while no frame comes: a window still answers its keys."""
        ...

    def finish(self) -> None:
        """Says that the source ended by itself, so that what goes beyond its last picture is kept (its sound)."""
        ...

    def close(self) -> None:
        """Completes what was written. Twice is harmless."""
        ...

    def discard(self) -> None:
        """Leaves nothing of what was written. Harmless after close."""
        ...

    def describe(self) -> str:
        """One line: what it is, where it goes."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def rate_from_float(fps: float) -> Fraction | None:
    """The frame rate meant by a float: 29.97002997 is 30000/1001. None when it says nothing (0, NaN, 90000).

    OpenCV gives rates as floats; every rate in use is a whole number, a NTSC rate over 1001, or a short decimal.
    """
    if not 0.01 <= fps <= 1000:  # false for NaN too; MJPEG streams and variable-rate files claim 0 or 90000
        return None
    ntsc = Fraction(round(fps * 1001 / 1000) * 1000, 1001)
    if abs(float(ntsc) - fps) < 1e-4:
        return ntsc
    return Fraction(fps).limit_denominator(1000)


def rate_text(fps: Fraction | None) -> str:
    """A frame rate for a person: "29.97 fps", or "unknown rate"."""
    return "unknown rate" if fps is None else f"{float(fps):.4g} fps"


def fine_time_base(fps: Fraction) -> Fraction:
    """A unit of at most 1/90000 s in which every frame of a steady rate begins on a whole number.

    1/90000 for 30, 25 and 30000/1001; 1/96000 for 24000/1001.
    """
    return 1 / Fraction(fps.numerator * -(-90000 // fps.numerator))
