"""Reading a video file with PyAV: exact rate, time stamps, rotation, colours, and what surrounds the pictures.

PyAV (extra `media`) is imported when a file is opened, never before. encoder.py writes, sound.py moves the sound.

    with PyavVideoSource(Path("talk.mp4")) as source:
        source.fps              # Fraction(30000, 1001)
"""

from __future__ import annotations

import importlib.util
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from edge_deeplab.errors import InputError, MissingExtraError
from edge_deeplab.video.frames import Frame, MediaFacts, fine_time_base, rate_from_float, rate_text
from edge_deeplab.video.letterbox import letterbox
from edge_deeplab.video.source_life import SourceLife

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

COARSEST_TIME_BASE = Fraction(1, 1000)  # Matroska, WebM and FLV round every time stamp to it
UNSPECIFIED = 2  # a colour field that says nothing, ITU-T H.273
HDR_TRANSFERS = {16: "PQ", 18: "HLG"}  # ITU-T H.273, transfer characteristics
QUARTER_TURNS = {1: cv2.ROTATE_90_COUNTERCLOCKWISE, 2: cv2.ROTATE_180, 3: cv2.ROTATE_90_CLOCKWISE}
ENDS_EARLY_S = 0.5
NANOSECOND_ROUNDING = Fraction(1, 10**7)  # half a nanosecond of the 4 ms of 240 fps, and FFmpeg's own rounding


def has_pyav() -> bool:
    """Whether PyAV is installed; does not import it."""
    return importlib.util.find_spec("av") is not None


def require_pyav(purpose: str) -> None:
    """Raises MissingExtraError when PyAV is not installed."""
    if not has_pyav():
        raise MissingExtraError("av", extra="media", purpose=purpose)


def check_video_file(path: Path) -> None:
    """Raises InputError when the path is no file or an empty one."""
    if path.is_dir():
        raise InputError(f"{path}: is a folder", allowed="a video file")
    if not path.is_file():
        raise InputError(f"{path}: no such file", next_step="check the path")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: is empty", allowed="a video file")


class PyavVideoSource(SourceLife):
    """Every picture of a video file, in order, upright, in BGR by the file's own colour matrix.

    A damaged picture is shown as well as it could be decoded, an undecodable one is left out; `notes` counts both.

    Raises: InputError when the file is missing, empty, no video, or no picture in it can be decoded.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        check_video_file(path)
        require_pyav("reading time stamps, rotation and sound")
        self._path = path
        self._unordered_times: deque[int | None] = deque()
        self._undecodable = self._damaged = self._resized = self._jumps = 0
        self._container = _open_container(path)
        try:
            self._stream = _first_video(self._container, path)
            self._tick_s = Fraction(self._stream.time_base or COARSEST_TIME_BASE)
            # AVI numbers packets as they are decoded. Pictures come out in the order they are shown, which has the
            # same times: the n-th picture is shown at the n-th packet's.
            self._has_no_presentation_times = self._container.format.name == "avi"
            self._decoded = self._decode()
            self._first = self._decode_first()
        except BaseException:
            self._container.close()
            raise
        self._turns = round(self._first.rotation / 90) % 4
        self._wh = (self._first.width, self._first.height)
        self.size_wh = self._wh[::-1] if self._turns % 2 else self._wh
        self.fps = _meant_rate(self._stream.guessed_rate or self._stream.average_rate)
        self.media = self._facts()
        self.frame_count = self._stream.frames or self._count_from_duration()
        self._note_what_is_lost()

    def describe(self) -> str:
        """One line: what it is, size, rate."""
        turned = f", rotated by {90 * self._turns} degrees" if self._turns else ""
        sound = ", with sound" if self.media.sound_from else ", no sound"
        codec = self._stream.codec_context.name
        return f"video {self._path} ({codec} {self.size_wh[0]}x{self.size_wh[1]}, {rate_text(self.fps)}{turned}{sound})"

    def _frames(self) -> Iterator[Frame]:
        step_s = 1 / (self.fps or Fraction(30))
        index, time_s, moved_s = 0, Fraction(0), Fraction(0)
        for picture in self._first_then_rest():
            following_s = time_s + step_s if index else time_s
            told_s = self._time_of(picture, otherwise=following_s - moved_s) + moved_s
            if index and told_s < time_s:  # clips strung together, each with a clock of its own
                self._jumps += 1
                moved_s += following_s - told_s
                told_s = following_s
            time_s = max(told_s, Fraction(0))  # an edit list may begin before the beginning
            yield Frame(index, float(time_s), self._to_bgr(picture))
            index += 1
        self._note_what_was_damaged(index, end_s=float(time_s + step_s))

    def _first_then_rest(self) -> Iterator[VideoFrame]:
        first, self._first = self._first, None
        yield first
        yield from self._decoded

    def _decode(self) -> Iterator[VideoFrame]:
        import av

        self._stream.thread_type = "AUTO"
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.error.FFmpegError:
                self._undecodable += 1
                return  # the container itself is broken from here on
            if self._has_no_presentation_times and packet.size:
                self._unordered_times.append(packet.dts)
            try:
                pictures = packet.decode()
            except av.error.EOFError:
                return
            except av.error.FFmpegError:
                self._undecodable += 1
                continue
            for picture in pictures:
                self._damaged += picture.is_corrupt
                if self._unordered_times:
                    picture.pts = self._unordered_times.popleft()
                yield picture

    def _decode_first(self) -> Any:
        try:
            return next(self._decoded)
        except StopIteration:
            raise InputError(
                f"{self._path}: no picture in it can be decoded", next_step="it may be truncated; does it play?"
            ) from None

    def _facts(self) -> MediaFacts:
        stream, sound = self._stream, next(iter(self._container.streams.audio), None)
        starts = [
            one.start_time * Fraction(one.time_base)
            for one in (stream, sound)
            if one is not None and one.start_time is not None and one.time_base is not None
        ]
        aspect = stream.sample_aspect_ratio or Fraction(1)
        return MediaFacts(
            fps=self.fps,
            time_base=self._tick_s if self._tick_s < COARSEST_TIME_BASE else fine_time_base(self.fps or Fraction(30)),
            pixel_aspect=1 / aspect if self._turns % 2 else aspect,
            sound_from=self._path if sound is not None else None,
            offset_s=min(starts, default=Fraction(0)),
        )

    def _time_of(self, picture: VideoFrame, *, otherwise: Fraction) -> Fraction:
        """Seconds since the file's beginning.

        A container that rounds to milliseconds is believed to mean the steady rate's own time where that is what
        it would have been rounded from.
        """
        if picture.pts is None:
            return otherwise
        time_s = picture.pts * self._tick_s - self.media.offset_s
        if self._tick_s >= COARSEST_TIME_BASE and self.fps:
            steady_s = round(time_s * self.fps) / self.fps
            if abs(steady_s - time_s) < self._tick_s:
                return steady_s
        return time_s

    def _to_bgr(self, picture: VideoFrame) -> np.ndarray:
        guess_709 = picture.colorspace == UNSPECIFIED and min(self._wh) >= 720  # what players assume too
        bgr = picture.reformat(format="bgr24", src_colorspace="ITU709" if guess_709 else None).to_ndarray()
        if (picture.width, picture.height) != self._wh:
            self._resized += 1
            bgr = letterbox(bgr, self._wh)
        return cv2.rotate(bgr, QUARTER_TURNS[self._turns]) if self._turns else bgr

    def _count_from_duration(self) -> int | None:
        duration_s = self._duration_s()
        return round(duration_s * self.fps) if duration_s and self.fps else None

    def _duration_s(self) -> Fraction | None:
        """How long the pictures go on, as the file says; None when it says nothing of them alone."""
        if self._stream.duration is not None:
            return self._stream.duration * self._tick_s
        if self._container.duration is not None and not self._container.streams.audio:
            return Fraction(self._container.duration, 1_000_000)
        return None

    def _note_what_is_lost(self) -> None:
        streams = self._container.streams
        if len(streams.audio) > 1:
            self.notes.append(f"{self._path}: of its {len(streams.audio)} sound tracks only the first can be kept")
        if streams.subtitles:
            self.notes.append(f"{self._path}: its subtitles cannot be kept")
        transfer = HDR_TRANSFERS.get(self._first.color_trc)
        if transfer:
            self.notes.append(f"{self._path}: is {transfer} HDR; its colours are taken as they are, so they look pale")
        if self._first.rotation % 90:
            self.notes.append(f"{self._path}: rotated by {self._first.rotation} degrees; turned by {90 * self._turns}")

    def _note_what_was_damaged(self, count: int, *, end_s: float) -> None:
        if self._undecodable or self._damaged:
            self.notes.append(
                f"{self._path}: is damaged: {self._undecodable} pieces could not be decoded, "
                f"{self._damaged} of {count} frames are shown as well as they could be"
            )
        if self._jumps:
            self.notes.append(
                f"{self._path}: its clock jumps back {self._jumps} times; frames follow one another there"
            )
        if self._resized:
            width, height = self._wh
            self.notes.append(
                f"{self._path}: changes its size; {self._resized} frames were fitted into {width}x{height}"
            )
        said_s = self._duration_s()
        if said_s is not None and float(said_s) - end_s > ENDS_EARLY_S:
            self.notes.append(
                f"{self._path}: ends early: it says {float(said_s):.1f} s, its pictures end at {end_s:.1f} s"
            )

    def _release(self) -> None:
        self._container.close()


def _open_container(path: Path) -> InputContainer:
    import av

    try:
        return av.open(str(path))
    except (av.error.FFmpegError, OSError) as error:
        raise InputError(
            f"{path}: is no video that can be read", came=getattr(error, "strerror", None) or str(error),
            next_step="it may be truncated, or of another kind",
        ) from error  # fmt: skip


def _meant_rate(fps: Fraction | None) -> Fraction | None:
    """Matroska stores a frame's duration in whole nanoseconds, so 60000/1001 comes back as 19001/317."""
    near = rate_from_float(float(fps)) if fps else None
    return near if fps and near and abs(near / fps - 1) < NANOSECOND_ROUNDING else fps


def _first_video(container: InputContainer, path: Path) -> VideoStream:
    import av

    cover = av.stream.Disposition.attached_pic  # a music file's cover is a video stream of one picture
    stream = next((one for one in container.streams.video if not one.disposition & cover), None)
    if stream is None:
        raise InputError(f"{path}: holds no pictures", allowed="a video file")
    if stream.codec_context is None:
        raise InputError(f"{path}: is coded in a way this PyAV does not know")
    return stream
