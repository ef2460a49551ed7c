"""What a user's words for a source mean: the one table from "0", "talk.mp4", "synthetic" to a source.

Each kind's module is loaded when one is opened: importing this one costs a program that starts little.

    with open_source("talk.mp4") as source: ...
    with open_source("0", SourceOptions(size_wh=(1280, 720))) as source: ...
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_deeplab.errors import InputError, UsageError
from edge_deeplab.imaging.decode import IMAGE_SUFFIXES
from edge_deeplab.video.frames import Frame, MediaFacts, Source

if TYPE_CHECKING:
    from edge_deeplab.video.source_life import SourceLife
    from edge_deeplab.video.synthetic import Motion

__all__ = ["Frame", "MediaFacts", "Source", "SourceOptions", "open_source"]

SYNTHETIC = "synthetic"
SCHEMES = ("http", "https", "rtsp", "rtsps")
DECODERS = ("auto", "pyav", "opencv")
ALLOWED = "a camera (0, /dev/video0), a video file, a picture, a folder of pictures, an http or rtsp URL, synthetic"


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """What may be asked of a source; each kind takes what concerns it.

    Attributes:
        size_wh: camera and synthetic: frame width and height in pixels; None: the camera's own, synthetic 640x480.
        fps: camera: asked for; folder, synthetic and held pictures: the rate at which they are shown (None: 30).
        mirror: camera and stream: left to right.
        holds_still: picture: repeat it without end, as a live source.
        synthetic_frames: synthetic: how many; None without end, live.
        picture: synthetic: (H, W, 3) uint8 RGB to move over, in place of the astronaut.
        motion: synthetic: how the view moves; None: the default of Motion.
        decoder: video file: "pyav", "opencv", or "auto": PyAV where it is installed.
        reconnects: camera and live stream: open it again when it goes away.
        gives_up_after_s: seconds of being away after which that is an error; None: never.
    """

    size_wh: tuple[int, int] | None = None
    fps: Fraction | None = None
    mirror: bool = False
    holds_still: bool = False
    synthetic_frames: int | None = 300
    picture: np.ndarray | None = None
    motion: Motion | None = None
    decoder: str = "auto"
    reconnects: bool = True
    gives_up_after_s: float | None = 600.0

    def __post_init__(self) -> None:
        if self.size_wh is not None and min(self.size_wh) < 2:
            raise UsageError("source size is too small", came=self.size_wh, allowed="at least 2x2")
        if self.fps is not None and not 0 < self.fps <= 1000:
            raise UsageError("source fps is out of range", came=float(self.fps), allowed="above 0, at most 1000")
        if self.decoder not in DECODERS:
            raise UsageError("unknown decoder", came=self.decoder, allowed=", ".join(DECODERS))


def open_source(spec: str, options: SourceOptions | None = None) -> Source:
    """Opens what a user named.

    Args:
        spec: "0" or "/dev/video0" (camera), a URL, "synthetic" or "synthetic:PICTURE", or a path: a folder of
            pictures, a picture, or else a video file.

    Raises: DeviceError (camera, stream), InputError (files), MissingExtraError (a package is not there).
    """
    options = options or SourceOptions()
    fps = options.fps or Fraction(30)
    if spec.isdigit() or spec.startswith(("/dev/video", "/dev/v4l/")):
        return _open_camera(spec, options)
    if spec == SYNTHETIC or spec.startswith(f"{SYNTHETIC}:"):
        from edge_deeplab.video.synthetic import SyntheticSource

        name = spec.removeprefix(SYNTHETIC).removeprefix(":")
        return SyntheticSource(
            Path(name) if name else options.picture,
            size_wh=options.size_wh or (640, 480), fps=fps, frame_count=options.synthetic_frames, motion=options.motion,
        )  # fmt: skip
    scheme = spec.split("://", 1)[0].lower() if "://" in spec else ""
    if scheme:
        if scheme not in SCHEMES:
            raise InputError(f"{spec}: an address of another kind", came=scheme, allowed=", ".join(SCHEMES))
        from edge_deeplab.video.streams import open_stream

        stream = open_stream(spec, mirror=options.mirror)
        if not stream.is_live:
            return stream
        return _kept_alive(stream, lambda closing: open_stream(spec, mirror=options.mirror, closing=closing), options)
    return _open_path(Path(spec), options, fps)


def _open_camera(spec: str, options: SourceOptions) -> Source:
    from edge_deeplab.video.cameras import CameraSource, camera_name, find_again, list_cameras

    def opened(where: str) -> CameraSource:
        return CameraSource(where, size_wh=options.size_wh, fps=options.fps, mirror=options.mirror)

    camera = opened(spec)
    # Elsewhere than on Linux listing means opening one after the other.
    name = camera_name(spec, list_cameras()) if sys.platform.startswith("linux") else ""
    return _kept_alive(camera, lambda _: opened(find_again(spec, name, list_cameras()) if name else spec), options)


def _kept_alive(
    first: SourceLife, open_again: Callable[[threading.Event], SourceLife], options: SourceOptions
) -> Source:
    from edge_deeplab.video.reconnecting import ReconnectingSource, ReconnectOptions

    wanted = ReconnectOptions(reconnects=options.reconnects, gives_up_after_s=options.gives_up_after_s)
    return ReconnectingSource(first, open_again, wanted)


def _open_path(path: Path, options: SourceOptions, fps: Fraction) -> Source:
    from edge_deeplab.video.stills import FolderSource, ImageSource

    if not path.exists():
        raise InputError(f"{path}: no such source", allowed=ALLOWED, next_step="check the spelling")
    if path.is_dir():
        return FolderSource(path, fps=fps)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return ImageSource(path, held_fps=fps if options.holds_still else None)
    from edge_deeplab.video import container, opencv_file

    if options.decoder == "opencv" or (options.decoder == "auto" and not container.has_pyav()):
        return opencv_file.OpencvVideoSource(path)
    return container.PyavVideoSource(path)
