"""Writing a video file with PyAV so that browsers play it: H.264, yuv420p, the index in front, the sound kept.

Frames come upright (container.py rotates them), so the file carries no rotation mark. A recording of something live,
which cannot be made again, is written so that a kill or a power loss costs no more than its last second (recording.py);
its index comes behind the pictures, for moving it to the front would put all of them at risk.

    sink = PyavVideoSink(Path("out.mp4"), media=source.media, overwrite=False)
"""

from __future__ import annotations

import contextlib
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_deeplab.errors import OutputError
from edge_deeplab.video.frames import MediaFacts, fine_time_base, rate_text
from edge_deeplab.video.output import PendingOutput, SinkLife
from edge_deeplab.video.recording import RecordedFile, piecewise
from edge_deeplab.video.sound import SoundTrack

if TYPE_CHECKING:
    from av.container import OutputContainer

FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
H264 = ("libx264", "libopenh264")  # PyAV's wheels bring the first; a system FFmpeg may have only the second
ENCODERS = {"mp4": H264, "mov": H264, "matroska": H264, "webm": ("libvpx-vp9", "libvpx")}
DEFAULT_FPS = Fraction(30)
# Frames inside the encoder are lost in a kill: 6 with this, up to 25 with x264's own. On a clip of a signing person the
# file is 1.2 times as large; no look-ahead at all (tune zerolatency) made it 1.8 times as large.
RECORDING_LOOKAHEAD = 5
RECORDING_X264 = f"rc-lookahead={RECORDING_LOOKAHEAD}:sync-lookahead=0:sliced-threads=1:bframes=0"
BT709 = 1  # the value of matrix, primaries and transfer alike in ITU-T H.273
LIMITED_RANGE = 1  # AVCOL_RANGE_MPEG: luma 16..235


class PyavVideoSink(SinkLife):
    """A video file: exact rate, time stamps and pixel shape of `media`, its sound beside the pictures.

    Args:
        path: where the file will be; its suffix chooses the container: .mp4, .m4v, .mov, .mkv or .webm.
        media: what the source carries.
        overwrite: whether a file that is there may be replaced.
        crf: x264's and VP9's constant quality; lower is better and bigger.
        is_recording: whether what is written must survive whatever ends the program.

    Raises: OutputError when the place is taken or cannot be written.
    """

    def __init__(
        self, path: Path, *, media: MediaFacts, overwrite: bool = False, crf: int = 20, is_recording: bool = False
    ) -> None:
        super().__init__(is_recording=is_recording)
        self._media, self._crf = media, crf
        self._format = FORMATS[path.suffix.lower()]
        self._fps = media.fps or DEFAULT_FPS
        self._time_base = media.time_base or fine_time_base(self._fps)
        self._pending = PendingOutput(path, overwrite=overwrite, is_recording=is_recording)
        self.notes.extend(self._pending.left_behind_notes())
        self._file: RecordedFile | None = None
        self._is_lost = False
        self._container: OutputContainer | None = None
        self._stream: Any = None
        self._sound: SoundTrack | None = None
        self._began_s: float | None = None
        self._last_pts = -1
        self._is_finished = False

    def describe(self) -> str:
        """One line: what it is, where it goes."""
        return f"video {self._pending.path} ({rate_text(self._fps)})"

    def finish(self) -> None:
        """Keeps the sound that goes on after the last picture."""
        self._is_finished = True

    def _write(self, frame_bgr: np.ndarray, time_s: float, name: str) -> None:
        import av

        frame_bgr = self._fit_to_first(frame_bgr)
        try:
            if self._container is None:
                self._open(frame_bgr)
            assert self._container is not None
            height, width = frame_bgr.shape[:2]
            if height % 2 or width % 2:
                frame_bgr = np.pad(frame_bgr, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame_bgr), format="bgr24")
            picture = picture.reformat(
                format="yuv420p", dst_colorspace="ITU709", dst_color_range=LIMITED_RANGE,
                dst_color_primaries=BT709, dst_color_trc=BT709,
            )  # fmt: skip
            if self._is_recording:  # it begins when it is begun, not when the source was opened
                self._began_s = time_s if self._began_s is None else self._began_s
                time_s -= self._began_s
            # Two frames may not share a time stamp; a clock as fine as ours makes one tick invisible.
            self._last_pts = max(round(Fraction(time_s) / self._time_base), self._last_pts + 1)
            picture.pts, picture.time_base = self._last_pts, self._time_base
            self._container.mux(self._stream.encode(picture))
            if self._sound is not None:
                self._sound.write_until(time_s)
            if self._file is not None:
                self._file.keep()
        except (av.error.FFmpegError, OSError) as error:
            raise self._failed(error) from error

    def _open(self, frame_bgr: np.ndarray) -> None:
        """Opens encoder and container at the first frame, whose size they take."""
        import av

        height, width = frame_bgr.shape[:2]
        if height % 2 or width % 2:
            even = f"{width + width % 2}x{height + height % 2}"
            self.notes.append(f"{width}x{height} padded to {even}: what browsers play has even sizes")
        encoder = next((name for name in ENCODERS[self._format] if name in av.codecs_available), "mpeg4")
        if encoder == "mpeg4":
            self.notes.append("this PyAV has no H.264 encoder: written as MPEG-4 Part 2, which browsers do not play")
        target: Any = str(self._pending.temporary)
        container_options = {"movflags": "+faststart"} if self._format in ("mp4", "mov") else {}
        if self._is_recording:
            target = self._file = RecordedFile(self._pending.temporary)
            container_options = piecewise(self._format, av.library_versions["libavformat"])
        self._container = av.open(target, "w", format=self._format, container_options=container_options)
        self._stream = self._container.add_stream(encoder, rate=self._fps, options=self._encoder_options(encoder))
        context = self._stream.codec_context
        context.width, context.height, context.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
        context.time_base = self._time_base
        context.sample_aspect_ratio = self._media.pixel_aspect
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = LIMITED_RANGE
        self._sound = SoundTrack.open(self._media, self._container, self._format)

    def _encoder_options(self, encoder: str) -> dict[str, str]:
        if encoder == "libx264":
            # veryfast: about 4 ms for 720p on one core of 2020's; slower presets take longer than the whole model
            tune = {"x264-params": RECORDING_X264} if self._is_recording else {}
            return {"preset": "veryfast", "crf": str(self._crf), **tune}
        if encoder.startswith("libvpx"):
            lag = {"lag-in-frames": "0"} if self._is_recording else {}
            return {
                "crf": str(self._crf + 10), "b": "0", "deadline": "realtime", "cpu-used": "6", "row-mt": "1", **lag
            }  # fmt: skip
        return {"b": "6000000"}

    def _close(self) -> None:
        import av

        if self._is_lost:
            return
        if self._container is None:
            self._pending.discard()
            self.notes.append(f"{self._pending.path}: no frame came, so nothing was written")
            return
        try:
            self._container.mux(self._stream.encode(None))
            if self._sound is not None:
                if self._is_finished:
                    self._sound.write_rest()
                self._sound.close()
                self.notes.extend(self._sound.notes)
            if self._file is not None:
                self._file.keep()
                self._file.begin_index()
            self._container.close()
            if self._file is not None:
                self._file.close()
        except (av.error.FFmpegError, OSError) as error:
            if not self._is_recording:
                self._discard()
            raise self._failed(error) from error
        self._pending.publish()

    def _discard(self) -> None:
        import av

        if self._sound is not None:
            self._sound.close()
        if self._container is not None:
            with contextlib.suppress(av.error.FFmpegError):  # a full disk fails here again; the file goes anyway
                self._container.close()
        self._pending.discard()

    def _failed(self, error: Exception) -> OutputError:
        import av

        reason, next_step = getattr(error, "strerror", None) or str(error), "is the disk full?"
        if self._file is not None:
            self._is_lost = True
            self._file.give_up()
            if self._container is not None:
                with contextlib.suppress(av.error.FFmpegError, OSError):  # it would write an index; the file refuses
                    self._container.close()
            if self._pending.temporary.stat().st_size:
                next_step = f"what was recorded until then plays: {self._pending.temporary}"
            else:
                self._pending.discard()
        return OutputError(f"{self._pending.path}: could not be written", came=reason, next_step=next_step)
