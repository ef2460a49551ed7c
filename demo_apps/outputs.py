"""Where the result goes: a file, a window with keys, a virtual camera, a browser, one of them or all at once.

check_outputs(options)                      # before anything slow is opened
with open_outputs(options, source, wiring) as outputs: ...
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_deeplab.demo_apps.controls import Control, LiveSettings
from edge_deeplab.demo_apps.options import FIRST_DEVICE, LiveOptions
from edge_deeplab.errors import OutputError, UsageError
from edge_deeplab.video.fan_out import FanOut
from edge_deeplab.video.frames import Sink, Source
from edge_deeplab.video.sink import WINDOW, SinkOptions, open_sink

if TYPE_CHECKING:
    from edge_deeplab.video.mjpeg_server import MjpegSink


@dataclass(frozen=True, kw_only=True)
class Wiring:
    """What the outputs must reach of the program.

    Attributes:
        settings: what keys and buttons change.
        controls: those keys and buttons.
        stop: set by the keys that quit, and by closing the window.
        say: told of files that a key made, of outputs that failed, and where to watch; one line each.
        state: what the browser shows beside the pictures; called from another thread.
        latency_ms: shown in the window; None where it says nothing.
    """

    settings: LiveSettings
    controls: Sequence[Control]
    stop: threading.Event
    say: Callable[[str], None]
    state: Callable[[], Mapping[str, Any]]
    latency_ms: Callable[[], float | None]


def has_window(options: LiveOptions) -> bool:
    """Whether a window is asked for, by a word or because nothing else is."""
    if options.shows_window is not None:
        return options.shows_window
    return options.output is None and options.virtual_camera is None and options.http is None


def check_outputs(options: LiveOptions) -> None:
    """Refuses what can be seen to fail before anything is opened.

    Raises: OutputError when there is nowhere to go, or an output would destroy its own source; UsageError for an
        address that is none, or that others could reach.
    """
    if options.http is not None:
        from edge_deeplab.video.mjpeg_server import HttpAddress

        HttpAddress.parse(options.http, token=options.http_token, is_open=options.http_is_open)
    elif options.http_token or options.http_is_open:
        raise UsageError("--http-token and --http-open: for pictures over HTTP", next_step="add --http PORT")
    if options.output is not None:
        _refuse_own_source(options)
    if has_window(options):
        _refuse_missing_screen()
    elif options.output is None and options.virtual_camera is None and options.http is None:
        raise OutputError("--no-window leaves no output", next_step="name one: --output, --http or --virtual-camera")


@contextmanager
def open_outputs(options: LiveOptions, source: Source, wiring: Wiring) -> Iterator[FanOut]:
    """Opens all that `options` name, for frames of the source.

    The window comes last among them: it may wait for the time of a frame.

    Raises: what the outputs raise; those opened before are closed then.
    """
    is_live = source.is_live
    with ExitStack() as opened:
        sinks: list[Sink] = []
        served: MjpegSink | None = None
        if options.output is not None:
            file_options = SinkOptions(media=source.media, overwrite=options.overwrites, is_recording=is_live)
            sinks.append(opened.enter_context(open_sink(options.output, file_options)))
        if options.virtual_camera is not None:
            from edge_deeplab.video.virtual_camera import VirtualCameraSink

            device = None if options.virtual_camera == FIRST_DEVICE else options.virtual_camera
            camera = VirtualCameraSink(size_wh=source.size_wh, fps=source.fps, device=device)
            sinks.append(opened.enter_context(camera))
        if options.http is not None:
            served = opened.enter_context(_served(options, wiring))
            sinks.append(served)
        # What is watched only is shown at its own pace; a window keeps it itself, and a file needs none.
        shows_window = has_window(options)
        is_paced = not is_live and options.output is None and not shows_window
        outputs = FanOut(sinks, on_lost=wiring.say, is_paced=is_paced, wait=wiring.stop.wait)
        if shows_window:
            window = opened.enter_context(_window(options, source, wiring, outputs))
            outputs.add_last(window)
        opened.pop_all()  # from here on they are the fan-out's
        with outputs:
            if served is not None:
                wiring.say(f"watch at {served.url}")
            yield outputs


def _served(options: LiveOptions, wiring: Wiring) -> MjpegSink:
    from edge_deeplab.video.mjpeg_server import HttpAddress, MjpegSink

    assert options.http is not None
    address = HttpAddress.parse(options.http, token=options.http_token, is_open=options.http_is_open)
    settings = wiring.settings

    def doing(control: Control) -> Callable[[], str]:
        return lambda: control.tells(settings.update(control.change))

    return MjpegSink(address, state=wiring.state, controls={one.name: doing(one) for one in wiring.controls})


def _window(options: LiveOptions, source: Source, wiring: Wiring, outputs: FanOut) -> Sink:
    from edge_deeplab.demo_apps.keeping import Keeper
    from edge_deeplab.demo_apps.keys import Desk

    keeper = Keeper(options.keeps_in, outputs, media=source.media, say=wiring.say)
    desk = Desk(
        wiring.settings, wiring.controls, keeper, stop=wiring.stop, latency_ms=wiring.latency_ms,
        shows_rate=options.shows_fps,
    )  # fmt: skip
    is_paced = not source.is_live and options.output is None
    return open_sink(WINDOW, SinkOptions(
        is_paced=is_paced, on_key=desk.press, on_closed=wiring.stop.set, on_drag=desk.drag, over=desk.screen.over,
    ))  # fmt: skip


def _refuse_missing_screen() -> None:
    from edge_deeplab.video.window import has_screen

    if not has_screen():
        raise OutputError(
            "there is no screen to show the result on",
            next_step="name where it goes: --output NAME.mp4, NAME.png or NAME/ (a folder of pictures), "
            "--http 8080 for a browser, or --virtual-camera",
        )


def _refuse_own_source(options: LiveOptions) -> None:
    """An output over its own source would destroy it, --force or not."""
    source, output = Path(options.source), Path(options.output or "")
    if source.exists() and output.exists() and source.samefile(output):
        raise OutputError(f"{output}: is the source itself", next_step="choose another name for --output")
