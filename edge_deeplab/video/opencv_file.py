"""Video files with OpenCV alone, for where PyAV is not installed: pictures, and what little else OpenCV keeps.

container.py and encoder.py are the ones that keep everything.

    with OpencvVideoSource(Path("talk.mp4")) as source, OpencvVideoSink(Path("out.mp4"), ...) as sink: ...
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from edge_deeplab.errors import InputError, OutputError
from edge_deeplab.video.container import check_video_file
from edge_deeplab.video.frames import Frame, MediaFacts, rate_from_float, rate_text
from edge_deeplab.video.output import PendingOutput, SinkLife
from edge_deeplab.video.source_life import SourceLife, quiet_opencv

SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv")
DEFAULT_FPS = Fraction(30)
FAILED_READS = (
    250  # a damaged stretch may go on until the next key frame, which encoders set every 250 frames or sooner
)
NOT_KEPT = (
    "written by OpenCV as MPEG-4 Part 2, which browsers do not play, without sound, exact time stamps and pixel shape:"
    " pip install 'edge-deeplab[media]' keeps them"
)
NOT_CRASH_SAFE = (
    "written by OpenCV, this kind of file plays only once it was closed: after a crash nothing of it would;"
    " .mkv loses its last 5 s alone, and with pip install 'edge-deeplab[media]' every kind its last second"
)
DISK_ASKED_EVERY = 15  # frames
LEAST_FREE_BYTES = 4 * 2**20  # OpenCV does not say that a disk is full, so it is asked


class OpencvVideoSource(SourceLife):
    """Every picture of a video file, in order; OpenCV itself turns them upright.

    Raises: InputError when the file is missing, empty, no video, or no picture in it can be decoded.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        check_video_file(path)
        self._path, self._reads = path, 0
        with quiet_opencv():
            self._capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        self._count_said = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        first = self._read()
        if first is None:
            self._capture.release()
            raise InputError(
                f"{path}: is no video that can be read", next_step="it may be empty, truncated, or of another kind"
            )
        self._first = first
        self._first_ms = self._capture.get(cv2.CAP_PROP_POS_MSEC)
        self.size_wh = (self._first.shape[1], self._first.shape[0])
        self.fps = rate_from_float(self._capture.get(cv2.CAP_PROP_FPS))
        self.media = MediaFacts(fps=self.fps)
        self.frame_count = self._count_said or None

    def describe(self) -> str:
        """One line: what it is, size, rate."""
        return f"video {self._path} ({self.size_wh[0]}x{self.size_wh[1]}, {rate_text(self.fps)}, read by OpenCV)"

    def _frames(self) -> Iterator[Frame]:
        index, time_s, bgr = 0, 0.0, self._first
        while True:
            yield Frame(index, time_s, bgr)
            following = self._read()
            if following is None:
                break
            index, bgr = index + 1, following
            told_s = (self._capture.get(cv2.CAP_PROP_POS_MSEC) - self._first_ms) / 1000
            # Some files tell no times (0 for every frame); a steady rate is the best that is known then.
            time_s = told_s if told_s > time_s else time_s + float(1 / (self.fps or DEFAULT_FPS))
        missing = self._count_said - (index + 1)
        if missing > 0:
            self.notes.append(f"{self._path}: {missing} of {self._count_said} frames could not be decoded")

    def _read(self) -> np.ndarray | None:
        """The next picture, damaged ones left out; None at the end. OpenCV tells the two apart by no word."""
        for _ in range(FAILED_READS):
            is_read, bgr = self._capture.read()
            self._reads += 1
            if is_read:
                return bgr
            if self._reads > self._count_said:
                return None
        return None

    def _release(self) -> None:
        self._capture.release()


class OpencvVideoSink(SinkLife):
    """A video file of pictures alone, at a steady rate; a gap in time is filled by repeating the last picture.

    Args:
        path: where the file will be: .mp4, .m4v, .mov or .mkv.
        media: what the source carries; only its rate is kept.
        overwrite: whether a file that is there may be replaced.
        is_recording: whether what is written should survive whatever ends the program: a .mkv does but for its last
            seconds, of the other kinds OpenCV leaves nothing that plays, and a note says so.

    Raises: OutputError when the place is taken or cannot be written.
    """

    def __init__(self, path: Path, *, media: MediaFacts, overwrite: bool = False, is_recording: bool = False) -> None:
        super().__init__(is_recording=is_recording)
        self._fps = media.fps or DEFAULT_FPS
        self._pending = PendingOutput(path, overwrite=overwrite, is_recording=is_recording)
        self.notes.extend(self._pending.left_behind_notes())
        if is_recording and path.suffix.lower() != ".mkv":
            self.notes.append(NOT_CRASH_SAFE)
        self._writer: cv2.VideoWriter | None = None
        self._written = 0
        self._began_s = 0.0
        self._last: np.ndarray | None = None
        self.notes.append(NOT_KEPT)

    def describe(self) -> str:
        """One line: what it is, where it goes."""
        return f"video {self._pending.path} ({rate_text(self._fps)}, written by OpenCV)"

    def _write(self, frame_bgr: np.ndarray, time_s: float, name: str) -> None:
        frame_bgr = self._fit_to_first(frame_bgr)
        if self._is_recording and self._written % DISK_ASKED_EVERY == 0:
            self._refuse_full_disk()
        height, width = frame_bgr.shape[:2]
        if self._writer is None:
            self._began_s = time_s
            self._writer = self._open(width, height)
        if height % 2 or width % 2:  # OpenCV would cut them off without a word
            frame_bgr = np.pad(frame_bgr, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        slot = round((time_s - self._began_s) * self._fps)
        while self._last is not None and self._written < slot:
            self._writer.write(self._last)
            self._written += 1
        self._writer.write(frame_bgr)
        self._written += 1
        self._last = frame_bgr.copy()

    def _open(self, width: int, height: int) -> cv2.VideoWriter:
        if height % 2 or width % 2:
            self.notes.append(f"{width}x{height} padded to {width + width % 2}x{height + height % 2}: even sizes only")
        size_wh = (width + width % 2, height + height % 2)
        with quiet_opencv():
            writer = cv2.VideoWriter(
                str(self._pending.temporary), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), float(self._fps), size_wh
            )
        if not writer.isOpened():
            raise OutputError(f"{self._pending.path}: OpenCV cannot write this video", allowed=", ".join(SUFFIXES))
        return writer

    def _refuse_full_disk(self) -> None:
        free = shutil.disk_usage(self._pending.path.parent).free
        if free < LEAST_FREE_BYTES:
            raise OutputError(
                f"{self._pending.path}: the disk is full", came=f"{free / 2**20:.1f} MiB free",
                next_step="what was recorded until then is kept",
            )  # fmt: skip

    def _close(self) -> None:
        if self._writer is None:
            self._pending.discard()
            self.notes.append(f"{self._pending.path}: no frame came, so nothing was written")
            return
        self._writer.release()
        if self._pending.temporary.stat().st_size == 0:
            self._pending.discard()
            raise OutputError(f"{self._pending.path}: OpenCV wrote nothing", next_step="is the disk full?")
        self._pending.publish()

    def _discard(self) -> None:
        if self._writer is not None:
            self._writer.release()
        self._pending.discard()
