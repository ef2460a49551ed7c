"""What the programs of this folder are asked to do: the home of their defaults and ranges.

Neither numpy nor OpenCV is imported here, so that a command line can read the defaults for its help at no cost.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from edge_deeplab.compositing.options import CompositingOptions, OverlayOptions
from edge_deeplab.recipe import check, setting

BLUR = "blur"
FIRST_DEVICE = "first"
USUAL_BACKGROUNDS = (BLUR, "gray")  # what a key goes on to where one background was given
SMALL_MODELS = {"portrait": "portrait-small", "portrait-large": "portrait"}  # the quicker one beside a bundled model


@dataclass(frozen=True, kw_only=True)
class LiveOptions:
    """Where pictures come from, where they go, and what runs in between.

    Attributes:
        source: as video.source.open_source takes it.
        output: as video.sink.open_sink takes it; None writes no file.
        shows_window: whether a window shows the result; None: where nothing else takes it.
        virtual_camera: the device that other programs choose as a camera, FIRST_DEVICE for the first there is; None
            sends to none.
        http: PORT or HOST:PORT at which browsers see the result; None serves nothing.
        http_token: a word that viewers must know; empty asks for none.
        http_is_open: whether anybody may watch where others can reach the address and there is no token.
        keeps_in: folder of the snapshots and recordings that keys ask for.
        camera_size_wh, camera_fps: asked of a camera; None leaves its own.
        mirror: turn a camera's picture left to right.
        reconnects: open a camera or a live stream again when it goes away; its last good picture is shown meanwhile.
        reconnect_minutes: so long is it tried before its going is an error; 0 tries for ever.
        threads: of the model's engine and of OpenCV.
        precision: of a bundled model, which is two files; "auto" takes the one that this processor runs faster.
        shows_fps: draw the rate into the picture, of something live the latency too; where there is a window, into
            its picture alone.
        overwrites: replace an output that exists.
    """

    source: str = "0"
    output: str | None = None
    shows_window: bool | None = setting(None, help="show the result in a window")
    virtual_camera: str | None = None
    http: str | None = None
    http_token: str = ""
    http_is_open: bool = setting(False, help="with --http, let anybody watch who can reach the address")
    keeps_in: Path = Path()
    camera_size_wh: tuple[int, int] | None = None
    camera_fps: float | None = setting(None, low=1, high=1000, help="frames per second asked of a camera")
    mirror: bool = setting(False, help="turn the camera's picture left to right")
    reconnects: bool = setting(
        True, help="open a camera or stream again when it goes away, its last picture shown meanwhile; or end"
    )
    reconnect_minutes: float = setting(
        10.0, low=0, high=100_000, help="minutes of being away after which a source is given up; 0: never"
    )
    threads: int = setting(2, low=1, high=64, help="threads of the model")
    precision: Literal["auto", "int8", "float16"] = setting(
        "auto", help="which file of a bundled model runs; auto: the faster one here, timed once and remembered"
    )
    shows_fps: bool = setting(False, help="draw the frame rate and, live, the latency into the picture")
    overwrites: bool = setting(False, help="replace an output that exists")

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, kw_only=True)
class QualityOptions:
    """What is to be held, and what may be given up for it.

    Attributes:
        target_fps: frames a second that must be possible; where the machine is too slow, quality goes down a ladder
            (quality.LADDER) until they are, and up again when there is air.
        max_cpu: processor time of the whole program, all threads, in percent of one core, as `top` shows it: 50 is half
            a core, 200 two whole ones. Live, quality goes down and, where that is not enough, frames become rarer; of a
            file no quality is given up, it is made more slowly.
        mask_every: a new matte on every so many frames, carried along the motion on those between.
        delays_frame: live, every frame waits for its own matte while the next one is inferred; else one whose matte is
            not done before the next frame gets the newest one, carried to it. Of a file every frame waits.
        small_model: the quicker model of the ladder; None: that of SMALL_MODELS, none beside others.
    """

    target_fps: float | None = setting(
        None, low=1, high=240, help="frames per second to hold; quality is given up where the machine is too slow"
    )
    max_cpu: float | None = setting(
        None, low=1, high=6400, help="processor time to stay under, in percent of one core (50: half a core, 200: two)"
    )
    mask_every: int = setting(1, low=1, high=8, help="a new mask every N frames, moved with the picture between them")
    delays_frame: bool = setting(
        False, help="live: hold each frame until its own mask is done, for a mask that never lags"
    )
    small_model: str | None = setting(None, help="the quicker model that --target-fps and --max-cpu may change to")

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, kw_only=True)
class PortraitOptions:
    """What `edge-deeplab blur` is asked to do.

    Attributes:
        model: a .tflite with a person among its labels, or the name of a bundled one.
        background: "blur", a colour (compositing.background.parse_colour), a picture or a video, which is looped.
        more_backgrounds: those that a key goes on to; none: USUAL_BACKGROUNDS.
        compositing: the rest of how the person is set before it; its own background is ignored.
        quality: what rate or budget is to be held.
    """

    model: str = setting("portrait", help="a .tflite with a person class, or the name of a bundled model")
    background: str = setting(BLUR, help="blur, a colour name, #rrggbb, a picture, or a video")
    more_backgrounds: tuple[str, ...] = ()
    live: LiveOptions = field(default_factory=LiveOptions)
    compositing: CompositingOptions = field(default_factory=CompositingOptions)
    quality: QualityOptions = field(default_factory=QualityOptions)


@dataclass(frozen=True, kw_only=True)
class WebcamOptions:
    """What `edge-deeplab webcam` is asked to do.

    Attributes:
        model: a .tflite with a manifest, or the name of a bundled one.
        max_cpu: as QualityOptions'; frames become rarer until it is kept.
    """

    model: str = setting("portrait", help="a .tflite with a manifest, or the name of a bundled model")
    max_cpu: float | None = setting(
        None, low=1, high=6400, help="processor time to stay under, in percent of one core (50: half a core, 200: two)"
    )
    live: LiveOptions = field(default_factory=LiveOptions)
    overlay: OverlayOptions = field(default_factory=OverlayOptions)

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, kw_only=True)
class DemoOptions:
    """What `edge-deeplab demo` is asked to do.

    Attributes:
        folder: where the video and the contact sheet go; made when it is missing.
        source: as video.source.open_source takes it; "synthetic" is the astronaut of scikit-image, moved.
        size_wh: of the synthetic picture, pixels.
        frames: of the synthetic picture, at 30 a second.
        sheet_rows: how many times the contact sheet shows.
    """

    folder: Path = Path("demo")
    source: str = setting("synthetic", help="what is blurred; synthetic moves a picture of an astronaut")
    model: str = setting("portrait", help="a .tflite with a person class, or the name of a bundled model")
    background: str = setting(BLUR, help="blur, a colour name, #rrggbb, a picture, or a video")
    size_wh: tuple[int, int] = setting((1280, 720), low=16, high=7680, help="size of the synthetic picture")
    frames: int = setting(180, low=1, high=100_000, help="frames of the synthetic picture, 30 a second")
    sheet_rows: int = setting(4, low=1, high=20, help="times shown in the contact sheet")
    threads: int = setting(2, low=1, high=64, help="threads of the model")
    overwrites: bool = setting(False, help="replace the files of an earlier demo")
    compositing: CompositingOptions = field(default_factory=CompositingOptions)

    def __post_init__(self) -> None:
        check(self)
