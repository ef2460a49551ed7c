"""What a user's words for an output mean: the one table from "out.mp4", "frames/", "window" to a sink.

Each kind's module is loaded when one is opened: importing this one costs a program that starts little.

    with open_source("talk.mp4") as source, open_sink("out.mp4", SinkOptions(media=source.media)) as sink: ...
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edge_deeplab.errors import UsageError
from edge_deeplab.imaging.decode import WRITABLE_SUFFIXES
from edge_deeplab.video.frames import MediaFacts, Sink
from edge_deeplab.video.output import SinkLife

__all__ = ["NullSink", "Sink", "SinkOptions", "open_sink"]

WINDOW, NULL = "window", "null"
ENCODERS = ("auto", "pyav", "opencv")


@dataclass(frozen=True, kw_only=True)
class SinkOptions:
    """What may be asked of a sink; each kind takes what concerns it.

    Attributes:
        media: video file: what the source carries, to be kept: rate, time stamps, pixel shape, sound.
        overwrite: file and folder: replace what is there.
        crf: video file: constant quality of H.264, 0 (lossless) to 51; 18 looks like the original.
        folder_suffix: folder: the kind of the pictures.
        title: window.
        on_key: window: called with each key.
        on_closed: window: called once when the user closes it.
        on_drag: window: called with where the mouse is dragged, as a share of the picture's width.
        over: window: gives what is shown of each frame.
        is_paced: window: show each frame at its own time; for sources that are not live.
        encoder: video file: "pyav", "opencv", or "auto": PyAV where it is installed.
        is_recording: video file: what is written cannot be made again, so it must survive a crash and a full disk.
    """

    media: MediaFacts = field(default_factory=MediaFacts)
    overwrite: bool = False
    crf: int = 20
    folder_suffix: str = ".png"
    title: str = "edge-deeplab"
    on_key: Callable[[str], None] | None = None
    on_closed: Callable[[], None] | None = None
    on_drag: Callable[[float], None] | None = None
    over: Callable[[np.ndarray], np.ndarray] | None = None
    is_paced: bool = False
    encoder: str = "auto"
    is_recording: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.crf <= 51:
            raise UsageError("crf is out of range", came=self.crf, allowed="0..51")
        if self.folder_suffix not in WRITABLE_SUFFIXES:
            raise UsageError("unknown picture format", came=self.folder_suffix, allowed=", ".join(WRITABLE_SUFFIXES))
        if self.encoder not in ENCODERS:
            raise UsageError("unknown encoder", came=self.encoder, allowed=", ".join(ENCODERS))


class NullSink(SinkLife):
    """Takes frames and lets them go: to measure everything but the writing."""

    def describe(self) -> str:
        """One line: what it is, where it goes."""
        return "nowhere"

    def _write(self, frame_bgr: np.ndarray, time_s: float, name: str) -> None: ...


def open_sink(spec: str, options: SinkOptions | None = None) -> Sink:
    """Opens what a user named.

    Args:
        spec: "window", "null", a folder (ending in "/", or one that is there), a picture (.png, .jpg ...) or a video
            (.mp4, .m4v, .mov, .mkv, .webm).

    Raises: OutputError when the place is taken or cannot be written, DeviceError when there is no window, UsageError
        for an unknown suffix, MissingExtraError when only PyAV writes this kind.
    """
    options = options or SinkOptions()
    if spec == WINDOW:
        from edge_deeplab.video.window import WindowSink

        return WindowSink(
            title=options.title, on_key=options.on_key, on_closed=options.on_closed, on_drag=options.on_drag,
            over=options.over, is_paced=options.is_paced,
        )  # fmt: skip
    if spec == NULL:
        return NullSink()
    from edge_deeplab.video.stills import FolderSink, ImageSink

    path, suffix = Path(spec), Path(spec).suffix.lower()
    if spec.endswith("/") or path.is_dir():
        return FolderSink(path, suffix=options.folder_suffix, overwrite=options.overwrite)
    if suffix in WRITABLE_SUFFIXES:
        return ImageSink(path, overwrite=options.overwrite)
    return _open_video(path, suffix, options)


def _open_video(path: Path, suffix: str, options: SinkOptions) -> Sink:
    from edge_deeplab.video import container, encoder, opencv_file

    if suffix not in encoder.FORMATS:
        videos, pictures = ", ".join(encoder.FORMATS), ", ".join(WRITABLE_SUFFIXES)
        raise UsageError(
            f"{path}: an output of unknown kind", came=suffix or "no suffix",
            allowed=f"video {videos}; picture {pictures}; folder NAME/; window; null",
        )  # fmt: skip
    if options.encoder == "pyav" or (options.encoder == "auto" and container.has_pyav()):
        container.require_pyav(f"writing {path}")
        return encoder.PyavVideoSink(
            path, media=options.media, overwrite=options.overwrite, crf=options.crf, is_recording=options.is_recording
        )
    if suffix not in opencv_file.SUFFIXES:
        container.require_pyav(f"writing {suffix}")
        raise UsageError(f"{path}: OpenCV writes no {suffix}", allowed=", ".join(opencv_file.SUFFIXES))
    return opencv_file.OpencvVideoSink(
        path, media=options.media, overwrite=options.overwrite, is_recording=options.is_recording
    )
