"""What the programs of this folder are asked to do: the home of their defaults and ranges.

Neither numpy nor OpenCV is imported here, so that a command line can read the defaults for its help at no cost.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from edge_deeplab.compositing.options import CompositingOptions, OverlayOptions
from edge_deeplab.recipe import check, setting

BLUR = "blur"


@dataclass(frozen=True, kw_only=True)
class LiveOptions:
    """Where pictures come from, where they go, and what runs in between.

    Attributes:
        source: as video.source.open_source takes it.
        output: as video.sink.open_sink takes it; None opens a window, where there is a screen.
        camera_size_wh, camera_fps: asked of a camera; None leaves its own.
        mirror: turn a camera's picture left to right.
        threads: of the model's engine and of OpenCV.
        shows_fps: draw the rate into the picture.
        overwrites: replace an output that exists.
    """

    source: str = "0"
    output: str | None = None
    camera_size_wh: tuple[int, int] | None = None
    camera_fps: float | None = setting(None, low=1, high=1000, help="frames per second asked of a camera")
    mirror: bool = setting(False, help="turn the camera's picture left to right")
    threads: int = setting(2, low=1, high=64, help="threads of the model")
    shows_fps: bool = setting(False, help="draw the frame rate into the picture")
    overwrites: bool = setting(False, help="replace an output that exists")

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, kw_only=True)
class PortraitOptions:
    """What `edge-deeplab blur` is asked to do.

    Attributes:
        model: a .tflite with a person among its labels, or the name of a bundled one.
        background: "blur", a colour (compositing.background.parse_colour), a picture or a video, which is looped.
        compositing: the rest of how the person is set before it; its own background is ignored.
    """

    model: str = setting("portrait", help="a .tflite with a person class, or the name of a bundled model")
    background: str = setting(BLUR, help="blur, a colour name, #rrggbb, a picture, or a video")
    live: LiveOptions = field(default_factory=LiveOptions)
    compositing: CompositingOptions = field(default_factory=CompositingOptions)


@dataclass(frozen=True, kw_only=True)
class WebcamOptions:
    """What `edge-deeplab webcam` is asked to do.

    Attributes:
        model: a .tflite with a manifest, or the name of a bundled one.
    """

    model: str = setting("portrait", help="a .tflite with a manifest, or the name of a bundled model")
    live: LiveOptions = field(default_factory=LiveOptions)
    overlay: OverlayOptions = field(default_factory=OverlayOptions)
